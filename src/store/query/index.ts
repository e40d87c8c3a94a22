export { aggregateBatches } from './aggregate.ts';
export { AnswerMemory } from './answer-memory.ts';
export { overlaps } from './candidates.ts';
export { workOf, type SegmentWork } from './candidates.ts';
export { compileQuery } from './compile.ts';
export type { CompiledQuery } from './compile.ts';
export { compileMetric, instantOf } from './compile-metric.ts';
export type { CompiledMetric } from './compile-metric.ts';
export { HeaderSums, isAnsweredByHeaders, PARTS_PLANNED_MAX } from './headers.ts';
export { IndexMemory } from './index-memory.ts';
export { KnownAnswers } from './known-answers.ts';
export { mergeSources, sourceOf } from './merge.ts';
export type { RunSource } from './merge.ts';
export { decodeParts, encodeParts } from './parts.ts';
export { neededOf } from './prune.ts';
export { PatternTree, scanPatterns } from './patterns.ts';
export type { PatternCount } from './patterns.ts';
export {
  batchRank,
  compareRows,
  decodeRun,
  encodeRun,
  lineOf,
  nanosecondsOf,
  runBytes,
  RunBuilder,
  sliceRun,
} from './run.ts';
export type { EntryRun } from './run.ts';
export { scanBatches, scanColumns } from './scan.ts';
export type {
  EntryScan,
  EntryScanResult,
  MetricScan,
  MetricScanResult,
  PatternScan,
  PatternScanResult,
  ScanRequest,
  ScanResult,
  TimeRange,
} from './scan.ts';
export type { Liveness } from './progress.ts';
export { streamsIn, surveyBatches } from './survey.ts';
export { scanInWindows } from './windows.ts';
export type { ScanStep, ScanTally } from './windows.ts';
