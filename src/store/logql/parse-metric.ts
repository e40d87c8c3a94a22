/** Metric expressions. Above each function stands its grammar rule. */
import {
  BINARY_OPS,
  RANGE_OPS,
  UNWRAP_CONVERSIONS,
  VECTOR_OPS,
  isLog,
  type AtModifier,
  type BinaryExpr,
  type BinaryOp,
  type Expr,
  type Grouping,
  type LabelFilter,
  type LabelReplace,
  type LogRange,
  type MetricExpr,
  type RangeAggregation,
  type RangeOp,
  type Stage,
  type Unwrap,
  type UnwrapConversion,
  type VectorAggregation,
  type VectorMatching,
  type VectorOp,
} from './ast.ts';
import { checkBinary, checkLabelReplace, checkRangeAggregation, checkVectorAggregation } from './check.ts';
import type { Cursor } from './cursor.ts';
import type { Token } from './lexer.ts';
import { parseLabelFilter, parseNumber, readNumber } from './parse-label-filter.ts';
import { parseLog, parseSelector, parseStages } from './parse-log.ts';

const PRECEDENCE: Readonly<Record<string, number>> = {
  or: 1,
  and: 2,
  unless: 2,
  '==': 3,
  '!=': 3,
  '>': 3,
  '>=': 3,
  '<': 3,
  '<=': 3,
  '+': 4,
  '-': 4,
  '*': 5,
  '/': 5,
  '%': 5,
  '^': 6,
};

/** expr = operand { BINARY_OP modifier expr }; precedence from `or` up to `^`, which alone groups to the right. */
export function parseExpr(cursor: Cursor, minimum = 1): Expr {
  let left = parseOperand(cursor);
  while (cursor.is(...BINARY_OPS) && PRECEDENCE[cursor.token.type] >= minimum) {
    const at = cursor.take();
    cursor.countOperator(at);
    const op = at.type as BinaryOp;
    const { bool, matching } = parseModifier(cursor);
    const next = PRECEDENCE[op] + (op === '^' ? 0 : 1);
    const right = cursor.nested(at, () => parseExpr(cursor, next));
    left = binary(op, left, right, bool, matching, at);
  }
  return left;
}

function binary(
  op: BinaryOp,
  left: Expr,
  right: Expr,
  bool: boolean,
  matching: VectorMatching | undefined,
  at: Token,
): BinaryExpr {
  checkBinary(op, left, right, at);
  return {
    kind: 'binary',
    op,
    left: left as MetricExpr,
    right: right as MetricExpr,
    bool,
    ...(matching && { matching }),
  };
}

/** operand = log | "(" expr ")" | number | vector | labelReplace | rangeAggregation | vectorAggregation */
function parseOperand(cursor: Cursor): Expr {
  const { type } = cursor.token;
  if (type === '{') return parseLog(cursor);
  if (type === '(') {
    const at = cursor.take();
    const expr = cursor.nested(at, () => parseExpr(cursor));
    cursor.expect(')');
    return expr;
  }
  if (type === 'NUMBER' || type === '+' || type === '-')
    return { kind: 'number', value: parseNumber(cursor) };
  if (type === 'vector') return parseVector(cursor);
  if (type === 'label_replace') return parseLabelReplace(cursor);
  if ((RANGE_OPS as readonly string[]).includes(type)) return parseRangeAggregation(cursor);
  if ((VECTOR_OPS as readonly string[]).includes(type)) return parseVectorAggregation(cursor);
  throw cursor.unexpected([]);
}

function parseMetric(cursor: Cursor): MetricExpr {
  const at = cursor.token;
  const expr = cursor.nested(at, () => parseExpr(cursor));
  if (isLog(expr)) throw cursor.unexpected(['RANGE']);
  return expr;
}

/** vector = "vector" "(" NUMBER ")" */
function parseVector(cursor: Cursor): MetricExpr {
  cursor.take();
  cursor.expect('(');
  const value = readNumber(cursor);
  cursor.expect(')');
  return { kind: 'vector', value };
}

