import {
  compileQuery,
  packBatch,
  RunBuilder,
  scanBatches,
  scanColumns,
  type Clock,
  type Columns,
  type CompiledQuery,
  type DiskReader,
  type EntryRun,
  type Handled,
} from '../store/index.ts';
import { columnsOf, withLevels } from './pipeline/index.ts';
import type { Tasks, UnsealedStream } from './tasks.ts';

const QUERIES_REMEMBERED_MAX = 64;

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

/** What a worker does for each task. Handlers share a memory of compiled queries. */
export function createHandlers(reader: DiskReader, clock: Pick<Clock, 'nowMs'>): Handlers {
  const compiled = new Map<string, CompiledQuery>();
  const compileOnce = (query: string): CompiledQuery => {
    let known = compiled.get(query);
    if (!known) {
      if (compiled.size >= QUERIES_REMEMBERED_MAX) compiled.delete(compiled.keys().next().value!);
      compiled.set(query, (known = compileQuery(query, () => clock.nowMs())));
    }
    return known;
  };

  return {
    pack({ streams, discoverLevels, compressionLevel }: Request<'pack'>) {
      const contents = streams.map((stream) => ({
        labels: stream.labels,
        columns: contentOf(stream, discoverLevels),
      }));
      const value = packBatch(contents, compressionLevel);
      return { value, transfer: [value.payload.buffer as ArrayBuffer] };
    },

    scan(request: Request<'scan'>) {
      const value = scanBatches(request, compileOnce(request.query), reader);
      return { value, transfer: transferOf(value.run) };
    },

    scanUnsealed(request: Request<'scanUnsealed'>) {
      const query = compileOnce(request.query);
      const builder = new RunBuilder();
      const rank = builder.rank(request.rank);
      for (const stream of request.streams) {
        if (!query.matchesStream(stream.labels)) continue;
        const columns = contentOf(stream, request.discoverLevels);
        scanColumns(columns, stream.labels, rank, request.range, query, builder);
      }
      const order = builder.sorted(request.descending).subarray(0, request.limit);
      const value = order.length > 0 ? builder.finish(order) : undefined;
      return { value, transfer: transferOf(value) };
    },
  };
}
