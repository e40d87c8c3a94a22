import { z } from 'zod';
import {
  LogvineError,
  messageOf,
  segmentName,
  type Clock,
  type SegmentId,
  type Store,
  type Timer,
} from '../../store/index.ts';
import { placeOn } from '../placement/index.ts';
import { request, withDeadline, type Channel, type PeerId, type Transport } from '../transport/index.ts';
import { placeable, type MeshMember, type MeshView } from '../view.ts';
import {
  encodeInventoryRequest,
  encodeMessage,
  INVENTORY_PROTOCOL,
  parseInventory,
  parseMessage,
  type Holding,
} from './inventory.ts';
import { HoldingsKnown, ownHoldings } from './knowledge.ts';
import { countRuns, intersectRuns, subtractRuns, unionRuns, type Run } from './runs.ts';

export const FETCH_PROTOCOL = '/logvine/fetch/1';

/** How long a segment that a peer offered and that could not be taken is not asked for again. */
const REFUSED_MS = 10_000;
const REFUSED_MAX = 10_000;
const OWN_RECOVERY_PARALLEL = 8;
const OWN_RECOVERY_PAUSE_MS = 50;

const fetchRequest = z.object({
  origin: z.string().max(128),
  epoch: z.number().int().nonnegative(),
  index: z.number().int().positive(),
  runs: z.array(z.tuple([z.number().int().positive(), z.number().int().positive()])).max(100_000),
});

/** Sends the asked batches of one segment that are held here and sound, in order. */
export async function serveFetch(channel: Channel, store: Store): Promise<void> {
  const message = await channel.receive();
  if (!message) return;
  const { runs, ...id } = parseMessage(fetchRequest, message, 'fetch');
  for (const [from, to] of runs) {
    for (let seq = from; seq <= to; seq++) {
      if (!store.segment(id)?.entry(seq)) continue;
      const frame = await store.readFrame(id, seq);
      if (frame) await channel.send(frame);
    }
  }
  await channel.close();
}

export interface RepairerOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly view: MeshView;
  readonly store: Store;
  readonly replicas: number;
  readonly ackQuorum: number;
  /** How often one peer is asked for its inventory; peers are asked in turn, so the rate does not grow with the mesh. */
  readonly pollMs: number;
  readonly timeoutMs: number;
  /** A peer dead for longer is repaired around. */
  readonly repairDelayMs: number;
  /** Another peer was heard to hold a batch of this peer's current epoch. */
  onHeld(peer: PeerId, index: number, seq: number): void;
  log(level: 'info' | 'warn' | 'error', message: string): void;
}

/**
 * Pulls what this peer should hold and does not: after a restart, a partition, a failed replication, rot, a new member.
 * Peers are asked in turn what changed in their inventories; the side that misses something fetches it.
 */
export class Repairer {
  readonly known = new HoldingsKnown();
  readonly #options: RepairerOptions;
  #timer: Timer | undefined;
  #next = 0;
  #closed = false;
  #round: Promise<void> = Promise.resolve();
  #fetchedBytes = 0;
  readonly #refusedUntilMs = new Map<string, number>();

  constructor(options: RepairerOptions) {
    this.#options = options;
  }

  get fetchedBytes(): number {
    return this.#fetchedBytes;
  }

  start(): void {
    this.#schedule();
  }

