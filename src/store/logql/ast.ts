/** The syntax tree of LogQL. Plain data: `parse` makes it, `print` writes it, and neither loses anything. */

export type Expr = LogExpr | MetricExpr;

export type MatchOp = '=' | '!=' | '=~' | '!~';

/** `name op "value"`: a stream matcher, a string label filter, or a condition of drop and keep. */
export interface Matcher {
  readonly name: string;
  readonly op: MatchOp;
  readonly value: string;
}

export interface LogExpr {
  readonly kind: 'log';
  readonly matchers: readonly Matcher[];
  readonly stages: readonly Stage[];
}

export type Stage =
  | LineFilter
  | JsonStage
  | LogfmtStage
  | RegexpStage
  | PatternStage
  | UnpackStage
  | LabelFilterStage
  | LineFormatStage
  | LabelFormatStage
  | DecolorizeStage
  | DropStage
  | KeepStage;

export type LineFilterOp = '|=' | '!=' | '|~' | '!~' | '|>' | '!>';

/** A line passes a positive operator when any alternative matches, a negative one when none does. */
export interface LineFilter {
  readonly kind: 'lineFilter';
  readonly op: LineFilterOp;
  readonly alternatives: readonly LineAlternative[];
}

/** Text is a literal, a regular expression or a pattern, as the operator says; ip is an address, a range or a CIDR. */
export interface LineAlternative {
  readonly kind: 'text' | 'ip';
  readonly value: string;
}

/** `label="expression"`; an extraction without expression has the label's own name as its expression. */
export interface Extraction {
  readonly label: string;
  readonly expression: string;
}

export interface JsonStage {
  readonly kind: 'json';
  /** Empty: every field. */
  readonly extractions: readonly Extraction[];
}

export interface LogfmtStage {
  readonly kind: 'logfmt';
  readonly strict: boolean;
  readonly keepEmpty: boolean;
  /** Empty: every field. */
  readonly extractions: readonly Extraction[];
}

export interface RegexpStage {
  readonly kind: 'regexp';
  readonly pattern: string;
}

export interface PatternStage {
  readonly kind: 'pattern';
  readonly pattern: string;
}

export interface UnpackStage {
  readonly kind: 'unpack';
}

export interface LabelFilterStage {
  readonly kind: 'labelFilter';
  readonly filter: LabelFilter;
}

export type CompareOp = '==' | '!=' | '>' | '>=' | '<' | '<=';

export type LabelFilter =
  | { readonly kind: 'and' | 'or'; readonly left: LabelFilter; readonly right: LabelFilter }
  | { readonly kind: 'string'; readonly matcher: Matcher }
  | { readonly kind: 'number'; readonly name: string; readonly op: CompareOp; readonly value: number }
  | { readonly kind: 'duration'; readonly name: string; readonly op: CompareOp; readonly valueNs: number }
  | { readonly kind: 'bytes'; readonly name: string; readonly op: CompareOp; readonly valueBytes: number }
  | { readonly kind: 'ip'; readonly name: string; readonly op: '=' | '!='; readonly pattern: string };

export interface LineFormatStage {
  readonly kind: 'lineFormat';
  readonly template: string;
}

export interface LabelFormatStage {
  readonly kind: 'labelFormat';
  readonly formats: readonly LabelFormat[];
}

/** `name=source` renames a label, `name="template"` writes one. */
export type LabelFormat =
  | { readonly kind: 'rename'; readonly name: string; readonly source: string }
  | { readonly kind: 'template'; readonly name: string; readonly template: string };

export interface DecolorizeStage {
  readonly kind: 'decolorize';
}

/** A name alone, or a name whose value must match. */
export type LabelChoice =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'matcher'; readonly matcher: Matcher };

export interface DropStage {
  readonly kind: 'drop';
  readonly labels: readonly LabelChoice[];
}

export interface KeepStage {
  readonly kind: 'keep';
  readonly labels: readonly LabelChoice[];
}

export type MetricExpr =
  | RangeAggregation
  | VectorAggregation
  | BinaryExpr
  | NumberLiteral
  | VectorLiteral
  | LabelReplace;