/** labelReplace = "label_replace" "(" expr "," STRING "," STRING "," STRING "," STRING ")" */
function parseLabelReplace(cursor: Cursor): LabelReplace {
  cursor.take();
  cursor.expect('(');
  const inner = parseMetric(cursor);
  const strings: string[] = [];
  let regexAt = cursor.token;
  for (let i = 0; i < 4; i++) {
    cursor.expect(',');
    regexAt = cursor.token;
    strings.push(cursor.expect('STRING').text);
  }
  cursor.expect(')');
  const [target, replacement, source, regex] = strings;
  checkLabelReplace(regex, regexAt);
  return { kind: 'labelReplace', inner, target, replacement, source, regex };
}

/** rangeAggregation = RANGE_OP "(" [ NUMBER "," ] logRange ")" [ grouping ] */
function parseRangeAggregation(cursor: Cursor): RangeAggregation {
  const at = cursor.take();
  cursor.expect('(');
  if (!cursor.is('NUMBER', '{', '(')) throw cursor.unexpected(['NUMBER', '{', '(']);
  const parameter = cursor.is('NUMBER') ? cursor.token : undefined;
  const param = parameter && readNumber(cursor);
  if (parameter) cursor.expect(',');
  const range = parseLogRange(cursor);
  cursor.expect(')');
  const grouping = cursor.is('by', 'without') ? parseGrouping(cursor) : undefined;
  const node: RangeAggregation = {
    kind: 'rangeAggregation',
    op: at.type as RangeOp,
    ...(param !== undefined && { param }),
    range,
    ...(grouping && { grouping }),
  };
  checkRangeAggregation(node, parameter?.text, at);
  return node;
}

/**
 * logRange = "(" logRange ")"
 *          | ranged
 *          | "(" log [ unwrap ] ")" RANGE { offset | at }
 */
function parseLogRange(cursor: Cursor): LogRange {
  if (!cursor.is('(')) return parseRanged(cursor);
  const at = cursor.take();
  const inner = cursor.nested(at, () => {
    if (cursor.is('(')) return { range: parseLogRange(cursor) };
    const start = parseRangedStart(cursor);
    return cursor.is('RANGE') ? { range: parseRangedRest(cursor, start) } : { start };
  });
  if (inner.range !== undefined) {
    cursor.expect(')');
    return inner.range;
  }
  if (!cursor.is(')')) throw cursor.unexpected(['RANGE', ')']);
  cursor.take();
  return parseRangedRest(cursor, inner.start);
}

interface RangedStart {
  readonly matchers: LogRange['log']['matchers'];
  readonly stages: readonly Stage[];
  readonly unwrap?: Unwrap;
}

/** ranged = selector { stage } [ unwrap ] RANGE { offset | at } | selector RANGE { offset | at } { stage } [ unwrap ] */
function parseRanged(cursor: Cursor): LogRange {
  return parseRangedRest(cursor, parseRangedStart(cursor));
}

function parseRangedStart(cursor: Cursor): RangedStart {
  return { matchers: parseSelector(cursor), stages: parseStages(cursor), unwrap: parseUnwrap(cursor) };
}

function parseRangedRest(cursor: Cursor, start: RangedStart): LogRange {
  const rangeMs = cursor.expect('RANGE').value;
  let offsetNs = 0;
  let at: AtModifier | undefined;
  for (;;) {
    if (offsetNs === 0 && cursor.accept('offset')) offsetNs = cursor.expect('DURATION').value;
    else if (at === undefined && cursor.is('@')) at = parseAt(cursor);
    else break;
  }
  let { stages, unwrap } = start;
  if (stages.length === 0 && unwrap === undefined) {
    stages = parseStages(cursor);
    unwrap = parseUnwrap(cursor);
  }
  return {
    log: { kind: 'log', matchers: start.matchers, stages },
    ...(unwrap && { unwrap }),
    rangeMs,
    offsetNs,
    ...(at && { at }),
  };
}

