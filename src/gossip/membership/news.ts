import { messageOf, type Clock } from '../../store/index.ts';
import type { PeerId, Transport, TransportLog } from '../transport/index.ts';
import { BOUNDS, MEMBERS_TOPIC, type MembershipTiming } from './constants.ts';
import type { LocalHealth } from './health.ts';
import { encodeMessage, parseTopicMessage, type Claim, type StateRow, type Update } from './messages.ts';
import {
  compareAge,
  isSigned,
  signRecord,
  withinBounds,
  type MemberRecord,
  type UnsignedRecord,
} from './record.ts';
import { Rumours } from './rumours.ts';
import { Suspicion, suspicionSpan } from './suspicion.ts';
import { Identities, type Twin } from './identities.ts';
import { isLive, MemberTable, type Change } from './table.ts';

export interface NewsOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly timing: MembershipTiming;
  readonly health: LocalHealth;
  readonly log: TransportLog;
  /** What this peer says of itself; signed here. */
  readonly self: Omit<UnsignedRecord, 'peer' | 'addresses' | 'incarnation' | 'leaving' | 'left'>;
  changed(change: Change): void;
  /** A member is to be forgotten, for want of room. */
  evicted(peer: PeerId): void;
  /** A record of this peer came in that it has not signed itself: a later run of the same identity is about. */
  superseded(by: Twin): void;
  lastHeardMs(peer: PeerId): number | undefined;
}

/**
 * All news about members goes through here, whichever way it came: it is weighed by the table, acted on (suspicions,
 * refutation), and passed on (rumours, the topic).
 */
export class News {
  readonly table: MemberTable;
  readonly identities: Identities;
  readonly #options: NewsOptions;
  readonly #transport: Transport;
  readonly #rumours = new Rumours();
  readonly #suspicions = new Map<PeerId, Suspicion>();
  #own: MemberRecord;

