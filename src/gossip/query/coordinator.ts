import {
  labelsText,
  LogvineError,
  mergeSources,
  segmentName,
  type Clock,
  type EntryRun,
  type Labels,
  type SegmentId,
  type Store,
  type TimeRange,
} from '../../store/index.ts';
import {
  countRuns,
  encodeMessage,
  intersectRuns,
  parseMessage,
  subtractRuns,
  unionRuns,
  type HoldingsKnown,
  type Watermarks,
} from '../repair/index.ts';
import { request, type PeerId, type Transport } from '../transport/index.ts';
import type { MeshView } from '../view.ts';
import { askWhatExpired } from './expired.ts';
import { coverageOf, type Holder } from './holder.ts';
import {
  COVERAGE_PROTOCOL,
  coverageAnswer,
  SERIES_PROTOCOL,
  seriesAnswer,
  type CoverageAnswer,
  type CoveredSegment,
  type ScanMessage,
} from './messages.ts';
import {
  countMissing,
  findGaps,
  timeText,
  type Expectation,
  type Gaps,
  type MissingBatches,
  type Receipt,
  type SilentOrigin,
} from './receipt.ts';
import { HolderSource, stepsOf, type SourceEvents } from './sources.ts';

export interface CoordinatorOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly view: MeshView;
  readonly store: Store;
  readonly holder: Holder;
  readonly known: HoldingsKnown;
  readonly watermarks: Watermarks;
  readonly ackQuorum: number;
  readonly coverageTimeoutMs: number;
  /** This peer was told of a mesh to join. */
  readonly hasSeeds: boolean;
}

export interface EntryQuery {
  readonly query: string;
  readonly range: TimeRange;
  readonly descending: boolean;
  readonly limit: number;
  readonly signal: AbortSignal;
}

/** A segment in the range, and who has which part of it. */
interface Located {
  readonly segment: CoveredSegment;
  readonly holders: Map<PeerId, [number, number][]>;
}

type Work = ScanMessage['work'];
type Fresh = Pick<ScanMessage, 'freshAfterSeq' | 'freshExcept'>;

/**
 * Answers a query for the whole mesh: asks every live member what it holds, gives each segment to one holder, merges
 * their sorted rows, gives a failed holder's work to another one, and says in the receipt what could not be read.
 */
export class Coordinator {
  readonly #options: CoordinatorOptions;

  constructor(options: CoordinatorOptions) {
    this.#options = options;
  }

  /** Runs of entries in the order of the query; returns the receipt. */
  async *entries(query: EntryQuery): AsyncGenerator<EntryRun, Receipt> {
    const startedMs = this.#options.clock.monotonicMs();
    // Noted before anybody is asked: what comes into being while they answer is not missing from their answers.
    const existing = this.#existing();
    const answers = await this.#coverage(query.range);
    const gaps = await this.#gaps(existing, query.range, answers);
    const silent = this.#silent(answers);
    const scatter = new Scatter(this.#options, query, answers);
    let entries = 0;
    try {
      const merged = mergeSources(scatter.start(), { ...query, joining: () => scatter.joining() });
      for await (const run of merged) {
        entries += run.count;
        yield run;
      }
    } finally {
      await scatter.stop();
    }
    const receipt = this.#receipt([...gaps.missing, ...scatter.corrupt], silent, answers.size);
    const total = scatter.total;
    const bounded = entries >= query.limit;
    receipt.read = total.read;
    receipt.pruned = total.pruned;
    // Holders that were stopped at the limit gave no account of the rest.
    const expected = scatter.assigned;
    receipt.unneeded = bounded ? Math.max(0, expected - total.read - total.pruned) : total.unneeded;
    receipt.expired = gaps.expired;
    receipt.expected = receipt.read + receipt.pruned + receipt.unneeded + countMissing(receipt.missing);
    receipt.entries = entries;
    receipt.bytesScanned = total.bytesScanned;
    receipt.durationMs = Math.round(this.#options.clock.monotonicMs() - startedMs);
    return receipt;
  }

  /** Label sets of all streams with entries in the range. */
  async series(range: TimeRange): Promise<Labels[]> {
    const { transport, holder, coverageTimeoutMs } = this.#options;
    const found = new Map<string, Labels>();
    const add = (series: readonly Labels[]): void => {
      for (const labels of series) found.set(labelsText(labels), labels);
    };
    add(holder.series(range.from, range.to));
    const message = encodeMessage(range);
    const asked = this.#reachable().map(async (peer) => {
      const answer = await request(transport, peer, SERIES_PROTOCOL, message, coverageTimeoutMs);
      add(parseMessage(seriesAnswer, answer, 'series'));
    });
    await Promise.allSettled(asked);
    return [...found.values()];
  }

