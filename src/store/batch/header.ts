import { ByteReader, ByteWriter } from './bytes.ts';
import { setLabel, type Labels } from './columns.ts';
import { LIMITS } from '../limits.ts';
import type { PackedStreams } from './pack.ts';
import {
  compareInstants,
  StreamTableReader,
  StreamTableWriter,
  type Instant,
  type StreamPart,
} from './stream-table.ts';

/** Two zstd frames of the payload: the columns of its streams, one after the other, then their lines. */
export interface BlockExtent {
  readonly columnsStored: number;
  readonly columnsRaw: number;
  readonly linesStored: number;
  readonly linesRaw: number;
}

export interface SourcePosition {
  readonly source: string;
  readonly position: string;
}

export interface EpochLink {
  readonly epoch: number;
  readonly lastSeq: number;
  readonly headerHash: Buffer;
}

/** What a batch says about itself. Everything in it is signed. */
export interface BatchHeader {
  readonly origin: string;
  readonly epoch: number;
  readonly seq: number;
  readonly segment: number;
  /** Hash of the previous batch's header in this epoch; zeros at seq 1. */
  readonly previousHash: Buffer;
  /** On seq 1, when the origin has had an epoch before this one. */
  readonly previousEpoch?: EpochLink;
  readonly payloadHash: Buffer;
  /** SHA-256 of the canonical uncompressed columns and lines, so that a re-encoded payload still proves its lines. */
  readonly contentHash: Buffer;
  readonly sealedAtMs: number;
  /** The last batch of this epoch that was on its origin's disk when this one was sealed: what lies between may be torn. */
  readonly syncedSeq: number;
  /** The owners that the segment was opened on; on the segment's first batch. */
  readonly owners: readonly string[];
  readonly filterBytes: number;
  readonly blocks: readonly BlockExtent[];
  readonly streams: readonly StreamPart[];
  readonly sources: readonly SourcePosition[];
  /** Digests of the pushes whose lines it holds, PUSH_DIGEST_BYTES each; absent where there are none. */
  readonly pushes?: readonly Uint8Array[];
}

/** The streams of a batch that is being sealed: packed on a worker, and numbered. */
export interface SealedStreams extends PackedStreams {
  /** Number of each stream in its segment. */
  readonly numbers: Uint32Array;
  /** Those that the segment names for the first time, ascending. */
  readonly named: readonly NamedStream[];
}

export interface NamedStream {
  /** Place among the streams of the batch. */
  readonly at: number;
  readonly labels: Labels;
}

/** A header as its origin makes it. */
export interface SealedHeader extends Omit<BatchHeader, 'streams'> {
  readonly streams: SealedStreams;
}

const HASH_BYTES = 32;
export const PUSH_DIGEST_BYTES = 16;
const HEADER_VERSION = 3;

export function encodeHeader(header: BatchHeader | SealedHeader): Buffer {
  const streams = 'table' in header.streams ? header.streams : streamsOf(header.streams);
  const writer = new ByteWriter(1024 + streams.table.length + streams.numbers.length * 2);
  writer.varint(HEADER_VERSION);
  writer.text(header.origin);
  writer.varint(header.epoch);
  writer.varint(header.seq);
  writer.varint(header.segment);
  writer.bytes(header.previousHash);
  writer.varint(header.previousEpoch ? 1 : 0);
  if (header.previousEpoch) {
    writer.varint(header.previousEpoch.epoch);
    writer.varint(header.previousEpoch.lastSeq);
    writer.bytes(header.previousEpoch.headerHash);
  }
  writer.bytes(header.payloadHash);
  writer.bytes(header.contentHash);
  writer.varint(header.sealedAtMs);
  writer.varint(header.syncedSeq);
  writer.varint(header.owners.length);
  for (const owner of header.owners) writer.text(owner);
  writer.varint(header.filterBytes);
  writer.varint(header.blocks.length);
  for (const block of header.blocks) {
    writer.varint(block.columnsStored);
    writer.varint(block.columnsRaw);
    writer.varint(block.linesStored);
    writer.varint(block.linesRaw);
  }
  encodeStreams(writer, streams);
  writer.varint(header.sources.length);
  for (const source of header.sources) {
    writer.text(source.source);
    writer.text(source.position);
  }
  const { pushes = [] } = header;
  writer.varint(pushes.length);
  for (const digest of pushes) writer.bytes(digest);
  return writer.finish();
}

type EncodedStreams = Pick<SealedStreams, 'table' | 'named'> & { readonly numbers: ArrayLike<number> };

