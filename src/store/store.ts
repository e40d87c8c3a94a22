import { hash } from 'node:crypto';
import {
  headerHash,
  parseHeader,
  readFrame,
  type BatchHeader,
  type EpochLink,
  type PackedBatch,
  type SourcePosition,
} from './batch/index.ts';
import { CatalogWriter, type Catalog } from './catalog/index.ts';
import { LogvineError } from './errors.ts';
import { Intake } from './intake.ts';
import { LIMITS } from './limits.ts';
import type { Clock, Disk, Random, Timer } from './host/index.ts';
import {
  DroppedFile,
  notePosition,
  Tombstones,
  type ExpiredRun,
  type Going,
  type OwnPosition,
} from './retention/index.ts';
import { unionRuns } from './runs.ts';
import {
  goneOf,
  holesIn,
  NOTHING_GONE,
  withoutHeld,
  type GoneRun,
  isDamaged,
  joinGone,
  OwnLog,
  releaseStreams,
  Segment,
  segmentName,
  StreamPool,
  type BatchEntry,
  OpenFiles,
  type DiskHealth,
  type SealedBatch,
  type SegmentId,
  type SegmentRecord,
} from './segment/index.ts';
import {
  bySegment,
  hadRuns,
  nextEpoch,
  originsOnDisk,
  readDropped,
  recoverAll,
  segmentPath,
  stateEpoch,
  statedEpoch,
} from './start.ts';

const READ_AGAIN_AFTER_MS = 5_000;

export interface StoreOptions {
  /** The data directory. `epoch.json` and `segments/` in it are this store's. */
  readonly directory: string;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly catalog: Catalog;
  readonly origin: string;
  readonly segmentBytesMax: number;
  readonly segmentAgeMsMax: number;
  sign(bytes: Uint8Array): Uint8Array;
  chooseOwners(id: SegmentId): readonly string[];
  /** Undefined while copies of others' batches are taken. */
  whyNoReplicas(): LogvineError | undefined;
  /** Somebody has a batch with this peer's signature from a later run than this one, or from another with its epoch. */
  onLaterRun(epoch: number): void;
  log(level: 'info' | 'warn' | 'error', message: string): void;
}

export interface StoreTotals {
  segments: number;
  batches: number;
  entries: number;
  rawBytes: number;
  storedBytes: number;
}

/** What a start has made of the disk. */
interface StartedWith {
  readonly epoch: number;
  readonly hasEarlierRuns: boolean;
  readonly health: DiskHealth;
  readonly dropped: DroppedFile;
  readonly pool: StreamPool;
}

/**
 * What one peer keeps: its own batches and the replicas it holds for others. Knows no peers: placement is asked for
 * through `chooseOwners`, and bytes from the network come in through `appendReplica`.
 */
export class Store {
  readonly epoch: number;
  /** There was a run before this one: it may have sealed what others hold and this disk has lost. */
  readonly hasEarlierRuns: boolean;
  readonly health: DiskHealth;
  /** What outlives the segments that are dropped here, and what is lost for good. */
  readonly dropped: DroppedFile;
  /** Set while the disk is full; new batches of this peer wait meanwhile. */
  diskFull: LogvineError | undefined;
  /** I1 alarms: one batch id with two contents. */
  conflicts: string[] = [];
  readonly totals: StoreTotals = { segments: 0, batches: 0, entries: 0, rawBytes: 0, storedBytes: 0 };
  readonly #options: StoreOptions;
  readonly #segments = new Map<string, Segment>();
  readonly #own: OwnLog;
  readonly #pool: StreamPool;
  readonly #positions = new Map<string, OwnPosition>();
  /** Segments that went since the start, and the version at which they did; names that are just being removed. */
  readonly #removed = new Map<string, { readonly id: SegmentId; readonly version: number }>();
  readonly #removing = new Set<string>();
  readonly #damaged = new Set<Segment>();
  #isClosed = false;
  /** Damaged segments into which batches come that name streams. */
  readonly #readAgainSoonTimers = new Map<Segment, Timer>();
  /** By this run. */
  readonly #foundRotten = new WeakMap<Segment, readonly GoneRun[]>();
  readonly #catalog: CatalogWriter;
  readonly #intake: Intake;
  #generation = 0;

