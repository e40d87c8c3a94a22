import { isDeepStrictEqual } from 'node:util';
import { LIMITS, LogvineError, type SegmentId, type Loss, type Run } from '../../store/index.ts';
import { standingLosses, type StandingLosses } from '../losses/losses.ts';
import { subtractRuns, unionRuns, type Watermarks } from '../repair/index.ts';
import type { PeerId } from '../transport/index.ts';
import { EVERY_PEER, placeable, presentMembers, type MeshView } from '../view.ts';
import { ChainWalk, type Copies } from './chain.ts';
import {
  compareSegments,
  SEGMENTS_ASKED_MAX,
  type Knowledge,
  type SealedRange,
  type SegmentAudit,
} from './messages.ts';
import { AuditSource, auditStepsOf, type SourceHost } from './source.ts';
import { timeOf, type ShortRun, type UnreachablePeer, type Verdict } from './verdict.ts';

const PROGRESS_MS = 500;
/** Copies move while one looks: what seems to be on too few disks is looked at again after this long. */
const SECOND_LOOK_MS = 3_000;

export interface VerifierOptions extends SourceHost {
  readonly view: MeshView;
  readonly watermarks: Watermarks;
  /** Copies wanted (k). */
  readonly replicas: number;
}

export interface VerifyProgress {
  /** Read so far and to be read, on all peers. */
  readonly bytes: number;
  readonly bytesTotal: number;
  readonly segments: number;
  readonly peers: number;
}

/**
 * Verifies the whole mesh: every member reads its own disk and tells the header hash of each of its batches, in one order;
 * here they are merged, so that all copies of a segment come together, compared, and walked along their chains.
 * A peer is believed what it says of its own disk. One that lies can claim copies that it does not have, and hide a batch
 * that nobody else has; it cannot make up a batch, nor hide one that others hold or name.
 */
export class Verifier {
  readonly #options: VerifierOptions;
  #running = 0;

  constructor(options: VerifierOptions) {
    this.#options = options;
  }

  /** Throws LV_OVERLOADED when too many verifications run here; the reason of `signal` when it fires. */
  async *run(range: SealedRange, signal: AbortSignal): AsyncGenerator<VerifyProgress, Verdict> {
    if (this.#running >= LIMITS.verifyAtOnceMax) {
      throw new LogvineError('LV_OVERLOADED', 'the mesh is being verified from here already: wait for it');
    }
    this.#running++;
    const pass = new Pass(this.#options, range, signal);
    try {
      return yield* pass.run();
    } finally {
      await pass.stop();
      this.#running--;
    }
  }
}

class Pass {
  readonly #options: VerifierOptions;
  readonly #range: SealedRange;
  readonly #signal: AbortSignal;
  readonly #walk: ChainWalk;
  readonly #down: readonly PeerId[];
  readonly #losses: Loss[] = [];
  readonly #expired = new Map<string, [number, number][]>();
  readonly #unreachable: UnreachablePeer[] = [];
  readonly #asked: PeerId[];
  /** All that this peer knows but those that have left, and those that others know besides. */
  readonly #members: ReadonlySet<PeerId>;
  readonly #strangers = new Set<PeerId>();
  readonly #startedMs: number;
  readonly #copiesWanted: number;
  #sources: AuditSource[] = [];
  #bytesRead = 0;