  constructor(options: NewsOptions) {
    this.#options = options;
    this.#transport = options.transport;
    const peer = options.transport.self;
    this.#own = this.#sign({
      ...options.self,
      peer,
      addresses: this.#addresses(),
      incarnation: 1,
      leaving: false,
      left: false,
    });
    this.table = new MemberTable(options.clock, this.#own, options.evicted);
    this.identities = new Identities(options.clock, peer, () => this.table.live);
  }

  close(): void {
    for (const suspicion of this.#suspicions.values()) suspicion.cancel();
    this.#suspicions.clear();
  }

  // This peer's own record.

  #sign(record: UnsignedRecord): MemberRecord {
    return signRecord(withinBounds(record), (bytes) => this.#transport.sign(bytes));
  }

  #addresses(): string[] {
    return this.#transport.addresses();
  }

  /** Signs a newer record of this peer and tells everybody. A peer that has left stays silent. */
  restate(changes: Partial<Omit<UnsignedRecord, 'peer' | 'addresses' | 'epoch' | 'incarnation'>>): void {
    if (this.#own.left) return;
    const incarnation = this.#own.incarnation + 1;
    this.#own = this.#sign({ ...this.#own, ...changes, addresses: this.#addresses(), incarnation });
    this.#took(this.table.setSelf(this.#own), { kind: 'record', record: this.#own });
    this.announce();
  }

  announce(): void {
    this.#publish({ kind: 'record', record: this.#own });
  }

  get ownEpoch(): number {
    return this.#own.epoch;
  }

  /** This very run, as others are told of it. */
  get ownTwin(): Twin {
    return { epoch: this.#own.epoch, addresses: this.#own.addresses };
  }

  /**
   * What this peer signs, it knows. A record that is newer than its own, or another one of the same age, was signed by
   * another process with the same key. An older one may be from an earlier run of this one.
   */
  #onOwnRecord(record: MemberRecord): void {
    const order = compareAge(record, this.#own);
    if (order < 0 || record.signature === this.#own.signature || !isSigned(record)) return;
    const { epoch, addresses } = record;
    this.identities.toldOfOwn({ epoch, addresses });
    this.#options.superseded({ epoch, addresses });
  }

  /** A ping or an ack came from `peer`, and says which run of it has sent it. */
  heardFrom(
    peer: PeerId,
    { epoch, twins }: { epoch?: number | undefined; twins?: readonly Twin[] | undefined },
  ): void {
    if (epoch === undefined || !this.table.get(peer)) return;
    const newest = this.table.get(peer)!.epoch;
    if (newest > epoch) this.identities.heard(peer, newest);
    this.identities.heard(peer, epoch);
    for (const twin of twins ?? []) if (twin.epoch !== this.#own.epoch) this.identities.toldOfOwn(twin);
  }

  #refute({ epoch, incarnation, accuser, kind }: Claim): void {
    if (epoch !== this.#own.epoch || incarnation !== this.#own.incarnation || this.#own.left) return;
    this.#options.health.note(1);
    this.#options.log.debug({ accuser, kind }, 'refuting a claim');
    this.restate({});
  }

  // Others' news.

  apply(update: Update): void {
    if (update.kind === 'record') {
      if (update.record.peer === this.#own.peer) return this.#onOwnRecord(update.record);
      const change = this.table.applyRecord(update.record);
      if (change) this.#took(change, update);
      else this.#noteOlderRun(update.record);
      return;
    }
    if (update.subject === this.#own.peer) return this.#refute(update);
    // One faulty member must not end everybody. Who is convicted justly has been silent everywhere for as long.
    const claim: Claim = this.#wasHeardLately(update.subject) ? { ...update, kind: 'suspect' } : update;
    if (claim.kind === 'suspect' && this.#suspicions.has(claim.subject)) return this.#confirm(claim);
    this.#takeClaim(claim);
  }

  #takeClaim(claim: Claim): void {
    const change = this.table.applyClaim(claim);
    if (change) this.#took(change, claim);
  }

  /** Within the shortest time that a suspicion takes. */
  #wasHeardLately(peer: PeerId): boolean {
    const heardMs = this.#options.lastHeardMs(peer) ?? -Infinity;
    const { minMs } = suspicionSpan(this.table.live, this.#options.timing);
    return this.#options.clock.monotonicMs() - heardMs < minMs;
  }

  /** Takes a row of another peer's full state: a claim in it weighs no more than that peer's own suspicion. */
  applyRow(row: StateRow, from: PeerId): void {
    const { record, state, ageMs } = row;
    const { peer, epoch, incarnation } = record;
    if (peer !== this.#own.peer) {
      if ((state === 'left' || state === 'gone') && ageMs > this.#options.timing.tombstoneMs) return;
      const change = row.presumed ? this.table.presume(row) : this.table.adopt(row);
      if (change) return this.#took(change, undefined);
    }
    if (row.presumed) return;
    this.apply({ kind: 'record', record });
    if (state === 'alive' || state === 'left') return;
    this.apply({ kind: 'suspect', subject: peer, epoch, incarnation, accuser: from });
  }

  /** A member that has been dead for long. */
  setGone(peer: PeerId): void {
    const change = this.table.setGone(peer);
    if (change) this.#took(change, undefined);
  }

  /** Everything that follows from a change in the table. `update` is passed on to others. */
  #took(change: Change, update: Update | undefined): void {
    const { peer, addresses } = change.member;
    if (peer !== this.#own.peer) {
      this.#transport.learn(peer, addresses);
      const { previous } = change;
      if (previous && previous.epoch !== change.member.epoch) {
        this.identities.noteAddresses(peer, previous.epoch, previous.addresses);
      }
      this.identities.noteAddresses(peer, change.member.epoch, addresses);
    }
    this.#suspicions.get(peer)?.cancel();
    this.#suspicions.delete(peer);
    if (update?.kind === 'suspect') this.#suspect(update);
    if (update) this.#rumours.add(update);
    this.#options.changed(change);
  }

  /** An older run that still speaks tells where it is. */
  #noteOlderRun(record: MemberRecord): void {
    const { peer, epoch, addresses } = record;
    const twins = this.identities.twinsOf(peer);
    if (twins.some((twin) => twin.epoch === epoch && twin.addresses.length === 0) && isSigned(record)) {
      this.identities.noteAddresses(peer, epoch, addresses);
    }
  }

  // Suspicion and conviction.

  /** Binds a claim to what is known now, before a probe: a refutation in between makes it void. */
  accusation(target: PeerId): () => void {
    const { epoch, incarnation } = this.table.get(target)!;
    const accuser = this.#own.peer;
    return () => {
      const claim: Claim = { kind: 'suspect', subject: target, epoch, incarnation, accuser };
      const fresh = this.#suspicions.get(target)?.accusedBy(accuser) !== true;
      this.apply(claim);
      if (fresh && this.table.get(target)?.state === 'suspect') this.#publish(claim);
    };
  }

  #suspect(claim: Claim): void {
    const span = suspicionSpan(this.table.live, this.#options.timing);
    const suspicion = new Suspicion(this.#options.clock, span, claim.accuser, {
      expired: () => this.#convict(claim, suspicion),
      heardSince: (startedMs) => (this.#options.lastHeardMs(claim.subject) ?? -Infinity) > startedMs,
    });
    this.#suspicions.set(claim.subject, suspicion);
  }

  #confirm(claim: Claim): void {
    const held = this.table.get(claim.subject);
    if (held?.epoch !== claim.epoch || held.incarnation !== claim.incarnation) return;
    if (this.#suspicions.get(claim.subject)!.confirm(claim.accuser)) this.#rumours.add(claim);
  }

  #convict(claim: Claim, suspicion: Suspicion): void {
    const verdict: Claim = { ...claim, kind: 'dead', accuser: this.#own.peer };
    this.#takeClaim(verdict);
    // Everybody's own timer runs too: only those who accused say it aloud.
    if (suspicion.accusedBy(this.#own.peer)) this.#publish(verdict);
  }

  // Passing it on.

  /** What rides on a message to `peer`: rumours, and what `peer` should know is said of it. */
  updatesFor(peer: PeerId): Update[] {
    const updates = this.#rumours.take(this.table.live);
    const about = this.table.get(peer);
    if (about && (about.state === 'suspect' || about.state === 'dead') && !this.table.presumed(peer)) {
      const { epoch, incarnation } = about;
      updates.push({ kind: 'suspect', subject: peer, epoch, incarnation, accuser: this.#own.peer });
    }
    // Where a run of an identity is that runs twice; and to each of its runs, which is the newer one.
    if (this.identities.runsTwice) {
      updates.unshift({ kind: 'record', record: this.#own });
    }
    const record = this.identities.spokeAsOlderRun(peer) ? this.table.record(peer) : undefined;
    if (record) updates.unshift({ kind: 'record', record });
    return updates.slice(0, BOUNDS.updatesPerMessage + 1);
  }

  /** The topic reaches everybody in one hop; what is lost there comes with pings and push-pull. */
  #publish(update: Update): void {
    this.#transport.publish(MEMBERS_TOPIC, encodeMessage({ updates: [update] }));
  }

  onTopic(from: PeerId, message: Buffer): void {
    try {
      for (const update of parseTopicMessage(message).updates) this.apply(update);
    } catch (error) {
      this.#options.log.debug({ from, error: messageOf(error) }, 'a topic message was dropped');
    }
  }

  /** Addresses and states that an earlier run remembered. */
  restore(record: MemberRecord, state: Parameters<MemberTable['restore']>[1], ageMs: number): void {
    if (record.peer === this.#own.peer) return;
    this.table.restore(record, state, ageMs);
    this.#transport.learn(record.peer, record.addresses);
  }

  livePeers(): PeerId[] {
    const peers: PeerId[] = [];
    for (const { peer, state } of this.table.members()) {
      if (isLive(state) && peer !== this.#own.peer) peers.push(peer);
    }
    return peers;
  }
}
