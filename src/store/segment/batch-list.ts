import type { Instant } from '../batch/index.ts';

/** Where a batch stands in its segment file, and what a query needs to rule it out. */
export interface BatchFields {
  readonly seq: number;
  readonly offset: number;
  readonly frameBytes: number;
  readonly headerBytes: number;
  readonly filterBytes: number;
  /** 32 bytes. */
  readonly headerHash: Uint8Array;
  readonly entries: number;
  readonly rawBytes: number;
  readonly min: Instant;
  readonly max: Instant;
  readonly sealedAtMs: number;
  /** Which of the segment's streams it holds, ascending. */
  readonly streams: StreamList;
}

/** Places in `SegmentRecord.streams`. Plain where it is short, since an array of another kind weighs some hundred bytes itself. */
export type StreamList = readonly number[] | Uint32Array;

const PLAIN_LIST_MAX = 64;

/* Words of a row. Numbers of two words are signed, the low one first. */
const SEQ = 0;
const MIN_MS = 2;
const MIN_SUB = 4;
const MAX_MS = 5;
const MAX_SUB = 7;
const SEALED_AT_MS = 8;
const OFFSET = 10;
const FRAME_BYTES = 11;
const HEADER_BYTES = 12;
const FILTER_BYTES = 13;
const ENTRIES = 14;
const RAW_BYTES = 15;
/** The number of its only stream, or where its list of streams stands: see `IS_LIST`. */
const STREAMS = 16;
/** A bit for each of its streams, if there are no more than 64. */
const PLAIN = 17;
const PLAIN_WORDS = 2;
const HASH = 19;
export const HASH_BYTES = 32;
const ROW_WORDS = HASH + HASH_BYTES / 4;

const IS_LIST = 2 ** 31;
const TWO_32 = 2 ** 32;

function wideAt(words: Uint32Array, at: number): number {
  return (words[at + 1] | 0) * TWO_32 + words[at];
}

function setWide(words: Uint32Array, at: number, value: number): void {
  words[at] = value;
  words[at + 1] = Math.floor(value / TWO_32);
}

/** The same words, with room for `more` after the first `used`. */
function withRoom(words: Uint32Array, used: number, more: number): Uint32Array {
  if (used + more <= words.length) return words;
  // Little to spare: there is one for each segment, and it grows seldom.
  const grown = new Uint32Array(used + Math.max(more, used >>> 2));
  grown.set(words.subarray(0, used));
  return grown;
}

const NO_WORDS = new Uint32Array(0);

/** Batches as they came, each for good. */
class Rows {
  words: Uint32Array = NO_WORDS;
  lists: Uint32Array = NO_WORDS;
  count = 0;
  #listWords = 0;
  /** The bits of batches of more streams, by row. */
  #plain: Map<number, Uint32Array> | undefined;

  reserve(more: number): void {
    this.words = withRoom(this.words, this.count * ROW_WORDS, more * ROW_WORDS);
  }

  seq(row: number): number {
    return wideAt(this.words, row * ROW_WORDS + SEQ);
  }

  /** The number of its row. */
  add(batch: BatchFields): number {
    this.reserve(1);
    const { words } = this;
    const at = this.count * ROW_WORDS;
    setWide(words, at + SEQ, batch.seq);
    setWide(words, at + MIN_MS, batch.min.ms);
    words[at + MIN_SUB] = batch.min.sub;
    setWide(words, at + MAX_MS, batch.max.ms);
    words[at + MAX_SUB] = batch.max.sub;
    setWide(words, at + SEALED_AT_MS, batch.sealedAtMs);
    words[at + OFFSET] = batch.offset;
    words[at + FRAME_BYTES] = batch.frameBytes;
    words[at + HEADER_BYTES] = batch.headerBytes;
    words[at + FILTER_BYTES] = batch.filterBytes;
    words[at + ENTRIES] = batch.entries;
    words[at + RAW_BYTES] = batch.rawBytes;
    words[at + STREAMS] = this.#addList(batch.streams);
    this.hash(this.count).set(batch.headerHash);
    return this.count++;
  }

  hash(row: number): Buffer {
    const { buffer, byteOffset } = this.words;
    return Buffer.from(buffer, byteOffset + (row * ROW_WORDS + HASH) * 4, HASH_BYTES);
  }

  /** Bits of the batch's streams, to be read and set; undefined: none of many is set. */
  plainBits(row: number, streams: number): Uint32Array | undefined {
    const at = row * ROW_WORDS + PLAIN;
    return streams <= 32 * PLAIN_WORDS ? this.words.subarray(at, at + PLAIN_WORDS) : this.#plain?.get(row);
  }

