import { createHash } from 'node:crypto';
import { constants, crc32, zstdCompressSync } from 'node:zlib';
import type { Columns, Labels } from './columns.ts';
import { labelsKey, labelsText } from './columns.ts';
import { concatColumns, encodeColumns } from './content.ts';
import { buildFilter } from './filter.ts';
import { COUNTED_LEVELS, type BlockExtent, type Instant } from './header.ts';

/** A stream whose lines weigh at least this gets zstd frames of its own; smaller ones share. */
const OWN_BLOCK_BYTES = 64 * 1024;

export interface StreamContent {
  readonly labels: Labels;
  readonly columns: Columns;
}

/** A stream of a packed batch: a StreamPart that does not know its segment yet. */
export interface PackedStream {
  /** `labelsKey` of its labels: one text passes between threads faster than a set of them. */
  readonly key: string;
  readonly block: number;
  readonly entries: number;
  readonly linesBytes: number;
  readonly columnsBytes: number;
  readonly min: Instant;
  readonly max: Instant;
  readonly levels: number[];
}

/** The expensive part of sealing, done on a worker: everything that does not depend on the batches before. */
export interface PackedBatch {
  /** Filter, then each block's columns and lines. */
  readonly payload: Uint8Array;
  readonly payloadCrc: number;
  readonly payloadHash: Uint8Array;
  readonly contentHash: Uint8Array;
  readonly filterBytes: number;
  readonly blocks: BlockExtent[];
  readonly streams: PackedStream[];
}

/** Joins contents of equal labels, compresses, hashes. Deterministic but for zstd's version. */
export function packBatch(contents: readonly StreamContent[], compressionLevel: number): PackedBatch {
  const grouped = groupByLabels(contents);
  const content = createHash('sha256');
  const filter = buildFilter(grouped.map((stream) => stream.columns.lines));
  const payload: Uint8Array[] = [filter];
  const blocks: BlockExtent[] = [];
  const streams: PackedStream[] = [];

  for (const group of groupIntoBlocks(grouped)) {
    const columnsOfBlock: Buffer[] = [];
    for (const { labels, columns } of group) {
      const encoded = encodeColumns(columns);
      columnsOfBlock.push(encoded);
      content.update(labelsText(labels)).update(encoded).update(columns.lines);
      streams.push({
        key: labelsKey(labels),
        block: blocks.length,
        entries: columns.count,
        linesBytes: columns.lines.length,
        columnsBytes: encoded.length,
        ...timeBounds(columns),
        levels: countLevels(columns),
      });
    }
    const columnsRaw = join(columnsOfBlock);
    const linesRaw = join(group.map((stream) => stream.columns.lines));
    const columnsStored = compress(columnsRaw, compressionLevel);
    const linesStored = compress(linesRaw, compressionLevel);
    payload.push(columnsStored, linesStored);
    blocks.push({
      columnsStored: columnsStored.length,
      columnsRaw: columnsRaw.length,
      linesStored: linesStored.length,
      linesRaw: linesRaw.length,
    });
  }
  const bytes = joinOwned(payload);
  return {
    payload: bytes,
    payloadCrc: crc32(bytes),
    payloadHash: createHash('sha256').update(bytes).digest(),
    contentHash: content.digest(),
    filterBytes: filter.length,
    blocks,
    streams,
  };
}

function groupByLabels(contents: readonly StreamContent[]): StreamContent[] {
  const groups = new Map<string, StreamContent[]>();
  for (const content of contents) {
    const key = labelsText(content.labels);
    const group = groups.get(key);
    if (group) group.push(content);
    else groups.set(key, [content]);
  }
  return [...groups.values()].map((group) => ({
    labels: group[0].labels,
    columns: concatColumns(group.map((content) => content.columns)),
  }));
}

function groupIntoBlocks(streams: readonly StreamContent[]): StreamContent[][] {
  const blocks: StreamContent[][] = [];
  let shared: StreamContent[] = [];
  let sharedBytes = 0;
  for (const stream of streams) {
    if (stream.columns.lines.length >= OWN_BLOCK_BYTES) {
      blocks.push([stream]);
      continue;
    }
    shared.push(stream);
    sharedBytes += stream.columns.lines.length;
    if (sharedBytes >= OWN_BLOCK_BYTES * 2) {
      blocks.push(shared);
      shared = [];
      sharedBytes = 0;
    }
  }
  if (shared.length > 0) blocks.push(shared);
  return blocks;
}

/** In memory of its own, which can move between threads: small Buffers share a pool, and that stays where it is. */
function joinOwned(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 ? parts[0] : Buffer.concat(parts);
}

function compress(bytes: Uint8Array, level: number): Buffer {
  return zstdCompressSync(bytes, {
    chunkSize: Math.max(1024, (bytes.length >>> 1) + 1024),
    pledgedSrcSize: bytes.length,
    params: { [constants.ZSTD_c_compressionLevel]: level },
  });
}

function timeBounds(columns: Columns): { min: Instant; max: Instant } {
  const { count, ms, sub } = columns;
  let low = 0;
  let high = 0;
  for (let row = 1; row < count; row++) {
    if (ms[row] < ms[low] || (ms[row] === ms[low] && sub[row] < sub[low])) low = row;
    if (ms[row] > ms[high] || (ms[row] === ms[high] && sub[row] > sub[high])) high = row;
  }
  return { min: { ms: ms[low], sub: sub[low] }, max: { ms: ms[high], sub: sub[high] } };
}

function countLevels(columns: Columns): number[] {
  const bySet = new Uint32Array(columns.metadata.length);
  for (let row = 0; row < columns.count; row++) bySet[columns.metadataIds[row]]++;
  const counts = COUNTED_LEVELS.map(() => 0);
  for (let set = 0; set < bySet.length; set++) {
    const level = columns.metadata[set].detected_level as (typeof COUNTED_LEVELS)[number] | undefined;
    const index = level === undefined ? -1 : COUNTED_LEVELS.indexOf(level);
    counts[index < 0 ? COUNTED_LEVELS.length - 1 : index] += bySet[set];
  }
  return counts;
}
