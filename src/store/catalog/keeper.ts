import { messageOf } from '../errors.ts';
import type { Clock, Timer } from '../host/index.ts';
import type { Store } from '../store.ts';

/** What was written and not changed for so long is remembered: a start after a crash reads only what came later. */
const IDLE_MS = 10_000;

/** Sees to it that the catalog is nearly as new as the files, however this process ends. */
export class CatalogKeeper {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #log: (level: 'warn', message: string) => void;
  #timer: Timer | undefined;
  #round: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(store: Store, clock: Clock, log: (level: 'warn', message: string) => void) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
  }

  start(): void {
    if (this.#closed) return;
    this.#timer = this.#clock.after(IDLE_MS, () => {
      this.#round = this.#store
        .rememberIdle()
        .catch((error: unknown) => this.#log('warn', `catalog: ${messageOf(error)}`))
        .finally(() => this.start());
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#round;
  }
}
