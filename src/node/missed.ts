import type { PeerId } from '../gossip/index.ts';
import type { Clock, Labels } from '../store/index.ts';

/** Lines that a slow follower misses are told in lists of at most so many; the count is told whole. */
export const DROPPED_NAMED_MAX = 100;
/** A peer that is alive and cannot be followed for so long is told of before it can be again. */
const UNHEARD_TOLD_MS = 20_000;

/** A peer whose lines of some time did not come, by its own clock, as its lines have their times. */
export interface Unheard {
  readonly peer: PeerId;
  readonly fromMs: number;
  /** Absent: nothing comes from it yet. */
  readonly toMs?: number | undefined;
}

/** What a follower misses. */
export interface Missed {
  /**
   * Blocks of lines that could not wait for a slow one, each with its stream and time. Those of a peer's own are dropped before
   * the query sees their lines, so that a block may hold none that match.
   */
  readonly count: number;
  readonly entries: readonly { readonly labels: Labels; readonly ms: number }[];
  /** Each peer once. */
  readonly unheard: readonly Unheard[];
}

export const NOTHING_MISSED: Missed = { count: 0, entries: [], unheard: [] };

/** Gathers what is missed until it can be told. */
export class MissedCounter {
  #count = 0;
  #entries: { labels: Labels; ms: number }[] = [];
  readonly #unheard = new Map<PeerId, Unheard>();

  add(labels: Labels, ms: number): void {
    this.#count++;
    if (this.#entries.length < DROPPED_NAMED_MAX) this.#entries.push({ labels, ms });
  }

  merge({ count, entries, unheard }: Missed): void {
    this.#count += count;
    this.#entries = [...this.#entries, ...entries].slice(0, DROPPED_NAMED_MAX);
    for (const { peer, fromMs, toMs } of unheard) {
      const sinceMs = Math.min(fromMs, this.#unheard.get(peer)?.fromMs ?? Infinity);
      this.#unheard.set(peer, { peer, fromMs: sinceMs, toMs });
    }
  }

  /** What was missed since it was last asked. */
  take(): Missed | undefined {
    if (this.#count === 0 && this.#unheard.size === 0) return undefined;
    const taken = { count: this.#count, entries: this.#entries, unheard: [...this.#unheard.values()] };
    this.#count = 0;
    this.#entries = [];
    this.#unheard.clear();
    return taken;
  }
}

/** Finds out when peers could not be followed. */
export class Silences {
  readonly #clock: Clock;
  readonly #tell: (unheard: Unheard) => void;
  readonly #startedMs: number;
  readonly #peers = new Map<PeerId, { upToMs: number; silentMs: number | undefined; isTold: boolean }>();

  constructor(clock: Clock, tell: (unheard: Unheard) => void) {
    this.#clock = clock;
    this.#tell = tell;
    this.#startedMs = clock.nowMs();
  }

  /** All that a peer had read at `upToMs` has come. `isFromHere`: what it read before is not asked for. */
  heard(peer: PeerId, upToMs: number, isFromHere: boolean): void {
    const before = this.#of(peer);
    if (before.silentMs !== undefined && !isFromHere)
      this.#tell({ peer, fromMs: Math.min(before.upToMs, upToMs), toMs: upToMs });
    this.#peers.set(peer, { upToMs, silentMs: undefined, isTold: false });
  }

  lost(peer: PeerId): void {
    const known = this.#of(peer);
    known.silentMs ??= this.#clock.monotonicMs();
  }

  /** Tells of those that are alive and have been silent for long, once. */
  check(alive: readonly PeerId[]): void {
    for (const peer of alive) {
      const known = this.#of(peer);
      if (known.isTold || known.silentMs === undefined) continue;
      if (this.#clock.monotonicMs() - known.silentMs < UNHEARD_TOLD_MS) continue;
      known.isTold = true;
      this.#tell({ peer, fromMs: known.upToMs });
    }
  }

  #of(peer: PeerId) {
    let known = this.#peers.get(peer);
    if (!known) {
      known = { upToMs: this.#startedMs, silentMs: this.#clock.monotonicMs(), isTold: false };
      this.#peers.set(peer, known);
    }
    return known;
  }
}
