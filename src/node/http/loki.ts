import {
  LIMITS,
  lineOf,
  LogvineError,
  nanosecondsOf,
  type EntryRun,
  type Labels,
  type Metadata,
} from '../../store/index.ts';
import { plainDecimal, type MetricResult } from '../../store/logql/index.ts';
import type { Receipt } from '../../gossip/index.ts';

/** Shapes of Loki's answers: what Grafana and logcli read. */

export interface LokiStream {
  readonly stream: Labels;
  readonly values: unknown[][];
}

export interface StreamOptions {
  /** Structured metadata and parsed labels in a third element, else folded into the stream's labels. */
  readonly categorize: boolean;
  readonly descending: boolean;
  /** Entries closer to the last one are left out; 0: none is. */
  readonly intervalNs: bigint;
  readonly limit: number;
}

/** Gathers runs into Loki's streams. */
export class LokiStreams {
  readonly #streams = new Map<string, LokiStream>();
  readonly options: StreamOptions;
  #lastNs: bigint | undefined;
  #count = 0;
  #bytes = 0;

  constructor(options: StreamOptions) {
    this.options = options;
  }

  /** Throws LV_QUERY_TOO_LARGE when the answer would not fit in memory. */
  add(run: EntryRun): void {
    const { categorize } = this.options;
    const decoder = new TextDecoder();
    const byIds = new Map<number, { values: unknown[][]; third: object | undefined }>();
    for (let row = 0; row < run.count; row++) {
      const ns = nanosecondsOf(run, row);
      if (!this.#isDue(ns)) continue;
      const ids = run.streamIds[row] * run.metadata.length + run.metadataIds[row];
      let stream = byIds.get(ids);
      if (!stream) byIds.set(ids, (stream = this.#streamOf(run, row)));
      const line = lineOf(run, row);
      this.#hold(line.length);
      const value: unknown[] = [ns.toString(), decoder.decode(line)];
      if (categorize) value.push(stream.third);
      stream.values.push(value);
    }
  }

  #hold(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes <= LIMITS.queryBufferBytesMax) return;
    throw new LogvineError(
      'LV_QUERY_TOO_LARGE',
      `the entries weigh more than ${LIMITS.queryBufferBytesMax / 1024 / 1024} MiB: ask for fewer, or a shorter range`,
    );
  }

  /** Loki's `interval`: an entry at least that far from the last one that was taken. */
  #isDue(ns: bigint): boolean {
    const { descending, intervalNs, limit } = this.options;
    if (this.#count >= limit) return false;
    if (intervalNs > 0n && this.#lastNs !== undefined) {
      const apart = descending ? this.#lastNs - ns : ns - this.#lastNs;
      if (apart < intervalNs) return false;
    }
    this.#lastNs = ns;
    this.#count++;
    return true;
  }

  #streamOf(run: EntryRun, row: number): { values: unknown[][]; third: object | undefined } {
    const id = run.streamIds[row];
    const labels = run.streams[id];
    const metadata = run.metadata[run.metadataIds[row]];
    if (!this.options.categorize) {
      return { values: this.#stream({ ...labels, ...metadata }).values, third: undefined };
    }
    const { stream, parsed } = categories(labels, run.parsedNames?.[id] ?? []);
    return { values: this.#stream(stream).values, third: thirdOf(metadata, parsed) };
  }

  #stream(labels: Labels): LokiStream {
    const key = JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
    let stream = this.#streams.get(key);
    if (!stream) this.#streams.set(key, (stream = { stream: labels, values: [] }));
    return stream;
  }

  get entries(): number {
    return this.#count;
  }

  get encodingFlags(): { encodingFlags?: string[] } {
    return this.options.categorize ? { encodingFlags: ['categorize-labels'] } : {};
  }

  streams(): LokiStream[] {
    return [...this.#streams.values()];
  }

  answer(receipt: Receipt): object {
    const { encodingFlags } = this;
    const data = { resultType: 'streams', ...encodingFlags, result: this.streams(), stats: statsOf(receipt) };
    return { status: 'success', ...warningsOf(receipt), data };
  }
}

function categories(labels: Labels, parsedNames: readonly string[]): { stream: Labels; parsed: Labels } {
  if (parsedNames.length === 0) return { stream: labels, parsed: {} };
  const names = new Set(parsedNames);
  const pick = (isParsed: boolean): Labels =>
    Object.fromEntries(Object.entries(labels).filter(([name]) => names.has(name) === isParsed));
  return { stream: pick(false), parsed: pick(true) };
}

function thirdOf(structuredMetadata: Metadata, parsed: Labels): object {
  const has = (labels: Labels): boolean => Object.keys(labels).length > 0;
  return { ...(has(structuredMetadata) ? { structuredMetadata } : {}), ...(has(parsed) ? { parsed } : {}) };
}

/** The answer to a metric query: `vector`, `matrix` or `scalar`, with times in seconds and values as text. */
export function metricAnswer(result: MetricResult, receipt: Receipt): object {
  const data = { resultType: result.kind, result: resultOf(result), stats: statsOf(receipt) };
  return { status: 'success', ...warningsOf(receipt), data };
}

function resultOf(result: MetricResult): unknown[] {
  if (result.kind === 'scalar') return sampleOf(result.ms, result.value);
  return result.series.map(({ labels: metric, points }) =>
    result.kind === 'vector'
      ? { metric, value: sampleOf(...points[0]) }
      : { metric, values: points.map(([ms, value]) => sampleOf(ms, value)) },
  );
}

function sampleOf(ms: number, value: number): [number, string] {
  return [ms / 1000, valueText(value)];
}

/** As Go prints a float. */
function valueText(value: number): string {
  if (value === Infinity) return '+Inf';
  return value === -Infinity ? '-Inf' : plainDecimal(value);
}

export function warningsOf(receipt: Receipt): { warnings?: string[] } {
  return receipt.complete ? {} : { warnings: [warningOf(receipt)] };
}

/** The receipt in a sentence. */
function warningOf(receipt: Receipt): string {
  const parts: string[] = [];
  let batches = 0;
  for (const { fromSeq, toSeq } of receipt.missing) batches += toSeq - fromSeq + 1;
  if (batches > 0) parts.push(`${batches} of ${receipt.expected} batches are missing`);
  if (receipt.silent.length > 0) parts.push(`${receipt.silent.length} peers are silent`);
  return `This answer is incomplete: ${parts.join(', ')}. See data.stats.logvine.`;
}

/** Loki's statistics, as far as they mean something here, and the receipt. */
function statsOf(receipt: Receipt): object {
  const seconds = receipt.durationMs / 1000;
  return {
    summary: {
      bytesProcessedPerSecond: seconds > 0 ? Math.round(receipt.bytesScanned / seconds) : 0,
      linesProcessedPerSecond: 0,
      totalBytesProcessed: receipt.bytesScanned,
      totalLinesProcessed: 0,
      execTime: seconds,
      queueTime: 0,
      subqueries: 0,
      totalEntriesReturned: receipt.entries,
      splits: 0,
      shards: 0,
      totalPostFilterLines: receipt.entries,
      totalStructuredMetadataBytesProcessed: 0,
    },
    logvine: receipt,
  };
}