  #reachable(): PeerId[] {
    const { view } = this.#options;
    return view
      .members()
      .filter(({ peer, state }) => peer !== view.self && (state === 'alive' || state === 'suspect'))
      .map(({ peer }) => peer);
  }

  async #coverage(range: TimeRange): Promise<Map<PeerId, CoverageAnswer>> {
    const { transport, store, coverageTimeoutMs } = this.#options;
    const answers = new Map<PeerId, CoverageAnswer>();
    const message = encodeMessage(range);
    const asked = this.#reachable().map(async (peer) => {
      const answer = await request(transport, peer, COVERAGE_PROTOCOL, message, coverageTimeoutMs);
      answers.set(peer, parseMessage(coverageAnswer, answer, 'coverage'));
    });
    answers.set(transport.self, coverageOf(store, range.from, range.to));
    await Promise.allSettled(asked);
    return answers;
  }

  /** What is not within reach, and whether that is so on purpose: peers are asked only when something is missing. */
  async #gaps(
    existing: Pick<Expectation, 'watermarks' | 'remembered'>,
    range: TimeRange,
    answers: ReadonlyMap<PeerId, CoverageAnswer>,
  ): Promise<Gaps> {
    const { transport, store, known, coverageTimeoutMs } = this.#options;
    const find = (): Gaps => {
      const expired = [...store.expired.all, ...known.expired.all];
      return findGaps({ ...existing, ...range, answers: [...answers.values()], expired });
    };
    const gaps = find();
    if (gaps.missing.length === 0) return gaps;
    const told = await askWhatExpired(transport, answers.keys(), gaps.missing, coverageTimeoutMs);
    return known.expired.add(told) ? find() : gaps;
  }

  /** What this peer knows to exist anywhere. */
  #existing(): Pick<Expectation, 'watermarks' | 'remembered'> {
    const { known, watermarks } = this.#options;
    return {
      watermarks: watermarks.all().map((mark) => ({ ...mark })),
      remembered: [...known.all()].map(([, holding]) => holding),
    };
  }

  #receipt(missing: MissingBatches[], silent: SilentOrigin[], answered: number): Receipt {
    const { view } = this.#options;
    const members = view.members().filter(({ state }) => state !== 'left');
    return {
      complete: missing.length === 0 && silent.length === 0,
      expected: 0,
      read: 0,
      pruned: 0,
      unneeded: 0,
      expired: 0,
      missing,
      silent,
      members: { asked: members.length, answered },
      entries: 0,
      bytesScanned: 0,
      durationMs: 0,
    };
  }

  /**
   * While fewer than W members are out of reach, an acknowledged batch has a copy within reach. From W on, a silent origin
   * may have acknowledged lines that only silent peers hold: those that it sealed after it was last heard. Of whatever
   * range: a line may be older than the moment at which it was read.
   */
  #silent(answers: ReadonlyMap<PeerId, CoverageAnswer>): SilentOrigin[] {
    const { view, watermarks, ackQuorum } = this.#options;
    const members = view.members().filter(({ state }) => state !== 'left');
    if (members.length === 1 && this.#options.hasSeeds) {
      // It has found nobody yet, so it cannot know what others have.
      return [{ peer: 'every peer of the mesh to join', epoch: null, durableSeq: null, lastHeard: null }];
    }
    const unreachable = members.filter(({ peer }) => !answers.has(peer));
    if (unreachable.length < Math.max(1, Math.min(ackQuorum, members.length))) return [];
    const latest = new Map(watermarks.latest().map((mark) => [mark.origin, mark]));
    return unreachable
      .map(({ peer }) => ({ peer, mark: latest.get(peer) }))
      .map(({ peer, mark }) => ({
        peer,
        epoch: mark?.epoch ?? null,
        durableSeq: mark?.durable ?? null,
        lastHeard: mark && mark.heardMs > 0 ? timeText(mark.heardMs) : null,
      }));
  }
}

