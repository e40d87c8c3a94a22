import { dirname } from 'node:path';
import { LogvineError, messageOf } from '../errors.ts';
import { compareInstants, type BatchHeader, type Instant, type SealedHeader } from '../batch/index.ts';
import type { Disk, DiskFile } from '../host/index.ts';
import { OneByOne } from '../one-by-one.ts';
import type { BatchEntry } from './batch-list.ts';
import type { FileHolder, OpenFiles } from './open-files.ts';
import {
  addBatch,
  areNamed,
  closeHole,
  forgetDoneHoles,
  quarantineBatches,
  type SegmentId,
  type SegmentRecord,
} from './record.ts';
import { ReadableFile } from './readable.ts';
import { holdsAnother, readmit, type Readmitted } from './recover.ts';
import type { StreamPool } from './streams.ts';

/** One verified frame to be written. `parts` are its bytes, in order. */
export interface FrameToWrite {
  readonly header: BatchHeader | SealedHeader;
  readonly headerHash: Buffer;
  readonly headerBytes: number;
  readonly parts: readonly Uint8Array[];
}

/** One that came in, so that its header was parsed. */
export interface ReceivedFrame extends FrameToWrite {
  readonly header: BatchHeader;
}

/** Of the batches held at one version. */
interface Summary {
  readonly version: number;
  readonly runs: [number, number][];
  readonly min: Instant;
  readonly max: Instant;
}

interface Waiting {
  readonly frame: FrameToWrite;
  readonly bytes: number;
  resolve(isNew: boolean): void;
  reject(error: Error): void;
}

/** What every segment of a data directory shares. */
export interface DiskHealth {
  /** After one failed fsync nothing more is acknowledged (I7). */
  failure: LogvineError | undefined;
  /** Counts changes to what is held, so that inventories can say what is new. */
  version: number;
  readonly files: OpenFiles;
}

/** What keeps a file from being opened and says nothing about the disk. */
const PASSING: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN']);

/**
 * What a write that failed means. A full disk is a normal day: LV_DISK_FULL, and it is tried again. Anything else that keeps bytes from
 * being written is not.
 */
export function unwritten(health: DiskHealth, path: string, cause: unknown): LogvineError {
  const { code } = cause as NodeJS.ErrnoException;
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return diskFailed(health, path, cause);
  return new LogvineError('LV_DISK_FULL', `no space left to write ${path}`, { cause });
}

/** From here on nothing is acknowledged: LV_DATA_UNSAFE. */
function diskFailed(health: DiskHealth, path: string, cause: unknown): LogvineError {
  health.failure ??= new LogvineError(
    'LV_DATA_UNSAFE',
    `the disk failed under ${path} (${messageOf(cause)}): nothing more is acknowledged until a restart has verified the data`,
    { cause },
  );
  return health.failure;
}

/**
 * One segment file of this peer. Appends are group-committed: while one fdatasync runs, the next frames gather, and go
 * out with one write and one sync. `record` shows only what is on disk.
 */
export class Segment implements FileHolder {
  readonly record: SegmentRecord;
  readonly path: string;
  /** The value of the shared version when this segment last changed. */
  version: number;
  readonly #disk: Disk;
  readonly #health: DiskHealth;
  readonly #pool: StreamPool;
  #file: DiskFile | undefined;
  #summed: Summary | undefined;
  #waiting: Waiting[] = [];
  /** Settled with each frame that is on its way to the disk, by its seq. */
  readonly #underWay = new Map<number, Promise<void>>();
  #running: Promise<void> | undefined;
  /** Settled with the last frame that was accepted: they are written in order. */
  #written = Promise.resolve();
  /** The same batch may come from two peers at once. */
  readonly #heals = new OneByOne();
  /** Seq and header hash of the last frame accepted for writing. */
  #accepted: { seq: number; headerHash: Buffer } | undefined;

  constructor(options: {
    record: SegmentRecord;
    path: string;
    disk: Disk;
    health: DiskHealth;
    pool: StreamPool;
  }) {
    this.record = options.record;
    this.path = options.path;
    this.#disk = options.disk;
    this.#health = options.health;
    this.#pool = options.pool;
    this.version = ++options.health.version;
    this.#resetAccepted();
  }

  get id(): SegmentId {
    return this.record.id;
  }

