import {
  compileMetric,
  LIMITS,
  LogvineError,
  mergeSources,
  PatternTree,
  subtractRuns,
  unionRuns,
  type Clock,
  type EntryRun,
  type ExpiredRun,
  type Labels,
  type Loss,
  type PatternCount,
  type Store,
  type TimeRange,
} from '../../store/index.ts';
import { evaluateByStep, type EvalTimes, type MetricResult } from '../../store/logql/index.ts';
import { doesStand, standingLosses, type StandingLosses } from '../losses/losses.ts';
import {
  encodeMessage,
  parseMessage,
  type Holding,
  type HoldingsKnown,
  type Watermarks,
} from '../repair/index.ts';
import { requestPages, type PeerId, type Transport } from '../transport/index.ts';
import { Turns } from '../turns.ts';
import { EVERY_PEER, quorumOf, type MeshMember, type MeshView } from '../view.ts';
import { TIME_MS_MAX } from '../wire.ts';
import { askWhatIsGone } from './gone.ts';
import { askWhatWasHeard } from './heard.ts';
import { coverageOf, type Holder } from './holder.ts';
import { LabelValues } from './label-values.ts';
import {
  COVERAGE_PROTOCOL,
  patternsFound,
  peersDigest,
  peersOf,
  labelFound,
  takeSeries,
  type CoverageAnswer,
  type Question,
} from './messages.ts';
import { CoveragePages } from './pages.ts';
import { addParts } from './questions.ts';
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
import { Scatter, type ScatterQuery } from './scatter.ts';
import type { HolderSource } from './sources.ts';

const EVER: TimeRange = { from: { ms: -TIME_MS_MAX, sub: 0 }, to: { ms: TIME_MS_MAX, sub: 0 } };

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
}

interface Asked {
  readonly signal: AbortSignal;
  /** Batches that the holders have looked into, of those they know they will. */
  onProgress?(done: number, of: number): void;
}

export interface EntryQuery extends Asked {
  readonly query: string;
  readonly range: TimeRange;
  readonly descending: boolean;
  readonly limit: number;
  /** Asked after each run: the asker has all that it wants, whatever the limit. */
  isEnough?(): boolean;
}

export interface MetricQuery extends Asked {
  readonly query: string;
  readonly times: EvalTimes;
  /** Series in the answer at most; default `querySeriesMax`. */
  readonly seriesMax?: number;
}

export interface SeriesQuery extends Asked {
  readonly selectors: readonly string[];
  readonly range: TimeRange;
}

export interface LabelsQuery extends SeriesQuery {
  /** Labels whose values are wanted; undefined: all. */
  readonly valuesOf?: readonly string[];
}

export interface PatternQuery extends Asked {
  readonly query: string;
  readonly range: TimeRange;
  readonly stepMs: number;
}

/** What is known to exist, and who was heard to have it. */
type Existing = Pick<Expectation, 'watermarks' | 'remembered'>;

/** A query under way. */
interface Asking {
  readonly startedMs: number;
  readonly answered: number;
  readonly gaps: Gaps;
  readonly silent: readonly SilentOrigin[];
  readonly scatter: Scatter;
}

