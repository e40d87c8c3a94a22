/**
 * The windows of one series, one after another. They overlap, so that what one holds is made of what the one before did, wherever
 * the result is the same to the last bit.
 */
import type { Grid } from './grid.ts';
import { inOrder, precedes, quantileOfSorted, type Operation, type State, type Window } from './state.ts';

/** What is in the window at hand. */
interface Content {
  /** From buckets `[wasFrom, wasTo)` to `[from, to)`, neither of which is less. Answers about how many numbers were gone over. */
  move(wasFrom: number, wasTo: number, from: number, to: number): number;
  /** Of a window with a bucket in it. */
  value(window: Window): number;
}

export class Windows {
  readonly #grid: Grid;
  readonly #operation: Operation;
  readonly #states: ReadonlyMap<number, State>;
  readonly #rangeMs: number;
  readonly #quantile: number;
  /** In order of time; made with the first window. */
  #buckets: readonly number[] = [];
  #content: Content | undefined;
  #from = 0;
  #to = 0;
  /** At the step that `moveTo` went to; undefined where the window is empty. */
  value: number | undefined;

  constructor(
    operation: Operation,
    grid: Grid,
    states: ReadonlyMap<number, State>,
    { rangeMs, quantile }: Pick<Window, 'rangeMs' | 'quantile'>,
  ) {
    this.#operation = operation;
    this.#grid = grid;
    this.#states = states;
    this.#rangeMs = rangeMs;
    this.#quantile = quantile;
  }

  /** To a step that is not before the last one. Answers about how many numbers were gone over. */
  moveTo(step: number): number {
    const grid = this.#grid;
    let work = 1;
    if (this.#content === undefined) {
      this.#content = this.#open();
      work += this.#buckets.length;
    }
    const buckets = this.#buckets;
    const first = step * grid.stepBuckets;
    const after = first + grid.windowBuckets;
    let from = this.#from;
    while (from < buckets.length && buckets[from] < first) from++;
    let to = Math.max(from, this.#to);
    while (to < buckets.length && buckets[to] < after) to++;
    work += this.#content.move(this.#from, this.#to, from, to);
    this.#from = from;
    this.#to = to;
    const window = { rangeMs: this.#rangeMs, endMs: grid.windowEndMs(step), quantile: this.#quantile };
    this.value = from < to ? this.#content.value(window) : undefined;
    return work;
  }

  #open(): Content {
    const operation = this.#operation;
    const ordered = [...this.#states].sort(([a], [b]) => a - b);
    this.#buckets = ordered.map(([bucket]) => bucket);
    const states = ordered.map(([, state]) => state);
    if (operation.slides === 'sorted') return new SortedContent(states);
    if (operation.slides === 'sum' && isSummedExactly(states)) return new SummedContent(operation, states);
    return new MergedContent(operation, states);
  }
}

/** Every window anew. */
class MergedContent implements Content {
  readonly #operation: Operation;
  readonly #states: readonly State[];
  #state: State = [];

  constructor(operation: Operation, states: readonly State[]) {
    this.#operation = operation;
    this.#states = states;
  }

  move(_wasFrom: number, _wasTo: number, from: number, to: number): number {
    if (from === to) return 0;
    const state = [...this.#states[from]];
    let work = state.length;
    for (let i = from + 1; i < to; i++) {
      this.#operation.merge(state, this.#states[i]);
      work += this.#states[i].length;
    }
    this.#state = state;
    return work;
  }

  value(window: Window): number {
    return this.#operation.finish(this.#state, window);
  }
}

/** Sums of whole numbers are the same in any order, and so what leaves can be taken off again. */
function isSummedExactly(states: readonly State[]): boolean {
  let sum = 0;
  for (const [value] of states) {
    if (!Number.isInteger(value) || Object.is(value, -0)) return false;
    sum += Math.abs(value);
  }
  return sum <= Number.MAX_SAFE_INTEGER;
}

class SummedContent implements Content {
  readonly #operation: Operation;
  readonly #states: readonly State[];
  #sum = 0;

  constructor(operation: Operation, states: readonly State[]) {
    this.#operation = operation;
    this.#states = states;
  }

  move(wasFrom: number, wasTo: number, from: number, to: number): number {
    for (let i = wasFrom; i < Math.min(from, wasTo); i++) this.#sum -= this.#states[i][0];
    for (let i = Math.max(from, wasTo); i < to; i++) this.#sum += this.#states[i][0];
    return from - wasFrom + to - wasTo;
  }

  value(window: Window): number {
    return this.#operation.finish([this.#sum], window);
  }
}

/** All samples in order: those that leave are dropped and those that enter are merged in, in one pass. */
class SortedContent implements Content {
  readonly #states: readonly State[];
  #sorted = new Float64Array(0);

  constructor(states: readonly State[]) {
    this.#states = states;
  }

  move(wasFrom: number, wasTo: number, from: number, to: number): number {
    if (from === wasFrom && to === wasTo) return 0;
    const kept = from < wasTo ? this.#sorted : this.#sorted.subarray(0, 0);
    const leaving = from < wasTo ? inOrder(this.#states.slice(wasFrom, from)) : kept;
    const entering = inOrder(this.#states.slice(Math.max(from, wasTo), to));
    const sorted = new Float64Array(kept.length - leaving.length + entering.length);
    let out = 0;
    let left = 0;
    let entered = 0;
    for (let i = 0; i < kept.length; i++) {
      const value = kept[i];
      if (left < leaving.length && Object.is(value, leaving[left])) {
        left++;
        continue;
      }
      while (entered < entering.length && precedes(entering[entered], value))
        sorted[out++] = entering[entered++];
      sorted[out++] = value;
    }
    sorted.set(entering.subarray(entered), out);
    this.#sorted = sorted;
    return kept.length + leaving.length + entering.length;
  }

  value({ quantile }: Window): number {
    return quantileOfSorted(this.#sorted, quantile);
  }
}
