import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import {
  FRAME_MAGIC,
  headerHash,
  isOfThisVersion,
  parseHeader,
  PREAMBLE_BYTES,
  readHead,
  readPreamble,
  signedBy,
  type BatchHeader,
} from '../batch/index.ts';
import type { DiskFile } from '../host/index.ts';
import { LIMITS } from '../limits.ts';
import type { BatchEntry } from './batch-list.ts';
import { goneOf } from './gone.ts';
import {
  addBatch,
  areNamed,
  closeHole,
  emptyRecord,
  forgetDoneHoles,
  holesIn,
  quarantineBatches,
  releaseStreams,
  type Quarantined,
  type SegmentId,
  type SegmentRecord,
} from './record.ts';
import type { StreamPool } from './streams.ts';

const HEAD_READ_BYTES = 8 * 1024;
const SEARCH_BYTES = 1024 * 1024;

export interface RecoverOptions {
  /** Its origin was writing this file when it stopped. */
  readonly isLastWritten: boolean;
  /** Where the record's streams are taken from. */
  readonly pool: StreamPool;
  /** Nothing from here on is looked at. */
  readonly sizeMax?: number;
}

type FileToRead = Pick<DiskFile, 'read' | 'stat'>;

/** A segment file as far as it was read. */
interface Found {
  readonly record: SegmentRecord;
  /** The last batch that its origin knew to be on its own disk, by what the batches found say. */
  syncedSeq: number;
}

/**
 * Reads a segment file from its start and says what it holds. A tail that is not a whole frame is left out of
 * `fileBytes`, so that the caller cuts it; bytes in the middle that are no frame, or not one of this segment, are
 * quarantined.
 */
export async function recoverSegment(
  file: FileToRead,
  id: SegmentId,
  options: RecoverOptions,
): Promise<SegmentRecord> {
  const record = emptyRecord(id);
  const found: Found = { record, syncedSeq: 0 };
  const size = Math.min((await file.stat()).size, options.sizeMax ?? Infinity);
  let offset = 0;
  while (offset < size) {
    const frame = await readFrameAt(file, offset, size, id, offset > record.fileBytes);
    if (frame && !frame.header) {
      // It stands as its origin wrote it, so it is no torn tail, and nothing follows from cutting it.
      const { fileBytes } = record;
      record.fileBytes = offset += frame.place.frameBytes;
      record.quarantined.push({ offset: fileBytes, bytes: offset - fileBytes });
      continue;
    }
    if (frame) {
      const { header, place } = frame;
      found.syncedSeq = Math.max(found.syncedSeq, header.syncedSeq);
      // A second copy of a batch that came while its place was thought to be lost says nothing new.
      if (!record.batches.has(header.seq)) addBatch(record, header, place, options.pool);
      // What is bad is a middle only once something sound follows it; until then it is a tail.
      if (offset > record.fileBytes) {
        record.quarantined.push({ offset: record.fileBytes, bytes: offset - record.fileBytes });
      }
      offset += place.frameBytes;
      record.fileBytes = offset;
      continue;
    }
    const next = await findFrame(file, offset + 1, size, ({ header, signature }) =>
      signedBy(id.origin, header, signature),
    );
    if (next === undefined) break;
    offset = next;
  }
  const tornAt = options.isLastWritten ? tornOffset(found) : undefined;
  if (tornAt !== undefined) {
    releaseStreams(record, options.pool);
    return recoverSegment(file, id, { ...options, sizeMax: tornAt });
  }
  const nameless = quarantineNameless(record);
  record.rotten = goneOf(nameless);
  // What waits for the names of its streams is in a hole, wherever that stands.
  if (!nameless.some(({ seq }) => seq > (record.batches.at(-1)?.seq ?? 0))) forgetDoneHoles(record);
  return record;
}

