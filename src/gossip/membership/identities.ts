import type { Clock } from '../../store/index.ts';
import type { PeerId } from '../transport/index.ts';
import { BOUNDS } from './constants.ts';

/** A process that runs, or ran, with some identity: an epoch is one run of it. */
export interface Twin {
  readonly epoch: number;
  /** Multiaddrs; empty when nobody told them. */
  readonly addresses: readonly string[];
}

/** Two processes that run with one identity: a data directory was copied, and both copies run. */
export interface IdentityConflict {
  readonly peer: PeerId;
  /** By epoch: the first one has to stop, the last one goes on. */
  readonly twins: readonly Twin[];
}

interface Heard {
  /** The newest epoch that this peer was heard with, and since when. */
  epoch: number;
  sinceMs: number;
  /** An older epoch, heard long after the newer one had begun: both run. */
  older: { epoch: number; lastMs: number } | undefined;
  spokeAsOlder: boolean;
}

/**
 * Notices that one identity runs twice. Every message says which run its sender is. After a restart only the newer run
 * speaks; when the older one is still heard long after the newer one had begun, there are two. Each is told of the other,
 * since they cannot reach each other: to the network they are one.
 */
export class Identities {
  readonly #clock: Clock;
  readonly #self: PeerId;
  readonly #liveMembers: () => number;
  readonly #heard = new Map<PeerId, Heard>();
  readonly #addresses = new Map<PeerId, Map<number, readonly string[]>>();
  /** Other runs of this very peer, and when they were last told of. */
  readonly #own = new Map<number, { twin: Twin; lastMs: number }>();

  constructor(clock: Clock, self: PeerId, liveMembers: () => number) {
    this.#clock = clock;
    this.#liveMembers = liveMembers;
    this.#self = self;
  }

  /** `peer` has just sent something as that run of it. */
  heard(peer: PeerId, epoch: number): void {
    const nowMs = this.#clock.monotonicMs();
    const known = this.#heard.get(peer);
    if (!known || epoch > known.epoch) {
      // If an older one goes on beside this one, it will be heard again.
      this.#heard.set(peer, { epoch, sinceMs: nowMs, older: undefined, spokeAsOlder: false });
      return;
    }
    known.spokeAsOlder = epoch < known.epoch;
    // What a process had sent before it died may come late, but not as late as that.
    if (epoch < known.epoch && nowMs - known.sinceMs > BOUNDS.lateMessageMs) {
      known.older = { epoch, lastMs: nowMs };
    }
  }

  /** What `peer` sent last came from an older run of it than the newest that is known. */
  spokeAsOlderRun(peer: PeerId): boolean {
    return this.#heard.get(peer)?.spokeAsOlder ?? false;
  }

  /** Where a run of `peer` could be reached, for whoever has to find it. */
  noteAddresses(peer: PeerId, epoch: number, addresses: readonly string[]): void {
    let epochs = this.#addresses.get(peer);
    if (!epochs) this.#addresses.set(peer, (epochs = new Map()));
    epochs.delete(epoch);
    epochs.set(epoch, addresses);
    if (epochs.size > BOUNDS.twins) epochs.delete(epochs.keys().next().value!);
  }

  /** Somebody, or a record with this peer's own signature, tells of another run of this very peer. */
  toldOfOwn(twin: Twin): void {
    const known = this.#own.get(twin.epoch)?.twin;
    const addresses = twin.addresses.length > 0 ? twin.addresses : (known?.addresses ?? []);
    if (!known && this.#own.size >= BOUNDS.twins) this.#own.delete(this.#own.keys().next().value!);
    this.#own.set(twin.epoch, { twin: { epoch: twin.epoch, addresses }, lastMs: this.#clock.monotonicMs() });
  }

  /** The runs of `peer` that are heard side by side; empty when there is but one. */
  twinsOf(peer: PeerId): readonly Twin[] {
    const known = this.#heard.get(peer);
    if (!known?.older || !this.#isFresh(known.older.lastMs)) return [];
    const epochs = [known.older.epoch, known.epoch];
    return epochs.map((epoch) => ({ epoch, addresses: this.#addresses.get(peer)?.get(epoch) ?? [] }));
  }

  /** Other runs of this very peer, as far as it knows. */
  #othersOfOwn(): Twin[] {
    return [...this.#own.values()].filter(({ lastMs }) => this.#isFresh(lastMs)).map(({ twin }) => twin);
  }

  get runsTwice(): boolean {
    return this.#othersOfOwn().length > 0;
  }

  /** Every identity that runs twice as far as this peer knows; its own comes first. `own` is this very run. */
  conflicts(own: Twin): IdentityConflict[] {
    const found: IdentityConflict[] = [];
    const others = this.#othersOfOwn();
    if (others.length > 0) {
      found.push({ peer: this.#self, twins: [own, ...others].sort((a, b) => a.epoch - b.epoch) });
    }
    for (const peer of this.#heard.keys()) {
      const twins = this.twinsOf(peer);
      if (twins.length > 0) found.push({ peer, twins });
    }
    return found;
  }

  /** Once one of the two is stopped, nothing more is heard of it. */
  #isFresh(lastMs: number): boolean {
    const rememberedMs = BOUNDS.twinRememberedMs + BOUNDS.twinRememberedMsPerMember * this.#liveMembers();
    return this.#clock.monotonicMs() - lastMs < rememberedMs;
  }

  forget(peer: PeerId): void {
    this.#heard.delete(peer);
    this.#addresses.delete(peer);
  }
}
