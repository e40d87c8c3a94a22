import { LIMITS, LogvineError } from '../../store/index.ts';

/** Lets so many queries run at once; the others wait for their turn, so that memory stays bounded however many ask. */
export class Admission {
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  /** Runs `work` when it is its turn. Rejects with LV_OVERLOADED when too many wait, and with the signal's reason. */
  async run<Result>(signal: AbortSignal, work: () => Promise<Result>): Promise<Result> {
    await this.#turn(signal);
    try {
      return await work();
    } finally {
      this.#leave();
    }
  }

  /** As `run`, for what comes piece by piece: it holds its place until its reader is done with it. */
  async *stream<Item, Result>(
    signal: AbortSignal,
    items: AsyncGenerator<Item, Result>,
  ): AsyncGenerator<Item, Result> {
    await this.#turn(signal);
    try {
      return yield* items;
    } finally {
      this.#leave();
    }
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#running--;
  }

  async #turn(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#running < LIMITS.queriesAtOnceMax) {
      this.#running++;
      return;
    }
    if (this.#waiting.length >= LIMITS.queriesWaitingMax) {
      throw new LogvineError('LV_OVERLOADED', 'too many outstanding requests: ask again in a moment');
    }
    await new Promise<void>((resolve, reject) => {
      const begin = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(begin), 1);
        reject(signal.reason as Error);
      };
      this.#waiting.push(begin);
      signal.addEventListener('abort', leave, { once: true });
    });
  }
}