/** One query's work: who scans what, and what happens when a holder or a batch fails. */
class Scatter {
  readonly corrupt: MissingBatches[] = [];
  readonly total = { read: 0, pruned: 0, unneeded: 0, bytesScanned: 0 };
  /** Batches given to holders. */
  assigned = 0;
  readonly #options: CoordinatorOptions;
  readonly #query: EntryQuery;
  readonly #answers: ReadonlyMap<PeerId, CoverageAnswer>;
  readonly #located = new Map<string, Located>();
  readonly #sources = new Set<HolderSource>();
  #joining: HolderSource[] = [];
  /** Bytes given to each holder so far: the next segment goes to the one with the least. */
  readonly #load = new Map<PeerId, number>();
  readonly #failed = new Set<PeerId>();
  /** Segment → holder → seqs that proved rotten or absent there. */
  readonly #rotten = new Map<string, Map<PeerId, [number, number][]>>();
  readonly #controller = new AbortController();

  constructor(options: CoordinatorOptions, query: EntryQuery, answers: ReadonlyMap<PeerId, CoverageAnswer>) {
    this.#options = options;
    this.#query = query;
    this.#answers = answers;
    for (const [peer, { overlapping }] of answers) {
      for (const segment of overlapping) {
        const name = segmentName(segment);
        let located = this.#located.get(name);
        if (!located) this.#located.set(name, (located = { segment, holders: new Map() }));
        located.holders.set(peer, segment.runs);
      }
    }
  }

