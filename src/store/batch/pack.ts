import { createHash, hash } from 'node:crypto';
import { constants, crc32, zstdCompressSync } from 'node:zlib';
import { LIMITS } from '../limits.ts';
import { ByteWriter } from './bytes.ts';
import { labelsKey, lineStart, type Columns, type Labels, type StreamRows } from './columns.ts';
import { encodeRows, joinRows, SetEncoder, type RowRange } from './content.ts';
import { buildFilter } from './filter.ts';
import { checkBounds, type BlockExtent } from './header.ts';
import { COUNTED_LEVELS, StreamTableWriter, type Instant, type StreamTotals } from './stream-table.ts';

/** A stream whose lines weigh at least this gets zstd frames of its own; smaller ones share. */
const OWN_BLOCK_BYTES = 64 * 1024;

/** All entries of one stream. */
export interface StreamContent {
  readonly labels: Labels;
  readonly columns: Columns;
}

/** The streams of a packed batch, described as its header has them: only their numbers are not known yet. */
export interface PackedStreams extends StreamTotals {
  /** `labelsKey` of each. */
  readonly keys: readonly string[];
  /** See StreamTableWriter. */
  readonly table: Uint8Array;
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
  readonly streams: PackedStreams;
}

/**
 * Joins contents of equal labels, compresses, hashes. Deterministic but for zstd's version.
 *
 * The content's hash is that of three: of the streams' keys, each ended by `\n`, of all columns, and of all lines, in the
 * order of the streams. Columns tell where they end and how many lines they have, so that no other content has it.
 *
 * Throws RangeError for what no reader would take: whoever gathers lines sees to it that it does not come about.
 */
export function packBatch(
  contents: readonly (StreamContent | StreamRows)[],
  compressionLevel: number,
): PackedBatch {
  const streams = groupByKey(contents);
  const blocks = groupIntoBlocks(streams).map((group) => encodeBlock(group));
  const filter = buildFilter(blocks.map(({ lines }) => lines));
  const payload: Uint8Array[] = [filter];
  const extents: BlockExtent[] = [];
  const [keysHash, columnsHash, linesHash] = ['', '', ''].map(() => createHash('sha256'));
  for (const { columns, lines } of blocks) {
    columnsHash.update(columns);
    linesHash.update(lines);
    const columnsStored = compress(columns, compressionLevel);
    const linesStored = compress(lines, compressionLevel);
    payload.push(columnsStored, linesStored);
    extents.push({
      columnsStored: columnsStored.length,
      columnsRaw: columns.length,
      linesStored: linesStored.length,
      linesRaw: lines.length,
    });
  }
  checkBounds({ filterBytes: filter.length, blocks: extents });
  const described = describe(blocks);
  if (described.keys.length > LIMITS.batchStreamsMax || described.entries > LIMITS.batchEntriesMax)
    throw new RangeError('too many streams or entries');
  // A key has no line break: JSON escapes it.
  keysHash.update(`${described.keys.join('\n')}\n`);
  const bytes = joinOwned(payload);
  const content = createHash('sha256');
  for (const part of [keysHash, columnsHash, linesHash]) content.update(part.digest());
  return {
    payload: bytes,
    payloadCrc: crc32(bytes),
    payloadHash: hash('sha256', bytes, 'buffer'),
    contentHash: content.digest(),
    filterBytes: filter.length,
    blocks: extents,
    streams: described,
  };
}

/** A stream's rows, wherever they are. */
interface Grouped {
  readonly key: string;
  /** Beside the first range of rows, for the few streams that have more than one. */
  more: RowRange[] | undefined;
  range: SourceRange;
  linesBytes: number;
}

/** Rows of columns that many streams may share. */
interface SourceRange extends RowRange {
  readonly source: Source;
}

/** Columns, with what is found out about their metadata sets once. */
interface Source {
  readonly columns: Columns;
  readonly sets: SetEncoder;
  /** Set → its place in COUNTED_LEVELS. */
  readonly levels: Uint8Array;
}

function sourceOf(columns: Columns): Source {
  const levels = Uint8Array.from(columns.metadata, ({ detected_level: level }) => {
    const at = (COUNTED_LEVELS as readonly string[]).indexOf(level ?? '');
    return at < 0 ? COUNTED_LEVELS.length - 1 : at;
  });
  return { columns, sets: new SetEncoder(columns), levels };
}

/** In the order in which they come first. */
function groupByKey(contents: readonly (StreamContent | StreamRows)[]): Grouped[] {
  const groups = new Map<string, Grouped>();
  const add = (key: string, source: Source, start: number, end: number): void => {
    if (start === end) return;
    const { columns } = source;
    const linesBytes = lineStart(columns, end) - lineStart(columns, start);
    const range = { source, columns, start, end };
    const group = groups.get(key);
    if (group) {
      (group.more ??= []).push(range);
      group.linesBytes += linesBytes;
    } else {
      groups.set(key, { key, range, more: undefined, linesBytes });
    }
  };
  for (const content of contents) {
    const source = sourceOf(content.columns);
    if ('labels' in content) {
      add(labelsKey(content.labels), source, 0, content.columns.count);
      continue;
    }
    const { keys, rowEnds } = content;
    for (let at = 0; at < keys.length; at++)
      add(keys[at], source, at === 0 ? 0 : rowEnds[at - 1], rowEnds[at]);
  }
  const grouped = [...groups.values()];
  for (const group of grouped) {
    if (!group.more) continue;
    const source = sourceOf(joinRows([group.range, ...group.more]));
    group.range = { source, columns: source.columns, start: 0, end: source.columns.count };
    group.more = undefined;
  }
  return grouped;
}