export const RANGE_OPS = [
  'count_over_time',
  'rate',
  'rate_counter',
  'bytes_over_time',
  'bytes_rate',
  'avg_over_time',
  'sum_over_time',
  'min_over_time',
  'max_over_time',
  'stdvar_over_time',
  'stddev_over_time',
  'quantile_over_time',
  'first_over_time',
  'last_over_time',
  'absent_over_time',
] as const;
export type RangeOp = (typeof RANGE_OPS)[number];

export const VECTOR_OPS = [
  'sum',
  'avg',
  'min',
  'max',
  'count',
  'stddev',
  'stdvar',
  'topk',
  'bottomk',
  'approx_topk',
  'sort',
  'sort_desc',
] as const;
export type VectorOp = (typeof VECTOR_OPS)[number];

export const BINARY_OPS = [
  'or',
  'and',
  'unless',
  '==',
  '!=',
  '>',
  '>=',
  '<',
  '<=',
  '+',
  '-',
  '*',
  '/',
  '%',
  '^',
] as const;
export type BinaryOp = (typeof BINARY_OPS)[number];

export interface Grouping {
  readonly without: boolean;
  readonly labels: readonly string[];
}

export const UNWRAP_CONVERSIONS = ['bytes', 'duration', 'duration_seconds'] as const;
export type UnwrapConversion = (typeof UNWRAP_CONVERSIONS)[number];

export interface Unwrap {
  readonly label: string;
  readonly conversion?: UnwrapConversion;
  /** Label filters that stand after `unwrap`, in order; all must pass. */
  readonly filters: readonly LabelFilter[];
}

/** `@`: evaluates at a fixed time, whatever the step. */
export type AtModifier =
  | { readonly kind: 'time'; readonly seconds: number }
  | { readonly kind: 'start' | 'end' };

export interface LogRange {
  readonly log: LogExpr;
  readonly unwrap?: Unwrap;
  readonly rangeMs: number;
  /** Zero when there is none. */
  readonly offsetNs: number;
  readonly at?: AtModifier;
}

export interface RangeAggregation {
  readonly kind: 'rangeAggregation';
  readonly op: RangeOp;
  /** The quantile of quantile_over_time. */
  readonly param?: number;
  readonly range: LogRange;
  readonly grouping?: Grouping;
}

export interface VectorAggregation {
  readonly kind: 'vectorAggregation';
  readonly op: VectorOp;
  /** The k of topk, bottomk and approx_topk. */
  readonly param?: number;
  readonly grouping?: Grouping;
  readonly inner: MetricExpr;
}

export interface VectorMatching {
  /** True: match on these labels; false: on all but these. */
  readonly on: boolean;
  readonly labels: readonly string[];
  /** Which side may have several series per match. */
  readonly group?: 'left' | 'right';
  /** Labels copied from the side that has one. */
  readonly include: readonly string[];
}

export interface BinaryExpr {
  readonly kind: 'binary';
  readonly op: BinaryOp;
  readonly left: MetricExpr;
  readonly right: MetricExpr;
  /** Comparisons answer 0 or 1 instead of filtering. */
  readonly bool: boolean;
  readonly matching?: VectorMatching;
}

export interface NumberLiteral {
  readonly kind: 'number';
  readonly value: number;
}

export interface VectorLiteral {
  readonly kind: 'vector';
  readonly value: number;
}

export interface LabelReplace {
  readonly kind: 'labelReplace';
  readonly inner: MetricExpr;
  readonly target: string;
  readonly replacement: string;
  readonly source: string;
  readonly regex: string;
}

export function isLog(expr: Expr): expr is LogExpr {
  return expr.kind === 'log';
}

/** Every log selector under an expression, left to right. */
export function rangesOf(expr: MetricExpr): LogRange[] {
  switch (expr.kind) {
    case 'rangeAggregation':
      return [expr.range];
    case 'vectorAggregation':
    case 'labelReplace':
      return rangesOf(expr.inner);
    case 'binary':
      return [...rangesOf(expr.left), ...rangesOf(expr.right)];
    case 'number':
    case 'vector':
      return [];
  }
}
