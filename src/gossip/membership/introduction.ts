import type { Clock, Random } from '../../store/index.ts';
import type { PeerId } from '../transport/index.ts';
import { BOUNDS } from './constants.ts';
import { shuffled } from './prober.ts';
import { Timers } from './timers.ts';

export interface IntroductionHost {
  /** Other members that have neither left nor been given up. */
  others(): PeerId[];
  isLive(peer: PeerId): boolean;
  /** Exchanges the full state with `peer`, and calls `met` with what it says. Never rejects. */
  sync(peer: PeerId): Promise<unknown>;
  introduced(): void;
}

/**
 * A newcomer must be known to others before its copies count: an answer is proven complete by fewer than W members that are
 * out of reach, and a copy at a peer that nobody within reach has heard of would escape that count (docs/decisions/0012). So it
 * is introduced once W introduced members, or all others where there are not as many, have it on disk. That once said stays
 * true.
 */
export class Introduction {
  readonly #host: IntroductionHost;
  readonly #random: Random;
  readonly #timers: Timers;
  /** How many introduced members have to know this peer (W). */
  readonly #wanted: number;
  readonly #hasSeeds: boolean;
  readonly #met = new Set<PeerId>();
  readonly #sponsors = new Set<PeerId>();
  readonly #asking = new Set<PeerId>();
  #isDone = false;

  constructor(
    host: IntroductionHost,
    { clock, random, wanted, hasSeeds }: { clock: Clock; random: Random; wanted: number; hasSeeds: boolean },
  ) {
    this.#host = host;
    this.#random = random;
    this.#timers = new Timers(clock);
    this.#wanted = wanted;
    this.#hasSeeds = hasSeeds;
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  /** An earlier run was introduced. */
  restore(): void {
    this.#isDone = true;
  }

  start(): void {
    this.#round();
  }

  close(): void {
    this.#timers.close();
  }

  /** `peer` has this one on disk. */
  met(peer: PeerId, isIntroduced: boolean): void {
    if (this.#isDone) return;
    this.#met.add(peer);
    if (isIntroduced) this.#sponsors.add(peer);
    this.look();
  }

  /** Others may have gone, or are known that were not. */
  look(): void {
    if (this.#isDone || this.#timers.closed) return;
    const others = this.#host.others();
    const hasMetAll = others.every((peer) => this.#met.has(peer));
    const isFirst = others.length === 0 && !this.#hasSeeds;
    if (isFirst || this.#sponsors.size >= this.#wanted || (others.length > 0 && hasMetAll)) {
      this.#isDone = true;
      this.#timers.close();
      this.#host.introduced();
      return;
    }
    // Some more than are wanted: the first of them may be newcomers too.
    const strangers = others.filter((peer) => !this.#met.has(peer) && this.#host.isLive(peer));
    const room = this.#wanted + 1 - this.#asking.size;
    for (const peer of shuffled(strangers, this.#random).slice(0, Math.max(0, room))) this.#ask(peer);
  }

  #ask(peer: PeerId): void {
    if (this.#asking.has(peer)) return;
    this.#asking.add(peer);
    void this.#host.sync(peer).finally(() => this.#asking.delete(peer));
  }

  #round(): void {
    this.look();
    if (!this.#isDone) this.#timers.after(BOUNDS.introduceEveryMs, () => this.#round());
  }
}