  makePlainBits(row: number, streams: number): Uint32Array {
    let bits = this.plainBits(row, streams);
    if (bits) return bits;
    bits = new Uint32Array(Math.ceil(streams / 32));
    this.#plain ??= new Map();
    this.#plain.set(row, bits);
    return bits;
  }

  #addList(streams: StreamList): number {
    const { length } = streams;
    if (length === 1) return streams[0];
    // Mostly a batch has the same streams as the one before it.
    const before = this.count > 0 ? this.words[(this.count - 1) * ROW_WORDS + STREAMS] : 0;
    if (before >= IS_LIST && this.#isList(before - IS_LIST, streams)) return before;
    const at = this.#listWords;
    this.lists = withRoom(this.lists, at, length + 1);
    this.lists[at] = length;
    this.lists.set(streams, at + 1);
    this.#listWords += length + 1;
    return IS_LIST + at;
  }

  #isList(at: number, streams: StreamList): boolean {
    if (this.lists[at] !== streams.length) return false;
    for (let i = 0; i < streams.length; i++) if (this.lists[at + 1 + i] !== streams[i]) return false;
    return true;
  }

  streams(row: number): StreamList {
    const word = this.words[row * ROW_WORDS + STREAMS];
    if (word < IS_LIST) return [word];
    const at = word - IS_LIST;
    const length = this.lists[at];
    if (length > PLAIN_LIST_MAX) return this.lists.subarray(at + 1, at + 1 + length);
    const list: number[] = [];
    for (let i = 1; i <= length; i++) list.push(this.lists[at + i]);
    return list;
  }
}

/** One batch of a list, decoded as far as asked. It stays what it is when the list changes. */
export class BatchEntry implements BatchFields {
  readonly #rows: Rows;
  /** Says, with `list`, which batch it is: the one that comes again, healed, is another. */
  readonly row: number;

  constructor(rows: Rows, row: number) {
    this.#rows = rows;
    this.row = row;
  }

