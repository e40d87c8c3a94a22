import {
  verifyFrame,
  batchName,
  type BatchHeader,
  type EpochLink,
  type PackedBatch,
  type SourcePosition,
} from './batch/index.ts';
import type { Catalog } from './catalog/index.ts';
import { LogvineError, messageOf } from './errors.ts';
import { LIMITS } from './limits.ts';
import type { Clock, Disk, Random } from './host/index.ts';
import { DroppedLog, notePosition, type ExpiredRuns, type OwnPosition } from './retention/index.ts';
import {
  emptyRecord,
  OwnLog,
  recoverSegment,
  Segment,
  segmentName,
  type BatchEntry,
  type DiskHealth,
  type SealedBatch,
  type SegmentId,
  type SegmentRecord,
} from './segment/index.ts';

const EPOCHS_SKIPPED_MAX = 2 ** 20;

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
  hasRoomForReplicas(): boolean;
  log(level: 'info' | 'warn' | 'error', message: string): void;
}

export interface StoreTotals {
  segments: number;
  batches: number;
  entries: number;
  rawBytes: number;
  storedBytes: number;
}

/**
 * What one peer keeps: its own batches and the replicas it holds for others. Knows no peers: placement is asked for
 * through `chooseOwners`, and bytes from the network come in through `appendReplica`.
 */
export class Store {
  readonly epoch: number;
  readonly health: DiskHealth;
  /** Set while the disk is full; new batches of this peer wait meanwhile. */
  diskFull: LogvineError | undefined;
  /** I1 alarms: one batch id with two contents. */
  conflicts: string[] = [];
  readonly totals: StoreTotals = { segments: 0, batches: 0, entries: 0, rawBytes: 0, storedBytes: 0 };
  readonly #options: StoreOptions;
  readonly #segments = new Map<string, Segment>();
  readonly #own: OwnLog;
  readonly #positions = new Map<string, OwnPosition>();
  readonly #dropped: DroppedLog;
  /** Segments that went since the start, and the version at which they did; names that are just being removed. */
  readonly #removed = new Map<string, { readonly id: SegmentId; readonly version: number }>();
  readonly #removing = new Set<string>();
  readonly #damaged = new Set<Segment>();
  #generation = 0;
  #dropping: Promise<unknown> = Promise.resolve();