  constructor(options: VerifierOptions, range: SealedRange, signal: AbortSignal) {
    const { view, watermarks, replicas, clock } = options;
    this.#options = options;
    this.#range = range;
    this.#signal = signal;
    this.#startedMs = clock.monotonicMs();
    const known = view.members().filter(({ state }) => state !== 'left');
    this.#members = new Set(known.map(({ peer }) => peer));
    const members = presentMembers(view.members());
    const away = members.filter(({ peer, state }) => state === 'dead' && peer !== view.self);
    this.#asked = members.filter((member) => !away.includes(member)).map(({ peer }) => peer);
    this.#down = away.map(({ peer }) => peer);
    if (view.isSearching()) {
      this.#unreachable.push({ peer: EVERY_PEER, problem: 'none has been found yet' });
    }
    this.#copiesWanted = Math.min(replicas, placeable(members).length);
    this.#walk = new ChainWalk({
      range,
      copiesWanted: this.#copiesWanted,
      // Noted before anybody is asked: what is acknowledged while they look may come after they looked.
      watermarks: watermarks.all().map(({ origin, epoch, durable }) => ({ origin, epoch, durable })),
      isWithinReach: (origin) => this.#asked.some((peer) => peer === origin),
      expired: (origin, epoch) => this.#expired.get(`${origin}/${epoch}`) ?? [],
      lost: (origin, epoch) => this.#lostRuns(origin, epoch),
    });
  }

  async *run(): AsyncGenerator<VerifyProgress, Verdict> {
    for await (const copies of this.#segments(undefined)) {
      if (copies === 'tick') yield this.#progress();
      else this.#walk.segment([...copies.values()][0].id, copies);
    }
    this.#noteFailures();
    this.#walk.finish();
    yield this.#progress();
    const short = yield* this.#secondLook();
    return this.#verdict(short);
  }

  /** The copies of each segment, merged from the sorted streams of all peers; a tick now and then while they work. */
  async *#segments(only: readonly SegmentId[] | undefined): AsyncGenerator<Copies | 'tick'> {
    const request = { range: this.#range, only };
    const asked = only
      ? this.#asked.filter((peer) => !this.#unreachable.some((one) => one.peer === peer))
      : this.#asked;
    this.#sources = asked.map(
      (peer) =>
        new AuditSource(peer, auditStepsOf(peer, request, this.#options, this.#signal), (knowledge) =>
          this.#note(knowledge),
        ),
    );
    let behind = this.#sources;
    for (;;) {
      const advancing = Promise.all(behind.map((source) => source.advance()));
      for await (const _ of this.#ticksUntil(advancing)) yield 'tick';
      const heads = this.#sources.filter((source) => source.head);
      if (heads.length === 0) return;
      const first = heads.map(({ head }) => head!.id).reduce((a, b) => (compareSegments(a, b) <= 0 ? a : b));
      behind = heads.filter(({ head }) => compareSegments(head!.id, first) === 0);
      yield new Map<string, SegmentAudit>(behind.map(({ peer, head }) => [peer, head!]));
    }
  }

  async *#ticksUntil(work: Promise<unknown>): AsyncGenerator<void> {
    const { clock } = this.#options;
    let isOver = false;
    const over = work.then(() => (isOver = true));
    const stopped = Promise.withResolvers<never>();
    stopped.promise.catch(() => undefined);
    const stop = (): void => stopped.reject(this.#signal.reason as Error);
    this.#signal.addEventListener('abort', stop, { once: true });
    try {
      for (;;) {
        this.#signal.throwIfAborted();
        const tick = Promise.withResolvers<void>();
        const timer = clock.after(PROGRESS_MS, () => tick.resolve());
        await Promise.race([over, tick.promise, stopped.promise]).finally(() => timer.cancel());
        if (isOver) return;
        yield;
      }
    } finally {
      this.#signal.removeEventListener('abort', stop);
    }
  }

  #note({ expired, gone, losses, peers }: Knowledge): void {
    for (const { origin, epoch, to } of gone) this.#walk.expect(origin, epoch, to, 'a peer had it before');
    const byEpoch = Map.groupBy(expired, ({ origin, epoch }) => `${origin}/${epoch}`);
    for (const [key, runs] of byEpoch) {
      const told = runs.map(({ from, to }) => [from, to] as const);
      this.#expired.set(key, unionRuns(this.#expired.get(key) ?? [], told));
    }
    for (const loss of losses) {
      const isKnown = this.#losses.some((known) => isDeepStrictEqual(known, loss));
      if (!isKnown && this.#losses.length < LIMITS.lossesMax) this.#losses.push(loss);
    }
    for (const peer of peers) {
      if (!this.#members.has(peer) && this.#strangers.size < LIMITS.membersMax) this.#strangers.add(peer);
    }
  }

  #lost(): StandingLosses {
    return standingLosses(this.#losses, this.#options.view.members());
  }

  #lostRuns(origin: string, epoch: number): readonly Run[] {
    const runs = this.#lost().runs.filter((run) => run.origin === origin && run.epoch === epoch);
    return unionRuns(
      runs.map(({ from, to }) => [from, to]),
      [],
    );
  }

  #noteFailures(): void {
    const lost = this.#lost().peers;
    for (const peer of this.#down)
      if (!lost.has(peer)) this.#unreachable.push({ peer, problem: 'it is down' });
    for (const peer of this.#strangers) {
      if (lost.has(peer)) continue;
      this.#unreachable.push({ peer, problem: 'others know it, the peer that was asked does not yet' });
    }
    for (const { peer, failure } of this.#sources) {
      if (failure !== undefined) this.#unreachable.push({ peer, problem: failure });
    }
    this.#bytesRead = this.#sources.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Segments with batches on too few disks, once more: what is still short then is. */
  async *#secondLook(): AsyncGenerator<VerifyProgress, readonly ShortRun[]> {
    const { short, shortSegments } = this.#walk;
    const ids = [...shortSegments.values()];
    if (ids.length === 0 || ids.length > SEGMENTS_ASKED_MAX) return short.items;
    const progress = this.#progress();
    const pause = new Promise<void>((resolve) => this.#options.clock.after(SECOND_LOOK_MS, resolve));
    for await (const _ of this.#ticksUntil(pause)) yield progress;
    /** (origin, epoch) → which peer has which runs. */
    const again = new Map<string, Map<string, [number, number][]>>();
    for await (const copies of this.#segments(ids.sort(compareSegments))) {
      if (copies === 'tick') yield progress;
      else for (const [peer, { id, runs }] of copies) noteRuns(again, `${id.origin}/${id.epoch}`, peer, runs);
    }
    const left: ShortRun[] = [];
    for (const run of short.items) {
      const held = [...(again.get(`${run.origin}/${run.epoch}`) ?? [])];
      const holders = held.filter(([, runs]) => subtractRuns([[run.fromSeq, run.toSeq]], runs).length === 0);
      const before = run.holders.length;
      if (holders.length > before) this.#recount(run, before, holders.length);
      if (holders.length < this.#copiesWanted) {
        left.push(holders.length > before ? { ...run, holders: holders.map(([peer]) => peer) } : run);
      }
    }
    return left;
  }

  #recount({ fromSeq, toSeq }: ShortRun, before: number, now: number): void {
    const { batchesByCopies } = this.#walk;
    const batches = toSeq - fromSeq + 1;
    batchesByCopies.set(before, (batchesByCopies.get(before) ?? 0) - batches);
    batchesByCopies.set(now, (batchesByCopies.get(now) ?? 0) + batches);
  }

  #progress(): VerifyProgress {
    let bytes = 0;
    let bytesTotal = 0;
    for (const source of this.#sources) {
      bytes += source.bytes;
      bytesTotal += source.bytesTotal;
    }
    return { bytes, bytesTotal, segments: this.#walk.totals.segments, peers: this.#sources.length };
  }

  #verdict(tooFewCopies: readonly ShortRun[]): Verdict {
    const { missing, damaged, conflicts, broken, notices, totals, batchesByCopies, short } = this.#walk;
    const gapless = !missing.any;
    const unaltered = !damaged.any && !conflicts.any && !broken.any;
    // Of those that are not named, nobody looked again.
    const enoughCopies = tooFewCopies.length === 0 && short.omitted === 0;
    const histogram = [...batchesByCopies].filter(([, batches]) => batches > 0).sort((a, b) => b[0] - a[0]);
    return {
      proven: gapless && unaltered && enoughCopies && this.#unreachable.length === 0,
      gapless,
      unaltered,
      enoughCopies,
      from: timeOf(this.#range.fromMs),
      to: timeOf(this.#range.toMs),
      origins: totals.origins,
      epochs: totals.epochs,
      segments: totals.segments,
      batches: totals.batches,
      copies: totals.copies,
      bytesRead: this.#bytesRead,
      copiesWanted: this.#copiesWanted,
      batchesByCopies: Object.fromEntries(histogram),
      unacknowledged: totals.unacknowledged,
      acknowledgementUnknown: totals.acknowledgementUnknown,
      expired: totals.expired,
      lost: totals.lost,
      missing: missing.items,
      damaged: damaged.items,
      conflicts: conflicts.items,
      broken: broken.items,
      tooFewCopies,
      unreachable: this.#unreachable,
      notices: notices.items,
      omitted: [missing, damaged, conflicts, broken, short, notices].reduce(
        (sum, { omitted }) => sum + omitted,
        0,
      ),
      peers: { asked: this.#asked.length, answered: this.#asked.length - this.#failed() },
      durationMs: Math.round(this.#options.clock.monotonicMs() - this.#startedMs),
    };
  }

  #failed(): number {
    return this.#asked.filter((peer) => this.#unreachable.some((one) => one.peer === peer)).length;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#sources.map((source) => source.stop()));
  }
}

function noteRuns(
  known: Map<string, Map<string, [number, number][]>>,
  epoch: string,
  peer: string,
  runs: SegmentAudit['runs'],
): void {
  let peers = known.get(epoch);
  if (!peers) known.set(epoch, (peers = new Map()));
  peers.set(
    peer,
    unionRuns(
      peers.get(peer) ?? [],
      runs.map(({ first, last }) => [first, last] as const),
    ),
  );
}