/** at = "@" ( number | "start" "(" ")" | "end" "(" ")" ) */
function parseAt(cursor: Cursor): AtModifier {
  cursor.take();
  if (!cursor.is('IDENTIFIER')) return { kind: 'time', seconds: parseNumber(cursor) };
  const { text } = cursor.token;
  if (text !== 'start' && text !== 'end') throw cursor.unexpected(['NUMBER', 'start', 'end']);
  cursor.take();
  cursor.expect('(');
  cursor.expect(')');
  return { kind: text };
}

/** unwrap = "|" "unwrap" ( IDENTIFIER | CONVERSION "(" IDENTIFIER ")" ) { "|" labelFilter } */
function parseUnwrap(cursor: Cursor): Unwrap | undefined {
  if (!cursor.is('|')) return undefined;
  cursor.take();
  cursor.expect('unwrap');
  let conversion: UnwrapConversion | undefined;
  if (cursor.is(...UNWRAP_CONVERSIONS)) {
    conversion = cursor.take().type as UnwrapConversion;
    cursor.expect('(');
  }
  const label = cursor.expect('IDENTIFIER').text;
  if (conversion) cursor.expect(')');
  const filters: LabelFilter[] = [];
  while (cursor.accept('|')) filters.push(parseLabelFilter(cursor));
  return { label, ...(conversion && { conversion }), filters };
}

/** vectorAggregation = VECTOR_OP [ grouping ] "(" [ NUMBER "," ] expr ")" [ grouping ] */
function parseVectorAggregation(cursor: Cursor): VectorAggregation {
  const at = cursor.take();
  let grouping = cursor.is('by', 'without') ? parseGrouping(cursor) : undefined;
  cursor.expect('(');
  const parameter = cursor.is('NUMBER') && cursor.peekType() === ',' ? cursor.take() : undefined;
  if (parameter) cursor.expect(',');
  const inner = parseMetric(cursor);
  cursor.expect(')');
  if (grouping === undefined && cursor.is('by', 'without')) grouping = parseGrouping(cursor);
  const op = at.type as VectorOp;
  const param = checkVectorAggregation(op, parameter?.text, grouping, at);
  return {
    kind: 'vectorAggregation',
    op,
    ...(param !== undefined && { param }),
    ...(grouping && { grouping }),
    inner,
  };
}

/** grouping = ( "by" | "without" ) labels */
function parseGrouping(cursor: Cursor): Grouping {
  const without = cursor.take().type === 'without';
  return { without, labels: parseLabels(cursor) };
}

/** labels = "(" [ IDENTIFIER { "," IDENTIFIER } ] ")" */
function parseLabels(cursor: Cursor): string[] {
  const labels: string[] = [];
  cursor.expect('(');
  if (cursor.accept(')')) return labels;
  if (!cursor.is('IDENTIFIER')) throw cursor.unexpected(['IDENTIFIER', ')']);
  do labels.push(cursor.expect('IDENTIFIER').text);
  while (cursor.accept(','));
  cursor.expect(')');
  return labels;
}

/** modifier = [ "bool" ] [ ( "on" | "ignoring" ) labels [ ( "group_left" | "group_right" ) [ labels ] ] ] */
function parseModifier(cursor: Cursor): { bool: boolean; matching?: VectorMatching } {
  const bool = cursor.accept('bool');
  if (!cursor.is('on', 'ignoring')) return { bool };
  const on = cursor.take().type === 'on';
  const labels = parseLabels(cursor);
  if (!cursor.is('group_left', 'group_right')) return { bool, matching: { on, labels, include: [] } };
  const group = cursor.take().type === 'group_left' ? 'left' : 'right';
  // A parenthesis that holds labels only is the list; any other opens the right-hand side.
  const include =
    cursor.is('(') && ['IDENTIFIER', ')'].includes(cursor.peekType()) ? parseLabels(cursor) : [];
  return { bool, matching: { on, labels, group, include } };
}