  /** The last batch on disk. */
  get last(): BatchEntry | undefined {
    return this.record.batches.at(-1);
  }

  get firstSeq(): number {
    const { batches } = this.record;
    return batches.length === 0 ? 0 : batches.seqAt(0);
  }

  /** The last frame taken, on disk or on its way there. */
  get accepted(): { seq: number; headerHash: Buffer } | undefined {
    return this.#accepted;
  }

  /** The highest seq such that this peer holds every batch from the segment's first up to it; 0 when it holds none. */
  get contiguousSeq(): number {
    const { batches } = this.record;
    if (batches.length === 0) return 0;
    const first = batches.seqAt(0);
    const isInRow = (index: number): boolean => batches.seqAt(index) === first + index;
    let last = batches.length - 1;
    if (isInRow(last)) return first + last;
    for (last = 0; isInRow(last + 1);) last++;
    return first + last;
  }

  /** Runs of seqs held, ascending, both ends included. Not to be changed. */
  intervals(): [number, number][] {
    return this.#summary().runs;
  }

  /** When its last batch was sealed, by its origin's clock; 0 when it holds none. */
  get lastSealedAtMs(): number {
    return this.last?.sealedAtMs ?? 0;
  }

  /** Earliest and latest entry of its batches. */
  bounds(): { min: Instant; max: Instant } {
    const { min, max } = this.#summary();
    return { min, max };
  }

