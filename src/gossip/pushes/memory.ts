import { LIMITS, type Clock } from '../../store/index.ts';
import type { PeerId } from '../transport/index.ts';

/** Who takes a push to its end: a peer, in one of its runs. */
export interface Claimant {
  readonly peer: PeerId;
  readonly epoch: number;
}

export interface KnownPush {
  readonly claimant: Claimant;
  /** Its lines are where an acknowledgement needs them (I2). */
  readonly acknowledged: boolean;
}

export function isSameClaimant(a: Claimant, b: Claimant): boolean {
  return a.peer === b.peer && a.epoch === b.epoch;
}

/** What a peer remembers of pushes, by digest: for a while, and the newest ones. */
export class PushMemory {
  readonly #clock: Clock;
  readonly #windowMs: number;
  /** Oldest first. */
  readonly #known = new Map<string, KnownPush & { readonly atMs: number }>();

  constructor(clock: Clock, windowMs: number) {
    this.#clock = clock;
    this.#windowMs = windowMs;
  }

  get size(): number {
    return this.#known.size;
  }

  get(digest: string): KnownPush | undefined {
    const known = this.#known.get(digest);
    return known && !this.#isOver(known.atMs) ? known : undefined;
  }

  /**
   * Gives a push to `claimant` unless somebody else has it; those in `over` are known not to. Says who has it now.
   */
  claim(digest: string, claimant: Claimant, over: readonly Claimant[] = []): KnownPush {
    const known = this.get(digest);
    const isTaken =
      known !== undefined &&
      (known.acknowledged ||
        ![claimant, ...over].some((accepted) => isSameClaimant(accepted, known.claimant)));
    return isTaken ? known : this.#set(digest, { claimant, acknowledged: false });
  }

  acknowledge(digest: string, claimant: Claimant): void {
    this.#set(digest, { claimant, acknowledged: true });
  }

  /** The claimant kept nothing of it. */
  release(digest: string, claimant: Claimant): void {
    const known = this.#known.get(digest);
    if (known && !known.acknowledged && isSameClaimant(known.claimant, claimant)) this.#known.delete(digest);
  }

  /** Digests of the pushes that a peer took, in any of its runs. */
  takenBy(peer: PeerId): string[] {
    return [...this.#known].filter(([, { claimant }]) => claimant.peer === peer).map(([digest]) => digest);
  }

  #set(digest: string, known: KnownPush): KnownPush {
    this.#known.delete(digest);
    this.#known.set(digest, { ...known, atMs: this.#clock.monotonicMs() });
    for (const [oldest, { atMs }] of this.#known) {
      if (this.#known.size <= LIMITS.pushesRememberedMax && !this.#isOver(atMs)) break;
      this.#known.delete(oldest);
    }
    return known;
  }

  #isOver(atMs: number): boolean {
    return this.#clock.monotonicMs() - atMs >= this.#windowMs;
  }
}