  static async open(options: StoreOptions): Promise<Store> {
    const { directory, disk } = options;
    await disk.makeDirectory(`${directory}/segments`);
    const health: DiskHealth = { failure: undefined, version: 0 };
    const records = await recoverAll(options);
    const dropped = await readDropped(options);
    const own = records.filter((record) => record.id.origin === options.origin).sort(bySegment);
    const previousEpoch = lastOfChain(own, dropped);
    const lastEpoch = Math.max(
      await statedEpoch(options),
      own.at(-1)?.id.epoch ?? 0,
      previousEpoch?.epoch ?? 0,
    );
    const epoch = nextEpoch(lastEpoch, options);
    await disk.replaceFile(`${directory}/epoch.json`, Buffer.from(JSON.stringify({ epoch })));
    const store = new Store(options, epoch, previousEpoch, health, dropped);
    for (const record of records) store.#add(record);
    for (const [source, at] of dropped.positions) notePosition(store.#positions, source, at);
    for (const record of own) store.#notePositions(record);
    return store;
  }

  private constructor(
    options: StoreOptions,
    epoch: number,
    previousEpoch: EpochLink | undefined,
    health: DiskHealth,
    dropped: DroppedLog,
  ) {
    this.#options = options;
    this.#dropped = dropped;
    this.epoch = epoch;
    this.health = health;
    this.#own = new OwnLog({
      origin: options.origin,
      epoch,
      previousEpoch,
      clock: options.clock,
      segmentBytesMax: options.segmentBytesMax,
      segmentAgeMsMax: options.segmentAgeMsMax,
      sign: (bytes) => options.sign(bytes),
      makeSegment: (record) => this.#add(record),
      chooseOwners: (id) => options.chooseOwners(id),
      onDiskFull: (error) => {
        if (error && !this.diskFull) options.log('error', error.message);
        if (!error && this.diskFull) options.log('info', 'the disk has room again');
        this.diskFull = error;
      },
    });
  }

  get origin(): string {
    return this.#options.origin;
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

  /** Whether this peer sealed anything in an earlier run. */
  get hasEarlierRuns(): boolean {
    for (const { id } of this.segments()) if (id.origin === this.origin && id.epoch < this.epoch) return true;
    return this.#dropped.last !== undefined;
  }

  /** Own segment that was dropped here on purpose. */
  isReleased(id: SegmentId): boolean {
    return id.origin === this.origin && this.#dropped.isReleased(id);
  }

  /** What retention took off this disk. */
  get expired(): ExpiredRuns {
    return this.#dropped.expired;
  }

  /** Segments with bytes that are quarantined. */
  get damaged(): IterableIterator<Segment> {
    for (const segment of this.#damaged)
      if (segment.record.quarantined.length === 0 || this.segment(segment.id) !== segment)
        this.#damaged.delete(segment);
    return this.#damaged.values();
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
    const { id, last } = segment;
    if (segment.isBusy) return false;
    if (id.origin !== this.origin || id.epoch !== this.epoch) return true;
    if (segment === this.openSegment || !last) return false;
    // Own segments are written one after the other.
    return last.seq === this.sealedSeq || this.segment({ ...id, index: id.index + 1 })?.last !== undefined;
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
        this.#count(sealed.frameBytes, sealed.entries, sealed.rawBytes);
        const { epoch } = this;
        for (const { source, position } of sources)
          notePosition(this.#positions, source, { epoch, seq: sealed.seq, position });
      },
      () => undefined,
    );
    return sealed;
  }

  rollSegment(): void {
    this.#own.roll();
  }

  /** Closes the open segment when it is past its age, also when nothing more is sealed. */
  rollIfAged(): void {
    this.#own.rollIfAged();
  }

  /**
   * Keeps a batch of another origin: verifies it in full, checks that it continues its segment, and resolves with its
   * place once it is on disk (I4). A batch that is here already is no error.
   * Rejects with LV_FRAME_CORRUPT, LV_BATCH_CONFLICT (I1), LV_PROTOCOL (not the next one), LV_DISK_FULL, LV_DATA_UNSAFE.
   */
  async appendReplica(frame: Buffer): Promise<{ id: SegmentId; seq: number }> {
    if (this.health.failure) throw this.health.failure;
    const { header, headerHash } = verifyFrame(frame);
    const id = { origin: header.origin, epoch: header.epoch, index: header.segment };
    const done = { id, seq: header.seq };
    const headerBytes = frame.readUInt32LE(4);
    const write = { header, headerHash, headerBytes, parts: [frame] };
    let segment = this.segment(id);
    if (this.#removing.has(segmentName(id))) {
      throw new LogvineError('LV_PROTOCOL', `${batchName(header)}: its segment is just being dropped here`);
    }
    if (segment && segment.record.quarantined.length > 0) {
      const before = segment.entry(header.seq - 1);
      if (before) this.#checkChain(header, before.headerHash);
      if (await segment.heal(write)) {
        this.#countHeader(header, frame.length);
        return done;
      }
    }
    // What an earlier epoch lost may come back; of its current one this peer knows every batch.
    if (header.origin === this.origin && header.epoch >= this.epoch && !this.isReleased(id)) {
      throw new LogvineError('LV_PROTOCOL', `${batchName(header)}: a peer offers this peer its own batch`);
    }
    if (!segment) {
      if (header.owners.length === 0) {
        throw new LogvineError('LV_PROTOCOL', `${batchName(header)} is not the first of its segment`);
      }
      segment = this.#add(emptyRecord(id));
    }
    let known = segment.entry(header.seq);
    if (!known && header.seq <= (segment.accepted?.seq ?? 0)) {
      // It came by another way and is being written.
      await segment.flushed();
      known = segment.entry(header.seq);
    }
    if (known) return this.#sameBatch(known.headerHash, headerHash, header, done);
    const { accepted } = segment;
    if (accepted && header.seq <= accepted.seq) {
      if (header.seq === accepted.seq) this.#sameBatch(accepted.headerHash, headerHash, header, done);
      throw new LogvineError('LV_PROTOCOL', `${batchName(header)} is a hole here that cannot be healed yet`);
    }
    if (accepted ? header.seq !== accepted.seq + 1 : header.owners.length === 0) {
      throw new LogvineError('LV_PROTOCOL', `${batchName(header)} does not follow ${accepted?.seq ?? 0}`);
    }
    if (!this.#options.hasRoomForReplicas()) {
      throw new LogvineError(
        'LV_DISK_FULL',
        `${batchName(header)}: the disk is too full for copies of others`,
      );
    }
    if (accepted) this.#checkChain(header, accepted.headerHash);
    await segment.append(write);
    this.#countHeader(header, frame.length);
    return done;
  }

  #checkChain(header: BatchHeader, previousHash: Buffer): void {
    if (previousHash.equals(header.previousHash)) return;
    throw this.#conflict(`${batchName(header)} does not continue the chain that is stored here`);
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
    this.#count(frameBytes, entries, rawBytes);
  }

  #sameBatch<T>(
    known: Buffer,
    offered: Buffer,
    id: { origin: string; epoch: number; seq: number },
    done: T,
  ): T {
    if (known.equals(offered)) return done;
    throw this.#conflict(`batch ${batchName(id)} exists with two different contents`);
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
      const { headerHash } = verifyFrame(frame);
      if (headerHash.equals(entry.headerHash)) return frame;
    } catch (error) {
      const { code } = error as { code?: string };
      // Too many open files, and the like, say nothing about the bytes.
      if (code !== 'LV_FRAME_CORRUPT' && code !== 'EIO') throw error;
    }
    this.quarantine(segment, entry);
    return undefined;
  }

  /** Rot was found in a batch: it is no longer held here until healed. */
  quarantine(segment: Segment, entry: BatchEntry): void {
    if (!segment.quarantine(entry)) return;
    this.#damaged.add(segment);
    this.#options.log(
      'error',
      `batch ${segmentName(segment.id)} seq ${entry.seq} is rotten in ${segment.path}`,
    );
    this.totals.batches--;
    this.totals.entries -= entry.entries;
    this.totals.rawBytes -= entry.rawBytes;
    this.totals.storedBytes -= entry.frameBytes;
  }

  /**
   * Takes segments off this disk: `surplus` ones that others keep (I8), or `expired` ones. What must outlive them is on
   * disk before they go. Each must be `isFinished`; the caller has checked that it may go. Rejects with LV_DISK_FULL,
   * LV_DATA_UNSAFE.
   */
  drop(segments: readonly Segment[], why: 'surplus' | 'expired'): Promise<void> {
    for (const { id } of segments) this.#removing.add(segmentName(id));
    const done = this.#dropping
      .then(() => this.#drop(segments, why))
      .finally(() => {
        for (const { id } of segments) this.#removing.delete(segmentName(id));
      });
    this.#dropping = done.catch(() => undefined);
    return done;
  }

  async #drop(segments: readonly Segment[], why: 'surplus' | 'expired'): Promise<void> {
    if (this.health.failure) throw this.health.failure;
    for (const { id, record } of segments) if (id.origin === this.origin) this.#dropped.releaseOwn(record);
    if (why === 'expired') {
      this.#dropped.expired.add(
        segments.flatMap((segment) =>
          segment.intervals().map(([from, to]) => {
            const { origin, epoch } = segment.id;
            return { origin, epoch, from, to, ...segment.bounds() };
          }),
        ),
      );
    }
    const needsSaving = why === 'expired' || segments.some(({ id }) => id.origin === this.origin);
    let first = segments;
    try {
      if (needsSaving) await this.#saveDropped();
    } catch (error) {
      // On a full disk, room comes from dropping: others' segments can go before it is written that they did.
      first = segments.filter(({ id }) => id.origin !== this.origin);
      if (first.length === 0) throw error;
    }
    for (const segment of first) await this.#remove(segment);
    if (first === segments) return;
    await this.#saveDropped();
    for (const segment of segments) if (!first.includes(segment)) await this.#remove(segment);
  }

  async #saveDropped(): Promise<void> {
    const path = `${this.#options.directory}/dropped.json`;
    try {
      await this.#options.disk.replaceFile(path, this.#dropped.encode());
    } catch (cause) {
      throw new LogvineError('LV_DISK_FULL', `${path} cannot be written: ${messageOf(cause)}`, { cause });
    }
  }

  async #remove(segment: Segment): Promise<void> {
    const { disk, catalog, log } = this.#options;
    const name = segmentName(segment.id);
    await segment.close();
    await disk.remove(segment.path);
    await catalog.remove(segment.id).catch((error: unknown) => {
      log('warn', `the catalog did not forget ${name}: ${messageOf(error)}`);
    });
    this.#segments.delete(name);
    this.totals.segments--;
    for (const { frameBytes, entries, rawBytes } of segment.record.batches) {
      this.totals.batches--;
      this.totals.entries -= entries;
      this.totals.rawBytes -= rawBytes;
      this.totals.storedBytes -= frameBytes;
    }
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
    const segment = new Segment({ record, path, disk: this.#options.disk, health: this.health });
    this.#segments.set(segmentName(record.id), segment);
    if (record.quarantined.length > 0) this.#damaged.add(segment);
    this.totals.segments++;
    for (const batch of record.batches) this.#count(batch.frameBytes, batch.entries, batch.rawBytes);
    return segment;
  }

  #count(frameBytes: number, entries: number, rawBytes: number): void {
    this.totals.batches++;
    this.totals.entries += entries;
    this.totals.rawBytes += rawBytes;
    this.totals.storedBytes += frameBytes;
  }

  /** Finishes what is being written and leaves a catalog from which the next start needs to read no segment. */
  async close(): Promise<void> {
    await this.#own.close();
    await this.#dropping;
    for (const segment of this.#segments.values()) {
      await segment.close();
      // After a failed fsync the files may not hold what was written: the next start reads them.
      if (segment.record.fileBytes > 0 && !this.health.failure) await remember(this.#options, segment.record);
    }
    await this.#options.catalog.close();
  }
}

