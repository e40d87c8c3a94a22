/** LogQL: text to tree, tree to text, and what runs it on lines. Pure. */
export * from './ast.ts';
export {
  QUERY_BYTES_MAX,
  parse,
  parseLabels,
  parseLogQuery,
  parseMatchers,
  parseMetricQuery,
} from './parser.ts';
export { pretty } from './pretty.ts';
export { print, printMatchers, printStage } from './print.ts';
export { compileMatcher, compileMatchers, matches } from './matchers.ts';
export { compileAnchored, compileRegex, type CompiledRegex } from './regex.ts';
export {
  compileLineFilter,
  leadingLineFilters,
  neededLiterals,
  type CompiledAlternative,
  type CompiledLineFilter,
  type NeededBytes,
} from './line-filter.ts';
export { compilePipeline, type Pipeline, type PipelineOptions } from './pipeline.ts';
export { ERROR_DETAILS_LABEL, ERROR_LABEL, metadataBeside, type LabelCategories } from './labels.ts';
export { parseBytes, parseDurationNs, parseFloatGo, formatDurationMs, plainDecimal } from './numbers.ts';
export {
  evaluateByStep,
  evaluateMetric,
  planMetric,
  type MetricPlan,
  type MetricResult,
  type RangeLeaf,
  type ResultSeries,
} from './metric/evaluate.ts';
export { STEPS_MAX, alignTimes, stepCount, type EvalTimes } from './metric/grid.ts';
export { RangePartial, type PartialLimits, type PartialSeries } from './metric/partial.ts';
export type { Sampler } from './metric/sampler.ts';
