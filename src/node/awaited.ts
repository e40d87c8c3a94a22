import type { Clock } from '../store/index.ts';

/**
 * A result that is waited for again and again, each time for a while. (A race would leave something behind at what it waits for
 * each time, for as long as that is not there.)
 */
export class Awaited<Result> {
  #settled: (() => Result) | undefined;
  #wake: () => void = () => undefined;

  constructor(result: Promise<Result>) {
    const settle = (get: () => Result): void => {
      this.#settled = get;
      this.#wake();
    };
    result.then(
      (value) => settle(() => value),
      (error: unknown) =>
        settle(() => {
          throw error;
        }),
    );
  }

  /** Undefined when it takes longer than `ms`. Rejects as the result does. */
  async within(ms: number, clock: Clock): Promise<Result | undefined> {
    if (!this.#settled) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = clock.after(ms, resolve);
      this.#wake = resolve;
      await promise;
      timer.cancel();
    }
    return this.#settled?.();
  }
}
