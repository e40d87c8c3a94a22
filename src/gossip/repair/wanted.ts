import { segmentName, type Clock, type SegmentId } from '../../store/index.ts';
import { placeOn } from '../placement/index.ts';
import type { PeerId } from '../transport/index.ts';
import { placeable, type MeshMember, type MeshView } from '../view.ts';

/**
 * Segments of a mesh of 500 hosts that keeps 30 days, almost three times over, at 200 bytes each: were there fewer than segments, each
 * look through all of them would place all of them anew.
 */
const SEGMENTS_REMEMBERED_MAX = 1_000_000;

export interface WantedOwnersOptions {
  readonly view: MeshView;
  readonly clock: Clock;
  readonly replicas: number;
  readonly ackQuorum: number;
  /** A peer dead for longer is repaired around. */
  readonly repairDelayMs: number;
}

/**
 * Where each segment should be now: the k best by rendezvous among the members that have not left, and have not been dead
 * for longer than the repair delay. The same function of the membership for every peer, whoever owned the segment when it
 * opened: so a peer that joins takes over its own share and nothing else moves.
 */
export class WantedOwners {
  readonly #options: WantedOwnersOptions;
  readonly #known = new Map<string, PeerId[]>();
  #members: readonly MeshMember[] = [];
  #candidates: MeshMember[] = [];
  #alive = new Set<string>();
  #validUntilMs = -Infinity;
  /** Counts changes of the candidates: what was worked out before says nothing any more. */
  #version = 0;

  constructor(options: WantedOwnersOptions) {
    this.#options = options;
  }

  get version(): number {
    this.#refresh();
    return this.#version;
  }

  /** How many members other than `peer` segments may be on. */
  candidatesBeside(peer: PeerId): number {
    this.#refresh();
    return this.#candidates.filter((candidate) => candidate.peer !== peer).length;
  }

  /** Best first; fewer than k only where there are fewer candidates. */
  of(id: SegmentId): readonly PeerId[] {
    this.#refresh();
    const name = segmentName(id);
    const known = this.#known.get(name);
    if (known) return known;
    const owners = this.#place(name);
    if (this.#known.size >= SEGMENTS_REMEMBERED_MAX) this.#known.clear();
    this.#known.set(name, owners);
    return owners;
  }

  #place(name: string): PeerId[] {
    const { replicas, ackQuorum } = this.#options;
    const owners = placeOn(name, this.#candidates, replicas);
    const alive = owners.filter((peer) => this.#alive.has(peer)).length;
    if (alive >= Math.min(ackQuorum, this.#alive.size)) return owners as PeerId[];
    // Too few of them are up to wait for the dead ones.
    const live = this.#candidates.filter(({ peer }) => this.#alive.has(peer));
    return placeOn(name, live, replicas) as PeerId[];
  }

  #refresh(): void {
    const { view, clock, repairDelayMs } = this.#options;
    const members = view.members();
    const nowMs = clock.monotonicMs();
    if (members === this.#members && nowMs < this.#validUntilMs) return;
    this.#members = members;
    this.#validUntilMs = Infinity;
    const candidates = placeable(members).filter(({ state, stateSinceMs }) => {
      if (state !== 'dead') return true;
      const untilMs = stateSinceMs + repairDelayMs;
      if (nowMs >= untilMs) return false;
      this.#validUntilMs = Math.min(this.#validUntilMs, untilMs);
      return true;
    });
    const alive = new Set(
      candidates.filter(({ state }) => state !== 'dead').map(({ peer }) => peer as string),
    );
    if (sameCandidates(candidates, this.#candidates) && sameSet(alive, this.#alive)) return;
    this.#candidates = candidates;
    this.#alive = alive;
    this.#known.clear();
    this.#version++;
  }
}

function sameCandidates(a: readonly MeshMember[], b: readonly MeshMember[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ peer, zone, weight }, at) => {
      const other = b[at];
      return other.peer === peer && other.zone === zone && other.weight === weight;
    })
  );
}

function sameSet(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && [...a].every((item) => b.has(item));
}
