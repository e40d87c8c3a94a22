/** How far a scan has come: batches done, of those that are looked into. */
export interface ScanProgress {
  readonly kind: 'progress';
  readonly done: number;
  readonly of: number;
}

/** Counts batches as tasks finish, and wakes who reports them. It tells an asker that a long scan is alive. */
export class ProgressCounter {
  #done = 0;
  #of = 0;
  #reported = 0;
  #wake: () => void = () => undefined;

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
      if (!isOver && this.#done === this.#reported) await moved;
      if (isOver) return await work;
      this.#reported = this.#done;
      // A batch on the border of two windows is looked into twice.
      yield { kind: 'progress', done: Math.min(this.#done, this.#of), of: this.#of };
    }
  }
}
