import {
  ByteReader,
  ByteWriter,
  totalsOf,
  type BatchHeader,
  type Instant,
  type SealedHeader,
} from '../batch/index.ts';
import { LIMITS } from '../limits.ts';
import { BatchList, HASH_BYTES, type BatchEntry, type BatchFields } from './batch-list.ts';
import { NOTHING_GONE, withoutHeld, type GoneRun } from './gone.ts';
import type { Stream, StreamPool } from './streams.ts';

export interface SegmentId {
  readonly origin: string;
  readonly epoch: number;
  readonly index: number;
}

export function segmentName(id: SegmentId): string {
  return `${id.origin}/${id.epoch}-${id.index}`;
}

/** Bytes of a segment file that no batch could be read from; healed in place, since replicas are byte-identical. */
export interface Quarantined {
  readonly offset: number;
  readonly bytes: number;
}

/** All that is known of a segment file without reading it: what the catalog keeps. */
export interface SegmentRecord {
  readonly id: SegmentId;
  owners: readonly string[];
  /** Seq of its first batch, which names the owners; 0 while that is not known. */
  firstSeq: number;
  /** By the number that the segment gives it; undefined where the batch that names it is not here. */
  readonly streams: (Stream | undefined)[];
  readonly batches: BatchList;
  /** Ascending. */
  readonly quarantined: Quarantined[];
  /** Batches that were on this disk, and are not any more. */
  rotten: readonly GoneRun[];
  /** Last position of each source that its batches carry, and the batch that carries it. */
  readonly positions: Map<string, { seq: number; position: string }>;
  fileBytes: number;
  /** The disk would not give all of the file when this was made of it: then the catalog does not keep it. */
  hasUnread: boolean;
}

export function emptyRecord(id: SegmentId): SegmentRecord {
  return {
    id,
    owners: [],
    firstSeq: 0,
    streams: [],
    batches: new BatchList(),
    quarantined: [],
    rotten: NOTHING_GONE,
    positions: new Map(),
    fileBytes: 0,
    hasUnread: false,
  };
}

/** Adds a batch that stands at `offset`. The streams that it names are taken from the pool. */
export function addBatch(
  record: SegmentRecord,
  header: BatchHeader | SealedHeader,
  place: Pick<BatchFields, 'offset' | 'frameBytes' | 'headerBytes' | 'headerHash'>,
  pool: StreamPool,
): void {
  if (header.owners.length > 0) {
    record.owners = header.owners;
    record.firstSeq = header.seq;
  }
  nameStreams(record, header, pool);
  for (const { source, position } of header.sources) {
    // A healed batch comes late: what batches after it carried stands.
    if ((record.positions.get(source)?.seq ?? 0) < header.seq) {
      record.positions.set(source, { seq: header.seq, position });
    }
  }
  const streams = listOf(header);
  const {
    entries,
    linesBytes: rawBytes,
    min,
    max,
  } = 'table' in header.streams ? header.streams : totalsOf(header.streams);
  const { seq, sealedAtMs, filterBytes } = header;
  record.batches.add({ seq, ...place, filterBytes, entries, rawBytes, min, max, sealedAtMs, streams });
  record.rotten = withoutHeld(record.rotten, [[seq, seq]]);
}

function nameStreams(record: SegmentRecord, { streams }: BatchHeader | SealedHeader, pool: StreamPool): void {
  if ('table' in streams) {
    const { named, numbers, keys } = streams;
    for (const { at } of named) nameStream(record, numbers[at], pool.takeKey(keys[at]), pool);
    return;
  }
  for (const { labels, stream } of streams) if (labels) nameStream(record, stream, pool.take(labels), pool);
}

/** A batch whose streams are named in one that is not here could not be answered for: its lines would be passed over. */
export function areNamed(
  parts: BatchHeader['streams'],
  streams: readonly (Stream | undefined)[],
  naming?: ReadonlySet<number>,
): boolean {
  return parts.every(({ labels, stream }) => labels ?? streams[stream] ?? naming?.has(stream));
}

/** A batch that comes again, healed, names its streams again. */
function nameStream({ streams }: SegmentRecord, at: number, stream: Stream, pool: StreamPool): void {
  const before = streams[at];
  streams[at] = stream;
  if (before) pool.release(before);
}

/** Lets go of the streams of a record that is not used any more. */
export function releaseStreams({ streams }: SegmentRecord, pool: StreamPool): void {
  for (const stream of streams.splice(0)) if (stream) pool.release(stream);
}