/**
 * The first hole, in the file that an origin was writing when it stopped, that was not on disk yet when the batch behind it was
 * sealed. A power cut may keep later sectors and lose earlier ones. What follows such a hole was never acknowledged nor sent, and
 * would say of its sources that they were read further than they were. A batch of the last ones that rotted later looks the same:
 * then what follows it goes from this disk, too, and comes back from its other owners.
 */
function tornOffset({ record, syncedSeq }: Found): number | undefined {
  return holesIn(record).find(({ after }) => after !== undefined && after.seq - 1 > syncedSeq)?.offset;
}

/**
 * Whether the bytes from `from` on hold the head of a batch of another segment, by its checksum alone: then they may be more than a
 * torn tail.
 */
export async function holdsForeign(
  file: FileToRead,
  from: number,
  size: number,
  id: SegmentId,
): Promise<boolean> {
  const isForeign = ({ header }: Head): boolean => {
    try {
      return !isOf(parseHeader(header), id);
    } catch {
      return true;
    }
  };
  return (await findFrame(file, from, size, isForeign)) !== undefined;
}

function isOf({ origin, epoch, segment }: BatchHeader, id: SegmentId): boolean {
  return origin === id.origin && epoch === id.epoch && segment === id.index;
}

/**
 * A batch whose streams were named in a batch that is lost cannot be answered for: it is as lost as that one, until both
 * are healed.
 */
function quarantineNameless(record: SegmentRecord): readonly BatchEntry[] {
  const isNamed = (stream: number): boolean => record.streams[stream] !== undefined;
  const nameless = [...record.batches].filter(({ streams }) => !streams.every(isNamed));
  if (nameless.length > 0) quarantineBatches(record, nameless);
  return nameless;
}

/** A sound frame of this segment, and where it stands; undefined: its header says what no reader takes. */
interface FrameFound<Header = BatchHeader> {
  readonly header: Header;
  readonly place: Parameters<typeof addBatch>[2];
}

/**
 * Its checksums prove a frame that stands right behind a sound one, since only this peer writes there. What is found in damaged
 * bytes may be from a log line, where anybody can have put it: it is doubtful, and its origin must have signed it.
 */
async function readFrameAt(
  file: FileToRead,
  offset: number,
  size: number,
  id: SegmentId,
  isDoubtful: boolean,
): Promise<FrameFound | FrameFound<undefined> | undefined> {
  let head = await file.read(offset, HEAD_READ_BYTES);
  const preamble = readPreamble(head);
  if (!preamble || offset + preamble.frameBytes > size) return undefined;
  const { frameBytes, headerBytes, payloadBytes, payloadCrc } = preamble;
  const headBytes = PREAMBLE_BYTES + headerBytes;
  if (headBytes > head.length) head = await file.read(offset, headBytes);
  const checked = readHead(head);
  if (!checked) return undefined;
  if (isDoubtful && !signedBy(id.origin, checked.header, checked.signature)) return undefined;
  const payload = await file.read(offset + headBytes, payloadBytes);
  if (crc32(payload) !== payloadCrc) return undefined;
  const place = { offset, frameBytes, headerBytes, headerHash: headerHash(checked.header) };
  const header = readableHeader(checked.header);
  if (!header) return { header, place };
  if (isDoubtful && !hash('sha256', payload, 'buffer').equals(header.payloadHash)) return undefined;
  return isOf(header, id) ? { header, place } : undefined;
}

/** Undefined for one that nobody can read. Throws LV_FRAME_CORRUPT for another version's: it must not be taken for rot. */
function readableHeader(bytes: Buffer): BatchHeader | undefined {
  try {
    return parseHeader(bytes);
  } catch (error) {
    if (!isOfThisVersion(bytes)) throw error;
    return undefined;
  }
}

/**
 * Sound frames in a hole, as they stand one behind the other; `isThorough`: also those behind what is not sound, which takes a
 * look at each byte.
 */