  static async open(options: StoreOptions): Promise<Store> {
    const segments = `${options.directory}/segments`;
    await options.disk.makeDirectory(segments);
    const health: DiskHealth = { failure: undefined, version: 0, files: new OpenFiles() };
    const pool = new StreamPool();
    const recovered = await recoverAll(options, pool);
    const tombstones = await Tombstones.find(options.disk, segments, await originsOnDisk(options));
    const dropped = new DroppedFile({ ...options, health, tombstones }, await readDropped(options));
    const own = recovered
      .map(({ record }) => record)
      .filter(({ id }) => id.origin === options.origin)
      .sort(bySegment);
    const lastEpoch = Math.max(
      await statedEpoch(options),
      own.at(-1)?.id.epoch ?? 0,
      dropped.log.last?.epoch ?? 0,
    );
    const hasEarlierRuns = own.length > 0 || (await hadRuns(options));
    const epoch = nextEpoch(lastEpoch, options);
    await stateEpoch(options, epoch);
    const store = new Store(options, { epoch, hasEarlierRuns, health, dropped, pool });
    for (const { record, isRemembered } of recovered) {
      const segment = store.#add(record);
      if (isRemembered) store.#catalog.wasFound(segment);
    }
    for (const [source, at] of dropped.log.positions) notePosition(store.#positions, source, at);
    for (const record of own) store.#notePositions(record);
    return store;
  }

  private constructor(options: StoreOptions, { epoch, hasEarlierRuns, health, dropped, pool }: StartedWith) {
    this.#options = options;
    this.#pool = pool;
    this.dropped = dropped;
    this.epoch = epoch;
    this.hasEarlierRuns = hasEarlierRuns;
    this.health = health;
    this.#catalog = new CatalogWriter({ ...options, health });
    this.#own = new OwnLog({
      origin: options.origin,
      epoch,
      previousEpoch: () => this.#lastOfEarlierRuns(),
      clock: options.clock,
      segmentBytesMax: options.segmentBytesMax,
      segmentAgeMsMax: options.segmentAgeMsMax,
      pool,
      sign: (bytes) => options.sign(bytes),
      makeSegment: (record) => this.#add(record),
      chooseOwners: (id) => options.chooseOwners(id),
      onDiskFull: (error) => {
        if (error && !this.diskFull) options.log('error', error.message);
        if (!error && this.diskFull) options.log('info', 'the disk has room again');
        this.diskFull = error;
      },
    });
    this.#intake = new Intake({
      origin: options.origin,
      epoch,
      health,
      catalog: this.#catalog,
      sealedSeq: () => this.sealedSeq,
      isReleased: (id) => this.isReleased(id),
      segment: (id) => this.segment(id),
      isStored: (segment) =>
        this.segment(segment.id) === segment && !this.#removing.has(segmentName(segment.id)),
      add: (record) => this.#add(record),
      onTaken: (header, frameBytes) => this.#countHeader(header, frameBytes),
      onLaterRun: (later) => options.onLaterRun(later),
      whyNoReplicas: () => options.whyNoReplicas(),
      onNamed: (segment) => this.#readAgainSoon(segment),
      conflict: (message) => this.#conflict(message),
    });
  }

  get origin(): string {
    return this.#options.origin;
  }

  /** Where this peer's chain ended before this run, as far as its disk tells. */
  #lastOfEarlierRuns(): EpochLink | undefined {
    let { last } = this.dropped.log;
    for (const { id, last: batch } of this.segments()) {
      if (id.origin !== this.origin || id.epoch >= this.epoch || !batch) continue;
      if (last && (id.epoch < last.epoch || (id.epoch === last.epoch && batch.seq < last.lastSeq))) continue;
      last = { epoch: id.epoch, lastSeq: batch.seq, headerHash: batch.headerHash };
    }
    return last;
  }

  /**
   * Others remember a later run of this peer than its disk does (an older copy of it was put back): the next start is above
   * that run.
   */
  async noteEpoch(epoch: number): Promise<void> {
    await stateEpoch(this.#options, Math.max(epoch, this.epoch));
  }

  get sealedSeq(): number {
    return this.#own.sealedSeq;
  }

  get openSegment(): Segment | undefined {
    return this.#own.openSegment;
  }

  /** Where each source of this peer stands according to its own batches on disk, or once on it (I3). */
  position(source: string): string | undefined {
    return this.#positions.get(source)?.position;
  }

  /** The same for all of them. */
  *positions(): Iterable<readonly [source: string, position: string]> {
    for (const [source, { position }] of this.#positions) yield [source, position];
  }

  /** Own segment that was dropped here on purpose. */
  isReleased(id: SegmentId): boolean {
    return id.origin === this.origin && this.dropped.log.isReleased(id);
  }

  /** Segments that lack something that was in them. */
  get damaged(): IterableIterator<Segment> {
    for (const segment of this.#damaged)
      if (!isDamaged(segment.record) || this.segment(segment.id) !== segment) this.#damaged.delete(segment);
    return this.#damaged.values();
  }

  /**
   * What others are to expect, because it was here (I9). Of its own batches only those of earlier runs that proved rotten in this one:
   * how many of this run are acknowledged its watermark says, and what an earlier run had lost already was read again.
   */
  rottenIn(segment: Segment): readonly GoneRun[] {
    const { id, record } = segment;
    if (id.origin !== this.origin) return record.rotten;
    if (id.epoch === this.epoch) return NOTHING_GONE;
    return withoutHeld(this.#foundRotten.get(segment) ?? NOTHING_GONE, segment.intervals());
  }

  /** Names what counts versions: when it changes, earlier versions say nothing. */
  get instance(): string {
    return `${this.epoch}.${this.#generation}`;
  }

  /** Segments that were dropped after that version of the inventory. */
  removedSince(version: number): SegmentId[] {
    return [...this.#removed.values()].filter((removed) => removed.version > version).map(({ id }) => id);
  }

  /** Nothing more will be written to it by this peer: it is a replica, of an earlier run, or rolled and on disk. */
  isFinished(segment: Segment): boolean {
    const { origin, epoch } = segment.id;
    if (segment.isBusy) return false;
    return origin !== this.origin || epoch !== this.epoch || this.#own.isFinished(segment);
  }

  /** Streams that the segments here name, of whatever origin: each takes memory for as long as one does. */
  get streams(): Pick<StreamPool, 'size' | 'has'> {
    return this.#pool;
  }

  segments(): IterableIterator<Segment> {
    return this.#segments.values();
  }

  segment(id: SegmentId): Segment | undefined {
    return this.#segments.get(segmentName(id));
  }

  /** By `segmentName`. */
  named(name: string): Segment | undefined {
    return this.#segments.get(name);
  }

  /** Seals a batch of this peer. Throws LV_DATA_UNSAFE once the disk has failed. */
  seal(packed: PackedBatch, sources: readonly SourcePosition[]): SealedBatch {
    if (this.health.failure) throw this.health.failure;
    const sealed = this.#own.seal(packed, sources);
    sealed.written.then(
      () => {
        this.#count(sealed);
        const { epoch } = this;
        for (const { source, position } of sources)
          notePosition(this.#positions, source, { epoch, seq: sealed.seq, position });
      },
      () => undefined,
    );
    return sealed;
  }

  /** See `Intake.take`. */
  appendReplica(...copy: Parameters<Intake['take']>): ReturnType<Intake['take']> {
    return this.#intake.take(...copy);
  }

  rollSegment(): void {
    this.#own.roll();
  }

  /** Closes the open segment when it is past its age, also when nothing more is sealed. */
  rollIfAged(): void {
    this.#own.rollIfAged();
  }

  #notePositions({ id, positions }: Pick<SegmentRecord, 'id' | 'positions'>): void {
    if (id.origin !== this.origin) return;
    for (const [source, { seq, position }] of positions)
      notePosition(this.#positions, source, { epoch: id.epoch, seq, position });
  }

  #countHeader(header: BatchHeader, frameBytes: number): void {
    const { origin, epoch, seq, sources } = header;
    if (origin === this.origin)
      for (const { source, position } of sources)
        notePosition(this.#positions, source, { epoch, seq, position });
    let entries = 0;
    let rawBytes = 0;
    for (const part of header.streams) {
      entries += part.entries;
      rawBytes += part.linesBytes;
    }
    this.#count({ frameBytes, entries, rawBytes });
  }

  #conflict(message: string): LogvineError {
    if (this.conflicts.length < 100 && !this.conflicts.includes(message)) this.conflicts.push(message);
    this.#options.log('error', message);
    return new LogvineError('LV_BATCH_CONFLICT', message);
  }

  /**
   * A whole frame, verified; undefined when it is not here or proves rotten, which quarantines it (I6). Rejects with
   * Node's error when the disk cannot be asked.
   */
  async readFrame(id: SegmentId, seq: number): Promise<Buffer | undefined> {
    const segment = this.segment(id);
    const entry = segment?.entry(seq);
    if (!segment || !entry) return undefined;
    try {
      const frame = await segment.readFrame(entry);
      if (isAsStored(frame, entry)) return frame;
    } catch (error) {
      const { code } = error as { code?: string };
      // Too many open files, and the like, say nothing about the bytes. A file that is gone does.
      const isDropped = this.segment(id) !== segment || this.#removing.has(segmentName(id));
      if (isDropped) return undefined;
      if (code !== 'LV_FRAME_CORRUPT' && code !== 'EIO' && code !== 'ENOENT') throw error;
    }
    this.quarantine(segment, [entry]);
    return undefined;
  }

  /** Rot was found in batches: they are no longer held here until healed. */
  quarantine(segment: Segment, rotten: readonly BatchEntry[]): void {
    const held = segment.quarantine(rotten);
    if (held.length === 0) return;
    const gone = goneOf(held);
    segment.record.rotten = joinGone(segment.record.rotten, gone);
    this.#foundRotten.set(segment, joinGone(this.#foundRotten.get(segment) ?? [], gone));
    this.#damaged.add(segment);
    // What a disk has put into the wrong place is sound there.
    this.#readAgainSoon(segment);
    void this.#catalog.changed(segment);
    const which =
      held.length === 1 ? `seq ${held[0].seq} is` : `${held.length} from seq ${held[0].seq} on are`;
    this.#options.log('error', `batch ${segmentName(segment.id)} ${which} rotten in ${segment.path}`);
    for (const entry of held) this.#count(entry, -1);
  }

  /**
   * Reads once more what is quarantined in a segment: what could not be read may have been sound all the time. Resolves to whether
   * something sound is left in it that waits for the batch that names its streams. Rejects with Node's errors.
   */
  async readAgain(segment: Segment): Promise<boolean> {
    const name = segmentName(segment.id);
    if (this.#segments.get(name) !== segment || this.#removing.has(name)) return false;
    const { taken, isWaiting } = await segment.readAgain();
    if (taken.length === 0) return isWaiting;
    for (const { header, frameBytes } of taken) this.#countHeader(header, frameBytes);
    this.#options.log('info', `${segment.path}: ${taken.length} batches can be read again`);
    return isWaiting;
  }

  /** Once for all that come meanwhile: it looks at each byte of what is quarantined. */
  #readAgainSoon(segment: Segment): void {
    if (this.#isClosed || this.#readAgainSoonTimers.has(segment)) return;
    const timer = this.#options.clock.after(READ_AGAIN_AFTER_MS, () => {
      this.#readAgainSoonTimers.delete(segment);
      // What the disk does not give now is looked at again later.
      this.readAgain(segment).catch(() => undefined);
    });
    this.#readAgainSoonTimers.set(segment, timer);
  }

  /**
   * Takes segments off this disk: `surplus` ones that others keep (I8), or `expired` ones. What must outlive them is on
   * disk before they go. Each must be `isFinished`; the caller has checked that it may go. Rejects with LV_DISK_FULL,
   * LV_DATA_UNSAFE.
   */
  drop(segments: readonly Segment[], why: 'surplus' | 'expired'): Promise<void> {
    for (const { id } of segments) this.#removing.add(segmentName(id));
    return this.dropped.changes
      .run(() => this.#drop(segments, why))
      .finally(() => {
        for (const { id } of segments) this.#removing.delete(segmentName(id));
      });
  }

  async #drop(wanted: readonly Segment[], why: 'surplus' | 'expired'): Promise<void> {
    if (this.health.failure) throw this.health.failure;
    // Another reason may have come first.
    const segments = wanted.filter((segment) => this.segment(segment.id) === segment);
    const isOwn = ({ id }: Segment): boolean => id.origin === this.origin;
    let left = segments;
    try {
      if (why === 'expired' || segments.some(isOwn)) await this.dropped.willGo(this.#going(segments, why));
    } catch (error) {
      // On a full disk, room comes from dropping: others' segments can go before it is written that they did.
      const others = segments.filter((segment) => !isOwn(segment));
      if ((error as LogvineError).code !== 'LV_DISK_FULL' || others.length === 0) throw error;
      for (const segment of others) {
        const gone = this.#going([segment], why);
        await this.#remove(segment, (path) => this.dropped.goesUnwritten(path, gone));
      }
      left = segments.filter(isOwn);
      await this.dropped.willGo(this.#going(left, why));
    }
    for (const segment of left) await this.#remove(segment);
  }

  #going(segments: readonly Segment[], why: 'surplus' | 'expired'): Going {
    return {
      own: segments.filter(({ id }) => id.origin === this.origin).map(({ record }) => record),
      expired: why === 'expired' ? segments.flatMap(expiredWith) : [],
    };
  }

  async #remove(
    segment: Segment,
    take = (path: string): Promise<void> => this.#options.disk.remove(path),
  ): Promise<void> {
    const name = segmentName(segment.id);
    await segment.close();
    await this.#catalog.willGo(segment);
    await take(segment.path);
    this.#segments.delete(name);
    releaseStreams(segment.record, this.#pool);
    this.totals.segments--;
    for (const batch of segment.record.batches) this.#count(batch, -1);
    if (this.#removed.size >= LIMITS.removedSegmentsMax) {
      // Whoever asks from now on is told everything again.
      this.#removed.clear();
      this.#generation++;
    }
    this.#removed.set(name, { id: segment.id, version: ++this.health.version });
  }

  #add(record: SegmentRecord): Segment {
    this.#removed.delete(segmentName(record.id));
    const path = segmentPath(this.#options.directory, record.id);
    const { disk } = this.#options;
    const segment = new Segment({ record, path, disk, health: this.health, pool: this.#pool });
    this.#segments.set(segmentName(record.id), segment);
    if (isDamaged(record)) this.#damaged.add(segment);
    this.totals.segments++;
    for (const batch of record.batches) this.#count(batch);
    return segment;
  }

  /** `times`: −1 for a batch that is not held any more. */
  #count(
    { frameBytes, entries, rawBytes }: Pick<BatchEntry, 'frameBytes' | 'entries' | 'rawBytes'>,
    times = 1,
  ): void {
    this.totals.batches += times;
    this.totals.entries += times * entries;
    this.totals.rawBytes += times * rawBytes;
    this.totals.storedBytes += times * frameBytes;
  }

  /** Has the next start find in the catalog what has not changed since this was last called. */
  async rememberIdle(): Promise<void> {
    for (const segment of this.#segments.values())
      if (this.#catalog.isDue(segment) && !(await this.#catalog.remember(segment))) return;
  }

  /** Finishes what is being written and leaves a catalog from which the next start needs to read no segment. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#readAgainSoonTimers.values()) timer.cancel();
    await this.#own.close();
    await this.dropped.changes.idle();
    for (const segment of this.#segments.values()) {
      await segment.close();
      await this.#catalog.remember(segment);
    }
    await this.#options.catalog.close();
  }
}

/** What goes with a segment that expires. What rot took from between its batches was there, too; what never came was not. */
function expiredWith(segment: Segment): ExpiredRun[] {
  const { origin, epoch } = segment.id;
  const rotten = holesIn(segment.record).flatMap(({ before, after }): [number, number][] =>
    before && after && before.seq + 1 < after.seq ? [[before.seq + 1, after.seq - 1]] : [],
  );
  const held = unionRuns(segment.intervals(), rotten).map(([from, to]) => ({
    from,
    to,
    ...segment.bounds(),
  }));
  return [...held, ...segment.record.rotten].map((run) => ({ origin, epoch, ...run }));
}

/** What came in was verified whole, so the hash of its header and that of its payload prove the rest: no signature again. */
function isAsStored(frame: Buffer, { headerHash: known }: BatchEntry): boolean {
  const parts = readFrame(frame);
  if (!parts || !headerHash(parts.header).equals(known)) return false;
  const { payloadHash } = parseHeader(parts.header, { withoutLabels: true });
  return hash('sha256', parts.payload, 'buffer').equals(payloadHash);
}
