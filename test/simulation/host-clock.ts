import type { Clock, Timer } from '../../src/store/host/index.ts';
import type { SimClock } from '../helpers/sim-clock.ts';

/** The clocks of one host: they drift, the wall clock jumps, and a stopped process gets its timers late. */
export class HostClock {
  readonly #base: SimClock;
  /** How fast its seconds go by: 1.001 gains 3.6 s an hour. */
  #rate = 1;
  #rateSinceMs: number;
  #monotonicAtRate = 0;
  /** How far the wall clock is set wrong. */
  wallOffsetMs = 0;
  #paused = false;
  #late: (() => void)[] = [];

  readonly #startMs: number;

  constructor(base: SimClock) {
    this.#base = base;
    this.#startMs = base.nowMs();
    this.#rateSinceMs = base.monotonicMs();
  }

  monotonicMs(): number {
    return this.#monotonicAtRate + (this.#base.monotonicMs() - this.#rateSinceMs) * this.#rate;
  }

  /** The wall clock shows this until it goes on. */
  #stoodMs: number | undefined;

  standStill(): void {
    this.#stoodMs = this.nowMs();
  }

  goOn(): void {
    this.#stoodMs = undefined;
  }

  nowMs(): number {
    if (this.#stoodMs !== undefined) return this.#stoodMs;
    return this.#startMs + this.monotonicMs() + this.wallOffsetMs;
  }

  drift(rate: number): void {
    this.#monotonicAtRate = this.monotonicMs();
    this.#rateSinceMs = this.#base.monotonicMs();
    this.#rate = rate;
  }

  get paused(): boolean {
    return this.#paused;
  }

  pause(): void {
    this.#paused = true;
  }

  /** What came due meanwhile comes now, in the order in which it was due. */
  resume(): void {
    this.#paused = false;
    for (const run of this.#late.splice(0)) this.#base.after(0, run);
  }

  /** The clock as one process sees it; once that is over, no timer of it fires. */
  forProcess(): Clock & { end(): void } {
    let over = false;
    const after = (delayMs: number, run: () => void): Timer => {
      let cancelled = false;
      const fire = (): void => {
        if (over || cancelled) return;
        if (this.#paused) this.#late.push(fire);
        else run();
      };
      const timer = this.#base.after(Math.max(0, delayMs) / this.#rate, fire);
      return {
        cancel: () => {
          cancelled = true;
          timer.cancel();
        },
      };
    };
    return {
      nowMs: () => this.nowMs(),
      monotonicMs: () => this.monotonicMs(),
      after,
      end: () => {
        over = true;
      },
    };
  }
}
