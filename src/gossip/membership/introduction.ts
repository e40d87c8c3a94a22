import type { Clock, Random } from '../../store/index.ts';
import type { PeerId } from '../transport/index.ts';
import { BOUNDS } from './constants.ts';
import type { Vouch } from './messages.ts';
import { Timers } from './timers.ts';

export interface IntroductionHost {
  /** Other members that have not left: those that were given up may be alive, and out of reach. */
  others(): PeerId[];
  /** Somebody has told all that it knows of the mesh. */
  hasSynced(): boolean;
  isLive(peer: PeerId): boolean;
  /** Pings `peer`; `vouched` is called with what it says. */
  ask(peer: PeerId): Promise<void>;
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
  #waitMs: number = BOUNDS.introduceMsMin;
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

  /** This peer leaves: others will not count it, and if it comes back, it is a newcomer. */
  revoke(): void {
    this.#timers.close();
    this.#isDone = false;
  }

  start(): void {
    this.#round();
  }

  close(): void {
    this.#timers.close();
  }

  vouched(by: PeerId, vouch: Vouch): void {
    if (this.#isDone) return;
    this.#met.add(by);
    if (vouch === 'introduced') this.#sponsors.add(by);
    this.look();
  }

  /** Others may have gone, or are known that were not. */
  look(): void {
    if (this.#isDone || this.#timers.closed) return;
    const others = this.#host.others();
    const hasMetAll = others.every((peer) => this.#met.has(peer));
    const isFirst = others.length === 0 && !this.#hasSeeds;
    if (
      isFirst ||
      this.#sponsors.size >= this.#wanted ||
      (others.length > 0 && hasMetAll && this.#host.hasSynced())
    ) {
      this.#isDone = true;
      this.#timers.close();
      this.#host.introduced();
      return;
    }
    // From a random one on: to choose among all strangers would cost as much as there are, for each that answers.
    const start = Math.floor(this.#random.unit() * others.length);
    for (let step = 0; step < others.length; step++) {
      if (this.#asking.size >= BOUNDS.introductionsAtOnce) return;
      const peer = others[(start + step) % others.length]!;
      if (!this.#met.has(peer) && !this.#asking.has(peer) && this.#host.isLive(peer)) void this.#ask(peer);
    }
  }

  async #ask(peer: PeerId): Promise<void> {
    this.#asking.add(peer);
    try {
      await this.#host.ask(peer);
    } catch {
      // It is asked again.
    }
    this.#asking.delete(peer);
  }

  #round(): void {
    this.look();
    if (this.#isDone) return;
    this.#timers.after(this.#waitMs, () => this.#round());
    this.#waitMs = Math.min(2 * this.#waitMs, BOUNDS.introduceMsMax);
  }
}
