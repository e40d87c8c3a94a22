import { ByteReader, ByteWriter } from './bytes.ts';
import type { Columns, Lines, Metadata } from './columns.ts';
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
  const { count, ms, sub, ends } = columns;
  const writer = new ByteWriter(64 + count * 6);
  writer.varint(count);
  const unit = ms.every((value) => value % 1000 === 0) ? 1000 : 1;
  writer.varint(unit);
  let previous = 0;
  for (let row = 0; row < count; row++) {
    const value = ms[row] / unit;
    writer.zigzag(value - previous);
    previous = value;
  }
  const divisor = sub.every((value) => value === 0) ? 0 : sub.every((value) => value % 1000 === 0) ? 1000 : 1;
  writer.varint(divisor);
  if (divisor !== 0) for (let row = 0; row < count; row++) writer.varint(sub[row] / divisor);
  let start = 0;
  for (let row = 0; row < count; row++) {
    writer.varint(ends[row] - start);
    start = ends[row] + 1;
  }
  encodeMetadata(writer, columns);
  return writer.finish();
}

function encodeMetadata(writer: ByteWriter, columns: Columns): void {
  const { count, metadata, metadataIds } = columns;
  writer.varint(metadata.length);
  for (const set of metadata) {
    const names = Object.keys(set).sort();
    writer.varint(names.length);
    for (const name of names) {
      writer.text(name);
      writer.text(set[name]);
    }
  }
  if (metadata.length > 1) for (let row = 0; row < count; row++) writer.varint(metadataIds[row]);
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
  const metadata = readSets(reader, bytes);
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
export function readSets(reader: ByteReader, bytes: Uint8Array): Record<string, string>[] {
  const count = reader.count(LIMITS.batchEntriesMax);
  const sets: Record<string, string>[] = [];
  const known = new Set<string>();
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  while (sets.length < count) {
    const start = reader.position;
    const set = Object.create(null) as Record<string, string>;
    for (let pairs = reader.count(LIMITS.batchStreamsMax); pairs > 0; pairs--) {
      const name = reader.text(LIMITS.batchBytesMax);
      set[name] = reader.text(LIMITS.batchBytesMax);
    }
    sets.push(set);
    if (count > 1 && known.add(text.toString('latin1', start, reader.position)).size < sets.length) {
      throw new RangeError('a set stands twice');
    }
  }
  return sets;
}

/** Rows of `parts` one after the other. Metadata dictionaries are joined. */
export function concatColumns(parts: readonly Columns[]): Columns {
  if (parts.length === 1) return parts[0];
  let count = 0;
  for (const part of parts) count += part.count;
  const ms = new Float64Array(count);
  const sub = new Uint32Array(count);
  const ends = new Uint32Array(count);
  const metadataIds = new Uint32Array(count);
  const known = new Map<string, number>();
  const metadata: Metadata[] = [];
  let row = 0;
  let base = 0;
  for (const part of parts) {
    ms.set(part.ms.subarray(0, part.count), row);
    sub.set(part.sub.subarray(0, part.count), row);
    const ids = part.metadata.map((set) => {
      const key = JSON.stringify(set);
      let id = known.get(key);
      if (id === undefined) {
        id = metadata.push(set) - 1;
        known.set(key, id);
      }
      return id;
    });
    for (let i = 0; i < part.count; i++) {
      ends[row + i] = part.ends[i] + base;
      metadataIds[row + i] = ids[part.metadataIds[i]];
    }
    row += part.count;
    base += part.lines.length;
  }
  const lines = Buffer.concat(parts.map((part) => part.lines));
  return { count, ms, sub, ends, lines, metadataIds, metadata };
}