async function* framesIn(
  file: FileToRead,
  id: SegmentId,
  { offset, bytes }: Quarantined,
  isThorough: boolean,
): AsyncGenerator<FrameFound> {
  const end = offset + bytes;
  const isTheirs = ({ header, signature }: Head): boolean => signedBy(id.origin, header, signature);
  for (let at: number | undefined = offset; at !== undefined && at < end;) {
    const found = await readFrameAt(file, at, end, id, true);
    if (found?.header) {
      yield found;
      at += found.place.frameBytes;
    } else at = isThorough ? await findFrame(file, at + 1, end, isTheirs) : undefined;
  }
}

/** What was found in holes. */
export interface Readmitted {
  /** Held again. */
  readonly taken: readonly { readonly header: BatchHeader; readonly frameBytes: number }[];
  /** Something sound is of no use until the batch is here that names its streams. */
  readonly isWaiting: boolean;
}

/**
 * After a batch was healed: what follows it in its hole may be sound, and was of no use only because that batch names its
 * streams. It may be the only copy there is. `isThorough`: see `framesIn`.
 */
export async function readmit(
  file: FileToRead,
  record: SegmentRecord,
  pool: StreamPool,
  { isThorough = false } = {},
): Promise<Readmitted> {
  const taken: { header: BatchHeader; frameBytes: number }[] = [];
  let isWaiting = false;
  for (const hole of record.quarantined.slice()) {
    for await (const { header, place } of framesIn(file, record.id, hole, isThorough)) {
      const isKnown = record.batches.has(header.seq);
      if (!areNamed(header.streams, record.streams)) {
        isWaiting ||= !isKnown;
        if (!isThorough) break;
        continue;
      }
      if (!isKnown) {
        addBatch(record, header, place, pool);
        taken.push({ header, frameBytes: place.frameBytes });
      }
      // A second copy that does not stand where its batch belongs was written over another one.
      if (!isKnown || isInOrder(record, header.seq, place)) closeHole(record, place.offset, place.frameBytes);
    }
  }
  if (!isThorough || taken.length === 0) return { taken, isWaiting };
  // They may have named the streams of others.
  const more = await readmit(file, record, pool, { isThorough });
  return { taken: [...taken, ...more.taken], isWaiting: more.isWaiting };
}

/** Whether a batch other than this one begins within these bytes, of which this peer holds no other copy. */
export async function holdsAnother(
  file: FileToRead,
  { id, batches }: SegmentRecord,
  seq: number,
  offset: number,
  end: number,
): Promise<boolean> {
  const isAnother = ({ header, signature }: Head): boolean => {
    const found = signedBy(id.origin, header, signature) ? readableHeader(header) : undefined;
    return found !== undefined && isOf(found, id) && found.seq !== seq && !batches.has(found.seq);
  };
  return (await findFrame(file, offset, end, isAnother)) !== undefined;
}

/** Whether a batch would stand behind the one before it, or before the one behind it. */
function isInOrder(
  { batches }: SegmentRecord,
  seq: number,
  { offset, frameBytes }: FrameFound['place'],
): boolean {
  const [before, after] = [batches.find(seq - 1), batches.find(seq + 1)];
  const isBehind = before !== undefined && before.offset + before.frameBytes === offset;
  return isBehind || offset + frameBytes === after?.offset;
}

type Head = NonNullable<ReturnType<typeof readHead>>;

/** The next offset at or after `from` where a frame with a sound header begins that is looked for. */
async function findFrame(
  file: FileToRead,
  from: number,
  size: number,
  isWanted: (head: Head) => boolean,
): Promise<number | undefined> {
  for (let at = from; at < size; at += SEARCH_BYTES - FRAME_MAGIC.length) {
    const window = await file.read(at, Math.min(SEARCH_BYTES, size - at + FRAME_MAGIC.length - 1));
    for (let hit = window.indexOf(FRAME_MAGIC); hit !== -1; hit = window.indexOf(FRAME_MAGIC, hit + 1)) {
      const head = await file.read(at + hit, PREAMBLE_BYTES + LIMITS.headerBytesMax);
      const checked = readHead(head);
      if (checked && isWanted(checked)) return at + hit;
    }
  }
  return undefined;
}
