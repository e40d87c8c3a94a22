import type { ByteReader, ByteWriter } from './bytes.ts';
import type { Labels } from './columns.ts';

/** A moment: whole milliseconds since 1970 and nanoseconds within them. */
export interface Instant {
  readonly ms: number;
  readonly sub: number;
}

export function compareInstants(a: Instant, b: Instant): number {
  return a.ms - b.ms || a.sub - b.sub;
}

/** Levels counted in headers, in this order; the last is every other value and none. */
export const COUNTED_LEVELS = [
  'trace',
  'debug',
  'info',
  'warn',
  'error',
  'critical',
  'fatal',
  'unknown',
  '',
] as const;

/** Differences of larger ones could not be told exactly. No stamp of a line is as far from 1970. */
const MS_MAX = 2 ** 51 - 1;

/** What a header says of one stream's lines. */
export interface StreamDescription {
  /** Which block of the payload holds it. */
  readonly block: number;
  readonly entries: number;
  readonly linesBytes: number;
  readonly columnsBytes: number;
  readonly min: Instant;
  readonly max: Instant;
  /** Entries by detected level, in the order of COUNTED_LEVELS. */
  readonly levels: readonly number[];
}

/** One stream's part of a batch. */
export interface StreamPart extends StreamDescription {
  /** Index of the stream's labels within the segment. */
  readonly stream: number;
  /** Present where the segment names the stream for the first time. */
  readonly labels?: Labels;
}

/** What the streams of a batch come to together. */
export interface StreamTotals {
  readonly entries: number;
  readonly linesBytes: number;
  readonly min: Instant;
  readonly max: Instant;
}

export function totalsOf(streams: readonly StreamDescription[]): StreamTotals {
  let entries = 0;
  let linesBytes = 0;
  let min: Instant = { ms: Infinity, sub: 0 };
  let max: Instant = { ms: -Infinity, sub: 0 };
  for (const stream of streams) {
    entries += stream.entries;
    linesBytes += stream.linesBytes;
    if (compareInstants(stream.min, min) < 0) min = stream.min;
    if (compareInstants(stream.max, max) > 0) max = stream.max;
  }
  return { entries, linesBytes, min, max };
}

/**
 * The descriptions of a batch's streams, one after the other. A batch may have thousands of a line each, so what is
 * mostly as in the stream before costs a byte:
 *
 *   block: difference | entries | bytes of lines, of columns | earliest: difference in ms, sub | latest: ms later, sub |
 *   levels: 2 i + 1 where all entries have the i-th, else twice the bits of those that occur, and the count of each
 */
export class StreamTableWriter {
  readonly #writer: ByteWriter;
  #block = 0;
  #ms = 0;

  constructor(writer: ByteWriter) {
    this.#writer = writer;
  }

  add({ block, entries, linesBytes, columnsBytes, min, max, levels }: StreamDescription): void {
    const writer = this.#writer;
    writer.zigzag(block - this.#block);
    writer.varint(entries);
    writer.varint(linesBytes);
    writer.varint(columnsBytes);
    writer.zigzag(min.ms - this.#ms);
    writer.varint(min.sub);
    writer.zigzag(max.ms - min.ms);
    writer.varint(max.sub);
    this.#block = block;
    this.#ms = min.ms;
    let bits = 0;
    for (let level = 0; level < levels.length; level++) {
      if (levels[level] === 0) continue;
      if (levels[level] === entries && bits === 0 && isLast(levels, level)) {
        writer.varint(2 * level + 1);
        return;
      }
      bits |= 1 << level;
    }
    writer.varint(2 * bits);
    for (const count of levels) if (count > 0) writer.varint(count);
  }
}

function isLast(levels: readonly number[], at: number): boolean {
  for (let later = at + 1; later < levels.length; later++) if (levels[later] !== 0) return false;
  return true;
}

/** Reads what StreamTableWriter wrote, in its order. Throws RangeError. */
export class StreamTableReader {
  readonly #reader: ByteReader;
  readonly #blocks: number;
  #block = 0;
  #ms = 0;

  constructor(reader: ByteReader, blocks: number) {
    this.#reader = reader;
    this.#blocks = blocks;
  }

  next(): StreamDescription {
    const reader = this.#reader;
    const block = (this.#block += reader.zigzag());
    if (!(block >= 0 && block < this.#blocks)) throw new RangeError('unknown block');
    const entries = reader.varint();
    const linesBytes = reader.varint();
    const columnsBytes = reader.varint();
    const min = { ms: (this.#ms += reader.zigzag()), sub: reader.varint() };
    const max = { ms: min.ms + reader.zigzag(), sub: reader.varint() };
    if (Math.abs(min.ms) > MS_MAX || Math.abs(max.ms) > MS_MAX) throw new RangeError('impossible times');
    return { block, entries, linesBytes, columnsBytes, min, max, levels: this.#levels(entries) };
  }

  #levels(entries: number): number[] {
    const levels = COUNTED_LEVELS.map(() => 0);
    const code = this.#reader.varint();
    if (code >= 2 << levels.length) throw new RangeError('unknown levels');
    if (code % 2 === 1) {
      const level = (code - 1) / 2;
      if (level >= levels.length || entries === 0) throw new RangeError('unknown levels');
      levels[level] = entries;
      return levels;
    }
    for (let level = 0; level < levels.length; level++) {
      if (((code >>> 1) & (1 << level)) === 0) continue;
      levels[level] = this.#reader.varint();
      if (levels[level] === 0) throw new RangeError('a level of no entries');
    }
    return levels;
  }
}