/** A record that the catalog cannot take costs the next start a scan, and nothing else (I5). */
async function remember({ catalog, log }: StoreOptions, record: SegmentRecord): Promise<void> {
  await catalog.put(record).catch((error: unknown) => {
    log('warn', `the catalog did not take ${segmentName(record.id)}: ${messageOf(error)}`);
  });
}

/**
 * The epoch of the last run, as `epoch.json` tells it. One that cannot be read says nothing: a run that left no batch of
 * its own behind may share its epoch.
 */
async function statedEpoch({ directory, disk, log }: StoreOptions): Promise<number> {
  const path = `${directory}/epoch.json`;
  const bytes = await disk.readFile(path);
  if (!bytes) return 0;
  try {
    const { epoch } = JSON.parse(bytes.toString()) as { epoch: unknown };
    if (Number.isSafeInteger(epoch)) return epoch as number;
  } catch {
    // Said below.
  }
  log('warn', `${path} cannot be used`);
  return 0;
}

/**
 * Above every epoch before it on this disk. Where the clock is behind those, by chance: two starts from one copy of the
 * disk must not give out the same one (I1).
 */
function nextEpoch(lastEpoch: number, { clock, random }: StoreOptions): number {
  const nowMs = Math.floor(clock.nowMs());
  return nowMs > lastEpoch ? nowMs : lastEpoch + 1 + Math.floor(random.unit() * EPOCHS_SKIPPED_MAX);
}

