import {
  batchName,
  holesIn,
  intersectRuns,
  LogvineError,
  messageOf,
  parseHeader,
  ReadableFile,
  readHead,
  verifyFrame,
  type BatchEntry,
  type BatchHeader,
  type Disk,
  type DiskFile,
  type EpochLink,
  type Hole,
  type Segment,
  type SegmentId,
  type Store,
} from '../../store/index.ts';
import {
  DAMAGE_PER_SEGMENT_MAX,
  HASH_BYTES,
  type AuditDamage,
  type AuditedRun,
  type SegmentAudit,
} from './messages.ts';

/**
 * What checking a signature costs, in bytes that could be read and hashed meanwhile: small batches must not take the
 * processor from pings and pushes.
 */
const SIGNATURE_COST_BYTES = 32 * 1024;
/** Batches that stand one behind the other are read together up to such a cost: some milliseconds of work. */
const WINDOW_COST_BYTES = 1024 * 1024;

export interface AuditHost {
  readonly store: Store;
  readonly disk: Pick<Disk, 'open'>;
  /** Waits until so many more bytes may be read. */
  pace(bytes: number): Promise<void>;
}

/** What the index says of a segment, without reading its file. */
export function outlineOf({ id, path, record }: Segment): SegmentAudit {
  const runs: AuditedRun[] = [];
  for (const { seq, headerHash } of record.batches) {
    const run = runs.at(-1);
    const before = run?.last === seq - 1 ? runs.pop() : undefined;
    runs.push({
      first: before?.first ?? seq,
      last: seq,
      previousHash: EMPTY,
      hashes: headerHash,
      sealedAtMs: [],
    });
  }
  return { id, path, isRead: false, ...sealedBounds(record.batches), runs, link: undefined, damage: [] };
}

const EMPTY = Buffer.alloc(0);

export function sealedBounds(batches: Iterable<BatchEntry>): { sealedFromMs: number; sealedToMs: number } {
  let sealedFromMs = Infinity;
  let sealedToMs = 0;
  for (const { sealedAtMs } of batches) {
    sealedFromMs = Math.min(sealedFromMs, sealedAtMs);
    sealedToMs = Math.max(sealedToMs, sealedAtMs);
  }
  return { sealedFromMs: Math.min(sealedFromMs, sealedToMs), sealedToMs };
}

/**
 * Reads a segment's file anew, every byte of every batch, and checks checksums, payload hash, signature, and that each is
 * the batch that was put there. What fails is quarantined, so that repair brings a sound copy. The hash of the content is
 * not recomputed: it stands in the same signed header as the hash of the payload, which is. Undefined when the segment was
 * dropped meanwhile. `onRead` is told of every byte.
 */
export async function auditSegment(
  host: AuditHost,
  segment: Segment,
  onRead: (bytes: number) => void,
): Promise<SegmentAudit | undefined> {
  const { store, disk } = host;
  // What is on disk now; batches only ever come behind it.
  const entries = [...segment.record.batches];
  const findings = new Findings(store, segment);
  for (const hole of holesIn(segment.record)) findings.alreadyQuarantined(hole);
  let file: DiskFile | undefined;
  try {
    file = await disk.open(segment.path, 'read');
    // A bad sector takes from a file what is on it, and not all that follows.
    const readable = new ReadableFile(file);
    for (const window of windowsOf(entries)) {
      const start = window[0].offset;
      const end = window.at(-1)!.offset + window.at(-1)!.frameBytes;
      await host.pace(end - start + window.length * SIGNATURE_COST_BYTES);
      const bytes = await readable.read(start, end - start);
      for (const entry of window) {
        const place = [[entry.offset, entry.offset + entry.frameBytes - 1]] as const;
        if (intersectRuns(place, readable.unread).length > 0) findings.unread(entry);
        else
          findings.take(entry, bytes.subarray(entry.offset - start, entry.offset - start + entry.frameBytes));
        onRead(entry.frameBytes);
      }
    }
  } catch (error) {
    if (store.segment(segment.id) !== segment) return undefined;
    findings.fileFailed(entries, error);
  } finally {
    await file?.close();
  }
  return store.segment(segment.id) === segment ? findings.finish(entries) : undefined;
}

function* windowsOf(entries: readonly BatchEntry[]): Generator<readonly BatchEntry[]> {
  let window: BatchEntry[] = [];
  let costBytes = 0;
  for (const entry of entries) {
    const last = window.at(-1);
    const isAdjacent = last !== undefined && last.offset + last.frameBytes === entry.offset;
    const entryCostBytes = entry.frameBytes + SIGNATURE_COST_BYTES;
    if (last && (!isAdjacent || costBytes + entryCostBytes > WINDOW_COST_BYTES)) {
      yield window;
      window = [];
      costBytes = 0;
    }
    window.push(entry);
    costBytes += entryCostBytes;
  }
  if (window.length > 0) yield window;
}

