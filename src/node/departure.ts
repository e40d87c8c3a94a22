import type { Handover, Membership, Remaining } from '../gossip/index.ts';
import { messageOf, type Clock } from '../store/index.ts';
import type { Batcher } from './pipeline/batcher.ts';

/** What was left to hand over at the last look; before that, how many segments are mended first. */
export type LeaveProgress = Remaining | { readonly damaged: number };

export interface DepartureOptions {
  readonly batcher: Batcher;
  readonly membership: Membership;
  readonly handover: Handover;
  readonly clock: Clock;
  /** How often is looked whether others have everything. */
  readonly everyMs: number;
  log(level: 'info' | 'warn', message: string): void;
}

/**
 * Leaves the mesh for good: seals what is open, says that it leaves, waits until others have everything that it holds, and
 * tells them that it has gone. Once begun it goes on by itself, whoever watches.
 */
export class Departure {
  readonly #options: DepartureOptions;
  #left: Promise<void> | undefined;
  #closed = false;
  /** Undefined before the first look. */
  progress: LeaveProgress | undefined;

  constructor(options: DepartureOptions) {
    this.#options = options;
  }

  /** Begins, or goes on. Resolves when the mesh knows that this peer has left; never, when it is closed before. */
  leave(): Promise<void> {
    this.#left ??= this.#leave();
    return this.#left;
  }

  async #leave(): Promise<void> {
    const { batcher, membership, handover, clock, everyMs, log } = this.#options;
    await batcher.close();
    await handover.mended(
      () => this.#closed,
      (damaged) => (this.progress = { damaged }),
    );
    if (!this.#closed) membership.startLeaving();
    for (;;) {
      try {
        const remaining = this.#closed ? undefined : await handover.remaining();
        this.progress = remaining;
        if (!this.#closed && remaining?.segments === 0 && (await membership.leave())) return;
      } catch (error) {
        if (!this.#closed) log('warn', `leaving: ${messageOf(error)}`);
      }
      if (this.#closed) return new Promise(() => undefined);
      await new Promise<void>((resolve) => void clock.after(everyMs, resolve));
    }
  }

  close(): void {
    this.#closed = true;
  }
}
