import { LIMITS, messageOf, type Clock, type Disk, LogvineError, type Random } from '../../store/index.ts';
import { withDeadline, type PeerId, type Transport, type TransportLog } from '../transport/index.ts';
import type { MeshView } from '../view.ts';
import { BOUNDS, DEFAULT_TIMING, MEMBERS_TOPIC, SWIM_PROTOCOL, type MembershipTiming } from './constants.ts';
import { Exchange, type Attachment } from './exchange.ts';
import { LocalHealth } from './health.ts';
import type { IdentityConflict, Twin } from './identities.ts';
import { Introduction } from './introduction.ts';
import { News } from './news.ts';
import { Prober, shuffled } from './prober.ts';
import { RememberedMembers } from './remembered.ts';
import { Seeds } from './seeds.ts';
import { isLive, type Change, type Member, type MemberTable } from './table.ts';
import { Timers } from './timers.ts';

/** What this peer says of itself to the mesh. */
export interface SelfDescription {
  readonly zone: string;
  readonly weight: number;
  readonly epoch: number;
  /** URL of the HTTP interface, or empty. */
  readonly http: string;
  readonly version: string;
}

export interface MembershipEvents {
  /** A member that was unknown. */
  joined(member: Member): void;
  /** A member's state, epoch or description changed. */
  changed(member: Member, previous: Member): void;
  /** Another process runs with this peer's identity and started later, at those multiaddrs: this one must not go on. */
  superseded(by: Twin): void;
  /** A tombstone expired. */
  forgotten(peer: PeerId): void;
  /** Enough members know this peer: see `isIntroduced`. */
  introduced(): void;
}

export interface MembershipOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Pick<Disk, 'readFile' | 'replaceFile'>;
  /** Where members.json is kept. */
  readonly directory: string;
  readonly self: SelfDescription;
  /** Addresses to find the mesh at: `host:port` or multiaddrs. */
  readonly seeds: readonly string[];
  /** How many introduced members have to know a newcomer before its copies count: W. */
  readonly introductions: number;
  /** Peers that will never come back, with all that they had: a newcomer need not be known to them. */
  readonly lostPeers: readonly PeerId[];
  readonly timing?: Partial<MembershipTiming>;
  readonly log: TransportLog;
}

/** Who is in the mesh, by SWIM with Lifeguard's refinements. ALGORITHM.md says how. */
export interface Membership extends MeshView {
  /** Every known member, this peer included, sorted by peer id; the same array until something changes. */
  members(): readonly Member[];
  member(peer: PeerId): Member | undefined;
  alive(): Member[];
  on(events: Partial<MembershipEvents>): void;
  /** Attach before `start`. */
  attach(attachment: Attachment): void;
  /** Monotonic time at which `peer` was last heard from directly; undefined when it never was in this run. */
  lastHeardMs(peer: PeerId): number | undefined;
  /** Lifeguard's local health: 0 is healthy, up to 7. */
  healthScore(): number;
  /** Identities that two processes run with; this peer's own first. */
  identityConflicts(): readonly IdentityConflict[];
  /** Milliseconds that the wall clock of `peer` is ahead of this one's; undefined until it answered a ping. */
  clockSkewMs(peer: PeerId): number | undefined;
  /** Changes what this peer says of itself. */
  update(changes: Partial<Omit<SelfDescription, 'epoch'>>): void;
  start(): void;
  /** Tells the mesh that this peer hands over what it holds, to leave. */
  startLeaving(): void;
  /**
   * Tells the mesh that this peer has left for good. Resolves within 2 s, with whether somebody has taken note of it: from then
   * on all will hear of it, and this peer may `close`. Where all others have left, there is nobody to tell; who still searches
   * for the mesh has yet to find those who may know of it from an earlier run.
   */
  leave(): Promise<boolean>;
  close(): Promise<void>;
}

/** Loads what the last run remembered. Nothing is sent before `start`. */
export async function createMembership(options: MembershipOptions): Promise<Membership> {
  const swim = new Swim(options);
  await swim.load();
  return swim;
}

