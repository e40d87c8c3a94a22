import { setFlagsFromString } from 'node:v8';
import {
  compileQuery,
  packBatch,
  RunBuilder,
  scanBatches,
  scanColumns,
  serveTasks,
  systemClock,
  systemDiskReader,
  type Columns,
  type CompiledQuery,
  type EntryRun,
} from '../store/index.ts';
import { columnsOf, withLevels } from './pipeline/index.ts';
import type { Tasks, UnsealedStream } from './tasks.ts';

// A worker thread's composition root: packs batches and scans them. See store/workers/pool.ts for the boundary.

// A regular expression that backtracks too much goes on in V8's linear engine, so that no query can hang a worker.
setFlagsFromString('--enable-experimental-regexp-engine-on-excessive-backtracks');

const QUERIES_REMEMBERED_MAX = 64;
const reader = systemDiskReader();
const compiled = new Map<string, CompiledQuery>();

function compileOnce(query: string): CompiledQuery {
  let known = compiled.get(query);
  if (!known) {
    if (compiled.size >= QUERIES_REMEMBERED_MAX) compiled.delete(compiled.keys().next().value!);
    compiled.set(query, (known = compileQuery(query, () => systemClock.nowMs())));
  }
  return known;
}

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

type Request<Kind extends keyof Tasks> = Tasks[Kind]['request'];

serveTasks({
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
});
