import { ByteReader, ByteWriter } from './bytes.ts';
import { lineStart, type Columns, type Lines, type Metadata } from './columns.ts';
import { LIMITS } from '../limits.ts';

/** As far from 1970 as a Date goes. */
const TIME_MS_MAX = 8.64e15;
const SUB_MAX = 999_999;

/**
 * The canonical bytes of a stream's columns, all but the lines themselves. What is constant costs a byte; zstd does
 * the rest.
 *
 *   count | ms: unit, deltas | sub: mode, values | line lengths | metadata: sets, ids
 */
export function encodeColumns(columns: Columns): Buffer {
  const writer = new ByteWriter(64 + columns.count * 6);
  encodeRows(writer, columns, 0, columns.count, new SetEncoder(columns));
  return writer.finish();
}

/** Writes what `encodeColumns` gives for the rows `start … end` on their own. `sets` is over the same columns. */
export function encodeRows(
  writer: ByteWriter,
  { ms, sub, ends, metadataIds }: Columns,
  start: number,
  end: number,
  sets: SetEncoder,
): void {
  writer.varint(end - start);
  const unit = areMultiples(ms, start, end, 1000) ? 1000 : 1;
  writer.varint(unit);
  let previous = 0;
  for (let row = start; row < end; row++) {
    const value = ms[row] / unit;
    writer.zigzag(value - previous);
    previous = value;
  }
  const divisor = subDivisor(sub, start, end);
  writer.varint(divisor);
  if (divisor !== 0) for (let row = start; row < end; row++) writer.varint(sub[row] / divisor);
  let from = start === 0 ? 0 : ends[start - 1] + 1;
  for (let row = start; row < end; row++) {
    writer.varint(ends[row] - from);
    from = ends[row] + 1;
  }
  sets.encode(writer, metadataIds, start, end);
}

function areMultiples(values: Float64Array | Uint32Array, start: number, end: number, of: number): boolean {
  for (let row = start; row < end; row++) if (values[row] % of !== 0) return false;
  return true;
}

/** 0 where all are 0. */
function subDivisor(sub: Uint32Array, start: number, end: number): number {
  let row = start;
  while (row < end && sub[row] === 0) row++;
  if (row === end) return 0;
  return areMultiples(sub, row, end, 1000) ? 1000 : 1;
}

/**
 * Writes the metadata sets of ranges of rows, each set numbered by its first use in the range. A set is made into bytes
 * once, however many ranges use it.
 */
export class SetEncoder {
  readonly #metadata: readonly Metadata[];
  readonly #bytes: (Uint8Array | undefined)[];
  /** The first set with the same bytes, and by their text: no reader takes one that stands twice. */
  readonly #firsts: Int32Array;
  readonly #firstOf = new Map<string, number>();
  /** The last range that used a set, and its number there. */
  readonly #usedIn: Uint32Array;
  readonly #numbers: Uint32Array;
  #range = 0;

  constructor({ metadata }: Pick<Columns, 'metadata'>) {
    this.#metadata = metadata;
    this.#bytes = Array.from(metadata, () => undefined);
    this.#firsts = new Int32Array(metadata.length).fill(-1);
    this.#usedIn = new Uint32Array(metadata.length);
    this.#numbers = new Uint32Array(metadata.length);
  }

