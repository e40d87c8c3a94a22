import {
  ByteReader,
  ByteWriter,
  compareInstants,
  type BatchHeader,
  type Instant,
  type Labels,
} from '../batch/index.ts';
import { LIMITS } from '../limits.ts';

export interface SegmentId {
  readonly origin: string;
  readonly epoch: number;
  readonly index: number;
}

export function segmentName(id: SegmentId): string {
  return `${id.origin}/${id.epoch}-${id.index}`;
}

/** Where a batch stands in its segment file, and what a query needs to rule it out. */
export interface BatchEntry {
  readonly seq: number;
  readonly offset: number;
  readonly frameBytes: number;
  readonly headerBytes: number;
  readonly filterBytes: number;
  readonly headerHash: Buffer;
  readonly entries: number;
  readonly rawBytes: number;
  readonly min: Instant;
  readonly max: Instant;
  readonly sealedAtMs: number;
  /** Streams of the segment that it holds, ascending. */
  readonly streams: readonly number[];
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
  /** Stream index → labels. */
  readonly labels: Labels[];
  /** Ascending by seq; a gap in the seqs is a hole. */
  readonly batches: BatchEntry[];
  readonly quarantined: Quarantined[];
  /** Last position of each source that its batches carry, and the batch that carries it. */
  readonly positions: Map<string, { seq: number; position: string }>;
  fileBytes: number;
}

export function emptyRecord(id: SegmentId): SegmentRecord {
  return { id, owners: [], labels: [], batches: [], quarantined: [], positions: new Map(), fileBytes: 0 };
}

/** Adds a batch that stands at `offset`. */
export function addBatch(
  record: SegmentRecord,
  header: BatchHeader,
  place: { offset: number; frameBytes: number; headerBytes: number; headerHash: Buffer },
): void {
  if (header.owners.length > 0) record.owners = header.owners;
  let entries = 0;
  let rawBytes = 0;
  let min: Instant = { ms: Infinity, sub: 0 };
  let max: Instant = { ms: -Infinity, sub: 0 };
  for (const part of header.streams) {
    if (part.labels) record.labels[part.stream] = part.labels;
    entries += part.entries;
    rawBytes += part.linesBytes;
    if (compareInstants(part.min, min) < 0) min = part.min;
    if (compareInstants(part.max, max) > 0) max = part.max;
  }
  for (const { source, position } of header.sources) {
    // A healed batch comes late: what batches after it carried stands.
    if ((record.positions.get(source)?.seq ?? 0) < header.seq) {
      record.positions.set(source, { seq: header.seq, position });
    }
  }
  const streams = [...new Set(header.streams.map((part) => part.stream))].sort((a, b) => a - b);
  const { seq, sealedAtMs, filterBytes } = header;
  const entry: BatchEntry = { seq, ...place, filterBytes, entries, rawBytes, min, max, sealedAtMs, streams };
  const last = record.batches.at(-1);
  if (!last || last.seq < seq) record.batches.push(entry);
  else
    record.batches.splice(
      record.batches.findIndex((other) => other.seq > seq),
      0,
      entry,
    );
}

/** Takes a batch out: its bytes are a hole until they are healed. */
export function quarantineBatch({ batches, quarantined }: SegmentRecord, batch: BatchEntry): void {
  batches.splice(batches.indexOf(batch), 1);
  quarantined.push({ offset: batch.offset, bytes: batch.frameBytes });
  quarantined.sort((a, b) => a.offset - b.offset);
  for (let i = quarantined.length - 1; i > 0; i--) {
    const before = quarantined[i - 1];
    if (before.offset + before.bytes !== quarantined[i].offset) continue;
    quarantined.splice(i - 1, 2, { offset: before.offset, bytes: before.bytes + quarantined[i].bytes });
  }
}

/** Another version's records are not read: the segment file is. */
const RECORD_VERSION = 3;

/** The record as the catalog stores it. */
export function encodeRecord(record: SegmentRecord): Buffer {
  const writer = new ByteWriter(4096);
  const list = <T>(items: readonly T[], item: (value: T) => void): void => {
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
  // A stream whose naming batch is lost has none: only those that are there, each with its index.
  list(Object.keys(record.labels), (index) => {
    writer.varint(Number(index));
    list(Object.entries(record.labels[Number(index)]), ([name, value]) => {
      writer.text(name);
      writer.text(value);
    });
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
    list(batch.streams, (stream) => writer.varint(stream));
  });
  list(record.quarantined, ({ offset, bytes }) => {
    writer.varint(offset);
    writer.varint(bytes);
  });
  list([...record.positions], ([source, { seq, position }]) => {
    writer.text(source);
    writer.varint(seq);
    writer.text(position);
  });
  return writer.finish();
}

/** Throws RangeError when the bytes are not `encodeRecord`'s. */
export function decodeRecord(id: SegmentId, bytes: Uint8Array): SegmentRecord {
  const reader = new ByteReader(bytes);
  const record = emptyRecord(id);
  const list = <T>(item: () => T): T[] => {
    const items: T[] = [];
    for (let left = reader.count(LIMITS.segmentBytesMax); left > 0; left--) items.push(item());
    return items;
  };
  const text = (): string => reader.text(LIMITS.headerBytesMax);
  const instant = (): Instant => ({ ms: reader.zigzag(), sub: reader.varint() });
  if (reader.varint() !== RECORD_VERSION) throw new RangeError('a record of another version');
  record.fileBytes = reader.varint();
  record.owners = list(text);
  // One by one: a call takes only so many arguments, and a segment may name more streams.
  list(() => {
    const index = reader.varint();
    if (index >= LIMITS.segmentStreamsMax) throw new RangeError('unknown stream');
    record.labels[index] = Object.fromEntries(list(() => [text(), text()])) as Labels;
  });
  const batches = list((): BatchEntry => ({
    seq: reader.varint(),
    offset: reader.varint(),
    frameBytes: reader.varint(),
    headerBytes: reader.varint(),
    filterBytes: reader.varint(),
    headerHash: Buffer.from(reader.bytes(64)),
    entries: reader.varint(),
    rawBytes: reader.varint(),
    min: instant(),
    max: instant(),
    sealedAtMs: reader.varint(),
    streams: list(() => reader.varint()),
  }));
  for (const batch of batches) record.batches.push(batch);
  for (const hole of list(() => ({ offset: reader.varint(), bytes: reader.varint() })))
    record.quarantined.push(hole);
  const positions = list(() => ({ source: text(), seq: reader.varint(), position: text() }));
  for (const { source, ...at } of positions) record.positions.set(source, at);
  if (!reader.done) throw new RangeError('bytes after the record');
  return record;
}
