import { LIMITS, LogvineError, type Random } from '../../store/index.ts';
import type { PeerId, Transport } from '../transport/index.ts';
import { BOUNDS } from './constants.ts';
import { Timers } from './timers.ts';

export interface SeedHost {
  /** True while `peer` is a live member: its seed need not be dialled. */
  isLive(peer: PeerId): boolean;
  /** Exchanges the full state with a peer that a seed address led to. */
  join(peer: PeerId): Promise<void>;
  failed(seed: string, error: unknown): void;
}

/** Dials the seed addresses, each for ever: with back-off and jitter while it fails, at leisure once it is a member. */
export class Seeds {
  readonly #transport: Transport;
  readonly #random: Random;
  readonly #host: SeedHost;
  readonly #timers: Timers;

  /** @throws LV_CONFIG_INVALID for too many seeds. */
  constructor(transport: Transport, random: Random, seeds: readonly string[], host: SeedHost) {
    this.#transport = transport;
    this.#random = random;
    this.#host = host;
    this.#timers = new Timers(transport.clock);
    const distinct = [...new Set(seeds)];
    if (distinct.length > LIMITS.seedsMax) {
      throw new LogvineError('LV_CONFIG_INVALID', `join: more than ${LIMITS.seedsMax} addresses`);
    }
    for (const seed of distinct)
      this.#timers.after(0, () => void this.#dial(seed, undefined, BOUNDS.redialMsMin));
  }

  close(): void {
    this.#timers.close();
  }

  /** `known` is who answered at this address the last time; `redialMs` the wait after the next failure. */
  async #dial(seed: string, known: PeerId | undefined, redialMs: number): Promise<void> {
    let peer = known;
    let waitMs: number = BOUNDS.redialMsMax;
    let nextMs: number = BOUNDS.redialMsMin;
    if (peer === undefined || !this.#host.isLive(peer)) {
      try {
        peer = await this.#transport.connect(seed, { timeoutMs: BOUNDS.connectTimeoutMs });
        if (peer !== this.#transport.self) await this.#host.join(peer);
        // A name of many leads elsewhere the next time.
        else peer = undefined;
      } catch (error) {
        if (this.#timers.closed) return;
        this.#host.failed(seed, error);
        waitMs = redialMs;
        nextMs = Math.min(BOUNDS.redialMsMax, redialMs * 1.5);
      }
    }
    this.#timers.after(waitMs * (0.75 + this.#random.unit() / 2), () => void this.#dial(seed, peer, nextMs));
  }
}
