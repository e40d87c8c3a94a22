import {
  countRuns,
  intersectRuns,
  isDamaged,
  messageOf,
  segmentName,
  subtractRuns,
  type Clock,
  type Pace,
  type Run,
  type SegmentId,
  type Store,
  type Timer,
} from '../../store/index.ts';
import { request, type PeerId, type Transport } from '../transport/index.ts';
import { Turns } from '../turns.ts';
import { placeableUp, type MeshMember, type MeshView } from '../view.ts';
import { debtOf, type Debt } from './debt.ts';
import { fetchBatches } from './fetch.ts';
import { askForInventory, INVENTORY_PROTOCOL, type Holding } from './inventory.ts';
import { HoldingsKnown } from './knowledge.ts';
import { recoverOwn } from './own-recovery.ts';
import type { WantedOwners } from './wanted.ts';

/** How long a segment that a peer offered and that could not be taken is not asked for again. */
const REFUSED_MS = 10_000;
const REFUSED_MAX = 10_000;
/** Peers that say nothing of their version are asked in turn; those that do are asked anyway now and then. */
const LEISURE_MS = 60_000;
/** Everything known is looked through again, in case something here was lost unseen. */
const REVIEW_MS = 600_000;
const REVIEWED_AT_ONCE = 2_000;

export interface RepairerOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly view: MeshView;
  readonly store: Store;
  readonly wanted: WantedOwners;
  readonly replicas: number;
  /** One peer is asked for its inventory, or looked through, this often; so the rate does not grow with the mesh. */
  readonly pollMs: number;
  readonly timeoutMs: number;
  readonly pace: Pace;
  /** Whether this peer may hold copies of others' batches now: its disk has room, and the mesh knows it. */
  takesCopies(): boolean;
  /** Another peer was heard to hold a batch of this peer's current epoch. */
  onHeld(peer: PeerId, index: number, runs: readonly Run[]): void;
  log(level: 'info' | 'warn' | 'error', message: string): void;
}

/** What this peer should hold and still has to fetch. */
export interface Backlog {
  readonly batches: number;
  readonly bytes: number;
  /** At the rate of late; undefined while nothing came. */
  readonly seconds: number | undefined;
}

/**
 * Pulls what this peer should hold and does not: after a restart, a partition, a failed replication, rot, a new member.
 * Peers that changed are asked what did; the side that misses something fetches it.
 */
export class Repairer {
  readonly known = new HoldingsKnown();
  readonly #options: RepairerOptions;
  readonly #timers = new Set<Timer>();
  #next = 0;
  #closed = false;
  readonly #rounds = new Set<Promise<void>>();
  #fetchedBytes = 0;
  #bytesPerSecond = 0;
  readonly #refusedUntilMs = new Map<string, number>();
  /** Version of its inventory that each peer was last heard to have, and when it was last asked. */
  readonly #heard = new Map<PeerId, string>();
  readonly #askedAtMs = new Map<PeerId, number>();
  /** Segments of each peer that are still to be looked at, by name. */
  readonly #unexamined = new Map<PeerId, Set<string>>();
  #wantedVersion = -1;
  #reviewAtMs = 0;
  #nextSource = 0;
  #members: readonly MeshMember[] | undefined;
  #up: ReadonlySet<string> = new Set();
  #backlog: Backlog = { batches: 0, bytes: 0, seconds: undefined };
  #isCounting = false;

  constructor(options: RepairerOptions) {
    this.#options = options;
    const { store } = options;
    // A peer that owns some of an origin's segments expires some: only with those of others they become one run.
    store.dropped.expired.between = () => this.known.goneEverywhere(store);
    this.known.expired.between = () => (origin, epoch) => store.dropped.expired.runs(origin, epoch);
  }

  get fetchedBytes(): number {
    return this.#fetchedBytes;
  }

  start(): void {
    this.#every(() => this.#pollNext());
    this.#every(() => this.#pullNext());
  }

  /** Runs `work` again and again, a poll interval after it ended. */
  #every(work: () => Promise<void>): void {
    if (this.#closed) return;
    const { clock, pollMs, log } = this.#options;
    const timer = clock.after(pollMs, () => {
      this.#timers.delete(timer);
      const round = work()
        .catch((error: unknown) => log('info', `repair: ${messageOf(error)}`))
        .finally(() => {
          this.#rounds.delete(round);
          this.#every(work);
        });
      this.#rounds.add(round);
    });
    this.#timers.add(timer);
  }

  /** A peer said which inventory it has; it is asked when that is news. */
  heard(peer: PeerId, instance: string, version: number): void {
    this.#heard.set(peer, `${instance} ${version}`);
  }

  /** A member was forgotten. */
  forget(peer: PeerId): void {
    this.#heard.delete(peer);
    this.#askedAtMs.delete(peer);
    this.#unexamined.delete(peer);
  }