/** What the last run wrote; a file that cannot be used says nothing, and what it said is fetched from others again. */
async function readDropped({ directory, disk, log }: StoreOptions): Promise<DroppedLog> {
  const path = `${directory}/dropped.json`;
  const bytes = await disk.readFile(path);
  try {
    if (bytes) return DroppedLog.decode(bytes);
  } catch (error) {
    log('error', `${path} cannot be used: ${messageOf(error)}`);
  }
  return new DroppedLog();
}

/** Where this peer's chain ends, as far as its disk tells. */
function lastOfChain(own: readonly SegmentRecord[], { last: dropped }: DroppedLog): EpochLink | undefined {
  const record = own.findLast(({ batches }) => batches.length > 0);
  const batch = record?.batches.at(-1);
  if (!record || !batch) return dropped;
  const held = { epoch: record.id.epoch, lastSeq: batch.seq, headerHash: batch.headerHash };
  if (!dropped || held.epoch !== dropped.epoch) return dropped && dropped.epoch > held.epoch ? dropped : held;
  return dropped.lastSeq > held.lastSeq ? dropped : held;
}

function segmentPath(directory: string, id: SegmentId): string {
  return `${directory}/segments/${id.origin}/${id.epoch}-${id.index}.seg`;
}

function bySegment(a: SegmentRecord, b: SegmentRecord): number {
  return a.id.epoch - b.id.epoch || a.id.index - b.id.index;
}

async function recoverAll(options: StoreOptions): Promise<SegmentRecord[]> {
  const { directory, disk } = options;
  const records: SegmentRecord[] = [];
  const origins = new Set([options.origin, ...(await disk.list(`${directory}/segments`))]);
  for (const origin of origins) {
    if (!/^[1-9A-HJ-NP-Za-km-z]{40,64}$/.test(origin)) continue;
    await disk.makeDirectory(`${directory}/segments/${origin}`);
    const ids: SegmentId[] = [];
    for (const name of await disk.list(`${directory}/segments/${origin}`)) {
      const match = /^(\d+)-(\d+)\.seg$/.exec(name);
      if (match) ids.push({ origin, epoch: Number(match[1]), index: Number(match[2]) });
    }
    ids.sort((a, b) => a.epoch - b.epoch || a.index - b.index);
    for (const id of ids) {
      records.push(await recoverOne(options, id));
    }
  }
  return records;
}

/** From the catalog when it is right, else from the file; a torn tail is cut off. */
async function recoverOne(options: StoreOptions, id: SegmentId): Promise<SegmentRecord> {
  const { disk, catalog, log } = options;
  const path = segmentPath(options.directory, id);
  const size = (await disk.stat(path))?.size ?? 0;
  const remembered = await catalog.get(id);
  if (remembered && remembered.fileBytes === size && size > 0) return remembered;
  const file = await disk.open(path, 'write');
  try {
    const record = await recoverSegment(file, id, { payloads: true });
    if (record.fileBytes < size) {
      log('warn', `${path}: cut a torn tail of ${size - record.fileBytes} bytes`);
      await file.truncate(record.fileBytes);
    }
    for (const { offset, bytes } of record.quarantined) {
      log('error', `${path}: ${bytes} bytes at ${offset} are unreadable and quarantined`);
    }
    await file.sync();
    if (record.fileBytes > 0) await remember(options, record);
    return record;
  } finally {
    await file.close();
  }
}