  /** Lives as long as its batches are wanted. */
  get list(): object {
    return this.#rows;
  }
  get seq(): number {
    return this.#rows.seq(this.row);
  }
  get offset(): number {
    return this.#word(OFFSET);
  }
  get frameBytes(): number {
    return this.#word(FRAME_BYTES);
  }
  get headerBytes(): number {
    return this.#word(HEADER_BYTES);
  }
  get filterBytes(): number {
    return this.#word(FILTER_BYTES);
  }
  /** Not to be changed. */
  get headerHash(): Buffer {
    return this.#rows.hash(this.row);
  }
  get entries(): number {
    return this.#word(ENTRIES);
  }
  get rawBytes(): number {
    return this.#word(RAW_BYTES);
  }
  get minMs(): number {
    return wideAt(this.#rows.words, this.row * ROW_WORDS + MIN_MS);
  }
  get min(): Instant {
    return { ms: this.minMs, sub: this.#word(MIN_SUB) };
  }
  get maxMs(): number {
    return wideAt(this.#rows.words, this.row * ROW_WORDS + MAX_MS);
  }
  get max(): Instant {
    return { ms: this.maxMs, sub: this.#word(MAX_SUB) };
  }
  get sealedAtMs(): number {
    return wideAt(this.#rows.words, this.row * ROW_WORDS + SEALED_AT_MS);
  }
  get streams(): StreamList {
    return this.#rows.streams(this.row);
  }

  /** Streams whose metadata is levels alone, as scans have found. */
  get plainStreams(): number[] {
    const { streams } = this;
    const bits = this.#rows.plainBits(this.row, streams.length);
    if (!bits?.some((word) => word !== 0)) return [];
    const plain: number[] = [];
    for (let at = 0; at < streams.length; at++)
      if ((bits[at >>> 5] >>> (at & 31)) & 1) plain.push(streams[at]);
    return plain;
  }

  notePlain(found: readonly number[]): void {
    const { streams } = this;
    const bits = this.#rows.makePlainBits(this.row, streams.length);
    const isFound = new Set(found);
    for (let at = 0; at < streams.length; at++)
      if (isFound.has(streams[at])) bits[at >>> 5] |= 1 << (at & 31);
  }

  #word(field: number): number {
    return this.#rows.words[this.row * ROW_WORDS + field];
  }
}

/** Batches as they stood, ascending by seq. */
export class BatchView implements Iterable<BatchEntry> {
  readonly #parts: readonly { rows: Rows; order: Uint32Array | undefined; from: number; to: number }[];
  readonly length: number;

  constructor(rows: Rows, order: Uint32Array | undefined, ranges: readonly (readonly [number, number])[]) {
    this.#parts = ranges.map(([from, to]) => ({ rows, order, from, to }));
    this.length = ranges.reduce((sum, [from, to]) => sum + to - from, 0);
  }

  *[Symbol.iterator](): Generator<BatchEntry> {
    for (const { rows, order, from, to } of this.#parts)
      for (let at = from; at < to; at++) yield new BatchEntry(rows, order ? order[at] : at);
  }
}

/**
 * The batches of a segment, ascending by seq; a gap in the seqs is a hole. A peer may hold millions of batches: each takes 108 bytes
 * here, and becomes an object when it is looked at.
 */
export class BatchList implements Iterable<BatchEntry> {
  readonly #rows = new Rows();
  #count = 0;
  /** The rows by seq; undefined while they stand so themselves. Those before `#count` are never written again. */
  #order: Uint32Array | undefined;

  get length(): number {
    return this.#count;
  }

  /** Counts from the end when negative. */
  at(index: number): BatchEntry | undefined {
    const at = index < 0 ? this.#count + index : index;
    return at >= 0 && at < this.#count ? new BatchEntry(this.#rows, this.#rowAt(at)) : undefined;
  }

  /** The seq of one that is there. */
  seqAt(index: number): number {
    return this.#rows.seq(this.#rowAt(index));
  }

  /** Of those that are there when it is asked for. */
  [Symbol.iterator](): Generator<BatchEntry> {
    return this.between([[0, Infinity]])[Symbol.iterator]();
  }

  find(seq: number): BatchEntry | undefined {
    const index = this.indexFrom(seq);
    return index < this.#count && this.seqAt(index) === seq ? this.at(index) : undefined;
  }

  has(seq: number): boolean {
    return this.find(seq) !== undefined;
  }

  /** Of the first with this seq or a higher one; `length` when there is none. */
  indexFrom(seq: number): number {
    if (this.#count === 0) return 0;
    // Mostly there is no hole before it.
    const guess = seq - this.seqAt(0);
    if (guess <= 0) return 0;
    if (guess < this.#count && this.seqAt(guess) === seq) return guess;
    let low = 1;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.seqAt(middle) < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Those in the runs of seqs, both ends included, as they stand now. */
  between(runs: Iterable<readonly [number, number]>): BatchView {
    const ranges = Array.from(runs, ([from, to]): [number, number] => {
      const start = this.indexFrom(from);
      return [start, Math.max(start, this.indexFrom(to + 1))];
    });
    return new BatchView(this.#rows, this.#order, ranges);
  }

  /** Room for so many more, when that is known. */
  reserve(more: number): void {
    this.#rows.reserve(more);
  }

  /** One whose seq is not in the list. */
  add(batch: BatchFields): void {
    const index = this.indexFrom(batch.seq);
    const row = this.#rows.add(batch);
    if (index === this.#count) {
      if (this.#order) {
        this.#order = withRoom(this.#order, this.#count, 1);
        this.#order[this.#count] = row;
      }
    } else {
      // Views go on with the order that they have.
      const before = this.#rowsInOrder();
      this.#order = new Uint32Array(this.#count + 1);
      this.#order.set(before.subarray(0, index));
      this.#order[index] = row;
      this.#order.set(before.subarray(index), index + 1);
    }
    this.#count++;
  }

  /** Those of these that are there. */
  remove(batches: Iterable<Pick<BatchFields, 'seq'>>): void {
    const seqs = Array.from(batches, ({ seq }) => seq).filter((seq) => this.has(seq));
    const indexes = [...new Set(seqs)].map((seq) => this.indexFrom(seq)).sort((a, b) => a - b);
    const before = this.#rowsInOrder();
    const order = new Uint32Array(before.length - indexes.length);
    let start = 0;
    for (const [gone, end] of [...indexes, before.length].entries()) {
      order.set(before.subarray(start, end), start - gone);
      start = end + 1;
    }
    this.#order = order;
    this.#count = order.length;
  }

  #rowAt(index: number): number {
    return this.#order ? this.#order[index] : index;
  }

  #rowsInOrder(): Uint32Array {
    if (this.#order) return this.#order.subarray(0, this.#count);
    const rows = new Uint32Array(this.#count);
    for (let row = 0; row < rows.length; row++) rows[row] = row;
    return rows;
  }
}
