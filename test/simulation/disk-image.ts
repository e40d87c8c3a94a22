import { crc32 } from 'node:zlib';
import {
  FRAME_MAGIC,
  lineStart,
  openStreams,
  parseHeader,
  PREAMBLE_BYTES,
  readFrame,
  readHead,
  readPreamble,
} from '../../src/store/index.ts';
import type { SimDisk } from '../helpers/sim-disk.ts';

/** A sound batch in a file. */
export interface StoredBatch {
  /** `origin/epoch/seq`. */
  readonly id: string;
  readonly offset: number;
  readonly bytes: Buffer;
  /** Of all its bytes. */
  readonly checksum: number;
}

const parsed = new WeakMap<Buffer, ReadonlyMap<string, StoredBatch>>();

/**
 * The sound batches in a segment file, by id. Reads frames on its own, without the store: header and payload must match
 * their checksums, and whatever does not is passed over.
 */
export function batchesIn(content: Buffer): ReadonlyMap<string, StoredBatch> {
  const known = parsed.get(content);
  if (known) return known;
  const found = new Map<string, StoredBatch>();
  for (let at = 0; at >= 0 && at + PREAMBLE_BYTES <= content.length;) {
    const frame = frameAt(content, at);
    if (frame) {
      found.set(frame.id, frame);
      at += frame.bytes.length;
    } else {
      at = content.indexOf(FRAME_MAGIC, at + 1);
    }
  }
  parsed.set(content, found);
  return found;
}

function frameAt(content: Buffer, offset: number): StoredBatch | undefined {
  const rest = content.subarray(offset);
  const preamble = readPreamble(rest);
  if (!preamble || preamble.frameBytes > rest.length) return undefined;
  const bytes = rest.subarray(0, preamble.frameBytes);
  const head = readHead(bytes);
  if (!head) return undefined;
  const payload = bytes.subarray(PREAMBLE_BYTES + preamble.headerBytes);
  if (crc32(payload) !== preamble.payloadCrc) return undefined;
  const { origin, epoch, seq } = parseHeader(head.header);
  return { id: `${origin}/${epoch}/${seq}`, offset, bytes, checksum: crc32(bytes) };
}

const isSegment = (path: string): boolean => path.endsWith('.seg');

/** All sound batches that a power cut would leave on a disk, with the files that they are in. */
export function* durableBatches(disk: SimDisk): IterableIterator<[path: string, StoredBatch]> {
  for (const path of disk.durableFiles()) {
    if (!isSegment(path)) continue;
    for (const batch of batchesIn(disk.durableOf(path)!).values()) yield [path, batch];
  }
}

/** The bytes of a file were changed in place. */
export function forgetParsed(disk: SimDisk, path: string): void {
  const { content, durable } = disk.file(path);
  parsed.delete(content);
  parsed.delete(durable);
}

/** The numbers of the streams in a frame, those whose labels it names, and of which segment they are. */
export function streamsIn(bytes: Buffer): { segment: string; numbers: number[]; named: number[] } {
  const { origin, epoch, segment, streams } = parseHeader(readHead(bytes)!.header);
  return {
    segment: `${origin}/${epoch}-${segment}`,
    numbers: streams.map(({ stream }) => stream),
    named: streams.filter(({ labels }) => labels).map(({ stream }) => stream),
  };
}

/** The texts of all lines in a frame. */
export function textsIn(bytes: Buffer): string[] {
  const frame = readFrame(bytes);
  if (!frame) return [];
  const header = parseHeader(frame.header);
  const opened = openStreams(
    header,
    frame.payload,
    header.streams.map((_, part) => part),
  );
  return opened.flatMap(({ columns }) =>
    Array.from({ length: columns.count }, (_, row) =>
      Buffer.from(columns.lines.subarray(lineStart(columns, row), columns.ends[row])).toString(),
    ),
  );
}