/** A peer that nobody has told yet who is in the mesh cannot know who else there is, nor what they have. */
const EVERYBODY: SilentOrigin = {
  peer: EVERY_PEER,
  epoch: null,
  durableSeq: null,
  lastHeard: null,
};

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
    const { descending, limit } = query;
    const question = { kind: 'entries', query: query.query, descending, limit } as const;
    const asking = await this.#ask({ ...query, question });
    const { scatter } = asking;
    let entries = 0;
    let isEnough = false;
    try {
      const merged = mergeSources(scatter.start(), { ...query, joining: () => scatter.joining() });
      for await (const run of merged) {
        entries += run.count;
        yield run;
        isEnough = query.isEnough?.() ?? false;
        if (isEnough) break;
      }
    } finally {
      await scatter.stop();
    }
    return this.#receipt(asking, entries, isEnough || entries >= limit);
  }

  /**
   * The answer to a metric query. Holders send partial results; what one of them told counts when it has told all, so that
   * each batch counts once. Rejects with LV_QUERY_INVALID, LV_QUERY_TOO_LARGE (more than `seriesMax` series).
   */
  async metric(query: MetricQuery): Promise<{ result: MetricResult; receipt: Receipt }> {
    const { times, seriesMax = LIMITS.querySeriesMax } = query;
    // What `now` is matters where templates run: at the holders.
    const metric = compileMetric(query.query, times, () => 0);
    const partials = metric.newPartials();
    let receipt = this.#receiptOfNothing();
    if (partials.length > 0) {
      const [startNs, endNs, stepNs] = [times.startNs, times.endNs, times.stepNs].map(String);
      const question = { kind: 'metric', query: query.query, startNs, endNs, stepNs } as const;
      receipt = await this.#survey({ ...query, question, range: metric.range }, (bytes) =>
        addParts(partials, bytes),
      );
    }
    const limits = { seriesMax, pointsMax: LIMITS.queryPointsMax };
    const result = await this.#unhurried(evaluateByStep(metric.plan, partials, limits), query.signal);
    if (result.kind !== 'scalar') receipt.entries = result.series.length;
    return { result, receipt };
  }

  /** Runs a long calculation in turns. */
  async #unhurried<Result>(work: Iterator<undefined, Result>, signal: AbortSignal): Promise<Result> {
    const turns = new Turns(this.#options.clock);
    for (;;) {
      const step = work.next();
      if (step.done) return step.value;
      if (!turns.isOver) continue;
      await turns.next();
      signal.throwIfAborted();
    }
  }

  /** Label sets of the streams with batches in the range that one of the selectors matches; all, when there is none. */
  async series(query: SeriesQuery): Promise<{ series: Labels[]; receipt: Receipt }> {
    const found = new Map<string, Labels>();
    const question: Question = { kind: 'series', selectors: [...query.selectors] };
    const receipt = await this.#survey({ ...query, question }, (bytes) => takeSeries(found, bytes));
    receipt.entries = found.size;
    return { series: [...found.values()], receipt };
  }

  /** Names of the labels of such streams, and the values of those that are asked for. */
  async labels(query: LabelsQuery): Promise<{ labels: LabelValues; receipt: Receipt }> {
    const labels = new LabelValues();
    const { selectors, valuesOf } = query;
    const question: Question = {
      kind: 'labels',
      selectors: [...selectors],
      valuesOf: valuesOf && [...valuesOf],
    };
    const receipt = await this.#survey({ ...query, question }, (bytes) => {
      const [name, values] = parseMessage(labelFound, bytes, 'labels');
      labels.add(name, undefined);
      for (const value of values) labels.add(name, value);
    });
    receipt.entries = labels.all.size;
    return { labels, receipt };
  }

  /** Patterns of the lines that a log query selects, the most frequent first. */
  async patterns(query: PatternQuery): Promise<{ patterns: PatternCount[]; receipt: Receipt }> {
    const tree = new PatternTree();
    const question = { kind: 'patterns', query: query.query, stepMs: query.stepMs } as const;
    const receipt = await this.#survey({ ...query, question }, (bytes) => {
      for (const { pattern, level, samples } of parseMessage(patternsFound, bytes, 'patterns'))
        tree.add(pattern, level, samples);
    });
    const patterns = tree.patterns();
    receipt.entries = patterns.length;
    return { patterns, receipt };
  }

  /** Puts a question to every holder and takes in what those found that came to their end. */
  async #survey(query: ScatterQuery, take: (bytes: Uint8Array) => void): Promise<Receipt> {
    const asking = await this.#ask(query);
    const { scatter } = asking;
    const absorb = async (source: HolderSource): Promise<void> => {
      const found = await source.found();
      for (const bytes of found ?? []) take(bytes);
      await Promise.all(scatter.joining().map(absorb));
    };
    try {
      await Promise.all(scatter.start().map(absorb));
    } finally {
      await scatter.stop();
    }
    return this.#receipt(asking, 0, false);
  }

  /** Finds out who has what. */
  async #ask(query: ScatterQuery): Promise<Asking> {
    const startedMs = this.#options.clock.monotonicMs();
    // Noted before anybody is asked: what comes into being while they answer is not missing from their answers.
    const existing = this.#existing();
    const members = this.#members();
    const isSearching = this.#options.view.isSearching();
    const answers = await this.#coverage(query.range);
    query.signal.throwIfAborted();
    const heard: Loss[] = [];
    const lost = this.#lost(heard).peers;
    const away = this.#outOfReach(members, answers).filter((peer) => !lost.has(peer));
    // From W on the answer is incomplete anyway.
    const isDecided = away.length >= quorumOf(members, this.#options.ackQuorum);
    const others = isDecided ? [] : await this.#whatOthersHeard(away, answers, existing);
    const gaps = await this.#gaps({ ...existing, heard: others }, query.range, answers, heard);
    const silent = isSearching ? [EVERYBODY] : await this.#silent(members, answers, heard);
    const scatter = new Scatter(this.#options, query, answers);
    return { startedMs, answered: answers.size, gaps, silent, scatter };
  }

  #reachable(): PeerId[] {
    const { view } = this.#options;
    return view
      .members()
      .filter(({ peer, state }) => peer !== view.self && (state === 'alive' || state === 'suspect'))
      .map(({ peer }) => peer);
  }

  async #coverage(range: TimeRange): Promise<Map<PeerId, CoverageAnswer>> {
    const { transport, store, known, view, coverageTimeoutMs } = this.#options;
    const answers = new Map<PeerId, CoverageAnswer>();
    const message = encodeMessage({ ...range, peersDigest: peersDigest(peersOf(view.members())) });
    const asked = this.#reachable().map(async (peer) => {
      const pages = new CoveragePages();
      const take = (page: Buffer): CoverageAnswer | undefined => pages.add(page);
      const answer = await requestPages(transport, peer, COVERAGE_PROTOCOL, message, coverageTimeoutMs, take);
      answers.set(peer, answer);
    });
    answers.set(transport.self, coverageOf(store, known, range.from, range.to));
    await Promise.allSettled(asked);
    return answers;
  }

  async #whatOthersHeard(
    away: readonly PeerId[],
    answers: ReadonlyMap<PeerId, unknown>,
    existing: Existing,
  ): Promise<ExpiredRun[]> {
    if (away.length === 0) return [];
    const { transport, coverageTimeoutMs } = this.#options;
    return askWhatWasHeard(transport, answers.keys(), away, existing, coverageTimeoutMs);
  }

  /**
   * What is not within reach, and whether that is so on purpose: peers are asked only when something is missing. Adds the losses
   * to `heard` that they were told of.
   */
  async #gaps(
    existing: Existing & Pick<Expectation, 'heard'>,
    range: TimeRange,
    answers: ReadonlyMap<PeerId, CoverageAnswer>,
    heard: Loss[],
  ): Promise<Gaps> {
    const { transport, store, known, coverageTimeoutMs } = this.#options;
    const find = (): Gaps => {
      const lost = this.#lost(heard);
      const expired = [...store.dropped.expired.all, ...known.expired.all];
      const awaited = lost.runs.length > 0 ? this.#awaited(existing.remembered, answers, lost) : [];
      const told = Array.from(answers, ([peer, answer]) => ({ ...answer, peer }));
      const all = { ...existing, ...range, answers: told };
      return findGaps({ ...all, expired, lost: lost.runs, awaited });
    };
    const gaps = find();
    if (gaps.missing.length === 0) return gaps;
    const told = await askWhatIsGone(transport, answers.keys(), gaps.missing, coverageTimeoutMs);
    this.#hear(told.losses, heard);
    known.expired.add(told.expired);
    // It may have been heard of in another way meanwhile.
    return find();
  }

  /** What others were told is remembered here, too. */
  #hear(told: readonly Loss[], heard: Loss[]): void {
    const { store, view } = this.#options;
    for (const loss of told) {
      if (!doesStand(loss, view.members())) continue;
      heard.push(loss);
      // Where that fails, they are asked again.
      store.dropped.acceptLoss(loss).catch(() => undefined);
    }
  }

  #lost(heard: readonly Loss[]): StandingLosses {
    const { store, view } = this.#options;
    return standingLosses([...store.dropped.losses, ...heard], view.members());
  }

  /** Of runs with losses, what members out of reach have, those included that were given up and may come back. Who answered has said itself what it has. */
  #awaited(
    remembered: Existing['remembered'],
    answers: ReadonlyMap<PeerId, unknown>,
    lost: StandingLosses,
  ): Holding[] {
    const members = new Set(this.#members().map(({ peer }) => peer));
    const isAwaited = (peer: PeerId): boolean =>
      members.has(peer) && !answers.has(peer) && !lost.peers.has(peer);
    const ofLost = new Set(lost.runs.map(({ origin, epoch }) => `${origin}/${epoch}`));
    return remembered
      .filter(({ origin, epoch }) => ofLost.has(`${origin}/${epoch}`))
      .flatMap(({ segments }) => segments)
      .flatMap((holders) => [...holders].flatMap(([peer, holding]) => (isAwaited(peer) ? [holding] : [])));
  }

  /** What this peer knows to exist anywhere. */
  #existing(): Existing {
    const { known, watermarks } = this.#options;
    return {
      watermarks: watermarks.all().map((mark) => ({ ...mark })),
      remembered: known.runs(),
    };
  }

  async #receipt(
    { startedMs, answered, gaps, silent, scatter }: Asking,
    entries: number,
    isBounded: boolean,
  ): Promise<Receipt> {
    const { total } = scatter;
    const receipt = this.#receiptOfNothing();
    const corrupt = await this.#withoutExpired(scatter.corrupt);
    receipt.missing.push(...gaps.missing, ...corrupt);
    receipt.expired = gaps.expired + countMissing(scatter.corrupt) - countMissing(corrupt);
    receipt.lost = gaps.lost;
    receipt.silent.push(...silent);
    receipt.complete = receipt.missing.length === 0 && silent.length === 0;
    receipt.members = { asked: this.#members().length, answered };
    receipt.read = total.read;
    receipt.fromIndex = total.fromIndex;
    receipt.pruned = total.pruned;
    // Holders that were stopped at the limit gave no account of the rest.
    const rest = Math.max(0, scatter.assigned - total.read - total.pruned);
    receipt.unneeded = isBounded ? rest : total.unneeded;
    receipt.expected = receipt.read + receipt.pruned + receipt.unneeded + countMissing(receipt.missing);
    receipt.entries = entries;
    receipt.bytesScanned = total.bytesScanned;
    receipt.durationMs = Math.round(this.#options.clock.monotonicMs() - startedMs);
    return receipt;
  }

  /** What could not be read may have been dropped by retention while the query ran. */
  async #withoutExpired(corrupt: readonly MissingBatches[]): Promise<readonly MissingBatches[]> {
    if (corrupt.length === 0) return corrupt;
    const { transport, store, known, coverageTimeoutMs } = this.#options;
    const told = await askWhatIsGone(transport, this.#reachable(), corrupt, coverageTimeoutMs);
    known.expired.add(told.expired);
    return corrupt.flatMap((run) => {
      const { origin, epoch, fromSeq, toSeq } = run;
      const expired = unionRuns(store.dropped.expired.runs(origin, epoch), known.expired.runs(origin, epoch));
      return subtractRuns([[fromSeq, toSeq]], expired).map(([from, to]) => ({
        ...run,
        fromSeq: from,
        toSeq: to,
      }));
    });
  }

  #members(): MeshMember[] {
    return this.#options.view.members().filter(({ state }) => state !== 'left');
  }

  /** Of a query that has nothing to ask. */
  #receiptOfNothing(): Receipt {
    return {
      complete: true,
      expected: 0,
      read: 0,
      fromIndex: 0,
      pruned: 0,
      unneeded: 0,
      expired: 0,
      lost: 0,
      missing: [],
      silent: [],
      members: { asked: 0, answered: 0 },
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
  async #silent(
    before: readonly MeshMember[],
    answers: ReadonlyMap<PeerId, CoverageAnswer>,
    heard: Loss[],
  ): Promise<SilentOrigin[]> {
    const { watermarks, ackQuorum, transport, coverageTimeoutMs } = this.#options;
    const quorum = quorumOf(before, ackQuorum);
    let away = this.#outOfReach(before, answers);
    if (away.length < quorum) return [];
    this.#hear((await askWhatIsGone(transport, answers.keys(), [], coverageTimeoutMs)).losses, heard);
    away = this.#outOfReach(before, answers);
    const lost = this.#lost(heard).peers;
    const unreachable = away.filter((peer) => !lost.has(peer));
    // A batch may be on those that are lost, and on one of these.
    if (away.length < quorum || unreachable.length === 0) return [];
    const latest = new Map(watermarks.latest().map((mark) => [mark.origin, mark]));
    return unreachable
      .map((peer) => ({ peer, mark: latest.get(peer) }))
      .map(({ peer, mark }) => ({
        peer,
        epoch: mark?.epoch ?? null,
        durableSeq: mark?.durable ?? null,
        lastHeard: mark && mark.heardMs > 0 ? timeText(mark.heardMs) : null,
      }));
  }

  /** A peer that this one has not heard of yet, and one that answers has, is out of reach as well: see docs/decisions/0012. */
  #outOfReach(before: readonly MeshMember[], answers: ReadonlyMap<PeerId, CoverageAnswer>): PeerId[] {
    // Who left meanwhile may have handed over to others that had answered already; who was not heard of before counts, too.
    const peers = new Set([...before, ...this.#members()].map(({ peer }) => peer));
    for (const { peers: heardOf = [] } of answers.values()) for (const peer of heardOf) peers.add(peer);
    return [...peers].filter((peer) => !answers.has(peer));
  }

  /** Batches of any time that nobody within reach has; who is out of reach, and who answered. Rejects with LV_CLOSED while the mesh is searched for. */
  async losses(): Promise<{
    missing: readonly MissingBatches[];
    outOfReach: readonly PeerId[];
    answered: readonly PeerId[];
  }> {
    if (this.#options.view.isSearching())
      throw new LogvineError('LV_CLOSED', 'this peer has not found its mesh yet: ask again when it has');
    const existing = this.#existing();
    const members = this.#members();
    const answers = await this.#coverage(EVER);
    const heard: Loss[] = [];
    const away = this.#outOfReach(members, answers);
    const others = await this.#whatOthersHeard(away, answers, existing);
    const { missing } = await this.#gaps({ ...existing, heard: others }, EVER, answers, heard);
    const lost = this.#lost(heard).peers;
    const outOfReach = away.filter((peer) => !lost.has(peer));
    return { missing, outOfReach, answered: [...answers.keys()] };
  }
}