/** What is found in one file. */
class Findings {
  readonly #store: Store;
  readonly #segment: Segment;
  readonly #runs: {
    first: number;
    last: number;
    previousHash: Buffer;
    hashes: Buffer[];
    sealedAtMs: number[];
  }[] = [];
  readonly #damage: AuditDamage[] = [];
  #link: EpochLink | undefined;
  #seen = 0;

  constructor(store: Store, segment: Segment) {
    this.#store = store;
    this.#segment = segment;
  }

  take(entry: BatchEntry, frame: Buffer): void {
    this.#seen = entry.seq;
    const checked = check(this.#segment.id, entry, frame);
    if (typeof checked === 'string') return this.#failed([entry], checked, true);
    const { previousHash, previousEpoch, seq, sealedAtMs } = checked;
    if (seq === 1) this.#link = previousEpoch;
    const run = this.#runs.at(-1);
    if (run && run.last === seq - 1 && run.hashes.at(-1)!.equals(previousHash)) {
      run.last = seq;
      run.hashes.push(entry.headerHash);
      run.sealedAtMs.push(sealedAtMs);
    } else {
      // Also where a batch does not name the one before it: whoever compares the copies sees the break.
      this.#runs.push({
        first: seq,
        last: seq,
        previousHash,
        hashes: [entry.headerHash],
        sealedAtMs: [sealedAtMs],
      });
    }
  }

  unread(entry: BatchEntry): void {
    this.#seen = entry.seq;
    this.#failed([entry], 'the disk cannot read it', true);
  }

  #failed(entries: readonly BatchEntry[], problem: string, quarantine: boolean): void {
    if (quarantine) this.#store.quarantine(this.#segment, entries);
    for (const entry of entries) this.#note(entry, problem, quarantine);
  }

  #note({ seq, offset, frameBytes }: BatchEntry, problem: string, quarantined: boolean): void {
    const last = this.#damage.at(-1);
    if (last && last.toSeq === seq - 1 && last.problem === problem && last.offset + last.bytes === offset) {
      this.#damage[this.#damage.length - 1] = { ...last, toSeq: seq, bytes: last.bytes + frameBytes };
    } else if (this.#damage.length < DAMAGE_PER_SEGMENT_MAX) {
      this.#damage.push({
        fromSeq: seq,
        toSeq: seq,
        offset,
        bytes: frameBytes,
        problem,
        quarantined,
      });
    }
  }

  alreadyQuarantined({ offset, bytes, before, after }: Hole): void {
    if (this.#damage.length >= DAMAGE_PER_SEGMENT_MAX) return;
    const fromSeq = (before?.seq ?? 0) + 1;
    const toSeq = after ? after.seq - 1 : fromSeq;
    const problem = 'it was found damaged before and waits for a sound copy';
    this.#damage.push({
      fromSeq,
      toSeq: Math.max(fromSeq, toSeq),
      offset,
      bytes,
      problem,
      quarantined: true,
    });
  }

  /** The disk would not give the rest of the file. */
  fileFailed(entries: readonly BatchEntry[], error: unknown): void {
    const { code } = error as { code?: string };
    const isGone = code === 'ENOENT' || code === 'EIO';
    const problem = code === 'ENOENT' ? 'the file is gone' : `the file cannot be read: ${messageOf(error)}`;
    // Too many open files, and the like, say nothing about the bytes.
    const unseen = entries.filter(({ seq }) => seq > this.#seen);
    this.#failed(unseen, problem, isGone);
  }

  finish(entries: readonly BatchEntry[]): SegmentAudit {
    const runs = this.#runs.map(({ hashes, ...run }) => ({
      ...run,
      hashes: Buffer.concat(hashes, hashes.length * HASH_BYTES),
    }));
    const { id, path } = this.#segment;
    return { id, path, isRead: true, ...sealedBounds(entries), runs, link: this.#link, damage: this.#damage };
  }
}

/** The header of a frame that is what it should be, or what is wrong with it. */
function check(id: SegmentId, entry: BatchEntry, frame: Buffer): BatchHeader | string {
  if (frame.length < entry.frameBytes) return 'the file ends before it: it was cut';
  try {
    const { header, headerHash } = verifyFrame(frame);
    if (!isAt(header, id, entry)) return strangerText(header);
    if (!headerHash.equals(entry.headerHash)) return 'another batch with the same number stands there';
    return header;
  } catch (error) {
    if (!(error instanceof LogvineError) || error.code !== 'LV_FRAME_CORRUPT') throw error;
    const head = readHead(frame);
    const header = head && parseOrNothing(head.header);
    return header && !isAt(header, id, entry) ? strangerText(header) : error.message;
  }
}

function isAt({ origin, epoch, segment, seq }: BatchHeader, id: SegmentId, entry: BatchEntry): boolean {
  return origin === id.origin && epoch === id.epoch && segment === id.index && seq === entry.seq;
}

/** A shorter or longer batch than the one that stood there is known by its header alone. */
function strangerText(header: BatchHeader): string {
  return `another batch stands there: ${batchName(header)}`;
}

function parseOrNothing(header: Buffer): BatchHeader | undefined {
  try {
    return parseHeader(header);
  } catch {
    return undefined;
  }
}
