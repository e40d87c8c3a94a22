import type { Labels, Metadata } from '../batch/index.ts';
import type { LineFilter } from './rows.ts';

/** A log query ready to run over lines: made from LogQL text, once in each worker. */
export interface CompiledQuery {
  matchesStream(labels: Labels): boolean;
  /** Line filters that stand before any stage that changes the line. */
  readonly lineFilters: readonly LineFilter[];
  /** And-ed groups of or-ed literals that a matching line contains; only those long enough to prune by. */
  readonly neededLiterals: readonly (readonly Buffer[])[];
  /** The stages after the leading line filters; undefined when there are none. */
  readonly process?: (
    line: Uint8Array,
    labels: Labels,
    metadata: Metadata,
    ms: number,
    sub: number,
  ) => { line: Uint8Array; labels: Labels; metadata: Metadata } | undefined;
}