/**
 *   count | numbers: differences | named: bytes, count, (place: difference, labels)… | descriptions, see StreamTableWriter
 *
 * A segment numbers its streams in the order of their coming, so the next one mostly is the next number.
 */
function encodeStreams(writer: ByteWriter, { numbers, named, table }: EncodedStreams): void {
  writer.varint(numbers.length);
  let expected = 0;
  for (let at = 0; at < numbers.length; at++) {
    writer.zigzag(numbers[at] - expected);
    expected = numbers[at] + 1;
  }
  const names = new ByteWriter(64 + named.length * 64);
  names.varint(named.length);
  let before = 0;
  for (const { at, labels } of named) {
    names.varint(at - before);
    before = at;
    encodeLabels(names, labels);
  }
  writer.bytes(names.finish());
  writer.raw(table);
}

function encodeLabels(writer: ByteWriter, labels: Labels): void {
  const names = Object.keys(labels).sort();
  writer.varint(names.length);
  for (const name of names) {
    writer.text(name);
    writer.text(labels[name]);
  }
}

function streamsOf(parts: readonly StreamPart[]): EncodedStreams {
  const writer = new ByteWriter();
  const table = new StreamTableWriter(writer);
  for (const part of parts) table.add(part);
  const named = parts.flatMap(({ labels }, at) => (labels ? [{ at, labels }] : []));
  return { table: writer.finish(), numbers: parts.map(({ stream }) => stream), named };
}

export interface HeaderOptions {
  /** Passes over the labels, which cost more than all the rest to read: for who knows the streams by their numbers. */
  readonly withoutLabels?: boolean;
}

/** Whether these are the bytes of a header as this version writes them, well-formed or not. */
export function isOfThisVersion(bytes: Uint8Array): boolean {
  return bytes[0] === HEADER_VERSION;
}

/** Throws RangeError on anything that is not a well-formed header; the caller names the batch. */
export function decodeHeader(bytes: Uint8Array, { withoutLabels = false }: HeaderOptions = {}): BatchHeader {
  const reader = new ByteReader(bytes);
  if (reader.varint() !== HEADER_VERSION)
    throw new RangeError('it was written by another version of Logvine');
  const origin = reader.text(128);
  const epoch = reader.varint();
  const seq = reader.varint();
  const segment = reader.varint();
  if (seq < 1 || segment < 1) throw new RangeError('seq and segment start at 1');
  if (Math.max(epoch, seq, segment) > LIMITS.counterMax) throw new RangeError('an impossible number');
  const previousHash = hash(reader);
  let previousEpoch: EpochLink | undefined;
  if (reader.varint() === 1) {
    previousEpoch = { epoch: reader.varint(), lastSeq: reader.varint(), headerHash: hash(reader) };
  }
  const payloadHash = hash(reader);
  const contentHash = hash(reader);
  const sealedAtMs = reader.varint();
  const syncedSeq = reader.varint();
  const owners = list(reader, LIMITS.ownersMax, () => reader.text(128));
  const filterBytes = reader.varint();
  const blocks = list(reader, LIMITS.batchBlocksMax, () => ({
    columnsStored: reader.varint(),
    columnsRaw: reader.varint(),
    linesStored: reader.varint(),
    linesRaw: reader.varint(),
  }));
  const streams = decodeStreams(reader, blocks.length, withoutLabels);
  const sources = list(reader, LIMITS.batchStreamsMax, () => ({
    source: reader.text(LIMITS.sourceTextBytesMax),
    position: reader.text(LIMITS.sourceTextBytesMax),
  }));
  const pushes = list(reader, LIMITS.batchPushesMax, () => {
    const digest = reader.bytes(PUSH_DIGEST_BYTES);
    if (digest.length !== PUSH_DIGEST_BYTES) throw new RangeError('not a digest');
    return digest;
  });
  if (!reader.done) throw new RangeError('bytes after the header');
  const header: BatchHeader = {
    origin,
    epoch,
    seq,
    segment,
    previousHash,
    previousEpoch,
    payloadHash,
    contentHash,
    sealedAtMs,
    syncedSeq,
    owners,
    filterBytes,
    blocks,
    streams,
    sources,
    ...(pushes.length > 0 ? { pushes } : {}),
  };
  checkBounds(header);
  return header;
}

/**
 * A header that promises more than LIMITS allow is refused before anything is decompressed, and such a batch is not packed. Throws
 * RangeError.
 */
