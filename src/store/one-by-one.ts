/** Does one thing after another, in the order in which they are asked for, whatever became of those before. */
export class OneByOne {
  #last: Promise<unknown> = Promise.resolve();
  #count = 0;

  get isIdle(): boolean {
    return this.#count === 0;
  }

  /** Settles as `work` does. */
  run<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#count++;
    const done = this.#last.then(work);
    const over = (): void => void this.#count--;
    this.#last = done.then(over, over);
    return done;
  }

  /** Resolves when all that was asked for so far is over. */
  async idle(): Promise<void> {
    await this.#last;
  }
}