  /** Those who can be asked. */
  #others(): PeerId[] {
    const { view } = this.#options;
    return view
      .members()
      .filter(({ peer, state }) => peer !== view.self && state === 'alive')
      .map(({ peer }) => peer);
  }

  async #pollNext(): Promise<void> {
    const others = this.#others();
    const nowMs = this.#options.clock.monotonicMs();
    for (let looked = 0; looked < others.length; looked++) {
      const peer = others[this.#next++ % others.length];
      const { instance, version } = this.known.versionOf(peer);
      const said = this.#heard.get(peer);
      const isDue = nowMs - (this.#askedAtMs.get(peer) ?? -Infinity) >= LEISURE_MS;
      if (said === `${instance} ${version}` && !isDue) continue;
      await this.poll(peer);
      return;
    }
  }

  /** Learns what changed at a peer. Rejects when it cannot be asked. */
  async poll(peer: PeerId): Promise<void> {
    const { transport, clock, timeoutMs, store, view, onHeld } = this.#options;
    this.#askedAtMs.set(peer, clock.monotonicMs());
    const ask = (message: Buffer): Promise<Buffer> =>
      request(transport, peer, INVENTORY_PROTOCOL, message, timeoutMs);
    const answer = await askForInventory(this.known.versionOf(peer), ask);
    const unexamined = this.#unexaminedOf(peer);
    for (const holding of this.known.merge(peer, answer, store)) {
      unexamined.add(segmentName(holding));
      if (holding.origin !== view.self || holding.epoch !== store.epoch) continue;
      onHeld(peer, holding.index, holding.runs);
    }
  }

  #unexaminedOf(peer: PeerId): Set<string> {
    let names = this.#unexamined.get(peer);
    if (!names) this.#unexamined.set(peer, (names = new Set()));
    return names;
  }

  /** Looks on through what one peer holds, and fetches what is wanted here. */
  async #pullNext(): Promise<void> {
    const { clock, wanted, takesCopies, store } = this.#options;
    store.rollIfAged();
    const nowMs = clock.monotonicMs();
    const others = this.#others();
    const turns = new Turns(clock);
    if (wanted.version !== this.#wantedVersion || nowMs >= this.#reviewAtMs) {
      this.#wantedVersion = wanted.version;
      this.#reviewAtMs = nowMs + REVIEW_MS;
      for (const peer of others) {
        const names = this.#unexaminedOf(peer);
        for (const name of this.known.namesOf(peer)) names.add(name);
        if (turns.isOver) await turns.next();
      }
    }
    for (const segment of store.damaged) {
      for (const peer of this.known.holders(segment.id).keys())
        this.#unexaminedOf(peer).add(segmentName(segment.id));
    }
    if (!takesCopies()) return;
    const startedAt = this.#fetchedBytes;
    for (let looked = 0; looked < others.length; looked++) {
      const peer = others[this.#nextSource++ % others.length];
      await this.#pullFrom(peer, turns);
      if (this.#fetchedBytes > startedAt) break;
    }
    const elapsedMs = clock.monotonicMs() - nowMs;
    const gained = this.#fetchedBytes - startedAt;
    if (gained > 0 && elapsedMs > 0) this.#bytesPerSecond = (gained / elapsedMs) * 1000;
  }

  async #pullFrom(peer: PeerId, turns: Turns): Promise<void> {
    const names = this.#unexamined.get(peer);
    if (!names) return;
    let looked = 0;
    for (const name of names) {
      if (turns.isOver) await turns.next();
      if (this.#closed || ++looked > REVIEWED_AT_ONCE) return;
      const holding = this.known.named(peer, name);
      if (!holding || this.#isIdle(holding)) names.delete(name);
      if (!holding) continue;
      const missing = this.#missingOf(holding);
      if (missing.length > 0) {
        // Looked at again until nothing is missing.
        names.add(name);
        await this.#tryFetch(peer, holding, missing);
        turns.restart();
      }
    }
  }

  /** Nothing will change about it but by news of it: one that its origin still writes may have to be fetched when it ends. */
  #isIdle(holding: Holding): boolean {
    return !this.#isOpen(holding);
  }

  /**
   * What this peer should hold of it and does not. Where it holds rot, also of a segment that belongs to others: behind the rot may
   * be sound batches that are of no use without it, and that nobody else has.
   */
  #missingOf(holding: Holding): [number, number][] {
    const { store, view, wanted } = this.#options;
    const segment = store.segment(holding);
    let missing = subtractRuns(holding.runs, segment?.intervals() ?? []);
    if (missing.length === 0) return [];
    if (this.#isOpen(holding)) {
      // What comes live is left to it; what rotted away behind it does not come again.
      if (holding.owners.includes(view.self)) {
        missing = intersectRuns(missing, [[1, segment?.accepted?.seq ?? 0]]);
      } else if (!this.#lacksOwners(holding)) return [];
    } else if (!wanted.of(holding).includes(view.self) && !(segment && isDamaged(segment.record))) return [];
    if (missing.length === 0) return [];
    return subtractRuns(missing, store.dropped.expired.runs(holding.origin, holding.epoch));
  }

  /** It was opened on too few owners, or lost some, and this peer is wanted in their place. */
  #lacksOwners(holding: Holding): boolean {
    const { view, wanted } = this.#options;
    const owners = wanted.of(holding);
    if (!owners.includes(view.self)) return false;
    return new Set(holding.owners).intersection(this.#placeableUp()).size < owners.length;
  }

  /** Asked for every segment there is: worked out anew only when a member changed. */
  #placeableUp(): ReadonlySet<string> {
    const members = this.#options.view.members();
    if (members !== this.#members) this.#up = new Set(placeableUp(members).map(({ peer }) => peer));
    this.#members = members;
    return this.#up;
  }

  /** Its origin is up and may still add to it. */
  #isOpen({ origin, epoch, index }: Holding): boolean {
    const { view, store } = this.#options;
    if (origin === view.self) return store.openSegment?.id.index === index && epoch === store.epoch;
    if (!this.#placeableUp().has(origin)) return false;
    const own = this.known.holding(origin as PeerId, { origin, epoch, index });
    // One that its origin does not name any more was dropped there, so it is finished.
    if (!own) return this.known.versionOf(origin as PeerId).instance === '';
    return own.open;
  }

  /** One segment that cannot be taken must not keep the others of that peer from coming. */
  async #tryFetch(
    peer: PeerId,
    holding: Holding,
    missing: readonly Run[],
    signal?: AbortSignal,
  ): Promise<void> {
    const { clock, log } = this.#options;
    const key = `${peer} ${segmentName(holding)}`;
    const nowMs = clock.monotonicMs();
    if ((this.#refusedUntilMs.get(key) ?? 0) > nowMs) return;
    try {
      this.#fetchedBytes += await fetchBatches(peer, holding, missing, { ...this.#options, signal });
      this.#refusedUntilMs.delete(key);
    } catch (error) {
      const { code } = error as { code?: string };
      if (code !== 'LV_PROTOCOL' && code !== 'LV_BATCH_CONFLICT' && code !== 'LV_FRAME_CORRUPT') throw error;
      if (this.#refusedUntilMs.size >= REFUSED_MAX) this.#refusedUntilMs.clear();
      this.#refusedUntilMs.set(key, nowMs + REFUSED_MS);
      log('warn', `repair of ${segmentName(holding)} from ${peer}: ${messageOf(error)}`);
    }
  }

  /**
   * Brings back what others hold of this peer's earlier runs and it lost itself. To be waited for before anything is read on;
   * see own-recovery.ts.
   */
  recoverOwn(findMs: number, totalMs: number): Promise<void> {
    return recoverOwn({
      ...this.#options,
      known: this.known,
      findMs,
      totalMs,
      isClosed: () => this.#closed,
      poll: (peer) => this.poll(peer),
      fetch: (peer, holding, missing, signal) => this.#tryFetch(peer, holding, missing, signal),
    });
  }

  wantedOwners(id: SegmentId): readonly PeerId[] {
    return this.#options.wanted.of(id);
  }

  debt(): Debt {
    return debtOf({ ...this.#options, known: this.known });
  }

  /**
   * Looks through everything known: for the status, not for every second. Where that takes more than a turn, it goes on behind, and
   * the answer is the one before.
   */
  backlog(): Backlog {
    if (this.#isCounting || this.#closed) return this.#backlog;
    this.#isCounting = true;
    const counted = this.#countBacklog()
      .catch((error: unknown) => this.#options.log('info', `repair: ${messageOf(error)}`))
      .finally(() => {
        this.#isCounting = false;
        this.#rounds.delete(counted);
      });
    this.#rounds.add(counted);
    return this.#backlog;
  }

  /** Sets `#backlog`, at once if one turn is enough. */
  async #countBacklog(): Promise<void> {
    const { store, clock } = this.#options;
    const turns = new Turns(clock);
    let batches = 0;
    let bytes = 0;
    const seen = new Set<string>();
    for (const peer of this.#others()) {
      for (const name of this.known.namesOf(peer)) {
        if (seen.has(name)) continue;
        if (turns.isOver) await turns.next();
        if (this.#closed) return;
        const holding = this.known.named(peer, name);
        // It was dropped there in between.
        if (!holding) continue;
        seen.add(name);
        const missing = countRuns(this.#missingOf(holding));
        if (missing === 0) continue;
        batches += missing;
        bytes += Math.round((holding.bytes * missing) / Math.max(1, countRuns(holding.runs)));
      }
    }
    for (const segment of store.damaged) {
      const damaged = segment.record.quarantined.reduce((sum, range) => sum + range.bytes, 0);
      if (!seen.has(segmentName(segment.id))) bytes += damaged;
    }
    const rate = this.#bytesPerSecond;
    this.#backlog = { batches, bytes, seconds: rate > 0 ? Math.ceil(bytes / rate) : undefined };
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of this.#timers) timer.cancel();
    await Promise.race([
      Promise.all(this.#rounds),
      new Promise<void>((resolve) => this.#options.clock.after(this.#options.timeoutMs, resolve)),
    ]);
  }
}
