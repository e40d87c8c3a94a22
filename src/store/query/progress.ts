import type { Clock } from '../host/index.ts';
import { LIMITS } from '../limits.ts';

/** Often enough for an asker that gives up who says nothing for `queryIdleMs`. */
const ALIVE_EVERY_MS = LIMITS.queryIdleMs / 3;

/** How far a scan has come: batches done, of those that are looked into. */
export interface ScanProgress {
  readonly kind: 'progress';
  readonly done: number;
  readonly of: number;
}

/** What else tells that a scan is alive. */
export interface Liveness {
  readonly clock: Clock;
  /** Tasks of any scan that have ended here: one that waits for its turn behind them has not hung. */
  tasksEnded(): number;
}

/** Counts batches as tasks finish, and wakes who reports them. It tells an asker that a long scan is alive. */
export class ProgressCounter {
  readonly #alive: Liveness;
  #endedBefore: number;
  #done = 0;
  #of = 0;
  #reported = 0;
  #wake: () => void = () => undefined;

  constructor(alive: Liveness) {
    this.#alive = alive;
    this.#endedBefore = alive.tasksEnded();
  }

  expect(batches: number): void {
    this.#of += batches;
  }

  advance(batches: number): void {
    this.#done += batches;
    this.#wake();
  }

  /** Reports while `work` goes on, and returns its result. Reports that nobody takes in time are joined. */
  async *during<Result>(work: Promise<Result>): AsyncGenerator<ScanProgress, Result> {
    let isOver = false;
    const over = (): void => {
      isOver = true;
      this.#wake();
    };
    work.then(over, over);
    for (;;) {
      const moved = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      if (!isOver && this.#done === this.#reported) {
        const timer = this.#alive.clock.after(ALIVE_EVERY_MS, () => this.#wake());
        await moved;
        timer.cancel();
      }
      if (isOver) return await work;
      const ended = this.#alive.tasksEnded();
      if (this.#done === this.#reported && ended === this.#endedBefore) continue;
      this.#endedBefore = ended;
      this.#reported = this.#done;
      // A batch on the border of two windows is looked into twice.
      yield { kind: 'progress', done: Math.min(this.#done, this.#of), of: this.#of };
    }
  }
}