  #schedule(): void {
    if (this.#closed) return;
    this.#timer = this.#options.clock.after(this.#options.pollMs, () => {
      this.#round = this.#tick().finally(() => this.#schedule());
    });
  }

  async #tick(): Promise<void> {
    const { view, transport } = this.#options;
    // One that has left still answers while it hands over what it holds.
    const others = view
      .members()
      .filter(
        ({ peer, state }) =>
          peer !== view.self && (state === 'alive' || (state === 'left' && transport.isConnected(peer))),
      );
    if (others.length === 0) return;
    const { peer } = others[this.#next++ % others.length];
    try {
      await this.poll(peer);
      await this.#pullFrom(peer);
    } catch (error) {
      this.#options.log('info', `repair with ${peer}: ${messageOf(error)}`);
    }
  }

  /**
   * Brings back what others hold of this peer's earlier runs and it lost itself: a file that was cut, an older image of its
   * disk. To be waited for before anything is read on, else the lost lines would be read and sealed a second time.
   * Members are waited for up to `findMs`, and all of it takes no longer than `totalMs`.
   */
  async recoverOwn(findMs: number, totalMs: number): Promise<void> {
    const { clock, view } = this.#options;
    const startedMs = clock.monotonicMs();
    const asked = new Set<PeerId>();
    const answered = new Set<PeerId>();
    while (!this.#closed) {
      const others = view.members().filter(({ peer, state }) => peer !== view.self && state === 'alive');
      // Those that were not asked yet come first; who did not answer is asked again.
      const next = others
        .filter(({ peer }) => !answered.has(peer))
        .sort((a, b) => Number(asked.has(a.peer)) - Number(asked.has(b.peer)))
        .slice(0, OWN_RECOVERY_PARALLEL);
      const elapsedMs = clock.monotonicMs() - startedMs;
      const isAllAsked = others.every(({ peer }) => asked.has(peer));
      if (isAllAsked && (answered.size > 0 || elapsedMs >= findMs)) return;
      if (elapsedMs >= totalMs) return;
      const polls = next.map(async ({ peer }) => {
        asked.add(peer);
        await this.poll(peer);
        answered.add(peer);
      });
      await this.#within(findMs, Promise.allSettled(polls));
      await this.#within(totalMs - elapsedMs, this.#fetchOwn(next));
      await this.#within(OWN_RECOVERY_PAUSE_MS, undefined);
    }
  }

  /** Waits for `done`, or for `ms`; without `done`, for `ms`. */
  async #within(ms: number, done: Promise<unknown> | undefined): Promise<void> {
    const over = Promise.withResolvers<void>();
    const timer = this.#options.clock.after(ms, () => over.resolve());
    await Promise.race(done ? [done, over.promise] : [over.promise]);
    timer.cancel();
  }

  /** From one after the other, since most of them hold the same. Never rejects. */
  async #fetchOwn(members: readonly { readonly peer: PeerId }[]): Promise<void> {
    const { store, view, log } = this.#options;
    for (const { peer } of members) {
      for (const holding of this.known.of(peer)) {
        if (holding.origin !== view.self || holding.epoch >= store.epoch) continue;
        const missing = subtractRuns(holding.runs, store.segment(holding)?.intervals() ?? []);
        if (missing.length === 0) continue;
        const what = `${countRuns(missing)} own batches of ${segmentName(holding)}`;
        log('warn', `${what} are lost here and fetched from ${peer}`);
        await this.#tryFetch(peer, holding, missing).catch((error: unknown) => {
          log('warn', `${what} did not come from ${peer}: ${messageOf(error)}`);
        });
      }
    }
  }

  /** Learns what changed at a peer. Rejects when it cannot be asked. */
  async poll(peer: PeerId): Promise<void> {
    const { transport, timeoutMs, store, view, onHeld } = this.#options;
    const { instance, version } = this.known.versionOf(peer);
    const answer = await request(
      transport,
      peer,
      INVENTORY_PROTOCOL,
      encodeInventoryRequest(instance, version),
      timeoutMs,
    );
    for (const holding of this.known.merge(peer, parseInventory(answer))) {
      if (holding.origin !== view.self || holding.epoch !== store.epoch) continue;
      // Cumulative from the segment's first batch: what lies behind a hole is not confirmed by it.
      const first = store.segment(holding)?.firstSeq;
      const run = holding.runs.find(([from]) => from === first);
      if (run) onHeld(peer, holding.index, run[1]);
    }
  }

  /**
   * The peers that a segment should be on now: its owners as recorded, less those away for longer than the repair delay,
   * filled up by rendezvous. A dead owner keeps its place for the delay unless too few others are alive for the quorum.
   */
  wantedOwners(id: SegmentId, recorded: readonly string[]): string[] {
    const { view, clock, replicas, repairDelayMs, ackQuorum } = this.#options;
    const members = view.members();
    const states = new Map<string, MeshMember>(members.map((member) => [member.peer, member]));
    const alive = recorded.filter((peer) => states.get(peer)?.state === 'alive');
    const kept = recorded.filter((peer) => {
      const member = states.get(peer);
      if (!member || member.state === 'left' || member.state === 'gone') return false;
      if (member.state !== 'dead' || alive.length >= ackQuorum) {
        return member.state !== 'dead' || clock.monotonicMs() - member.stateSinceMs < repairDelayMs;
      }
      return false;
    });
    if (kept.length >= replicas) return kept;
    const candidates = placeable(members).filter(
      ({ peer, state }) => state === 'alive' && !kept.includes(peer),
    );
    return [...kept, ...placeOn(segmentName(id), candidates, replicas - kept.length)];
  }

  async #pullFrom(peer: PeerId): Promise<void> {
    const { store, view } = this.#options;
    for (const holding of this.known.of(peer)) {
      if (this.#closed) return;
      const segment = store.segment(holding);
      let missing = subtractRuns(holding.runs, segment?.intervals() ?? []);
      // What comes live is left to it; what rotted away behind it does not come again.
      if (this.#comesLive(holding)) missing = intersectRuns(missing, [[1, segment?.accepted?.seq ?? 0]]);
      if (missing.length === 0) continue;
      const own = holding.origin === view.self;
      if (!own && !this.wantedOwners(holding, holding.owners).includes(view.self)) continue;
      await this.#tryFetch(peer, holding, missing);
    }
  }

  /** One segment that cannot be taken must not keep the others of that peer from coming. */
  async #tryFetch(peer: PeerId, holding: Holding, missing: readonly Run[]): Promise<void> {
    const { clock, log } = this.#options;
    const key = `${peer} ${segmentName(holding)}`;
    const nowMs = clock.monotonicMs();
    if ((this.#refusedUntilMs.get(key) ?? 0) > nowMs) return;
    try {
      await this.#fetch(peer, holding, missing);
      this.#refusedUntilMs.delete(key);
    } catch (error) {
      const { code } = error as { code?: string };
      if (code !== 'LV_PROTOCOL' && code !== 'LV_BATCH_CONFLICT' && code !== 'LV_FRAME_CORRUPT') throw error;
      if (this.#refusedUntilMs.size >= REFUSED_MAX) this.#refusedUntilMs.clear();
      this.#refusedUntilMs.set(key, nowMs + REFUSED_MS);
      log('warn', `repair of ${segmentName(holding)} from ${peer}: ${messageOf(error)}`);
    }
  }

  /** Another origin is writing this segment and sends it here. */
  #comesLive({ origin, owners, ...id }: Holding): boolean {
    const { view } = this.#options;
    if (origin === view.self || !owners.includes(view.self)) return false;
    const isAlive = view.members().some(({ peer, state }) => peer === origin && state === 'alive');
    return isAlive && this.known.holding(origin as PeerId, { origin, ...id })?.open !== false;
  }

  async #fetch(peer: PeerId, id: SegmentId, runs: readonly Run[]): Promise<void> {
    const { transport, clock, store, timeoutMs } = this.#options;
    const channel = await transport.open(peer, FETCH_PROTOCOL, { timeoutMs });
    const late = () => new LogvineError('LV_PEER_TIMEOUT', `${peer} sent nothing for ${timeoutMs} ms`);
    try {
      const { origin, epoch, index } = id;
      await channel.send(encodeMessage({ origin, epoch, index, runs }));
      for (;;) {
        // One that falls silent must not stop the rounds with all the others.
        const frame = await withDeadline(clock, timeoutMs, late, () => channel.receive());
        if (!frame) break;
        await store.appendReplica(frame);
        this.#fetchedBytes += frame.length;
      }
      await channel.close();
    } catch (error) {
      channel.abort(error as Error);
      throw error;
    }
  }

  /** Batches that are on fewer than k peers, as far as this peer knows: its own, and those of origins that are away. */
  debt(): { batchesBelowK: number; bytesBelowK: number } {
    const { view, store, replicas } = this.#options;
    const members = view.members();
    const present = new Set(placeable(members).map(({ peer }) => peer));
    const alive = new Set(members.filter(({ state }) => state === 'alive').map(({ peer }) => peer));
    const wanted = Math.min(replicas, present.size);
    let batchesBelowK = 0;
    let bytesBelowK = 0;
    for (const [segment, holding] of ownHoldings(store)) {
      if (holding.origin !== view.self && alive.has(holding.origin as PeerId)) continue;
      const { origin, epoch, index } = segment.id;
      const others = [...alive].filter((peer) => peer !== view.self);
      const copies = others.map((peer) => this.known.holding(peer, { origin, epoch, index })?.runs ?? []);
      // How many others each batch needs, as runs: below k when fewer than wanted − 1 of the others have it.
      const short = shortRuns(holding.runs, copies, wanted - 1);
      if (short.length === 0) continue;
      batchesBelowK += countRuns(short);
      for (const [from, to] of short) {
        for (let seq = from; seq <= to; seq++) bytesBelowK += segment.entry(seq)?.frameBytes ?? 0;
      }
    }
    return { batchesBelowK, bytesBelowK };
  }

  /** Segments held here of which some batch is on fewer than k of the peers that stay. Asks each of them anew. */
  async segmentsToHandOver(): Promise<number> {
    const { view, store, replicas } = this.#options;
    const staying = view.members().filter(({ peer, state }) => state === 'alive' && peer !== view.self);
    await Promise.allSettled(staying.map(({ peer }) => this.poll(peer)));
    const needed = Math.min(replicas, staying.length);
    let segments = 0;
    for (const [, { runs, origin, epoch, index }] of ownHoldings(store)) {
      const copies = staying.map(
        ({ peer }) => this.known.holding(peer, { origin, epoch, index })?.runs ?? [],
      );
      if (needed === 0 || shortRuns(runs, copies, needed).length > 0) segments++;
    }
    return segments;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await Promise.race([
      this.#round,
      new Promise<void>((resolve) => this.#options.clock.after(this.#options.timeoutMs, resolve)),
    ]);
  }
}

/** The part of `runs` that fewer than `needed` of `copies` have. */
export function shortRuns(
  runs: readonly Run[],
  copies: readonly (readonly Run[])[],
  needed: number,
): [number, number][] {
  if (needed <= 0) return [];
  // covered[i] = what at least i + 1 of the copies have.
  let covered: [number, number][][] = Array.from({ length: needed }, () => []);
  for (const copy of copies) {
    const next = covered.map((level) => level);
    for (let level = needed - 1; level >= 0; level--) {
      const gained = level === 0 ? (copy as [number, number][]) : intersectRuns(covered[level - 1], copy);
      next[level] = unionRuns(covered[level], gained);
    }
    covered = next;
  }
  return subtractRuns(runs, covered[needed - 1]);
}
