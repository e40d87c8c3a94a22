export { compileQuery } from './compile.ts';
export type { CompiledQuery } from './compile.ts';
export { mergeSources, sourceOf } from './merge.ts';
export type { RunSource } from './merge.ts';
export {
  batchRank,
  compareRows,
  decodeRun,
  encodeRun,
  lineOf,
  nanosecondsOf,
  RunBuilder,
  sliceRun,
} from './run.ts';
export type { EntryRun } from './run.ts';
export { scanBatches, scanColumns } from './scan.ts';
export type { ScanRequest, ScanResult, TimeRange } from './scan.ts';
export { scanInWindows } from './windows.ts';
export type { ScanStep, ScanTally, SegmentWork } from './windows.ts';
