import {
  aggregateBatches,
  compileMetric,
  compileQuery,
  LIMITS,
  packBatch,
  RunBuilder,
  scanBatches,
  scanColumns,
  scanPatterns,
  type Clock,
  type Columns,
  type CompiledMetric,
  type CompiledQuery,
  type DiskReader,
  type EntryRun,
  type Handled,
  type MetricScan,
  type ScanRequest,
  type ScanResult,
} from '../store/index.ts';
import { preparePush, shared } from './http/push-prepare.ts';
import { columnsOf, withLevels, withLevelsOfStreams } from './pipeline/index.ts';
import { remembering } from './remembering.ts';
import type { Tasks, UnsealedStream } from './tasks.ts';

function contentOf(stream: UnsealedStream, discoverLevels: boolean): Columns {
  const { labels, timeZone, blocks, columns } = stream;
  if (columns) return discoverLevels ? withLevels(columns, labels) : columns;
  // A Buffer that crosses the thread boundary arrives as a Uint8Array.
  const buffers = blocks.map((block) => ({
    ...block,
    bytes: Buffer.from(block.bytes.buffer, block.bytes.byteOffset, block.bytes.byteLength),
  }));
  return columnsOf(buffers, { timeZone, discoverLevels, time: 'line', labels });
}

function transferOf(run: EntryRun | undefined): ArrayBuffer[] {
  if (!run) return [];
  const { ms, sub, ends, lines, metadataIds, streamIds, rankIds } = run;
  return [ms, sub, ends, lines, metadataIds, streamIds, rankIds].map(({ buffer }) => buffer as ArrayBuffer);
}

export type Handlers = {
  readonly [Kind in keyof Tasks]: (request: Tasks[Kind]['request']) => Handled<Tasks[Kind]['response']>;
};

type Request<Kind extends keyof Tasks> = Tasks[Kind]['request'];

/** Searches batches for whatever is asked. Keeps compiled queries. */
export function createScanner(
  reader: DiskReader,
  clock: Pick<Clock, 'nowMs'>,
): { compile(query: string): CompiledQuery; scan(request: ScanRequest): ScanResult } {
  const nowMs = (): number => clock.nowMs();
  const compile = remembering(LIMITS.queriesCompiledMax, (query): CompiledQuery =>
    compileQuery(query, nowMs),
  );
  const compileWithTimes = remembering(LIMITS.queriesCompiledMax, (key): CompiledMetric => {
    const [start, end, step, query] = JSON.parse(key) as string[];
    const times = { startNs: BigInt(start), endNs: BigInt(end), stepNs: BigInt(step) };
    return compileMetric(query, times, nowMs);
  });
  const metricOf = ({ query, times }: MetricScan): CompiledMetric =>
    compileWithTimes(JSON.stringify([...[times.startNs, times.endNs, times.stepNs].map(String), query]));
  return {
    compile,
    scan(request) {
      switch (request.kind) {
        case 'entries':
          return scanBatches(request, compile(request.query), reader);
        case 'metric':
          return aggregateBatches(request, metricOf(request), reader);
        case 'patterns':
          return scanPatterns(request, compile(request.query), reader);
      }
    },
  };
}

/** What a worker does for each task. */
export function createHandlers(reader: DiskReader, clock: Pick<Clock, 'nowMs'>): Handlers {
  const scanner = createScanner(reader, clock);
  return {
    pack({ streams, pushed, discoverLevels, compressionLevel }: Request<'pack'>) {
      const read = streams.map((stream) => ({
        labels: stream.labels,
        columns: contentOf(stream, discoverLevels),
      }));
      const rows = discoverLevels ? pushed.map(withLevelsOfStreams) : pushed;
      const value = packBatch([...read, ...rows], compressionLevel);
      const { payload, streams: packed } = value;
      return { value, transfer: [payload.buffer as ArrayBuffer, packed.table.buffer as ArrayBuffer] };
    },

    decodePush(request: Request<'decodePush'>) {
      return { value: shared(preparePush(request)) };
    },

    scan(request: Request<'scan'>) {
      const value = scanner.scan(request);
      const filters = value.filters.map(([, , filter]) => filter.buffer as ArrayBuffer);
      return { value, transfer: [...filters, ...(value.kind === 'entries' ? transferOf(value.run) : [])] };
    },

    scanUnsealed(request: Request<'scanUnsealed'>) {
      const query = scanner.compile(request.query);
      const builder = new RunBuilder();
      const rank = builder.rank(request.rank);
      for (const stream of request.streams) {
        if (!query.matchesStream(stream.labels)) continue;
        const columns = contentOf(stream, request.discoverLevels);
        scanColumns(columns, stream.labels, rank, request, query, builder);
      }
      const order = builder.sorted(request.descending).subarray(0, request.limit);
      const value = order.length > 0 ? builder.finish(order) : undefined;
      return { value, transfer: transferOf(value) };
    },
  };
}