function groupIntoBlocks(streams: readonly Grouped[]): Grouped[][] {
  const blocks: Grouped[][] = [];
  let shared: Grouped[] = [];
  let sharedBytes = 0;
  for (const stream of streams) {
    if (stream.linesBytes >= OWN_BLOCK_BYTES) {
      blocks.push([stream]);
      continue;
    }
    shared.push(stream);
    sharedBytes += stream.linesBytes;
    if (sharedBytes >= OWN_BLOCK_BYTES * 2) {
      blocks.push(shared);
      shared = [];
      sharedBytes = 0;
    }
  }
  if (shared.length > 0) blocks.push(shared);
  return blocks;
}

interface EncodedBlock {
  readonly streams: readonly Grouped[];
  readonly columns: Uint8Array;
  readonly lines: Uint8Array;
  /** Of each stream. */
  readonly columnsBytes: Uint32Array;
}

function encodeBlock(streams: readonly Grouped[]): EncodedBlock {
  let rows = 0;
  for (const { range } of streams) rows += range.end - range.start;
  const writer = new ByteWriter(64 + streams.length * 24 + rows * 6);
  const columnsBytes = new Uint32Array(streams.length);
  for (let at = 0; at < streams.length; at++) {
    const { columns, source, start, end } = streams[at].range;
    const before = writer.length;
    encodeRows(writer, columns, start, end, source.sets);
    columnsBytes[at] = writer.length - before;
  }
  return { streams, columns: writer.finish(), lines: linesOf(streams), columnsBytes };
}

/** All lines, one stream after the other. What stands together in memory is taken in one piece. */
function linesOf(streams: readonly Grouped[]): Uint8Array {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < streams.length;) {
    const { columns, start } = streams[at].range;
    let { end } = streams[at].range;
    for (at++; at < streams.length; at++) {
      const { range } = streams[at];
      if (range.columns !== columns || range.start !== end) break;
      end = range.end;
    }
    pieces.push(columns.lines.subarray(lineStart(columns, start), lineStart(columns, end)));
  }
  return pieces.length === 1 ? pieces[0] : Buffer.concat(pieces);
}

function describe(blocks: readonly EncodedBlock[]): PackedStreams {
  const keys: string[] = [];
  let count = 0;
  for (const { streams } of blocks) count += streams.length;
  const writer = new ByteWriter(64 + count * 24);
  const table = new StreamTableWriter(writer);
  let entries = 0;
  let allLinesBytes = 0;
  let earliest: Instant = { ms: Infinity, sub: 0 };
  let latest: Instant = { ms: -Infinity, sub: 0 };
  for (let block = 0; block < blocks.length; block++) {
    const { streams, columnsBytes } = blocks[block];
    for (let at = 0; at < streams.length; at++) {
      const { key, range, linesBytes } = streams[at];
      const { ms, sub } = range.columns;
      const { low, high } = extremes(range);
      const min = { ms: ms[low], sub: sub[low] };
      const max = { ms: ms[high], sub: sub[high] };
      keys.push(key);
      const rows = range.end - range.start;
      const levels = countLevels(range);
      table.add({ block, entries: rows, linesBytes, columnsBytes: columnsBytes[at], min, max, levels });
      entries += rows;
      allLinesBytes += linesBytes;
      if (min.ms < earliest.ms || (min.ms === earliest.ms && min.sub < earliest.sub)) earliest = min;
      if (max.ms > latest.ms || (max.ms === latest.ms && max.sub > latest.sub)) latest = max;
    }
  }
  return {
    keys,
    table: joinOwned([writer.finish()]),
    entries,
    linesBytes: allLinesBytes,
    min: earliest,
    max: latest,
  };
}

/** The rows of the earliest and the latest entry. */
function extremes({ columns: { ms, sub }, start, end }: RowRange): { low: number; high: number } {
  let low = start;
  let high = start;
  for (let row = start + 1; row < end; row++) {
    if (ms[row] < ms[low] || (ms[row] === ms[low] && sub[row] < sub[low])) low = row;
    if (ms[row] > ms[high] || (ms[row] === ms[high] && sub[row] > sub[high])) high = row;
  }
  return { low, high };
}

function countLevels({ columns: { metadataIds }, source: { levels }, start, end }: SourceRange): number[] {
  const counts = COUNTED_LEVELS.map(() => 0);
  for (let row = start; row < end; row++) counts[levels[metadataIds[row]]]++;
  return counts;
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

function compress(bytes: Uint8Array, level: number): Buffer {
  return zstdCompressSync(bytes, {
    chunkSize: Math.max(1024, (bytes.length >>> 1) + 1024),
    pledgedSrcSize: bytes.length,
    params: { [constants.ZSTD_c_compressionLevel]: level },
  });
}