  /** Asked for with each query and inventory, of all segments; a segment may have tens of thousands of batches. */
  #summary(): Summary {
    if (this.#summed?.version === this.version) return this.#summed;
    const runs: [number, number][] = [];
    let min: Instant = { ms: Infinity, sub: 0 };
    let max: Instant = { ms: -Infinity, sub: 0 };
    for (const batch of this.record.batches) {
      const { seq } = batch;
      const run = runs.at(-1);
      if (run && run[1] === seq - 1) run[1] = seq;
      else runs.push([seq, seq]);
      if (batch.minMs <= min.ms && compareInstants(batch.min, min) < 0) min = batch.min;
      if (batch.maxMs >= max.ms && compareInstants(batch.max, max) > 0) max = batch.max;
    }
    return (this.#summed = { version: this.version, runs, min, max });
  }

  entry(seq: number): BatchEntry | undefined {
    return this.record.batches.find(seq);
  }

  /** Marks the segment as changed for inventories. */
  touch(): void {
    this.version = ++this.#health.version;
  }

  /** Something is being written. */
  get isBusy(): boolean {
    return this.#running !== undefined;
  }

  /** Resolves when all that has been accepted by now is written, or has failed. */
  flushed(): Promise<void> {
    return this.#written;
  }

  /**
   * Resolves once the frame is on disk: false when its batch has come in another way meanwhile. The caller has checked that it follows
   * the last one accepted, or is not held and what is missing before it comes later: frames of a segment may stand in any order.
   * Rejects with LV_DISK_FULL (the file is as before; try again) or LV_DATA_UNSAFE (nothing more will be taken).
   */
  append(frame: FrameToWrite): Promise<boolean> {
    if (this.#health.failure) return Promise.reject(this.#health.failure);
    const { seq } = frame.header;
    if (seq > (this.#accepted?.seq ?? 0)) this.#accepted = { seq, headerHash: frame.headerHash };
    let bytes = 0;
    for (const part of frame.parts) bytes += part.length;
    const written = new Promise<boolean>((resolve, reject) => {
      this.#waiting.push({ frame, bytes, resolve, reject });
      this.#running ??= this.#commitAll();
    });
    const end = (): void => void this.#underWay.delete(seq);
    const ended = written.then(end, end);
    this.#underWay.set(seq, ended);
    this.#written = ended;
    return written;
  }

  /** Settled when that batch is written, or has failed; undefined when it is not under way. */
  writing(seq: number): Promise<void> | undefined {
    return this.#underWay.get(seq);
  }

  async #commitAll(): Promise<void> {
    // Frames that are appended in the same turn go out together.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const group = this.#waiting;
      this.#waiting = [];
      try {
        const news = await this.#commit(group);
        for (const [at, { resolve }] of group.entries()) resolve(news[at]);
      } catch (error) {
        // What waited behind a failed frame must not be written without it.
        const failed = [...group, ...this.#waiting];
        this.#waiting = [];
        this.#resetAccepted();
        for (const { reject } of failed) reject(error as Error);
      }
    }
    this.#running = undefined;
  }

  #resetAccepted(): void {
    const { last } = this;
    this.#accepted = last && { seq: last.seq, headerHash: last.headerHash };
  }

  /** Which of them were not here yet. */
  async #commit(group: readonly Waiting[]): Promise<boolean[]> {
    if (this.#health.failure) throw this.#health.failure;
    const file = await this.#openForWriting();
    const start = this.record.fileBytes;
    try {
      await file.write(
        start,
        group.flatMap(({ frame }) => frame.parts),
      );
    } catch (cause) {
      await file.truncate(start).catch(() => undefined);
      throw this.#unwritten(cause);
    }
    await this.#sync(file);
    let offset = start;
    const news = group.map(({ frame: { header, headerHash, headerBytes }, bytes }) => {
      const place = { offset, frameBytes: bytes, headerBytes, headerHash };
      offset += bytes;
      // It may have been found in a damaged place while it was written: a second copy says nothing new.
      if (this.record.batches.has(header.seq)) return false;
      addBatch(this.record, header, place, this.#pool);
      return true;
    });
    this.record.fileBytes = offset;
    this.#forgetDoneHoles();
    this.touch();
    return news;
  }

  #forgetDoneHoles(): void {
    // One that is accepted and not here is on its way, or in a hole.
    if (this.last?.seq === this.#accepted?.seq) forgetDoneHoles(this.record);
  }

  /**
   * Puts a verified frame back into the place where its bytes are quarantined: replicas are byte-identical, so it is
   * exactly what stood there. Undefined when the frame is neither the first nor the last one missing from a quarantined
   * range, since only the batches around it tell the place; when its streams are not named yet; or when that place
   * is on a bad sector, or another's. Else what is held again besides it: see `readmit`.
   */
  heal(frame: ReceivedFrame): Promise<Readmitted['taken'] | undefined> {
    return this.#heals.run(() => this.#healOne(frame));
  }

  /** Reads once more what is quarantined, whole: see `readmit`. Rejects with Node's errors. */
  readAgain(): Promise<Readmitted> {
    return this.#heals.run(async () => {
      const file = await this.#disk.open(this.path, 'read');
      try {
        return await this.#readmit(new ReadableFile(file), { isThorough: true });
      } finally {
        await file.close();
      }
    });
  }

  async #healOne(frame: ReceivedFrame): Promise<Readmitted['taken'] | undefined> {
    if (this.#health.failure) throw this.#health.failure;
    const { record } = this;
    const { seq } = frame.header;
    let bytes = 0;
    for (const part of frame.parts) bytes += part.length;
    // Names on their way are of no use here: it would be held before them.
    const isNew = !this.entry(seq) && areNamed(frame.header.streams, record.streams);
    const offset = isNew ? this.#placeOf(frame.header, bytes) : undefined;
    if (offset === undefined) return undefined;
    await this.#letGoOfLostFile();
    const file = await this.#openForWriting();
    const readable = new ReadableFile(file);
    await readable.read(offset, bytes);
    // To write a part of a sector the system reads the rest of it first, and would fail.
    if (readable.unread.length > 0) return undefined;
    // In a file whose batches came in another order, its place may be another's. It may be the only copy there is.
    if (await holdsAnother(readable, record, seq, offset, offset + bytes)) return undefined;
    try {
      await file.write(offset, frame.parts);
    } catch (cause) {
      // What came of it stays in quarantine.
      throw this.#unwritten(cause);
    }
    await this.#sync(file);
    closeHole(record, offset, bytes);
    // It may have been written behind the others meanwhile.
    if (this.entry(seq)) return undefined;
    const { header, headerHash, headerBytes } = frame;
    addBatch(record, header, { offset, frameBytes: bytes, headerBytes, headerHash }, this.#pool);
    this.touch();
    return (await this.#readmit(readable)).taken;
  }

  async #readmit(readable: ReadableFile, how?: { readonly isThorough: boolean }): Promise<Readmitted> {
    const found = await readmit(readable, this.record, this.#pool, how);
    if (found.taken.length > 0) this.touch();
    // Where the hole was the last batch, the next one follows this.
    if ((this.last?.seq ?? 0) > (this.#accepted?.seq ?? 0)) this.#resetAccepted();
    this.#forgetDoneHoles();
    return found;
  }

  /** Where a batch stood, by the one before it or the one behind it; undefined unless it is a hole of enough bytes. */
  #placeOf({ seq, owners }: Pick<BatchHeader, 'seq' | 'owners'>, bytes: number): number | undefined {
    const { batches, quarantined } = this.record;
    const index = batches.indexFrom(seq);
    const before = index > 0 ? batches.at(index - 1) : undefined;
    const after = batches.at(index);
    const places: number[] = [];
    if (before?.seq === seq - 1) places.push(before.offset + before.frameBytes);
    else if (!before && owners.length > 0) places.push(0);
    if (after?.seq === seq + 1) places.push(after.offset - bytes);
    const isHole = (offset: number): boolean =>
      quarantined.some((hole) => hole.offset <= offset && offset + bytes <= hole.offset + hole.bytes);
    return places.find(isHole);
  }

  async #sync(file: DiskFile): Promise<void> {
    try {
      await file.sync();
    } catch (cause) {
      throw this.#fail(cause);
    }
    // An fsync that failed meanwhile may have taken the error of this one with it.
    if (this.#health.failure) throw this.#health.failure;
  }

  #unwritten(cause: unknown): LogvineError {
    return unwritten(this.#health, this.path, cause);
  }

  #fail(cause: unknown): LogvineError {
    return diskFailed(this.#health, this.path, cause);
  }

  /** What is healed must not go into a file that was removed or replaced while it was open. */
  async #letGoOfLostFile(): Promise<void> {
    const file = this.#file;
    if (!file) return;
    const [open, there] = [await file.stat(), await this.#disk.stat(this.path)];
    if (open.inode === there?.inode && open.device === there.device) return;
    this.#file = undefined;
    this.#health.files.closed(this);
    await file.close();
  }

  /** The file is opened again when something is written. */
  letGo(): boolean {
    if (this.#running || !this.#heals.isIdle) return false;
    const file = this.#file;
    this.#file = undefined;
    // All that was written is on disk.
    void file?.close().catch(() => undefined);
    return true;
  }

  async #openForWriting(): Promise<DiskFile> {
    if (this.#file) {
      this.#health.files.used(this);
      return this.#file;
    }
    const directory = dirname(this.path);
    let file: DiskFile;
    let isNew: boolean;
    try {
      isNew = (await this.#disk.stat(this.path)) === undefined;
      if (isNew) await this.#disk.makeDirectory(directory);
      file = await this.#disk.open(this.path, 'write');
    } catch (cause) {
      // Too few handles, or too little memory, for a moment: nothing was written yet.
      if (!PASSING.has((cause as NodeJS.ErrnoException).code ?? '')) throw this.#unwritten(cause);
      const message = `${this.path} cannot be opened (${messageOf(cause)}): tried again`;
      throw new LogvineError('LV_OVERLOADED', message, { cause });
    }
    this.#file = file;
    this.#health.files.used(this);
    if (!isNew) return file;
    try {
      await this.#disk.syncDirectory(directory);
      await this.#disk.syncDirectory(dirname(directory));
    } catch (cause) {
      throw this.#fail(cause);
    }
    return file;
  }

  /** The whole frame of a batch, unchecked: the caller verifies before it uses it (I6). */
  async readFrame(entry: BatchEntry): Promise<Buffer> {
    const file = await this.#disk.open(this.path, 'read');
    try {
      return await file.read(entry.offset, entry.frameBytes);
    } finally {
      await file.close();
    }
  }

  /** Forgets batches whose bytes proved rotten; they are holes until they are healed. Returns those that were none yet. */
  quarantine(rotten: readonly BatchEntry[]): readonly BatchEntry[] {
    const held = rotten.filter(({ seq, row }) => this.entry(seq)?.row === row);
    if (held.length === 0) return held;
    quarantineBatches(this.record, held);
    this.touch();
    return held;
  }

  /** Waits for what is being written and lets go of the file. */
  async close(): Promise<void> {
    await this.#running;
    await this.#heals.idle();
    await this.#file?.close();
    this.#file = undefined;
    this.#health.files.closed(this);
  }
}
