/** The syntax tree as text: `parse(print(tree))` is the tree again. One line, Loki's spacing. */
import type {
  AtModifier,
  BinaryExpr,
  Expr,
  Extraction,
  Grouping,
  LabelChoice,
  LabelFilter,
  LogExpr,
  LogRange,
  Matcher,
  Stage,
  Unwrap,
} from './ast.ts';
import { formatDurationMs, formatDurationNs, plainDecimal } from './numbers.ts';
import { quoteGo } from './strings.ts';

export function print(expr: Expr): string {
  switch (expr.kind) {
    case 'log':
      return printLog(expr);
    case 'rangeAggregation': {
      const param = expr.param === undefined ? '' : `${printNumber(expr.param)},`;
      return `${expr.op}(${param}${printRange(expr.range)})${printGrouping(expr.grouping)}`;
    }
    case 'vectorAggregation': {
      const param = expr.param === undefined ? '' : `${expr.param},`;
      return `${expr.op}${printGrouping(expr.grouping)}(${param}${print(expr.inner)})`;
    }
    case 'binary':
      return printBinary(expr);
    case 'number':
      return printNumber(expr.value);
    case 'vector':
      return `vector(${printNumber(expr.value)})`;
    case 'labelReplace': {
      const strings = [expr.target, expr.replacement, expr.source, expr.regex].map(quoteGo);
      return `label_replace(${[print(expr.inner), ...strings].join(',')})`;
    }
  }
}

export function printMatchers(matchers: readonly Matcher[]): string {
  return `{${matchers.map(printMatcher).join(', ')}}`;
}

function printLog(log: LogExpr): string {
  return [printMatchers(log.matchers), ...log.stages.map(printStage)].join(' ');
}

function printMatcher({ name, op, value }: Matcher): string {
  return `${name}${op}${quoteGo(value)}`;
}

export function printStage(stage: Stage): string {
  switch (stage.kind) {
    case 'lineFilter':
      return `${stage.op} ${stage.alternatives
        .map(({ kind, value }) => (kind === 'ip' ? `ip(${quoteGo(value)})` : quoteGo(value)))
        .join(' or ')}`;
    case 'json':
      return `| json${printExtractions(stage.extractions)}`;
    case 'logfmt':
      return `| logfmt${stage.strict ? ' --strict' : ''}${stage.keepEmpty ? ' --keep-empty' : ''}${printExtractions(stage.extractions)}`;
    case 'regexp':
    case 'pattern':
      return `| ${stage.kind} ${quoteGo(stage.pattern)}`;
    case 'unpack':
    case 'decolorize':
      return `| ${stage.kind}`;
    case 'labelFilter':
      return `| ${printLabelFilter(stage.filter)}`;
    case 'lineFormat':
      return `| line_format ${quoteGo(stage.template)}`;
    case 'labelFormat':
      return `| label_format ${stage.formats
        .map(
          (format) => `${format.name}=${format.kind === 'rename' ? format.source : quoteGo(format.template)}`,
        )
        .join(',')}`;
    case 'drop':
    case 'keep':
      return `| ${stage.kind} ${stage.labels.map(printChoice).join(',')}`;
  }
}

function printExtractions(extractions: readonly Extraction[]): string {
  if (extractions.length === 0) return '';
  return ` ${extractions.map(({ label, expression }) => `${label}=${quoteGo(expression)}`).join(',')}`;
}

function printChoice(choice: LabelChoice): string {
  return choice.kind === 'name' ? choice.name : printMatcher(choice.matcher);
}

export function printLabelFilter(filter: LabelFilter): string {
  switch (filter.kind) {
    case 'and':
    case 'or': {
      const sign = filter.kind === 'and' ? ',' : 'or';
      return `( ${printLabelFilter(filter.left)} ${sign} ${printLabelFilter(filter.right)} )`;
    }
    case 'string':
      return printMatcher(filter.matcher);
    case 'number':
      return `${filter.name}${filter.op}${printNumber(filter.value)}`;
    case 'duration':
      return `${filter.name}${filter.op}${formatDurationNs(filter.valueNs)}`;
    case 'bytes':
      return `${filter.name}${filter.op}${plainDecimal(filter.valueBytes)}B`;
    case 'ip':
      return `${filter.name}${filter.op}ip(${quoteGo(filter.pattern)})`;
  }
}

function printRange(range: LogRange): string {
  const { log, unwrap } = range;
  return printLog(log) + (unwrap === undefined ? '' : printUnwrap(unwrap)) + printRangeEnd(range);
}

/** `[5m] offset 1h @ end()` */
export function printRangeEnd({ rangeMs, offsetNs, at }: LogRange): string {
  const offset = offsetNs === 0 ? '' : ` offset ${formatDurationNs(offsetNs)}`;
  return `[${formatDurationMs(rangeMs)}]${offset}${printAt(at)}`;
}

function printAt(at: AtModifier | undefined): string {
  if (at === undefined) return '';
  return at.kind === 'time' ? ` @ ${printNumber(at.seconds)}` : ` @ ${at.kind}()`;
}

function printUnwrap(unwrap: Unwrap): string {
  return [
    ` ${printUnwrapped(unwrap)}`,
    ...unwrap.filters.map((filter) => ` | ${printLabelFilter(filter)}`),
  ].join('');
}

/** `| unwrap bytes(size)`, without the filters behind it. */
export function printUnwrapped({ label, conversion }: Unwrap): string {
  return `| unwrap ${conversion === undefined ? label : `${conversion}(${label})`}`;
}

export function printGrouping(grouping: Grouping | undefined, comma = ','): string {
  if (grouping === undefined) return '';
  return ` ${grouping.without ? 'without' : 'by'} (${grouping.labels.join(comma)})`;
}

function printBinary(expr: BinaryExpr): string {
  return `(${print(expr.left)} ${printOperator(expr)} ${print(expr.right)})`;
}

/** `> bool on (a) group_left (b)` */
export function printOperator({ op, bool, matching }: BinaryExpr, comma = ','): string {
  let sign = bool ? `${op} bool` : op;
  if (matching !== undefined) {
    sign += ` ${matching.on ? 'on' : 'ignoring'} (${matching.labels.join(comma)})`;
    if (matching.group !== undefined) sign += ` group_${matching.group} (${matching.include.join(comma)})`;
  }
  return sign;
}

export function printNumber(value: number): string {
  return plainDecimal(value);
}
