import { LogvineError, segmentName, type SegmentId, type TimeRange } from '../../store/index.ts';
import { countRuns, intersectRuns, subtractRuns, unionRuns } from '../repair/index.ts';
import type { PeerId, Transport } from '../transport/index.ts';
import type { Holder } from './holder.ts';
import {
  refusalOf,
  type CoverageAnswer,
  type CoveredSegment,
  type Question,
  type ScanMessage,
} from './messages.ts';
import { timeText, type MissingBatches } from './receipt.ts';
import { HolderSource, stepsOf, type SourceEvents } from './sources.ts';

export interface ScatterOptions {
  readonly transport: Transport;
  readonly holder: Holder;
  readonly coverageTimeoutMs: number;
}

export interface ScatterQuery {
  readonly question: Question;
  readonly range: TimeRange;
  readonly signal: AbortSignal;
  /** Batches that the holders have looked into, of those they know they will. */
  onProgress?(done: number, of: number): void;
}

/** A segment in the range, and who has which part of it. */
interface Located {
  readonly segment: CoveredSegment;
  readonly holders: Map<PeerId, [number, number][]>;
}

type Work = ScanMessage['work'];
type Fresh = NonNullable<ScanMessage['fresh']>;

/** One query's work: who scans what, and what happens when a holder or a batch fails. */
export class Scatter {
  readonly corrupt: MissingBatches[] = [];
  readonly total = { read: 0, pruned: 0, unneeded: 0, fromIndex: 0, bytesScanned: 0 };
  /** Batches given to holders. */
  assigned = 0;
  readonly #options: ScatterOptions;
  readonly #query: ScatterQuery;
  readonly #answers: ReadonlyMap<PeerId, CoverageAnswer>;
  readonly #located = new Map<string, Located>();
  readonly #sources = new Set<HolderSource>();
  readonly #progress = new Map<HolderSource, { done: number; of: number }>();
  #joining: HolderSource[] = [];
  /** Bytes given to each holder so far: the next segment goes to the one with the least. */
  readonly #load = new Map<PeerId, number>();
  readonly #failed = new Set<PeerId>();
  /** Segment → holder → seqs that proved rotten or absent there. */
  readonly #rotten = new Map<string, Map<PeerId, [number, number][]>>();
  readonly #controller = new AbortController();

  constructor(options: ScatterOptions, query: ScatterQuery, answers: ReadonlyMap<PeerId, CoverageAnswer>) {
    this.#options = options;
    this.#query = query;
    this.#answers = answers;
    for (const [peer, { overlapping }] of answers) {
      for (const segment of overlapping) {
        // Of some, only what rot took.
        if (segment.runs.length === 0) continue;
        const name = segmentName(segment);
        let located = this.#located.get(name);
        if (!located) this.#located.set(name, (located = { segment, holders: new Map() }));
        located.holders.set(peer, segment.runs);
      }
    }
    if (query.signal.aborted) this.#cancel();
    else query.signal.addEventListener('abort', this.#cancel, { once: true });
  }

  // One signal for all sources: a composite of two would be kept alive until it fires.
  readonly #cancel = (): void => this.#controller.abort(this.#query.signal.reason);

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
    let except: [number, number][] = [];
    for (const { segment, holders } of this.#located.values()) {
      if (segment.origin !== peer || segment.epoch !== epoch) continue;
      for (const runs of holders.values()) except = unionRuns(except, runs);
    }
    if (writtenSeq > 0) except = subtractRuns(except, [[1, writtenSeq]]);
    return { epoch, afterSeq: writtenSeq, except };
  }

  joining(): HolderSource[] {
    const joining = this.#joining;
    this.#joining = [];
    return joining;
  }

  async stop(): Promise<void> {
    this.#query.signal.removeEventListener('abort', this.#cancel);
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

  #open(peer: PeerId, work: Work, fresh: Fresh | undefined, predecessor?: HolderSource): HolderSource {
    const { transport, holder, coverageTimeoutMs } = this.#options;
    const { question, range } = this.#query;
    const message: ScanMessage = { question, ...range, work, fresh };
    const { signal } = this.#controller;
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
      this.total.fromIndex += tally.fromIndex;
      this.total.bytesScanned += tally.bytesScanned;
    },
    progress: (source, done, of) => {
      this.#progress.set(source, { done, of });
      let [doneAll, ofAll] = [0, 0];
      for (const one of this.#progress.values()) {
        doneAll += one.done;
        ofAll += one.of;
      }
      this.#query.onProgress?.(doneAll, ofAll);
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
      if (source.peer === this.#options.transport.self || refusalOf(error)) throw error;
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
    for (const [peer, parts] of work) this.#joining.push(this.#open(peer, parts, undefined, source));
  }
}