  encode(writer: ByteWriter, ids: Uint32Array, start: number, end: number): void {
    const range = ++this.#range;
    const used: number[] = [];
    for (let row = start; row < end; row++) {
      let id = this.#firsts[ids[row]];
      if (id < 0) id = this.#findFirst(ids[row]);
      if (this.#usedIn[id] === range) continue;
      this.#usedIn[id] = range;
      this.#numbers[id] = used.push(id) - 1;
    }
    writer.varint(used.length);
    for (const id of used) writer.raw(this.#bytes[id]!);
    if (used.length === 1) return;
    for (let row = start; row < end; row++) writer.varint(this.#numbers[this.#firsts[ids[row]]]);
  }

  #findFirst(id: number): number {
    const bytes = encodeSet(this.#metadata[id]);
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
    let first = this.#firstOf.get(text);
    if (first === undefined) {
      this.#firstOf.set(text, (first = id));
      this.#bytes[id] = bytes;
    }
    return (this.#firsts[id] = first);
  }
}

function encodeSet(set: Metadata): Uint8Array {
  const writer = new ByteWriter(64);
  const names = Object.keys(set).sort();
  writer.varint(names.length);
  for (const name of names) {
    writer.text(name);
    writer.text(set[name]);
  }
  return writer.finish();
}

/** Reads `encodeColumns`'s bytes and joins them with the stream's lines. Throws RangeError when they lie. */
export function decodeColumns(bytes: Uint8Array, lines: Uint8Array): Columns {
  const reader = new ByteReader(bytes);
  const count = reader.count(LIMITS.batchEntriesMax);
  const ms = new Float64Array(count);
  const unit = readUnit(reader);
  reader.sums(ms);
  for (let row = 0; row < count; row++) {
    ms[row] *= unit;
    if (Math.abs(ms[row]) > TIME_MS_MAX) throw new RangeError('a time out of range');
  }
  const sub = new Uint32Array(count);
  const divisor = reader.varint();
  if (divisor !== 0) {
    reader.varints(sub, Math.floor(SUB_MAX / divisor), 'more nanoseconds than a millisecond has');
    for (let row = 0; row < count; row++) sub[row] *= divisor;
  }
  const ends = readEnds(reader, count, lines.length);
  const metadata = readSets(reader, bytes, LIMITS.batchStreamsMax);
  const metadataIds = new Uint32Array(count);
  if (metadata.length > 1) reader.varints(metadataIds, metadata.length - 1, 'unknown metadata');
  else if (metadata.length === 0 && count > 0) throw new RangeError('no metadata set');
  if (!reader.done) throw new RangeError('bytes after the columns');
  return { count, ms, sub, ends, lines, metadataIds, metadata };
}

/** Where lines end, of `encodeColumns`'s bytes: all that a search needs. Throws RangeError when that lies. */
export function decodeLines(bytes: Uint8Array, lines: Uint8Array): Lines {
  const reader = new ByteReader(bytes);
  const count = reader.count(LIMITS.batchEntriesMax);
  readUnit(reader);
  reader.skipVarints(count);
  if (reader.varint() !== 0) reader.skipVarints(count);
  return { count, ends: readEnds(reader, count, lines.length), lines };
}

function readUnit(reader: ByteReader): number {
  const unit = reader.varint();
  if (unit !== 1 && unit !== 1000) throw new RangeError('unknown unit of time');
  return unit;
}

function readEnds(reader: ByteReader, count: number, linesBytes: number): Uint32Array {
  const ends = new Uint32Array(count);
  reader.varints(ends, linesBytes, 'line lengths do not add up');
  let at = 0;
  for (let row = 0; row < count; row++) {
    at += ends[row];
    ends[row] = at++;
  }
  if (at !== linesBytes) throw new RangeError('line lengths do not add up');
  return ends;
}

/**
 * Reads a count, and so many sets of names and values, out of `bytes`, which is what `reader` reads. They are distinct,
 * else a few bytes that repeat could become any number of objects. Throws RangeError.
 */
export function readSets(
  reader: ByteReader,
  bytes: Uint8Array,
  pairsMax: number,
  /** Reads what stands behind each set, and tells it from others that are alike. */
  readRest: () => void = () => undefined,
): Record<string, string>[] {
  const count = reader.count(LIMITS.batchEntriesMax);
  const sets: Record<string, string>[] = [];
  const known = new Set<string>();
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  while (sets.length < count) {
    const start = reader.position;
    const set = Object.create(null) as Record<string, string>;
    for (let pairs = reader.count(pairsMax); pairs > 0; pairs--) {
      const name = reader.text(LIMITS.batchBytesMax);
      set[name] = reader.text(LIMITS.batchBytesMax);
    }
    sets.push(set);
    readRest();
    if (count > 1 && known.add(text.toString('latin1', start, reader.position)).size < sets.length) {
      throw new RangeError('a set stands twice');
    }
  }
  return sets;
}

/** Rows `start … end` of some columns. */
export interface RowRange {
  readonly columns: Columns;
  readonly start: number;
  readonly end: number;
}

/** The rows of all ranges one after the other. Metadata dictionaries are joined. */
export function joinRows(ranges: readonly RowRange[]): Columns {
  let count = 0;
  for (const { start, end } of ranges) count += end - start;
  const ms = new Float64Array(count);
  const sub = new Uint32Array(count);
  const ends = new Uint32Array(count);
  const metadataIds = new Uint32Array(count);
  const known = new Map<string, number>();
  const metadata: Metadata[] = [];
  const lines: Uint8Array[] = [];
  let row = 0;
  let base = 0;
  for (const { columns, start, end } of ranges) {
    ms.set(columns.ms.subarray(start, end), row);
    sub.set(columns.sub.subarray(start, end), row);
    const from = lineStart(columns, start);
    const ids: number[] = [];
    for (let at = start; at < end; at++, row++) {
      ends[row] = columns.ends[at] - from + base;
      const id = columns.metadataIds[at];
      metadataIds[row] = ids[id] ??= numberOf(columns.metadata[id], known, metadata);
    }
    const to = lineStart(columns, end);
    lines.push(columns.lines.subarray(from, to));
    base += to - from;
  }
  return { count, ms, sub, ends, lines: Buffer.concat(lines), metadataIds, metadata };
}

function numberOf(set: Metadata, known: Map<string, number>, sets: Metadata[]): number {
  const key = JSON.stringify(set);
  let number = known.get(key);
  if (number === undefined) known.set(key, (number = sets.push(set) - 1));
  return number;
}
