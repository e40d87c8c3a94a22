import { nanosecondsOf, lineOf, type EntryRun, type Labels } from '../../store/index.ts';
import type { Receipt } from '../../gossip/index.ts';

/** Shapes of Loki's answers: what Grafana and logcli read. */

interface LokiStream {
  readonly stream: Labels;
  readonly values: unknown[][];
}

/** Gathers runs into Loki's streams. */
export class LokiStreams {
  readonly #streams = new Map<string, LokiStream>();
  readonly #categorize: boolean;

  /** `categorize`: structured metadata as a third element, else folded into the labels. */
  constructor(categorize: boolean) {
    this.#categorize = categorize;
  }

  add(run: EntryRun): void {
    const decoder = new TextDecoder();
    const byIds = new Map<number, LokiStream>();
    for (let row = 0; row < run.count; row++) {
      const metadata = run.metadata[run.metadataIds[row]];
      const ids = this.#categorize
        ? run.streamIds[row]
        : run.streamIds[row] * run.metadata.length + run.metadataIds[row];
      let stream = byIds.get(ids);
      if (!stream) byIds.set(ids, (stream = this.#stream(run.streams[run.streamIds[row]], metadata)));
      const value: unknown[] = [nanosecondsOf(run, row).toString(), decoder.decode(lineOf(run, row))];
      if (this.#categorize) value.push({ structuredMetadata: metadata });
      stream.values.push(value);
    }
  }

  #stream(labels: Labels, metadata: Labels): LokiStream {
    const all = this.#categorize ? labels : { ...labels, ...metadata };
    const key = JSON.stringify(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)));
    let stream = this.#streams.get(key);
    if (!stream) this.#streams.set(key, (stream = { stream: all, values: [] }));
    return stream;
  }

  answer(receipt: Receipt): object {
    return {
      status: 'success',
      ...(receipt.complete ? {} : { warnings: [warningOf(receipt)] }),
      data: {
        resultType: 'streams',
        ...(this.#categorize ? { encodingFlags: ['categorize-labels'] } : {}),
        result: [...this.#streams.values()],
        stats: statsOf(receipt),
      },
    };
  }
}

/** The receipt in a sentence. */
export function warningOf(receipt: Receipt): string {
  const parts: string[] = [];
  let batches = 0;
  for (const { fromSeq, toSeq } of receipt.missing) batches += toSeq - fromSeq + 1;
  if (batches > 0) parts.push(`${batches} of ${receipt.expected} batches are missing`);
  if (receipt.silent.length > 0) parts.push(`${receipt.silent.length} peers are silent`);
  return `This answer is incomplete: ${parts.join(', ')}. See data.stats.logvine.`;
}

/** Loki's statistics, as far as they mean something here, and the receipt. */
export function statsOf(receipt: Receipt): object {
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
