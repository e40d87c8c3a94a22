import type { Clock, Random, Timer } from '../../src/store/host/index.ts';

interface Pending {
  readonly atMs: number;
  readonly order: number;
  run: (() => void) | undefined;
}

/**
 * Simulated time: nothing happens until the test advances it, and the same program always sees the same order of
 * events. Between two events every promise that can settle does.
 */
export class SimClock implements Clock {
  readonly #startMs: number;
  #nowMs = 0;
  #order = 0;
  /** A binary heap by (time, order of arming). */
  #heap: Pending[] = [];
  /** Of those in the heap. */
  #cancelled = 0;
  #automatic = false;
  readonly #settled: () => Promise<void>;
  /** Events so far. */
  events = 0;

  /**
   * `settled` says how to wait until every promise that can settle has: `settledSoon` is several times faster, for
   * programs in which no promise waits for the machine.
   */
  constructor(startMs = Date.UTC(2026, 0, 1), settled: () => Promise<void> = settledInTurn) {
    this.#startMs = startMs;
    this.#settled = settled;
  }

  /** Timers armed and not fired or cancelled; a leak shows here. */
  get pending(): number {
    return this.#heap.length - this.#cancelled;
  }

  nowMs(): number {
    return this.#startMs + this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, run: () => void): Timer {
    const pending: Pending = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, run };
    this.#push(pending);
    return { cancel: () => this.#cancel(pending) };
  }

  /** Most timers are deadlines that are met: they are taken out once they are most of the heap. */
  #cancel(pending: Pending): void {
    if (pending.run === undefined) return;
    pending.run = undefined;
    if (++this.#cancelled <= CANCELLED_MIN || this.#cancelled * 2 < this.#heap.length) return;
    // In order, and so a heap.
    this.#heap = this.#heap.filter(({ run }) => run).sort((a, b) => (earlier(a, b) ? -1 : 1));
    this.#cancelled = 0;
  }

  /** Lets `ms` pass. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    await Promise.resolve();
    await this.#settled();
    while (this.#heap.length > 0 && this.#heap[0]!.atMs <= untilMs) await this.#step();
    this.#nowMs = untilMs;
  }

  /** Lets time pass until `done()`, checked after every event. False when it was not after `withinMs`. */
  async until(done: () => boolean, withinMs: number): Promise<boolean> {
    const untilMs = this.#nowMs + withinMs;
    await Promise.resolve();
    await this.#settled();
    while (!done()) {
      if (this.#heap.length === 0 || this.#heap[0]!.atMs > untilMs) return false;
      await this.#step();
    }
    return true;
  }

  /** Lets time pass until `promise` has settled; fails the test when nothing is left that could settle it. */
  async run<Result>(promise: Promise<Result>, withinMs = 600_000): Promise<Result> {
    let over = false;
    const mark = () => {
      over = true;
    };
    promise.then(mark, mark);
    if (!(await this.until(() => over, withinMs))) {
      throw new Error(`simulated time: still pending after ${withinMs} ms`);
    }
    return promise;
  }

  /** From here on time jumps to the next event whenever nothing else is left to do, so that a test can just await. */
  startAutomatic(): void {
    this.#automatic = true;
    void this.#goOn();
  }

  stopAutomatic(): void {
    this.#automatic = false;
  }

  async #goOn(): Promise<void> {
    while (this.#automatic) {
      await Promise.resolve();
      await this.#settled();
      if (this.#heap.length > 0) await this.#step();
    }
  }

  async #step(): Promise<void> {
    const next = this.#pop();
    const { run } = next;
    if (run === undefined) {
      this.#cancelled--;
      return;
    }
    next.run = undefined;
    this.#nowMs = Math.max(this.#nowMs, next.atMs);
    this.events++;
    run();
    await this.#settled();
  }

  #push(pending: Pending): void {
    const heap = this.#heap;
    let at = heap.push(pending) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (earlier(heap[parent]!, pending)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = pending;
  }

  #pop(): Pending {
    const heap = this.#heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && earlier(heap[child + 1]!, heap[child]!)) child++;
      if (earlier(last, heap[child]!)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

const CANCELLED_MIN = 64;

function earlier(left: Pending, right: Pending): boolean {
  return left.atMs < right.atMs || (left.atMs === right.atMs && left.order < right.order);
}

/** Resolves once every promise that could settle has: a turn of the event loop runs the whole microtask queue first. */
function settledInTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

const TURNS_BETWEEN_LOOPS = 2_000;
let turns = 0;

/**
 * As a turn of the event loop, without one: the queue of `process.nextTick` comes to its turn when that of the promises
 * is empty. Now and then the loop gets a turn too, for everybody else in the process. To be called from a promise's turn.
 */
export function settledSoon(): Promise<void> {
  if (++turns % TURNS_BETWEEN_LOOPS === 0) return settledInTurn();
  return new Promise((resolve) => process.nextTick(resolve));
}

/** A repeatable Random (mulberry32). */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const unit = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    unit,
    bytes(count) {
      const bytes = Buffer.allocUnsafe(count);
      for (let at = 0; at < count; at++) bytes[at] = Math.floor(unit() * 256);
      return bytes;
    },
  };
}
