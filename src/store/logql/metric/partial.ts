/** The partial result of one range aggregation: what a holder makes of its samples, and what a coordinator merges. */
import type { Labels } from '../../batch/columns.ts';
import { LogvineError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { RangeAggregation } from '../ast.ts';
import type { Grid } from './grid.ts';
import { OPERATIONS, type Operation, type State } from './state.ts';
import { Windows } from './windows.ts';

/** One series on its way between peers: `states[i]` belongs to bucket `buckets[i]`. */
export interface PartialSeries {
  readonly labels: Labels;
  readonly buckets: readonly number[];
  readonly states: readonly (readonly number[])[];
}

export interface PartialLimits {
  readonly seriesMax: number;
  /** Numbers held in all states together. */
  readonly numbersMax: number;
}

/** A value costs less than the numbers that it is made of. */
const VALUES_PER_NUMBER = 4;

export function tooManySeries(seriesMax: number): LogvineError {
  return new LogvineError(
    'LV_QUERY_TOO_LARGE',
    `maximum number of series (${seriesMax}) reached for a single query; consider reducing query ` +
      'cardinality by adding more specific stream selectors, reducing the time range, or aggregating results ' +
      'with functions like sum, count or topk',
  );
}

interface Series {
  readonly labels: Labels;
  readonly states: Map<number, State>;
}

export class RangePartial {
  readonly aggregation: RangeAggregation;
  readonly grid: Grid;
  readonly #limits: PartialLimits;
  readonly #operation: Operation;
  readonly #series = new Map<string, Series>();
  #numbers = 0;
  /** Of all label sets: a stage can make megabytes of a label. */
  #labelsLength = 0;

  constructor(aggregation: RangeAggregation, grid: Grid, limits: PartialLimits) {
    this.aggregation = aggregation;
    this.grid = grid;
    this.#limits = limits;
    this.#operation = OPERATIONS[aggregation.op];
  }

  /** Adds a sample; `key` names the series (`labelsText`). Throws LogvineError LV_QUERY_TOO_LARGE at the limits. */
  add(key: string, labels: Labels, ms: number, sub: number, value: number): void {
    const bucket = this.grid.bucket(ms, sub);
    if (bucket === -1) return;
    const series = this.#seriesOf(key, labels);
    const present = this.#operation.add && series.states.get(bucket);
    if (present !== undefined) this.#operation.add!(present, value);
    else this.#merge(series, bucket, this.#operation.first(value, this.grid.relativeMs(ms, sub)));
  }

  /** Takes in another peer's part. `keyOf` is `labelsText`. Throws as `add`. */
  merge(parts: Iterable<PartialSeries>, keyOf: (labels: Labels) => string): void {
    for (const { labels, buckets, states } of parts) {
      const series = this.#seriesOf(keyOf(labels), labels);
      for (const [i, bucket] of buckets.entries()) this.#merge(series, bucket, [...states[i]]);
    }
  }

  /** Takes in what a state of one bucket adds; the state is kept. Throws as `add`. */
  addState(key: string, labels: Labels, bucket: number, state: State): void {
    this.#merge(this.#seriesOf(key, labels), bucket, state);
  }

  /** Takes in another partial of the same leaf, which is not used any more. Throws as `add`. */
  absorb(other: RangePartial): void {
    for (const [key, { labels, states }] of other.#series)
      for (const [bucket, state] of states) this.addState(key, labels, bucket, state);
  }

  #seriesOf(key: string, labels: Labels): Series {
    let series = this.#series.get(key);
    if (series !== undefined) return series;
    if (this.#series.size >= this.#limits.seriesMax) throw tooManySeries(this.#limits.seriesMax);
    this.#labelsLength += key.length;
    if (this.#labelsLength > LIMITS.queryBufferBytesMax) {
      throw new LogvineError(
        'LV_QUERY_TOO_LARGE',
        `the labels of the series weigh more than ${LIMITS.queryBufferBytesMax / 1024 / 1024} MiB; use fewer labels, or sum by few`,
      );
    }
    series = { labels, states: new Map() };
    this.#series.set(key, series);
    return series;
  }

  #merge(series: Series, bucket: number, state: State): void {
    const present = series.states.get(bucket);
    if (present === undefined) {
      series.states.set(bucket, state);
      this.#numbers += state.length;
    } else {
      const before = present.length;
      this.#operation.merge(present, state);
      this.#numbers += present.length - before;
    }
    if (this.#numbers > this.#limits.numbersMax) {
      throw new LogvineError(
        'LV_QUERY_TOO_LARGE',
        `the query holds more than ${this.#limits.numbersMax} numbers; use a shorter range or fewer series`,
      );
    }
  }

  *parts(): Generator<PartialSeries> {
    for (const { labels, states } of this.#series.values()) {
      yield { labels, buckets: [...states.keys()], states: [...states.values()] };
    }
  }

  /** The finished series, in the order of their keys. Their values are made when a step is gone to: that can take long. */
  finish(): { key: string; labels: Labels; windows: Windows }[] {
    const { aggregation, grid } = this;
    const values = this.#series.size * grid.steps;
    if (values > this.#limits.numbersMax * VALUES_PER_NUMBER) {
      throw new LogvineError(
        'LV_QUERY_TOO_LARGE',
        `${this.#series.size} series over ${grid.steps} steps are too many; use a larger step or fewer series`,
      );
    }
    const of = { rangeMs: aggregation.range.rangeMs, quantile: aggregation.param ?? 0 };
    return [...this.#series]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, { labels, states }]) => {
        return { key, labels, windows: new Windows(this.#operation, grid, states, of) };
      });
  }
}