export function checkBounds({ filterBytes, blocks }: Pick<BatchHeader, 'filterBytes' | 'blocks'>): void {
  if (blocks.length > LIMITS.batchBlocksMax) throw new RangeError('too many blocks');
  let stored = filterBytes;
  let raw = 0;
  for (const block of blocks) {
    stored += block.columnsStored + block.linesStored;
    raw += block.columnsRaw + block.linesRaw;
  }
  if (stored > LIMITS.payloadBytesMax) throw new RangeError('payload too large');
  // Columns of very short lines outweigh them: a few bytes an entry, over batchEntriesMax entries at the most.
  if (raw > LIMITS.batchBytesMax * 4) throw new RangeError('content too large');
}

/** As far from 1970 as a Date goes. */
const TIME_MS_MAX = 8.64e15;
const SUB_MAX = 999_999;

/**
 * What a header says of its content, as far as it can be judged without it. These numbers are added up, kept and passed on
 * to peers that refuse what is no time: one origin that lies must not make an honest holder's answers unreadable.
 */
export function checkClaims({ blocks, streams }: BatchHeader): void {
  if (streams.length === 0) throw new RangeError('a batch without streams');
  const columnsLeft = blocks.map(({ columnsRaw }) => columnsRaw);
  const linesLeft = blocks.map(({ linesRaw }) => linesRaw);
  let allEntries = 0;
  for (const { block, entries, columnsBytes, linesBytes, min, max, levels } of streams) {
    columnsLeft[block] -= columnsBytes;
    linesLeft[block] -= linesBytes;
    allEntries += entries;
    if (!isTime(min) || !isTime(max) || compareInstants(min, max) > 0)
      throw new RangeError('impossible times');
    if (entries < 1 || levels.reduce((sum, count) => sum + count, 0) !== entries)
      throw new RangeError('entries do not add up');
  }
  if (allEntries > LIMITS.batchEntriesMax) throw new RangeError('too many entries');
  if (columnsLeft.some((left) => left !== 0) || linesLeft.some((left) => left !== 0))
    throw new RangeError('blocks do not add up');
}

function isTime({ ms, sub }: Instant): boolean {
  return Math.abs(ms) <= TIME_MS_MAX && sub <= SUB_MAX;
}

function decodeStreams(reader: ByteReader, blocks: number, withoutLabels: boolean): StreamPart[] {
  const numbers: number[] = [];
  let expected = 0;
  for (let left = reader.count(LIMITS.batchStreamsMax); left > 0; left--) {
    const number = expected + reader.zigzag();
    // It becomes an index: one lying number must not make anybody count to it.
    if (!(number >= 0 && number < LIMITS.segmentStreamsMax)) throw new RangeError('unknown stream');
    numbers.push(number);
    expected = number + 1;
  }
  let named: (Labels | undefined)[] = [];
  if (withoutLabels) reader.skip(LIMITS.headerBytesMax);
  else named = decodeNamed(reader.bytes(LIMITS.headerBytesMax), numbers.length);
  const table = new StreamTableReader(reader, blocks);
  return numbers.map((stream, at) => ({ stream, labels: named[at], ...table.next() }));
}

/** The labels of those that have any, by their places. */
function decodeNamed(bytes: Uint8Array, streams: number): (Labels | undefined)[] {
  const reader = new ByteReader(bytes);
  const named: (Labels | undefined)[] = [];
  for (let left = reader.count(streams), at = 0; left > 0; left--) {
    at += reader.varint();
    if (at >= streams || at in named) throw new RangeError('a name for no stream');
    named[at] = decodeLabels(reader);
  }
  if (!reader.done) throw new RangeError('bytes after the names');
  return named;
}

function decodeLabels(reader: ByteReader): Labels {
  const labels: Record<string, string> = {};
  for (let left = reader.count(LIMITS.labelsStoredMax); left > 0; left--) {
    const name = reader.text(LIMITS.labelNameBytesMax);
    setLabel(labels, name, reader.text(LIMITS.labelValueBytesMax));
  }
  return labels;
}

function hash(reader: ByteReader): Buffer {
  const bytes = reader.bytes(HASH_BYTES);
  if (bytes.length !== HASH_BYTES) throw new RangeError('not a hash');
  return bytes;
}

function list<T>(reader: ByteReader, max: number, item: () => T): T[] {
  const count = reader.count(max);
  const items: T[] = [];
  for (let i = 0; i < count; i++) items.push(item());
  return items;
}