  start(): HolderSource[] {
    const work = new Map<PeerId, Work>();
    for (const { segment, holders } of this.#located.values()) {
      let wanted: [number, number][] = [];
      for (const runs of holders.values()) wanted = unionRuns(wanted, runs);
      this.assigned += countRuns(wanted);
      this.#assign(segment, wanted, work);
    }
    for (const peer of this.#answers.keys()) if (!work.has(peer)) work.set(peer, []);
    return [...work].map(([peer, items]) => this.#open(peer, items, this.#freshOf(peer)));
  }

  /** What an origin answers for beside its work: all since its coverage answer, but for what others are asked for. */
  #freshOf(peer: PeerId): Fresh {
    const { epoch, writtenSeq } = this.#answers.get(peer)!;
    let freshExcept: [number, number][] = [];
    for (const { segment, holders } of this.#located.values()) {
      if (segment.origin !== peer || segment.epoch !== epoch) continue;
      for (const runs of holders.values()) freshExcept = unionRuns(freshExcept, runs);
    }
    return {
      freshAfterSeq: writtenSeq,
      freshExcept: writtenSeq === 0 ? freshExcept : subtractRuns(freshExcept, [[1, writtenSeq]]),
    };
  }

  joining(): HolderSource[] {
    const joining = this.#joining;
    this.#joining = [];
    return joining;
  }

  async stop(): Promise<void> {
    this.#controller.abort(new LogvineError('LV_CLOSED', 'the query is over'));
    await Promise.all([...this.#sources].map((source) => source.stop()));
  }

  /** Gives the wanted seqs of a segment to as few holders as have them; returns what nobody has. */
  #assign(segment: CoveredSegment, wanted: readonly (readonly [number, number])[], work: Map<PeerId, Work>) {
    const { holders } = this.#located.get(segmentName(segment))!;
    let left = wanted.map(([from, to]): [number, number] => [from, to]);
    while (left.length > 0) {
      const best = this.#bestHolder(holders, left, segment);
      if (!best) break;
      const { origin, epoch, index } = segment;
      const items = work.get(best.peer) ?? [];
      items.push({ origin, epoch, index, runs: best.runs });
      work.set(best.peer, items);
      this.#load.set(best.peer, (this.#load.get(best.peer) ?? 0) + segment.bytes);
      left = subtractRuns(left, best.runs);
    }
    return left;
  }

  #bestHolder(
    holders: Located['holders'],
    left: readonly (readonly [number, number])[],
    segment: CoveredSegment,
  ) {
    const { self } = this.#options.transport;
    let best: { peer: PeerId; runs: [number, number][]; count: number; load: number } | undefined;
    for (const [peer, held] of holders) {
      if (this.#failed.has(peer)) continue;
      const runs = subtractRuns(intersectRuns(left, held), this.#rottenAt(segment, peer));
      const count = countRuns(runs);
      if (count === 0) continue;
      // The local copy costs no network: worth a segment's head start.
      const load = (this.#load.get(peer) ?? 0) - (peer === self ? segment.bytes : 0);
      if (!best || count > best.count || (count === best.count && load < best.load)) {
        best = { peer, runs, count, load };
      }
    }
    return best;
  }

  #open(peer: PeerId, work: Work, fresh: Fresh, predecessor?: HolderSource): HolderSource {
    const { transport, holder, coverageTimeoutMs } = this.#options;
    const { query, range, descending, limit } = this.#query;
    const message: ScanMessage = { query, ...range, descending, limit, work, ...fresh };
    const signal = AbortSignal.any([this.#query.signal, this.#controller.signal]);
    const steps = stepsOf(peer, message, { transport, holder, timeoutMs: coverageTimeoutMs, signal });
    const source = new HolderSource(peer, message, steps, this.#events, predecessor);
    this.#sources.add(source);
    return source;
  }

  readonly #events: SourceEvents = {
    done: (_source, tally) => {
      this.total.read += tally.read;
      this.total.pruned += tally.pruned;
      this.total.unneeded += tally.unneeded;
      this.total.bytesScanned += tally.bytesScanned;
    },
    failedBatches: async (source, { seqs, ...id }) => {
      const located = this.#located.get(segmentName(id));
      if (!located) return;
      const runs = unionRuns(
        seqs.map((seq) => [seq, seq] as const),
        [],
      );
      const byPeer = this.#rotten.get(segmentName(id)) ?? new Map<PeerId, [number, number][]>();
      this.#rotten.set(segmentName(id), byPeer);
      byPeer.set(source.peer, unionRuns(byPeer.get(source.peer) ?? [], runs));
      this.#reassign(source, [{ ...id, runs }]);
    },
    lost: async (source, error) => {
      this.#query.signal.throwIfAborted();
      if (this.#controller.signal.aborted) return;
      if (source.peer === this.#options.transport.self || isQueryError(error)) throw error;
      this.#failed.add(source.peer);
      // What it had named as rotten was given to others already.
      const undone = source.message.work.map((item) => ({
        ...item,
        runs: subtractRuns(item.runs, this.#rottenAt(item, source.peer)),
      }));
      this.#reassign(source, undone);
    },
  };

  #rottenAt(id: SegmentId, peer: PeerId): [number, number][] {
    return this.#rotten.get(segmentName(id))?.get(peer) ?? [];
  }

  /** Another holder goes on where this one stopped; what nobody else has is missing. */
  #reassign(source: HolderSource, items: Work): void {
    const work = new Map<PeerId, Work>();
    for (const { runs, ...id } of items) {
      const { segment } = this.#located.get(segmentName(id))!;
      for (const [fromSeq, toSeq] of this.#assign(segment, runs, work)) {
        const { origin, epoch } = id;
        const reason = this.#failed.has(source.peer) ? 'unreachable' : 'corrupt';
        this.corrupt.push({
          origin,
          epoch,
          fromSeq,
          toSeq,
          fromTime: timeText(segment.min.ms),
          toTime: timeText(segment.max.ms),
          lastOwners: segment.owners,
          reason,
        });
      }
    }
    for (const [peer, parts] of work)
      this.#joining.push(this.#open(peer, parts, { freshExcept: [] }, source));
  }
}

function isQueryError(error: Error): boolean {
  const code = (error as { code?: string }).code ?? '';
  return code.startsWith('LV_QUERY_');
}
