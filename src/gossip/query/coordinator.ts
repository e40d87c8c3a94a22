import {
  compileMetric,
  LIMITS,
  mergeSources,
  PatternTree,
  type Clock,
  type EntryRun,
  type Labels,
  type PatternCount,
  type TimeRange,
} from '../../store/index.ts';
import { evaluateByStep, type EvalTimes, type MetricResult } from '../../store/logql/index.ts';
import { parseMessage } from '../repair/index.ts';
import type { Transport } from '../transport/index.ts';
import { Turns } from '../turns.ts';
import type { Coverage } from './coverage.ts';
import type { Holder } from './holder.ts';
import { LabelValues } from './label-values.ts';
import { patternsFound, labelFound, takeSeries, type Question } from './messages.ts';
import { addParts } from './questions.ts';
import { countMissing, type Gaps, type Receipt, type SilentOrigin } from './receipt.ts';
import { Scatter, type ScatterQuery } from './scatter.ts';
import type { HolderSource } from './sources.ts';

export interface CoordinatorOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly coverage: Coverage;
  readonly holder: Holder;
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

/** A query under way. */
interface Asking {
  readonly startedMs: number;
  readonly answered: number;
  readonly gaps: Gaps;
  readonly silent: readonly SilentOrigin[];
  readonly scatter: Scatter;
}

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
    const { answers, gaps, silent } = await this.#options.coverage.ask(query.range, query.signal);
    const scatter = new Scatter(this.#options, query, answers);
    return { startedMs, answered: answers.size, gaps, silent, scatter };
  }

  async #receipt(
    { startedMs, answered, gaps, silent, scatter }: Asking,
    entries: number,
    isBounded: boolean,
  ): Promise<Receipt> {
    const { coverage, clock } = this.#options;
    const { total } = scatter;
    const receipt = this.#receiptOfNothing();
    const corrupt = await coverage.withoutExpired(scatter.corrupt);
    receipt.missing.push(...gaps.missing, ...corrupt);
    receipt.expired = gaps.expired + countMissing(scatter.corrupt) - countMissing(corrupt);
    receipt.lost = gaps.lost;
    receipt.silent.push(...silent);
    receipt.complete = receipt.missing.length === 0 && silent.length === 0;
    receipt.members = { asked: coverage.members().length, answered };
    receipt.read = total.read;
    receipt.fromIndex = total.fromIndex;
    receipt.pruned = total.pruned;
    // Holders that were stopped at the limit gave no account of the rest.
    const rest = Math.max(0, scatter.assigned - total.read - total.pruned);
    receipt.unneeded = isBounded ? rest : total.unneeded;
    receipt.expected = receipt.read + receipt.pruned + receipt.unneeded + countMissing(receipt.missing);
    receipt.entries = entries;
    receipt.bytesScanned = total.bytesScanned;
    receipt.durationMs = Math.round(clock.monotonicMs() - startedMs);
    return receipt;
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
}
