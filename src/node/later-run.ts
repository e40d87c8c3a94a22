import { LogvineError, messageOf, type Clock, type Store, type Timer } from '../store/index.ts';
import { supersededText } from './alarms.ts';

const NOTE_EPOCH_EVERY_MS = 1_000;

export interface LaterRunOptions {
  readonly store: Pick<Store, 'health' | 'noteEpoch'>;
  readonly clock: Clock;
  /** The data directory, for the alarm. */
  readonly directory: string;
  /** Where this peer can be reached. */
  addresses(): readonly string[];
  /** The disk knows of the later run now: this one is to be closed, and another made. */
  onOutdated(): void;
  log(level: 'warn' | 'error', message: string): void;
}

/**
 * Somebody knows of a run of this peer that is later than this one: an older copy of its disk was put back, or another node runs
 * with its identity. Either way this run acknowledges nothing more, and the next one is above that (docs/decisions/0007).
 */
export class LaterRun {
  readonly #options: LaterRunOptions;
  #noting: Timer | undefined;
  #closed = false;

  constructor(options: LaterRunOptions) {
    this.#options = options;
  }

  /** It is over: this peer starts again above it. `how` it is known is told as `(… epoch 123)`. */
  startAbove(epoch: number, how: string): void {
    const { store, directory, log, onOutdated } = this.#options;
    if (store.health.failure) return;
    const message = `an older copy of ${directory} was put back, or a copy of it has run elsewhere (${how} epoch ${epoch}): starting again above that`;
    store.health.failure = new LogvineError('LV_DATA_UNSAFE', message);
    log('warn', message);
    void this.#note(epoch).then(() => {
      if (!this.#closed) onOutdated();
    });
  }

  /** The mesh has a later record of this peer than its own. */
  superseded(by: { readonly epoch: number; readonly addresses: readonly string[] }): void {
    const { store, directory, log, addresses } = this.#options;
    if (store.health.failure) return;
    if (isSameSet(by.addresses, addresses())) {
      // Nobody else can be here: the mesh remembers a run of this very node that its disk does not.
      this.startAbove(by.epoch, 'the mesh remembers');
      return;
    }
    // Of two runs of one identity, the later one goes on. The restart that the alarm asks for is above it, also when the other's
    // clock was ahead.
    void this.#note(by.epoch);
    store.health.failure = new LogvineError('LV_IDENTITY_CONFLICT', supersededText(by, directory));
    log('error', store.health.failure.message);
  }

  /** The disk may be full just now, and the next start must be above that run. */
  async #note(epoch: number): Promise<void> {
    const { store, clock, log } = this.#options;
    for (let isFirst = true; !this.#closed; isFirst = false) {
      try {
        return await store.noteEpoch(epoch);
      } catch (error) {
        if (this.#closed) return;
        if (isFirst) log('error', `${messageOf(error)}: tried again until it can be written`);
      }
      await new Promise<void>((resolve) => (this.#noting = clock.after(NOTE_EPOCH_EVERY_MS, resolve)));
    }
  }

  close(): void {
    this.#closed = true;
    this.#noting?.cancel();
  }
}

function isSameSet(a: readonly string[], b: readonly string[]): boolean {
  return a.length > 0 && a.length === b.length && a.every((item) => b.includes(item));
}
