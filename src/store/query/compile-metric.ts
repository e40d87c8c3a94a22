import type { Instant, Labels } from '../batch/index.ts';
import type { BatchEntry } from '../segment/index.ts';
import { LIMITS } from '../limits.ts';
import {
  parseMetricQuery,
  planMetric,
  print,
  type RangePartial,
  type EvalTimes,
  type MetricPlan,
  type RangeLeaf,
  type Sampler,
} from '../logql/index.ts';
import { overlaps } from './candidates.ts';
import { compileSelection, type CompiledSelection } from './compile.ts';
import type { TimeRange } from './scan.ts';

export interface CompiledLeaf extends CompiledSelection {
  readonly leaf: RangeLeaf;
  readonly range: TimeRange;
  /** Leading line filters are left out of it: rows were selected by them. */
  readonly sampler: Sampler;
  /** The log query of matchers and leading line filters alone. */
  readonly selection: string;
}

export interface CompiledMetric {
  readonly plan: MetricPlan;
  readonly leaves: readonly CompiledLeaf[];
  newPartials(): RangePartial[];
  /** Does any leaf want streams of these labels, or entries of such a batch? */
  matchesStream(labels: Labels): boolean;
  isInTime(batch: BatchEntry): boolean;
  /** The stream labels that the result may depend on; undefined: all. */
  readonly seenLabels: ReadonlySet<string> | undefined;
  /** From the first to the last entry that any leaf needs. */
  readonly range: TimeRange;
}

export const PARTIAL_LIMITS = {
  seriesMax: LIMITS.queryPartialSeriesMax,
  numbersMax: LIMITS.queryNumbersMax,
} as const;

const NOTHING: TimeRange = { from: { ms: 0, sub: 0 }, to: { ms: 0, sub: 0 } };

/** Throws LV_QUERY_INVALID. `nowMs` is for templates. */
export function compileMetric(text: string, times: EvalTimes, nowMs: () => number): CompiledMetric {
  const plan = planMetric(parseMetricQuery(text), times);
  const leaves = plan.leaves.map((leaf): CompiledLeaf => ({
    leaf,
    ...compileSelection(leaf.log),
    // A window's start is excluded and its end included.
    range: { from: instantOf(leaf.afterNs + 1n), to: instantOf(leaf.lastNs + 1n) },
    sampler: leaf.sampler({ nowMs, leadingFiltersDone: true }),
    selection: print(leaf.selection),
  }));
  return {
    plan,
    leaves,
    newPartials: () => leaves.map(({ leaf }) => leaf.newPartial(PARTIAL_LIMITS)),
    matchesStream: (labels) => leaves.some((leaf) => leaf.matchesStream(labels)),
    seenLabels: seenLabels(leaves),
    isInTime: (batch) => leaves.some((leaf) => overlaps(batch, leaf.range)),
    range: leaves.map(({ range }) => range).reduce(union, leaves[0]?.range ?? NOTHING),
  };
}

/** Metadata whose name a stream label has already gets this behind its name. */
const DUPLICATE_SUFFIX = /_extracted$/;

function seenLabels(leaves: readonly CompiledLeaf[]): ReadonlySet<string> | undefined {
  const names = new Set<string>();
  for (const { leaf } of leaves) {
    const { needs, log } = leaf;
    // A stage that fails shows all labels in its error.
    if (needs.kind === 'lines' || !needs.labels || log.stages.some(({ kind }) => kind !== 'lineFilter'))
      return undefined;
    for (const name of needs.labels) names.add(name).add(name.replace(DUPLICATE_SUFFIX, ''));
    for (const { name } of log.matchers) names.add(name);
  }
  return names;
}

function union(a: TimeRange, b: TimeRange): TimeRange {
  const isBefore = (x: Instant, y: Instant): boolean => x.ms < y.ms || (x.ms === y.ms && x.sub < y.sub);
  return { from: isBefore(b.from, a.from) ? b.from : a.from, to: isBefore(a.to, b.to) ? b.to : a.to };
}

export function instantOf(ns: bigint): Instant {
  const sub = ((ns % 1_000_000n) + 1_000_000n) % 1_000_000n;
  return { ms: Number((ns - sub) / 1_000_000n), sub: Number(sub) };
}