class Swim implements Membership {
  readonly self: PeerId;
  readonly #options: MembershipOptions;
  readonly #timing: MembershipTiming;
  readonly #timers: Timers;
  readonly #health = new LocalHealth();
  readonly #listeners: Partial<MembershipEvents>[] = [];
  readonly #news: News;
  readonly #table: MemberTable;
  readonly #exchange: Exchange;
  readonly #prober: Prober;
  readonly #remembered: RememberedMembers;
  readonly #introduction: Introduction;
  #seeds: Seeds | undefined;
  #announced = false;
  #closing: Promise<void> | undefined;

  constructor(options: MembershipOptions) {
    const { transport, clock, random, log } = options;
    this.#options = options;
    this.self = transport.self;
    this.#timing = { ...DEFAULT_TIMING, ...options.timing };
    this.#timers = new Timers(clock);
    this.#news = new News({
      transport,
      clock,
      timing: this.#timing,
      health: this.#health,
      log,
      self: options.self,
      changed: (change) => this.#changed(change),
      lastHeardMs: (peer) => this.lastHeardMs(peer),
      superseded: (by) => this.#emit((listener) => listener.superseded?.(by)),
      evicted: (peer) => this.#forget(peer),
    });
    this.#table = this.#news.table;
    this.#exchange = new Exchange({
      transport,
      news: this.#news,
      log,
      relayTimeoutMs: BOUNDS.relayTimeoutShare * this.#timing.probeTimeoutMs,
      introductions: {
        isNewcomer: () => !this.#introduction.isDone,
        vouched: (by, vouch) => this.#introduction.vouched(by, vouch),
        vouchFor: (peer) => {
          if (!this.#remembered.isOnDisk(peer)) {
            // The last write may have failed.
            this.#remembered.changed();
            return undefined;
          }
          return this.#introduction.isDone ? 'introduced' : 'newcomer';
        },
      },
    });
    this.#prober = new Prober(clock, random, this.#timing, this.#health, {
      targets: () => this.#news.livePeers(),
      ping: (peer, timeoutMs) => this.#exchange.ping(peer, timeoutMs),
      pingThrough: (helper, target, timeoutMs) => this.#exchange.pingThrough(helper, target, timeoutMs),
      accusation: (target) => this.#news.accusation(target),
    });
    this.#remembered = new RememberedMembers({
      directory: options.directory,
      disk: options.disk,
      clock,
      intervalMs: this.#timing.saveIntervalMs,
      current: () => this.#toSave(),
      failed: (error) => log.warn({ error: messageOf(error) }, 'members.json'),
    });
    const lost = new Set(options.lostPeers);
    const host = {
      others: () =>
        this.#table
          .members()
          .filter(({ peer, state }) => peer !== this.self && state !== 'left' && !lost.has(peer))
          .map(({ peer }) => peer),
      hasSynced: () => this.#exchange.hasSynced,
      isLive: (peer: PeerId) => isLive(this.#table.get(peer)?.state ?? 'gone'),
      ask: (peer: PeerId) => this.#exchange.ping(peer, this.#timing.probeIntervalMs),
      introduced: () => {
        // At once: after a crash, others that have to vouch for it may be away.
        void this.#remembered.save();
        this.#emit((listener) => listener.introduced?.());
      },
    };
    const hasSeeds = options.seeds.length > 0;
    this.#introduction = new Introduction(host, { clock, random, wanted: options.introductions, hasSeeds });
  }

  async load(): Promise<void> {
    const nowMs = this.#options.clock.nowMs();
    const { members, introduced } = await this.#remembered.load();
    for (const { record, state, sinceMs } of members) {
      this.#news.restore(record, state, Math.max(0, nowMs - sinceMs));
    }
    if (introduced) this.#introduction.restore();
  }

  start(): void {
    const { transport, random, seeds, log } = this.#options;
    transport.handle(SWIM_PROTOCOL, (channel) => this.#exchange.answer(channel), {
      requestBytesMax: LIMITS.membersBytesMax,
    });
    transport.subscribe(MEMBERS_TOPIC, (from, message) => {
      if (!this.#timers.closed) this.#news.onTopic(from, message);
    });
    this.#seeds = new Seeds(transport, random, seeds, {
      isLive: (peer) => isLive(this.#table.get(peer)?.state ?? 'gone'),
      join: (peer) => this.#sync(peer),
      failed: (seed, error) => log.debug({ seed, error: messageOf(error) }, 'seed not reached'),
    });
    this.#prober.start();
    this.#introduction.start();
    this.#timers.after(this.#syncDelayMs(), () => this.#syncRound());
    this.#timers.after(0, () => this.#reviveRound());
    this.#timers.after(this.#sweepMs(), () => this.#sweep());
  }

  members(): readonly Member[] {
    return this.#table.members();
  }

  member(peer: PeerId): Member | undefined {
    return this.#table.get(peer);
  }

  alive(): Member[] {
    return this.#table.members().filter(({ state }) => state === 'alive');
  }

  on(events: Partial<MembershipEvents>): void {
    this.#listeners.push(events);
  }

  attach(attachment: Attachment): void {
    this.#exchange.attach(attachment);
  }

  lastHeardMs(peer: PeerId): number | undefined {
    return this.#options.transport.lastReceivedMs(peer);
  }

  healthScore(): number {
    return this.#health.score;
  }

  identityConflicts(): readonly IdentityConflict[] {
    return this.#news.identities.conflicts(this.#news.ownTwin);
  }

  isSearching(): boolean {
    return this.#options.seeds.length > 0 && !this.#exchange.hasSynced;
  }

  isIntroduced(): boolean {
    return this.#introduction.isDone;
  }

  clockSkewMs(peer: PeerId): number | undefined {
    return this.#exchange.clocks.of(peer);
  }

  update(changes: Partial<Omit<SelfDescription, 'epoch'>>): void {
    this.#news.restate(changes);
  }

  #changed({ member, previous }: Change): void {
    if (!isLive(member.state)) this.#exchange.hangUp(member.peer);
    // Who came and who left for good must outlive a power cut: the one is counted for quorums, the other no longer waited for.
    if (member.state === 'left' || !previous) this.#remembered.changedMuch();
    else this.#remembered.changed();
    // Nobody waits to meet who has left.
    if (member.state === 'left') this.#introduction.look();
    this.#emit((listener) => {
      if (previous) listener.changed?.(member, previous);
      else listener.joined?.(member);
    });
  }

  /** A listener that throws must not stop the news from being weighed to its end. */
  #emit(tell: (listener: Partial<MembershipEvents>) => void): void {
    for (const listener of this.#listeners) {
      try {
        tell(listener);
      } catch (error) {
        this.#options.log.warn({ error: messageOf(error) }, 'a membership listener failed');
      }
    }
  }

  // Push-pull rounds.

  async #sync(peer: PeerId): Promise<void> {
    if ((await this.#exchange.sync(peer)) && !this.#announced) {
      this.#announced = true;
      // Whoever has just joined may not be subscribed yet where it matters: it says three times that it is here.
      for (const delayMs of [0, 1_000, 3_000]) this.#timers.after(delayMs, () => this.#news.announce());
    }
  }

  /** Whether it came about. */
  async #trySync(peer: PeerId): Promise<boolean> {
    try {
      await this.#sync(peer);
      return true;
    } catch (error) {
      this.#options.log.debug({ peer, error: messageOf(error) }, 'push-pull failed');
      return false;
    }
  }

  /** Each wait is drawn from three quarters to five quarters of its mean, so that nodes do not fall into step. */
  #jittered(ms: number): number {
    return ms * (0.75 + this.#options.random.unit() / 2);
  }

  /** As rare as there are many members: the state is as long as they are many, and what a peer sends a second stays the same. */
  #syncDelayMs(): number {
    const scale = Math.max(1 / 6, this.#table.live / 32);
    return this.#jittered(this.#timing.syncIntervalMs * scale);
  }

  #syncRound(): void {
    const [peer] = shuffled(this.#news.livePeers(), this.#options.random);
    if (peer !== undefined) void this.#trySync(peer);
    this.#timers.after(this.#syncDelayMs(), () => this.#syncRound());
  }

  /** Silent members are tried again for as long as they are remembered: so a healed partition grows together. */
  #reviveRound(): void {
    const silent = this.#table.members().filter(({ state }) => state === 'dead' || state === 'gone');
    const isolated = this.#table.live === 1;
    const chosen = shuffled(silent, this.#options.random).slice(0, isolated ? BOUNDS.reviveIsolatedPeers : 1);
    for (const { peer } of chosen) void this.#trySync(peer);
    const delayMs = isolated ? BOUNDS.reviveIsolatedMs : BOUNDS.reviveMs;
    this.#timers.after(this.#jittered(delayMs), () => this.#reviveRound());
  }

  // Dead becomes gone, tombstones expire.

  #sweepMs(): number {
    return Math.min(10_000, this.#timing.goneAfterMs / 4);
  }

  #sweep(): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (const { peer, state, stateSinceMs } of this.#table.members()) {
      const ageMs = nowMs - stateSinceMs;
      if (state === 'dead' && ageMs >= this.#timing.goneAfterMs) this.#news.setGone(peer);
      const tombstone = (state === 'left' && peer !== this.self) || state === 'gone';
      if (tombstone && ageMs >= this.#timing.tombstoneMs) this.#forget(peer);
    }
    this.#timers.after(this.#sweepMs(), () => this.#sweep());
  }

  #forget(peer: PeerId): void {
    this.#table.forget(peer);
    this.#exchange.forget(peer);
    this.#news.identities.forget(peer);
    this.#remembered.changed();
    this.#emit((listener) => listener.forgotten?.(peer));
  }

  #toSave() {
    const { clock } = this.#options;
    const offsetMs = clock.nowMs() - clock.monotonicMs();
    const members = this.#table
      .members()
      .filter(({ peer }) => peer !== this.self)
      .map(({ peer, state, stateSinceMs }) => ({
        record: this.#table.record(peer)!,
        state,
        sinceMs: stateSinceMs + offsetMs,
      }));
    return { members, introduced: this.#introduction.isDone };
  }

  // Going.

  startLeaving(): void {
    this.#news.restate({ leaving: true });
  }

  async leave(): Promise<boolean> {
    if (this.isSearching()) return false;
    this.#introduction.revoke();
    await this.#remembered.save();
    this.#news.restate({ left: true });
    this.#seeds?.close();
    this.#prober.close();
    const { clock, random, log } = this.#options;
    const peers = shuffled(this.#news.livePeers(), random).slice(0, BOUNDS.helpers);
    let isTold = !this.#table.members().some(({ peer, state }) => peer !== this.self && state !== 'left');
    const tell = async (peer: PeerId): Promise<void> => {
      if (await this.#trySync(peer)) isTold = true;
    };
    try {
      await withDeadline(clock, BOUNDS.leaveTimeoutMs, toldLate, () => Promise.all(peers.map(tell)));
    } catch (error) {
      log.warn({ error: messageOf(error) }, 'leaving');
    }
    return isTold;
  }

  close(): Promise<void> {
    this.#closing ??= this.#stop();
    return this.#closing;
  }

  async #stop(): Promise<void> {
    this.#timers.close();
    this.#seeds?.close();
    this.#prober.close();
    this.#introduction.close();
    this.#exchange.close();
    this.#news.close();
    await this.#remembered.save();
  }
}

function toldLate(): Error {
  return new LogvineError('LV_PEER_TIMEOUT', 'Nobody could be told in time');
}
