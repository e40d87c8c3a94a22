/**
 * Time of a metric query. Step i ends at `startNs + i · stepNs` and looks back over `rangeMs`, its start excluded, its
 * end included. All windows of a leaf are made of the same buckets, so that a sample is added once, however many
 * windows it is in, and the buckets of different holders can be merged.
 */
import { LogvineError } from '../../errors.ts';

/** When to evaluate; an instant query has one time and no step: `startNs` = `endNs`, `stepNs` = 0. Nanoseconds since 1970. */
export interface EvalTimes {
  readonly startNs: bigint;
  readonly endNs: bigint;
  /** Above zero, but for an instant query: a range of one step is still a matrix. */
  readonly stepNs: bigint;
}

/** Steps that a range may be asked for in. */
export const STEPS_MAX = 11_000;
/** Aligned to its step, a range may have some more. */
const ALIGNED_STEPS_MAX = STEPS_MAX + 3;

/** Throws LogvineError LV_QUERY_INVALID, in Loki's words, when the times make no sense or too many steps. */
export function stepCount({ startNs, endNs, stepNs }: EvalTimes): number {
  if (endNs < startNs)
    throw new LogvineError('LV_QUERY_INVALID', 'end timestamp must not be before or equal to start time');
  if (startNs === endNs) return 1;
  if (stepNs <= 0n) {
    throw new LogvineError(
      'LV_QUERY_INVALID',
      'zero or negative query resolution step widths are not accepted. Try a positive integer',
    );
  }
  const steps = (endNs - startNs) / stepNs + 1n;
  if (steps > BigInt(ALIGNED_STEPS_MAX)) throw tooManySteps();
  return Number(steps);
}

function tooManySteps(): LogvineError {
  return new LogvineError(
    'LV_QUERY_INVALID',
    'exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter',
  );
}

/**
 * From the multiple of the step at or before the start to the one at or after the end, as Loki's frontend asks: the
 * steps of a dashboard stay where they are when it is loaded again. Throws LogvineError LV_QUERY_INVALID for too many.
 */
export function alignTimes({ startNs, endNs, stepNs }: EvalTimes): EvalTimes {
  if ((endNs - startNs) / stepNs > BigInt(STEPS_MAX)) throw tooManySteps();
  return {
    startNs: floorDivide(startNs, stepNs) * stepNs,
    endNs: -floorDivide(-endNs, stepNs) * stepNs,
    stepNs,
  };
}

function greatestCommonDivisor(a: bigint, b: bigint): bigint {
  return b === 0n ? a : greatestCommonDivisor(b, a % b);
}

const NS_PER_MS = 1_000_000n;

function floorDivide(value: bigint, by: bigint): bigint {
  return (value - (((value % by) + by) % by)) / by;
}

export class Grid {
  readonly steps: number;
  /** Entries after this and up to `lastNs` are in some window. */
  readonly afterNs: bigint;
  readonly lastNs: bigint;
  /** Buckets from one window to the next, and in a window. */
  readonly stepBuckets: number;
  readonly windowBuckets: number;
  readonly #afterMs: number;
  readonly #afterSub: number;
  readonly #widthNs: bigint;
  /** Zero unless buckets are whole milliseconds. */
  readonly #widthMs: number;
  readonly #bucketMax: number;

  /** `shiftNs` is how far the windows lie before the steps: the offset. */
  constructor(times: EvalTimes, rangeMs: number, shiftNs: bigint) {
    // In a window of no length is nothing.
    const rangeNs = rangeMs === 0 ? 1n : BigInt(rangeMs) * NS_PER_MS;
    this.steps = stepCount(times);
    const stepNs = this.steps === 1 ? rangeNs : times.stepNs;
    this.#widthNs = greatestCommonDivisor(stepNs, rangeNs);
    this.stepBuckets = Number(stepNs / this.#widthNs);
    this.windowBuckets = Number(rangeNs / this.#widthNs);
    this.afterNs = times.startNs - shiftNs - rangeNs;
    this.lastNs = times.startNs - shiftNs + stepNs * BigInt(this.steps - 1);
    const afterMs = floorDivide(this.afterNs, NS_PER_MS);
    this.#afterMs = Number(afterMs);
    this.#afterSub = Number(this.afterNs - afterMs * NS_PER_MS);
    this.#widthMs = this.#widthNs % NS_PER_MS === 0n ? Number(this.#widthNs / NS_PER_MS) : 0;
    this.#bucketMax = rangeMs === 0 ? -1 : (this.steps - 1) * this.stepBuckets + this.windowBuckets - 1;
  }

  /** The bucket of a time (milliseconds, and nanoseconds within), or -1 when no window has it. */
  bucket(ms: number, sub: number): number {
    let deltaMs = ms - this.#afterMs;
    let deltaSub = sub - this.#afterSub;
    if (deltaSub < 0) {
      deltaMs--;
      deltaSub += 1e6;
    }
    let bucket: number;
    if (this.#widthMs > 0) {
      bucket = deltaSub === 0 ? Math.ceil(deltaMs / this.#widthMs) - 1 : Math.floor(deltaMs / this.#widthMs);
    } else {
      bucket = Number(floorDivide(BigInt(deltaMs) * NS_PER_MS + BigInt(deltaSub) - 1n, this.#widthNs));
    }
    if (bucket < 0 || bucket > this.#bucketMax) return -1;
    // With steps wider than the range there are gaps between windows.
    return bucket % this.stepBuckets < this.windowBuckets || this.windowBuckets > this.stepBuckets
      ? bucket
      : -1;
  }

  /** Equal for grids whose buckets begin and end at the same times, as far as each reaches; undefined where windows leave gaps. */
  get phase(): string | undefined {
    const afterNs = ((this.afterNs % this.#widthNs) + this.#widthNs) % this.#widthNs;
    return this.windowBuckets < this.stepBuckets ? undefined : `${this.#widthNs}+${afterNs}`;
  }

  /** End of the window of a step, in milliseconds relative to the grid's start. */
  windowEndMs(step: number): number {
    return Number(this.#widthNs * BigInt(step * this.stepBuckets + this.windowBuckets)) / 1e6;
  }

  /** A time in milliseconds, fractions included, relative to the grid's start. */
  relativeMs(ms: number, sub: number): number {
    return ms - this.#afterMs + (sub - this.#afterSub) / 1e6;
  }
}