function listOf({ streams }: BatchHeader | SealedHeader): Uint32Array {
  const all =
    'table' in streams
      ? streams.numbers.slice().sort()
      : Uint32Array.from(streams, ({ stream }) => stream).sort();
  // Each is there once, unless an origin says it twice.
  return all.filter((stream, at) => at === 0 || stream !== all[at - 1]);
}

/** Takes batches out: their bytes are holes until they are healed. */
export function quarantineBatches(
  { batches, quarantined }: SegmentRecord,
  rotten: readonly BatchEntry[],
): void {
  batches.remove(rotten);
  for (const { offset, frameBytes: bytes } of rotten) quarantined.push({ offset, bytes });
  quarantined.sort((a, b) => a.offset - b.offset);
  for (let i = quarantined.length - 1; i > 0; i--) {
    const before = quarantined[i - 1];
    if (before.offset + before.bytes !== quarantined[i].offset) continue;
    quarantined.splice(i - 1, 2, { offset: before.offset, bytes: before.bytes + quarantined[i].bytes });
  }
}

/** Something that was here is not, as far as is known: it is asked for, and the segment goes only as a whole. */
export function isDamaged({ quarantined, rotten }: SegmentRecord): boolean {
  return quarantined.length > 0 || rotten.length > 0;
}

/** A hole, and the batches that stand before and behind it: where batches came in order, those between them stood in it. */
export interface Hole extends Quarantined {
  readonly before: BatchEntry | undefined;
  readonly after: BatchEntry | undefined;
}

export function holesIn({ batches, quarantined }: SegmentRecord): Hole[] {
  if (quarantined.length === 0) return [];
  const byPlace = [...batches].sort((a, b) => a.offset - b.offset);
  let at = 0;
  return quarantined.map((hole) => {
    while (at < byPlace.length && byPlace[at].offset < hole.offset) at++;
    return { ...hole, before: byPlace[at - 1], after: byPlace[at] };
  });
}

/** These bytes of a hole hold a batch again. */
export function closeHole({ quarantined }: SegmentRecord, offset: number, bytes: number): void {
  quarantined.splice(0, Infinity, ...quarantined.flatMap((hole) => without(hole, offset, bytes)));
}

/** What is left of a hole once these bytes of it are there again. */
function without(hole: Quarantined, offset: number, bytes: number): Quarantined[] {
  if (offset < hole.offset || offset >= hole.offset + hole.bytes) return [hole];
  const left = { offset: hole.offset, bytes: offset - hole.offset };
  const right = { offset: offset + bytes, bytes: hole.offset + hole.bytes - offset - bytes };
  return [left, right].filter((part) => part.bytes > 0);
}

/**
 * Batches that came out of order, or whose place is on a bad sector, are not healed in their places: they are there again elsewhere
 * in the file. Once all are, from the segment's first to the last one known, their holes wait for nothing.
 */
export function forgetDoneHoles({ batches, firstSeq, quarantined, rotten }: SegmentRecord): void {
  const last = batches.at(-1);
  if (quarantined.length === 0 || rotten.length > 0 || !last) return;
  if (batches.seqAt(0) !== firstSeq || last.seq - firstSeq !== batches.length - 1) return;
  // What nobody here knows of can only be batches after the last one, and these stand behind it. A hole that is just as long as a
  // batch behind it is where that stood before it was written again.
  const isDone = ({ offset, bytes }: Quarantined): boolean =>
    last.offset > offset ||
    Iterator.from(batches).some((batch) => batch.offset > offset && batch.frameBytes === bytes);
  quarantined.splice(0, Infinity, ...quarantined.filter((hole) => !isDone(hole)));
}

/** Another version's records are not read: the segment file is. */
const RECORD_VERSION = 7;

