/**
 * What is kept of the samples of one series in one bucket: enough to finish the aggregation, and mergeable in any
 * order of holders. Most operations need a few numbers; quantiles and counters need every sample.
 */
import type { RangeOp } from '../ast.ts';

/** Plain numbers, so that it travels as it is. Its meaning is its operation's own. */
export type State = number[];

export interface Operation {
  /** The state of one sample; `at` is milliseconds from the grid's start. */
  first(value: number, at: number): State;
  /** Adds a sample without making a state of it; only where states never grow. */
  readonly add?: (into: State, value: number) => void;
  /** Adds the right state to the left. */
  merge(into: State, other: readonly number[]): void;
  /** The result for a window. */
  finish(state: State, window: Window): number;
  /** How a window can be made of the one before: by adding and taking off where sums are exact, or as its samples in order. */
  readonly slides?: 'sum' | 'sorted';
}

export interface Window {
  readonly rangeMs: number;
  /** Milliseconds from the grid's start. */
  readonly endMs: number;
  /** Of quantile_over_time. */
  readonly quantile: number;
}

const sum: Operation = {
  first: (value) => [value],
  add(into, value) {
    into[0] += value;
  },
  merge(into, other) {
    into[0] += other[0];
  },
  finish: (state) => state[0],
  slides: 'sum',
};

const perSecond: Operation = { ...sum, finish: (state, { rangeMs }) => state[0] / (rangeMs / 1000) };

function extreme(isBetter: (a: number, b: number) => boolean): Operation {
  return {
    first: (value) => [value],
    merge(into, other) {
      if (isBetter(other[0], into[0]) || Number.isNaN(into[0])) into[0] = other[0];
    },
    finish: (state) => state[0],
  };
}

/** Count, mean, sum of squared differences from it: Welford's, merged as Chan does. */
function moments(finish: (count: number, mean: number, squares: number) => number): Operation {
  return {
    first: (value) => [1, value, 0],
    merge(into, [otherCount, otherMean, otherSquares]) {
      const [count, mean] = into;
      const total = count + otherCount;
      const delta = otherMean - mean;
      into[0] = total;
      // Infinities of one sign stay what they are; their difference would be no number.
      into[1] =
        mean === otherMean
          ? mean
          : Number.isFinite(delta)
            ? mean + (delta * otherCount) / total
            : mean + otherMean;
      into[2] += otherSquares + (delta * delta * count * otherCount) / total;
    },
    finish: ([count, mean, squares]) => finish(count, mean, squares),
  };
}

/** The sample at one end of time: [at, value]; of two at the same time, the greater, so that order does not matter. */
function edge(isBefore: (a: number, b: number) => boolean): Operation {
  return {
    first: (value, at) => [at, value],
    merge(into, other) {
      if (!isBefore(other[0], into[0]) && !(other[0] === into[0] && other[1] > into[1])) return;
      into[0] = other[0];
      into[1] = other[1];
    },
    finish: (state) => state[1],
  };
}

function appendAll(into: State, other: readonly number[]): void {
  for (const value of other) into.push(value);
}

const quantile: Operation = {
  first: (value) => [value],
  merge: appendAll,
  finish: (state, window) => quantileOfSorted(inOrder([state]), window.quantile),
  slides: 'sorted',
};

/** All of the numbers, -0 before 0 and NaN last. */
export function inOrder(states: readonly (readonly number[])[]): Float64Array<ArrayBuffer> {
  const all = new Float64Array(states.reduce((length, state) => length + state.length, 0));
  let at = 0;
  for (const state of states) {
    all.set(state, at);
    at += state.length;
  }
  return all.sort();
}

/** In that order. */
export function precedes(a: number, b: number): boolean {
  if (a === b) return a === 0 && Object.is(a, -0) && !Object.is(b, -0);
  return a < b || (Number.isNaN(b) && !Number.isNaN(a));
}

/** The value at a quantile, between the two samples that it lies between. */
export function quantileOfSorted(sorted: Float64Array, q: number): number {
  if (sorted.length === 0) return Number.NaN;
  if (q < 0) return -Infinity;
  if (q > 1) return Infinity;
  const rank = q * (sorted.length - 1);
  const lower = Math.max(0, Math.floor(rank));
  const upper = Math.min(sorted.length - 1, lower + 1);
  const weight = rank - Math.floor(rank);
  return sorted[lower] * (1 - weight) + sorted[upper] * weight;
}

/** [at, value, at, value, …] */
const counter: Operation = {
  first: (value, at) => [at, value],
  merge: appendAll,
  finish: counterRate,
};

/** Prometheus' extrapolated rate of a counter that may have been reset. */
function counterRate(state: State, { rangeMs, endMs }: Window): number {
  const samples: [at: number, value: number][] = [];
  for (let i = 0; i < state.length; i += 2) samples.push([state[i], state[i + 1]]);
  if (samples.length < 2) return 0;
  samples.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const first = samples[0];
  const last = samples[samples.length - 1];
  let increase = last[1] - first[1];
  let previous = 0;
  for (const [, value] of samples) {
    if (value < previous) increase += previous;
    previous = value;
  }
  const sampledMs = last[0] - first[0];
  const averageMs = sampledMs / (samples.length - 1);
  const nearMs = averageMs * 1.1;
  let toStartMs = first[0] - (endMs - rangeMs);
  let toEndMs = endMs - last[0];
  if (toStartMs >= nearMs) toStartMs = averageMs / 2;
  if (increase > 0 && first[1] >= 0) toStartMs = Math.min(toStartMs, sampledMs * (first[1] / increase));
  if (toEndMs >= nearMs) toEndMs = averageMs / 2;
  return (increase * ((sampledMs + toStartMs + toEndMs) / sampledMs)) / (rangeMs / 1000);
}

export const OPERATIONS: Readonly<Record<RangeOp, Operation>> = {
  count_over_time: sum,
  bytes_over_time: sum,
  sum_over_time: sum,
  absent_over_time: sum,
  rate: perSecond,
  bytes_rate: perSecond,
  rate_counter: counter,
  min_over_time: extreme((a, b) => a < b),
  max_over_time: extreme((a, b) => a > b),
  avg_over_time: moments((_count, mean) => mean),
  stdvar_over_time: moments((count, _mean, squares) => squares / count),
  stddev_over_time: moments((count, _mean, squares) => Math.sqrt(squares / count)),
  first_over_time: edge((a, b) => a < b),
  last_over_time: edge((a, b) => a > b),
  quantile_over_time: quantile,
};
