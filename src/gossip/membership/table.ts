import { LIMITS, type Clock } from '../../store/index.ts';
import type { PeerId } from '../transport/index.ts';
import type { MemberState, MeshMember } from '../view.ts';
import type { Claim, StateRow } from './messages.ts';
import { compareAge, isSigned, type MemberRecord } from './record.ts';

/** A peer as membership knows it. Immutable: a change makes a new one. */
export interface Member extends MeshMember {
  readonly addresses: readonly string[];
  readonly http: string;
  readonly version: string;
}

/** A member as it is now, and as it was; `previous` is undefined when it was unknown. */
export interface Change {
  readonly member: Member;
  readonly previous: Member | undefined;
}

interface Entry {
  readonly record: MemberRecord;
  readonly member: Member;
  /**
   * Remembered from an earlier run, or by others from one of theirs, and not heard of since: shown as dead, and replaced
   * by any record that is not older.
   */
  readonly presumed: boolean;
}

/**
 * What this peer holds of every member, and the rules by which news replaces it:
 * - A record with a higher (epoch, incarnation) wins over everything older, if its subject has signed it.
 * - At one (epoch, incarnation), states only move alive → suspect → dead → gone.
 * - A claim about another (epoch, incarnation) than the one held is no news.
 */
export class MemberTable {
  readonly #clock: Clock;
  readonly #evicted: (peer: PeerId) => void;
  readonly #entries = new Map<PeerId, Entry>();
  #members: readonly Member[] | undefined;
  #live = 0;

  /** `evicted`: a member is to be forgotten, for want of room. */
  constructor(clock: Clock, self: MemberRecord, evicted: (peer: PeerId) => void) {
    this.#clock = clock;
    this.#evicted = evicted;
    this.#put(self, 'alive', 0, false);
  }

  /** Sorted by peer id. The same array until something changes. */
  members(): readonly Member[] {
    this.#members ??= [...this.#entries.values()]
      .map(({ member }) => member)
      .sort((left, right) => (left.peer < right.peer ? -1 : 1));
    return this.#members;
  }

  get(peer: PeerId): Member | undefined {
    return this.#entries.get(peer)?.member;
  }

  record(peer: PeerId): MemberRecord | undefined {
    return this.#entries.get(peer)?.record;
  }

  /** How many are alive or suspected, this peer included. */
  get live(): number {
    return this.#live;
  }

  presumed(peer: PeerId): boolean {
    return this.#entries.get(peer)?.presumed ?? false;
  }

  /** Takes a record when it is news and its subject has signed it. */
  applyRecord(record: MemberRecord): Change | undefined {
    const held = this.#entries.get(record.peer);
    if (!this.#isNews(record, held) || !isSigned(record)) return undefined;
    return this.#put(record, record.left ? 'left' : 'alive', 0, false);
  }

  /**
   * Takes a row of another peer's state as it stands, when this peer does not know better: for members that were
   * silent before this peer came to know them. Undefined when the row must be weighed as a record and a claim.
   */
  adopt(row: StateRow): Change | undefined {
    const held = this.#entries.get(row.record.peer);
    // Or else peers that forget who left would tell each other anew for ever.
    const hasLeft = row.state === 'left' && row.record.left && !held;
    if (row.state !== 'dead' && row.state !== 'gone' && !hasLeft) return undefined;
    if (held && isLive(held.member.state)) return undefined;
    if (!this.#isNews(row.record, held) || !isSigned(row.record)) return undefined;
    return this.#put(row.record, row.state, row.ageMs, false);
  }

  applyClaim(claim: Claim): Change | undefined {
    const held = this.#entries.get(claim.subject);
    if (!held || compareAge(claim, held.record) !== 0) return undefined;
    const { state } = held.member;
    if (claim.kind === 'suspect' ? state !== 'alive' : !isLive(state)) return undefined;
    return this.#put(held.record, claim.kind, 0, false);
  }

  /** Takes what another peer only remembers, when nothing is known of that member here: it counts as being away. */
  presume({ record, state, ageMs }: StateRow): Change | undefined {
    if (this.#entries.has(record.peer) || this.#entries.size >= LIMITS.membersMax || !isSigned(record))
      return undefined;
    return this.#put(record, state === 'gone' ? 'gone' : 'dead', ageMs, true);
  }

  /** Puts back what an earlier run knew. The caller has checked the signature. */
  restore(record: MemberRecord, state: MemberState, ageMs: number): void {
    if (this.#entries.has(record.peer) || this.#entries.size >= LIMITS.membersMax) return;
    const shown = isLive(state) ? 'dead' : state;
    this.#put(record, shown, shown === state ? ageMs : 0, shown !== 'left');
  }

  setSelf(record: MemberRecord): Change {
    return this.#put(record, record.left ? 'left' : 'alive', 0, false);
  }

  setGone(peer: PeerId): Change | undefined {
    const held = this.#entries.get(peer);
    return held && this.#put(held.record, 'gone', 0, held.presumed);
  }

  forget(peer: PeerId): void {
    this.#entries.delete(peer);
    this.#members = undefined;
  }

  /** The full state for another peer. */
  rows(): StateRow[] {
    const nowMs = this.#clock.monotonicMs();
    const rows: StateRow[] = [];
    for (const { record, member, presumed } of this.#entries.values()) {
      rows.push({ record, state: member.state, ageMs: Math.max(0, nowMs - member.stateSinceMs), presumed });
    }
    return rows;
  }

  #isNews(record: MemberRecord, held: Entry | undefined): boolean {
    // Room is made for nobody's forgery.
    if (!held) return this.#entries.size < LIMITS.membersMax || (isSigned(record) && this.#evictTombstone());
    const order = compareAge(record, held.record);
    return order > 0 || (order === 0 && held.presumed);
  }

  #evictTombstone(): boolean {
    let oldest: Member | undefined;
    for (const { member } of this.#entries.values()) {
      const tombstone = member.state === 'left' || member.state === 'gone';
      if (tombstone && (!oldest || member.stateSinceMs < oldest.stateSinceMs)) oldest = member;
    }
    if (oldest) this.#evicted(oldest.peer);
    return oldest !== undefined;
  }

  #put(record: MemberRecord, state: MemberState, ageMs: number, presumed: boolean): Change {
    const previous = this.#entries.get(record.peer)?.member;
    const { peer, addresses, zone, weight, leaving, epoch, incarnation, http, version } = record;
    const unchanged = previous?.state === state && previous.epoch === epoch;
    const stateSinceMs = unchanged ? previous.stateSinceMs : this.#clock.monotonicMs() - ageMs;
    const member: Member = Object.freeze({
      peer,
      state,
      stateSinceMs,
      addresses,
      zone,
      weight,
      leaving,
      epoch,
      incarnation,
      http,
      version,
    });
    this.#entries.set(peer, { record, member, presumed });
    this.#members = undefined;
    this.#live += Number(isLive(state)) - Number(previous !== undefined && isLive(previous.state));
    return { member, previous };
  }
}

/** Alive or suspected: still probed and talked to. */
export function isLive(state: MemberState): boolean {
  return state === 'alive' || state === 'suspect';
}
