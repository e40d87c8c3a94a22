/** What the grammar cannot say. Each check throws LogvineError LV_QUERY_INVALID at the place, in Loki's words. */
import {
  isLog,
  type BinaryOp,
  type Expr,
  type Grouping,
  type LineFilter,
  type Matcher,
  type RangeAggregation,
  type RangeOp,
  type Stage,
  type VectorOp,
} from './ast.ts';
import { queryError, type Position } from './errors.ts';
import { compileIp } from './ip.ts';
import { parseJsonPath, parseLogfmtField } from './json-path.ts';
import { compileMatcher } from './matchers.ts';
import { compilePattern, compilePatternFilter } from './pattern.ts';
import { compileAnchored, compileRegex } from './regex.ts';
import { compileTemplate } from './template.ts';

/** Runs `make` for its complaints. */
function attempt(at: Position, prefix: string, make: () => unknown): void {
  try {
    make();
  } catch (cause) {
    throw queryError(prefix + (cause as Error).message, at, cause);
  }
}

export function checkMatcher(matcher: Matcher, at: Position): void {
  if (matcher.op === '=~' || matcher.op === '!~') attempt(at, '', () => compileAnchored(matcher.value));
}

export function checkSelector(matchers: readonly Matcher[], at: Position): void {
  if (matchers.some((matcher) => !compileMatcher(matcher)(''))) return;
  throw queryError(
    'queries require at least one regexp or equality matcher that does not have an empty-compatible value. ' +
      'For instance, app=~".*" does not meet this requirement, but app=~".+" will',
    at,
  );
}

export function checkIp(pattern: string, at: Position): void {
  attempt(at, '', () => compileIp(pattern));
}

export function checkStage(stage: Stage, at: Position): void {
  switch (stage.kind) {
    case 'lineFilter':
      return checkLineFilter(stage, at);
    case 'json':
      for (const { expression } of stage.extractions) attempt(at, '', () => parseJsonPath(expression));
      return;
    case 'logfmt':
      for (const { expression } of stage.extractions) attempt(at, '', () => parseLogfmtField(expression));
      return;
    case 'regexp':
      return checkRegexpParser(stage.pattern, at);
    case 'pattern':
      return attempt(at, 'invalid pattern parser: ', () => compilePattern(stage.pattern));
    case 'lineFormat':
      return attempt(at, 'invalid line template: ', () => compileTemplate(stage.template, 'line'));
    case 'labelFormat':
      for (const [i, format] of stage.formats.entries()) {
        if (format.name === '__error__') throw queryError('__error__ cannot be formatted', at);
        if (stage.formats.findIndex(({ name }) => name === format.name) !== i) {
          throw queryError(
            `multiple label name '${format.name}' not allowed in a single format operation`,
            at,
          );
        }
        if (format.kind === 'rename') continue;
        attempt(at, `invalid template for label '${format.name}': `, () =>
          compileTemplate(format.template, 'label'),
        );
      }
  }
}

function checkLineFilter(filter: LineFilter, at: Position): void {
  for (const { kind, value } of filter.alternatives) {
    if (kind === 'ip') {
      if (filter.op !== '|=' && filter.op !== '!=') throw queryError('ip: invalid operation', at);
      attempt(at, '', () => compileIp(value));
    } else if (filter.op === '|~' || filter.op === '!~') {
      attempt(at, '', () => compileRegex(value));
    } else if (filter.op === '|>' || filter.op === '!>') {
      attempt(at, '', () => compilePatternFilter(value));
    }
  }
}

function checkRegexpParser(pattern: string, at: Position): void {
  attempt(at, 'invalid regexp parser: ', () => {
    const names = compileRegex(pattern).groupNames.filter((name) => name !== '');
    if (names.length === 0) throw new SyntaxError('at least one named capture must be supplied');
    const twice = names.find((name, i) => names.indexOf(name) !== i);
    if (twice !== undefined) throw new SyntaxError(`duplicate extracted label name '${twice}'`);
  });
}

const GROUPED: ReadonlySet<RangeOp> = new Set<RangeOp>([
  'avg_over_time',
  'stddev_over_time',
  'stdvar_over_time',
  'quantile_over_time',
  'max_over_time',
  'min_over_time',
  'first_over_time',
  'last_over_time',
]);
const NEVER_UNWRAPPED: ReadonlySet<RangeOp> = new Set<RangeOp>([
  'count_over_time',
  'bytes_over_time',
  'bytes_rate',
]);
const PLAIN: ReadonlySet<RangeOp> = new Set<RangeOp>([
  'bytes_over_time',
  'bytes_rate',
  'count_over_time',
  'rate',
  'absent_over_time',
]);

export function checkRangeAggregation(
  node: RangeAggregation,
  parameter: string | undefined,
  at: Position,
): void {
  const { op } = node;
  if (parameter !== undefined && op !== 'quantile_over_time') {
    throw queryError(`parameter ${parameter} not supported for operation ${op}`, at);
  }
  if (parameter === undefined && op === 'quantile_over_time') {
    throw queryError(`parameter required for operation ${op}`, at);
  }
  if (node.grouping !== undefined && !GROUPED.has(op)) {
    throw queryError(`grouping not allowed for ${op} aggregation`, at);
  }
  if (node.range.unwrap !== undefined) {
    if (NEVER_UNWRAPPED.has(op)) throw queryError(`invalid aggregation ${op} with unwrap`, at);
  } else if (!PLAIN.has(op)) {
    throw queryError(`invalid aggregation ${op} without unwrap`, at);
  }
}

/** The value of the parameter, where there is one. */
export function checkVectorAggregation(
  op: VectorOp,
  parameter: string | undefined,
  grouping: Grouping | undefined,
  at: Position,
): number | undefined {
  if ((op === 'sort' || op === 'sort_desc') && grouping !== undefined && grouping.labels.length > 0) {
    throw queryError("sort and sort_desc doesn't allow grouping by ", at);
  }
  if (op !== 'topk' && op !== 'bottomk' && op !== 'approx_topk') {
    if (parameter === undefined) return undefined;
    throw queryError(`unsupported parameter for operation ${op}(${parameter},`, at);
  }
  if (parameter === undefined) throw queryError(`parameter required for operation ${op}`, at);
  if (!/^\d{1,9}$/.test(parameter)) throw queryError(`invalid parameter ${op}(${parameter},`, at);
  if (Number(parameter) === 0) {
    throw queryError(`invalid parameter (must be greater than 0) ${op}(${parameter}`, at);
  }
  if (op === 'approx_topk' && grouping !== undefined) {
    throw queryError(`grouping not allowed for ${op} aggregation`, at);
  }
  return Number(parameter);
}

export function checkBinary(op: BinaryOp, left: Expr, right: Expr, at: Position): void {
  const isSet = op === 'or' || op === 'and' || op === 'unless';
  for (const [side, expr] of [
    ['left', left],
    ['right', right],
  ] as const) {
    if (isLog(expr)) {
      throw queryError(
        `unexpected type for ${side} leg of binary operation (${op}): a log query has no values`,
        at,
      );
    }
    if (isSet && expr.kind === 'number') {
      throw queryError(
        `unexpected literal for ${side} leg of logical/set binary operation (${op}): ${expr.value.toFixed(6)}`,
        at,
      );
    }
  }
}

export function checkLabelReplace(regex: string, at: Position): void {
  attempt(at, 'invalid regex in label_replace: ', () => compileAnchored(regex));
}
