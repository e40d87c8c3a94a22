import {
  AnswerMemory,
  compareInstants,
  IndexMemory,
  LIMITS,
  goneSeqs,
  LogvineError,
  type Clock,
  type Instant,
  type Run,
  type SegmentId,
  workOf,
  type SegmentWork,
  type Store,
} from '../../store/index.ts';
import {
  coveredBy,
  intersectRuns,
  parseMessage,
  subtractRuns,
  unionRuns,
  type HoldingsKnown,
} from '../repair/index.ts';
import { withDeadline, type Channel, type PeerId } from '../transport/index.ts';
import {
  coverageRequest,
  encodeStep,
  peersDigest,
  refusalOf,
  type CoverageAnswer,
  type Question,
  type RemoteStep,
  type ScanMessage,
} from './messages.ts';
import { coveragePages, receiveScan } from './pages.ts';
import {
  answerEntries,
  answerLabels,
  answerMetric,
  answerPatterns,
  answerSeries,
  type Answerer,
  type AnswerStep,
  type Part,
} from './questions.ts';

/** What a peer needs to answer for its part of a query. */
export interface HolderOptions extends Answerer {
  readonly store: Store;
  readonly known: Pick<HoldingsKnown, 'vanished'>;
  readonly clock: Clock;
  /** Members that have not left, sorted. */
  peers(): readonly PeerId[];
}

/** What this peer holds in a range, and what it holds outside of it; and what it knows to be gone of the range, here or elsewhere. */
export function coverageOf(
  store: Store,
  known: Pick<HoldingsKnown, 'vanished'>,
  from: Instant,
  to: Instant,
): CoverageAnswer {
  const answer: CoverageAnswer = { epoch: store.epoch, writtenSeq: 0, overlapping: [], outside: [] };
  const outside = new Map<string, CoverageAnswer['outside'][number]>();
  const beOutside = ({ origin, epoch }: SegmentId, runs: readonly Run[]): void => {
    if (runs.length === 0) return;
    const key = `${origin}/${epoch}`;
    outside.set(key, { origin, epoch, runs: unionRuns(outside.get(key)?.runs ?? [], runs) });
  };
  const isInRange = ({ min, max }: { min: Instant; max: Instant }): boolean =>
    compareInstants(max, from) >= 0 && compareInstants(min, to) < 0;
  for (const segment of store.segments()) {
    const { id, record } = segment;
    // Of what is gone, too, it is known that it is not missing in this range.
    beOutside(id, goneSeqs(record.rotten.filter((run) => !isInRange(run))));
    const isOfThisRun = id.origin === store.origin && id.epoch === store.epoch;
    const rotten = isOfThisRun ? record.rotten : store.rottenIn(segment);
    if (isOfThisRun) {
      answer.writtenSeq = Math.max(answer.writtenSeq, segment.last?.seq ?? 0);
    }
    const runs = segment.intervals();
    if (segment.last && isInRange(segment.bounds())) {
      answer.overlapping.push(coveredBy(segment, rotten));
      continue;
    }
    if (rotten.some(isInRange)) answer.overlapping.push({ ...coveredBy(segment, rotten), runs: [] });
    beOutside(id, runs);
  }
  answer.outside.push(...outside.values());
  for (const { gone, owners, ...id } of known.vanished.all()) {
    const vanished = gone.filter(isInRange);
    if (vanished.length === 0) continue;
    const { min, max } = vanished[0];
    answer.overlapping.push({ ...id, runs: [], min, max, vanished, owners: [...owners], bytes: 0 });
  }
  return answer;
}

/** As many as `failedMessage` takes, and some room. */
const SEQS_PER_MESSAGE = 10_000;

/** Names batches that cannot be read here, in messages of a bounded size however many they are. */
function* failed({ origin, epoch, index }: SegmentId, seqs: Iterable<number>): Generator<RemoteStep> {
  let some: number[] = [];
  for (const seq of seqs) {
    some.push(seq);
    if (some.length < SEQS_PER_MESSAGE) continue;
    yield { kind: 'failed', failed: { origin, epoch, index, seqs: some } };
    some = [];
  }
  if (some.length > 0) yield { kind: 'failed', failed: { origin, epoch, index, seqs: some } };
}

function* seqsOf(runs: readonly Run[]): Generator<number> {
  for (const [first, last] of runs) for (let seq = first; seq <= last; seq++) yield seq;
}

export class Holder {
  readonly #options: HolderOptions;
  readonly #memory = new IndexMemory();
  readonly #answers = new AnswerMemory();
  #tasksEnded = 0;

