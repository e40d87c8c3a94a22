import { crc32 } from 'node:zlib';
import {
  FRAME_MAGIC,
  headerHash,
  parseHeader,
  PREAMBLE_BYTES,
  readHead,
  readPreamble,
} from '../batch/index.ts';
import type { DiskFile } from '../host/index.ts';
import { LIMITS } from '../limits.ts';
import { addBatch, emptyRecord, quarantineBatch, type SegmentId, type SegmentRecord } from './record.ts';

const HEAD_READ_BYTES = 8 * 1024;
const SEARCH_BYTES = 1024 * 1024;

/**
 * Reads a segment file from its start and says what it holds. A tail that is not a whole frame is left out of
 * `fileBytes`, so that the caller cuts it; bytes in the middle that are no frame, or not one of this segment, are
 * quarantined. With `payloads`, each payload's checksum is verified too (needed where a crash may have torn it).
 */
export async function recoverSegment(
  file: DiskFile,
  id: SegmentId,
  options: { payloads: boolean },
): Promise<SegmentRecord> {
  const record = emptyRecord(id);
  const size = (await file.stat()).size;
  let offset = 0;
  while (offset < size) {
    const frameBytes = await readFrameAt(file, offset, size, record, options.payloads);
    if (frameBytes !== undefined) {
      // What is bad is a middle only once something sound follows it; until then it is a tail.
      if (offset > record.fileBytes) {
        record.quarantined.push({ offset: record.fileBytes, bytes: offset - record.fileBytes });
      }
      offset += frameBytes;
      record.fileBytes = offset;
      continue;
    }
    const next = await findFrame(file, offset + 1, size, id);
    if (next === undefined) break;
    offset = next;
  }
  quarantineNameless(record);
  return record;
}

/**
 * A batch whose streams were named in a batch that is lost cannot be answered for: it is as lost as that one, until both
 * are healed.
 */
function quarantineNameless(record: SegmentRecord): void {
  if (record.quarantined.length === 0) return;
  for (const batch of record.batches.slice()) {
    if (batch.streams.some((stream) => record.labels[stream] === undefined)) quarantineBatch(record, batch);
  }
}

async function readFrameAt(
  file: DiskFile,
  offset: number,
  size: number,
  record: SegmentRecord,
  payloads: boolean,
): Promise<number | undefined> {
  let head = await file.read(offset, HEAD_READ_BYTES);
  const preamble = readPreamble(head);
  if (!preamble || offset + preamble.frameBytes > size) return undefined;
  const headBytes = PREAMBLE_BYTES + preamble.headerBytes;
  if (headBytes > head.length) head = await file.read(offset, headBytes);
  const checked = readHead(head);
  if (!checked) return undefined;
  if (payloads) {
    const payload = await file.read(offset + headBytes, preamble.payloadBytes);
    if (crc32(payload) !== preamble.payloadCrc) return undefined;
  }
  const header = parseHeader(checked.header);
  const { id } = record;
  if (header.origin !== id.origin || header.epoch !== id.epoch || header.segment !== id.index)
    return undefined;
  const last = record.batches.at(-1);
  if (last && header.seq <= last.seq) return undefined;
  addBatch(record, header, {
    offset,
    frameBytes: preamble.frameBytes,
    headerBytes: preamble.headerBytes,
    headerHash: headerHash(checked.header),
  });
  return preamble.frameBytes;
}

/** The next offset at or after `from` where a frame of this segment with a sound header begins. */
async function findFrame(
  file: DiskFile,
  from: number,
  size: number,
  id: SegmentId,
): Promise<number | undefined> {
  for (let at = from; at < size; at += SEARCH_BYTES - FRAME_MAGIC.length) {
    const window = await file.read(at, SEARCH_BYTES);
    for (let hit = window.indexOf(FRAME_MAGIC); hit !== -1; hit = window.indexOf(FRAME_MAGIC, hit + 1)) {
      const head = await file.read(at + hit, PREAMBLE_BYTES + LIMITS.headerBytesMax);
      const checked = readHead(head);
      if (!checked) continue;
      const header = parseHeader(checked.header);
      if (header.origin === id.origin && header.epoch === id.epoch && header.segment === id.index)
        return at + hit;
    }
  }
  return undefined;
}