/** The record as the catalog stores it. */
export function encodeRecord(record: SegmentRecord): Buffer {
  const writer = new ByteWriter(4096);
  const list = <T>(items: Iterable<T> & { readonly length: number }, item: (value: T) => void): void => {
    writer.varint(items.length);
    for (const value of items) item(value);
  };
  const instant = ({ ms, sub }: Instant): void => {
    writer.zigzag(ms);
    writer.varint(sub);
  };
  writer.varint(RECORD_VERSION);
  writer.varint(record.fileBytes);
  list(record.owners, (owner) => writer.text(owner));
  writer.varint(record.firstSeq);
  // A stream whose naming batch is lost has none: only those that are there, each with its index.
  const named = record.streams.flatMap((stream, at) => (stream ? [{ at, key: stream.key }] : []));
  list(named, ({ at, key }) => {
    writer.varint(at);
    writer.text(key);
  });
  list(record.batches, (batch) => {
    writer.varint(batch.seq);
    writer.varint(batch.offset);
    writer.varint(batch.frameBytes);
    writer.varint(batch.headerBytes);
    writer.varint(batch.filterBytes);
    writer.bytes(batch.headerHash);
    writer.varint(batch.entries);
    writer.varint(batch.rawBytes);
    instant(batch.min);
    instant(batch.max);
    writer.varint(batch.sealedAtMs);
    const { streams } = batch;
    writer.varint(streams.length);
    let before = 0;
    for (const stream of streams) {
      writer.varint(stream - before);
      before = stream;
    }
  });
  list(record.quarantined, ({ offset, bytes }) => {
    writer.varint(offset);
    writer.varint(bytes);
  });
  list(record.rotten, ({ from, to, min, max }) => {
    writer.varint(from);
    writer.varint(to - from);
    instant(min);
    instant(max);
  });
  list([...record.positions], ([source, { seq, position }]) => {
    writer.text(source);
    writer.varint(seq);
    writer.text(position);
  });
  return writer.finish();
}

/** Takes the streams from the pool. Throws RangeError when the bytes are not `encodeRecord`'s. */
export function decodeRecord(id: SegmentId, bytes: Uint8Array, pool: StreamPool): SegmentRecord {
  const record = emptyRecord(id);
  try {
    decodeInto(record, new ByteReader(bytes), pool);
    return record;
  } catch (error) {
    releaseStreams(record, pool);
    throw error;
  }
}

function decodeInto(record: SegmentRecord, reader: ByteReader, pool: StreamPool): void {
  const list = <T>(item: () => T): T[] => {
    const items: T[] = [];
    for (let left = reader.count(LIMITS.segmentBytesMax); left > 0; left--) items.push(item());
    return items;
  };
  const text = (): string => reader.text(LIMITS.headerBytesMax);
  const instant = (): Instant => ({ ms: reader.zigzag(), sub: reader.varint() });
  const hash = (): Uint8Array => {
    const bytes = reader.bytes(HASH_BYTES);
    if (bytes.length !== HASH_BYTES) throw new RangeError('no hash');
    return bytes;
  };
  if (reader.varint() !== RECORD_VERSION) throw new RangeError('a record of another version');
  record.fileBytes = reader.varint();
  record.owners = list(text);
  record.firstSeq = reader.varint();
  // One by one: a call takes only so many arguments, and a segment may name more streams.
  list(() => {
    const index = reader.varint();
    if (index >= LIMITS.segmentStreamsMax) throw new RangeError('unknown stream');
    nameStream(record, index, pool.takeKey(text()), pool);
  });
  const count = reader.count(LIMITS.segmentBytesMax);
  record.batches.reserve(count);
  for (let left = count; left > 0; left--)
    record.batches.add({
      seq: reader.varint(),
      offset: reader.varint(),
      frameBytes: reader.varint(),
      headerBytes: reader.varint(),
      filterBytes: reader.varint(),
      headerHash: hash(),
      entries: reader.varint(),
      rawBytes: reader.varint(),
      min: instant(),
      max: instant(),
      sealedAtMs: reader.varint(),
      streams: decodeStreams(reader),
    });
  for (const hole of list(() => ({ offset: reader.varint(), bytes: reader.varint() })))
    record.quarantined.push(hole);
  const rotten = list((): GoneRun => {
    const from = reader.varint();
    return { from, to: from + reader.varint(), min: instant(), max: instant() };
  });
  if (rotten.length > 0) record.rotten = rotten;
  const positions = list(() => ({ source: text(), seq: reader.varint(), position: text() }));
  for (const { source, ...at } of positions) record.positions.set(source, at);
  if (!reader.done) throw new RangeError('bytes after the record');
}

function decodeStreams(reader: ByteReader): Uint32Array {
  const count = reader.count(LIMITS.batchStreamsMax);
  const list = new Uint32Array(count);
  let before = 0;
  for (let at = 0; at < count; at++) list[at] = before += reader.varint();
  return list;
}