  constructor(options: HolderOptions) {
    const scan: Answerer['scan'] = (request, signal) =>
      options.scan(request, signal).finally(() => this.#tasksEnded++);
    this.#options = { ...options, scan };
  }

  /** Runs this peer's part of a query. Batches that are asked for and not here are named as failed. */
  async *scan(message: ScanMessage, signal: AbortSignal): AsyncGenerator<RemoteStep> {
    const { store } = this.#options;
    const { from, to, fresh } = message;
    const work: SegmentWork[] = [];
    const absent: { id: SegmentId; runs: Run[] }[] = [];
    for (const { runs, ...id } of message.work) {
      const segment = store.segment(id);
      absent.push({ id, runs: subtractRuns(runs, segment?.intervals() ?? []) });
      if (segment) work.push(workOf(segment, runs));
    }
    const isFresh = fresh?.epoch === store.epoch;
    if (isFresh) work.push(...this.#sealedSince(fresh.afterSeq, fresh.except));
    const part: Part = {
      range: { from, to },
      work,
      isFresh,
      signal,
      memory: this.#memory,
      answers: this.#answers,
      alive: { clock: this.#options.clock, tasksEnded: () => this.#tasksEnded },
    };
    // Begins in this turn: what is fresh is told in the one in which the work was listed, and before any of it is dropped.
    const steps = this.#answer(message.question, part);
    const first = steps.next();
    // Seen to after what is absent is told.
    first.catch(() => undefined);
    try {
      for (const { id, runs } of absent) yield* failed(id, seqsOf(runs));
      for (let next = await first; !next.done; next = await steps.next()) {
        const { value } = next;
        if (value.kind === 'failed') {
          await this.#readAgain(value.id, value.seqs);
          yield* failed(value.id, value.seqs);
        } else yield value;
      }
    } finally {
      await steps.return();
    }
  }

  async *#answer(question: Question, part: Part): AsyncGenerator<AnswerStep, void> {
    switch (question.kind) {
      case 'entries':
        return yield* answerEntries(this.#options, question, part);
      case 'metric':
        return yield* answerMetric(this.#options, question, part);
      case 'patterns':
        return yield* answerPatterns(this.#options, question, part);
      case 'series':
        return yield* answerSeries(this.#options, question, part);
      case 'labels':
        return yield* answerLabels(this.#options, question, part);
    }
  }

  #sealedSince(seq: number, except: NonNullable<ScanMessage['fresh']>['except']): SegmentWork[] {
    const { store } = this.#options;
    const work: SegmentWork[] = [];
    for (const segment of store.segments()) {
      const { origin, epoch } = segment.id;
      const last = segment.last?.seq ?? 0;
      if (origin === store.origin && epoch === store.epoch && last > seq) {
        const runs = subtractRuns(intersectRuns(segment.intervals(), [[seq + 1, last]]), except);
        if (runs.length > 0) work.push(workOf(segment, runs));
      }
    }
    return work;
  }

  /** A scan says only that it could not make use of a batch; whether that is rot, the bytes themselves tell, as they are now. */
  async #readAgain(id: SegmentId, seqs: readonly number[]): Promise<void> {
    for (const seq of seqs) await this.#options.store.readFrame(id, seq).catch(() => undefined);
  }

  async serveCoverage(channel: Channel): Promise<void> {
    const message = await channel.receive();
    if (!message) return;
    const { from, to, peersDigest: asked } = parseMessage(coverageRequest, message, 'coverage');
    const coverage = coverageOf(this.#options.store, this.#options.known, from, to);
    const peers = this.#options.peers();
    const answer = peersDigest(peers) === asked ? coverage : { ...coverage, peers: [...peers] };
    for (const page of coveragePages(answer)) await channel.send(page);
    await channel.close();
  }

  async serveScan(channel: Channel): Promise<void> {
    const late = (): Error => new LogvineError('LV_PEER_TIMEOUT', `${channel.peer} did not say what to scan`);
    const { clock } = this.#options;
    const message = await withDeadline(clock, LIMITS.queryIdleMs, late, () => receiveScan(channel));
    if (!message) return;
    const controller = new AbortController();
    // The asker says nothing more: an end or an error means that it has gone, and the work stops.
    channel.receive().then(
      () => controller.abort(new LogvineError('LV_CLOSED', 'the asker is done')),
      () => controller.abort(new LogvineError('LV_CLOSED', 'the asker has gone')),
    );
    try {
      for await (const step of this.scan(message, controller.signal)) await channel.send(encodeStep(step));
    } catch (error) {
      const refusal = refusalOf(error);
      if (!refusal) throw error;
      await channel.send(encodeStep({ kind: 'refused', error: refusal }));
    }
    await channel.close();
  }
}
