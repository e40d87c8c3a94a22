import type { Replicator } from '../../gossip/index.ts';
import {
  labelsText,
  LIMITS,
  LogvineError,
  parseLabelsKey,
  ROOM_TEXT,
  sliceRows,
  type Clock,
  type DiskSpace,
  type Labels,
  type SealedBatch,
  type SourcePosition,
  type Store,
  type StreamRows,
  type TaskRunner,
  type Timer,
} from '../../store/index.ts';
import type { BlockSink, RawBlock } from '../inputs/index.ts';
import type { Tasks, UnsealedStream } from '../tasks.ts';
import { Arena, ArenaWriter } from './arena.ts';
import { Continuation, type TimeBefore } from './continuation.ts';

export interface BatcherOptions {
  readonly store: Store;
  readonly replicator: Replicator;
  readonly pool: TaskRunner<Tasks>;
  readonly clock: Clock;
  readonly space: Pick<DiskSpace, 'room'>;
  readonly targetBytes: number;
  readonly lingerBytes: number;
  readonly lingerMs: number;
  readonly ageMsMax: number;
  readonly pushLingerMs: number;
  readonly compressionLevel: number;
  readonly discoverLevels: boolean;
  readonly timeZone: string;
}

/** Lines of a push that go into one batch. */
export interface PushPart {
  readonly rows: StreamRows;
  /** Of lines, times and metadata. */
  readonly bytes: number;
  /** Of the keys of its streams. */
  readonly labelBytes: number;
  /** By which the batch is known to hold it: PUSH_DIGEST_BYTES; undefined where pushes are not told apart. */
  readonly digest: Uint8Array | undefined;
}

/** A block in a batch; it knows the time that its first lines go on with. */
type TakenBlock = RawBlock & { readonly before: TimeBefore | undefined };

/** Lines on their way into one batch. */
interface Group {
  readonly blocks: TakenBlock[];
  /** Where the blocks' bytes are. */
  readonly memory: ArenaWriter;
  readonly pushed: StreamRows[];
  /** Of blocks and pushes; one stream may be counted several times. */
  streams: number;
  bytes: number;
  labelBytes: number;
  readonly openedAtMs: number;
  /** A push waits for this batch. */
  hurried: boolean;
  readonly positions: Map<string, string>;
  /** Digests of the pushes in it. */
  readonly pushes: Uint8Array[];
  readonly durable: PromiseWithResolvers<void>;
  sealed?: SealedBatch;
}

/**
 * Gathers blocks into batches, has them packed on the workers, and seals them in the order in which they were closed:
 *
 *   write ─► open group ─(size, age, push)─► pack on a worker ─► seal, in order ─► own disk, owners ─► acknowledged
 *
 * A group stays searchable here until its batch is on this peer's disk.
 */
export class Batcher implements BlockSink {
  readonly #options: BatcherOptions;
  /** Groups whose lines are not on disk yet; the last one is open, if `#open` says so. */
  readonly #unsealed: Group[] = [];
  #open: Group | undefined;
  #unsealedBytes = 0;
  #sealing: Promise<void> = Promise.resolve();
  #timer: Timer | undefined;
  #timerDueMs = Infinity;
  readonly #waiting: (() => void)[] = [];
  /** Positions that wait for the next batch. */
  readonly #noted = new Map<string, string>();
  readonly #arena = new Arena();
  readonly #followers = new Set<(streams: UnsealedStream[]) => void>();
  #closed = false;
  #failure: Error | undefined;
  #bytesTaken = 0;
  readonly #labelBytesOf = new WeakMap<Labels, number>();
  readonly #continuation: Continuation;

  constructor(options: BatcherOptions) {
    this.#options = options;
    this.#continuation = new Continuation(options.clock);
  }

  /** Why nothing can be stored any more; undefined while all is well. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Bytes of lines, and of what pushes have beside them, that are not on this peer's disk yet. */
  get unsealedBytes(): number {
    return this.#unsealedBytes;
  }

  /** Raw bytes taken since the start, for the status. */
  get bytesTaken(): number {
    return this.#bytesTaken;
  }

  async write(block: RawBlock): Promise<void> {
    this.#checkOpen();
    this.#add(this.#openGroup(), block);
    this.#sealIfDue();
    await this.#room();
  }

  note(position: SourcePosition): void {
    if (this.#open) this.#moveTo(this.#open, position);
    else this.#noted.set(position.source, position.position);
  }

  /** Resolves when there is room for more lines. Rejects with LV_CLOSED, and with what the store fails with. */
  room(): Promise<void> {
    return this.#room();
  }

  /**
   * Takes a push, each part into one batch. Resolves once all of them are acknowledged (I2), and rejects with what the
   * store fails with. Throws, in the same turn, when nothing of it is kept: LV_OVERLOADED when more comes in than this
   * peer can seal, LV_REPLICATION_TIMEOUT when the other owners cannot take it, LV_DISK_FULL, LV_DATA_UNSAFE, LV_CLOSED.
   */
  push(parts: readonly PushPart[]): Promise<void> {
    this.checkTaking();
    // Those that were told that there is room may be several: inputs wait earlier than pushes are refused.
    if (this.#unsealedBytes > 2 * LIMITS.unsealedBytesMax) {
      throw new LogvineError('LV_OVERLOADED', 'more is waiting to be sealed than fits: send again later');
    }
    for (const { rows } of parts) this.#checkStreams(rows.keys);
    // In one turn, so that it is taken or refused as a whole.
    const durable = parts.map((part) => this.#addPart(part));
    return Promise.all(durable).then(() => undefined);
  }

  /** Throws why no push is taken at present, whatever it holds: LV_REPLICATION_TIMEOUT, LV_DISK_FULL, LV_DATA_UNSAFE, LV_CLOSED. */
  checkTaking(): void {
    this.#checkOpen();
    const { replicator, store } = this.#options;
    if (store.diskFull) throw store.diskFull;
    const { room } = this.#options.space;
    if (room === 'no pushes' || room === 'nothing')
      throw new LogvineError('LV_DISK_FULL', `the disk is filling up: ${ROOM_TEXT[room]}`);
    const why = replicator.whyNoAcknowledgement;
    if (why !== undefined) throw new LogvineError('LV_REPLICATION_TIMEOUT', `${why}: send again later`);
    if (replicator.unacknowledgedBytes > LIMITS.unacknowledgedBytesMax) {
      const message = 'the other owners are behind, and no more can wait for them: send again later';
      throw new LogvineError('LV_REPLICATION_TIMEOUT', message);
    }
  }

  #checkStreams(keys: readonly string[]): void {
    const { streams } = this.#options.store;
    if (streams.size <= LIMITS.streamsMax) return;
    const added = keys.find((key) => !streams.has(key));
    if (added === undefined) return;
    const message = `${streams.size} streams are stored here already, and ${labelsText(parseLabelsKey(added))} is not one of them`;
    const advice =
      'what differs from line to line belongs into structured metadata or the line, not into labels';
    throw new LogvineError('LV_OVERLOADED', `${message}: ${advice}`);
  }

  #addPart({ rows, bytes, labelBytes, digest }: PushPart): Promise<void> {
    const open = this.#open;
    const fits =
      open === undefined ||
      (open.bytes + bytes <= LIMITS.batchBytesMax &&
        open.labelBytes + labelBytes <= LIMITS.batchLabelBytesMax &&
        open.streams + rows.keys.length <= LIMITS.batchStreamsMax);
    if (!fits) this.#close();
    const group = this.#openGroup();
    group.pushed.push(rows);
    this.#count(group, bytes, labelBytes, rows.keys.length);
    if (digest) group.pushes.push(digest);
    group.hurried = true;
    if (this.#followers.size > 0) this.#tell(this.#unsealedOf([], [rows]));
    this.#sealIfDue();
    return group.durable.promise;
  }

  /** A tailed file's labels are the same object in every block. */
  #labelBytes(labels: Labels): number {
    let bytes = this.#labelBytesOf.get(labels);
    if (bytes === undefined) this.#labelBytesOf.set(labels, (bytes = Buffer.byteLength(labelsText(labels))));
    return bytes;
  }

  #checkOpen(): void {
    if (this.#failure) throw this.#failure;
    if (this.#closed) throw new LogvineError('LV_CLOSED', 'the node is shutting down');
  }

  #openGroup(): Group {
    if (this.#open) return this.#open;
    const durable = Promise.withResolvers<void>();
    durable.promise.catch(() => undefined);
    const openedAtMs = this.#options.clock.monotonicMs();
    const memory = new ArenaWriter(this.#arena);
    const group: Group = {
      blocks: [],
      memory,
      pushed: [],
      streams: 0,
      bytes: 0,
      labelBytes: 0,
      openedAtMs,
      hurried: false,
      positions: new Map(),
      pushes: [],
      durable,
    };
    this.#open = group;
    this.#unsealed.push(group);
    for (const [source, position] of this.#noted) {
      if (group.labelBytes > LIMITS.batchLabelBytesMax / 2) break;
      this.#moveTo(group, { source, position });
    }
    return group;
  }

  #add(group: Group, block: RawBlock): void {
    const before = this.#continuation.next(block, block.timeZone ?? this.#options.timeZone);
    const taken = { ...block, bytes: group.memory.copy(block.bytes), before };
    group.blocks.push(taken);
    this.#count(group, taken.bytes.length, this.#labelBytes(taken.labels), 1);
    if (taken.position) this.#moveTo(group, taken.position);
    if (this.#followers.size > 0) {
      // A copy of their own: followers read when the memory of the batch may be in use again.
      const own = { ...taken, bytes: Buffer.from(new Uint8Array(taken.bytes).buffer) };
      this.#tell(this.#unsealedOf([own], []));
    }
  }

  /** Positions stand in the header, as labels do. */
  #moveTo(group: Group, { source, position }: SourcePosition): void {
    this.#noted.delete(source);
    const before = group.positions.get(source);
    group.positions.set(source, position);
    if (before === undefined) group.labelBytes += Buffer.byteLength(source) + Buffer.byteLength(position);
    else group.labelBytes += Math.max(0, position.length - before.length);
  }

  #count(group: Group, bytes: number, labelBytes: number, streams: number): void {
    group.bytes += bytes;
    group.labelBytes += labelBytes;
    group.streams += streams;
    this.#unsealedBytes += bytes;
    this.#bytesTaken += bytes;
  }

  #tell(streams: UnsealedStream[]): void {
    for (const follow of this.#followers) follow(streams);
  }

  #sealIfDue(): void {
    const group = this.#open;
    if (!group) return;
    const { clock, targetBytes, lingerBytes, lingerMs, ageMsMax, pushLingerMs } = this.#options;
    const ageMs = clock.monotonicMs() - group.openedAtMs;
    const dueAgeMs = Math.min(
      ageMsMax,
      group.bytes >= lingerBytes ? lingerMs : Infinity,
      group.hurried ? pushLingerMs : Infinity,
    );
    const due =
      group.bytes >= targetBytes ||
      group.streams >= LIMITS.batchStreamsMax ||
      group.pushes.length >= LIMITS.batchPushesMax ||
      group.labelBytes >= LIMITS.batchLabelBytesMax ||
      ageMs >= dueAgeMs;
    if (due) {
      this.#close();
      return;
    }
    const dueMs = group.openedAtMs + dueAgeMs;
    if (this.#timer && this.#timerDueMs <= dueMs) return;
    this.#timer?.cancel();
    this.#timerDueMs = dueMs;
    this.#timer = clock.after(Math.max(1, dueAgeMs - ageMs), () => {
      this.#timer = undefined;
      this.#sealIfDue();
    });
  }

  #close(): void {
    const group = this.#open;
    if (!group) return;
    this.#open = undefined;
    const { pool, discoverLevels, compressionLevel } = this.#options;
    const streams = this.#streamsOf(group.blocks);
    const request = { streams, pushed: group.pushed, discoverLevels, compressionLevel };
    const packed = pool.run('pack', request, { priority: 'write' });
    packed.catch(() => undefined);
    this.#sealing = this.#sealing.then(async () => {
      try {
        this.#checkFailure();
        await this.#seal(group, await packed);
      } catch (error) {
        this.#fail(error as Error);
      }
    });
  }

  #checkFailure(): void {
    if (this.#failure) throw this.#failure;
  }

  async #seal(group: Group, packed: Tasks['pack']['response']): Promise<void> {
    const { store, replicator } = this.#options;
    const sources: SourcePosition[] = [...group.positions].map(([source, position]) => ({
      source,
      position,
    }));
    const toSeal = group.pushes.length > 0 ? { ...packed, pushes: group.pushes } : packed;
    const sealed: SealedBatch = store.seal(toSeal, sources);
    group.sealed = sealed;
    const tracked = replicator.track(sealed);
    sealed.written.then(
      () => this.#written(group),
      (error: Error) => this.#fail(error),
    );
    tracked.acknowledged.then(
      () => {
        group.durable.resolve();
        this.#wake();
      },
      (error: Error) => group.durable.reject(error),
    );
  }

  #written(group: Group): void {
    const at = this.#unsealed.indexOf(group);
    if (at < 0) return;
    this.#unsealed.splice(at, 1);
    this.#unsealedBytes -= group.bytes;
    this.#arena.giveBack(group.memory.chunks);
    this.#wake();
  }

  /** Nothing can be stored any more; what waits is told so. */
  #fail(error: Error): void {
    this.#failure ??= error;
    for (const group of this.#unsealed) group.durable.reject(error);
    this.#wake();
  }

  /** No room for more at present. */
  get isFull(): boolean {
    return (
      this.#unsealedBytes > LIMITS.unsealedBytesMax ||
      this.#arena.bytesInUse > LIMITS.arenaBytesMax ||
      this.#options.replicator.unacknowledgedBytes > LIMITS.unacknowledgedBytesMax
    );
  }

  async #room(): Promise<void> {
    while (this.isFull && !this.#closed && !this.#failure) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#checkOpen();
  }

  #wake(): void {
    if (this.isFull && !this.#failure && !this.#closed) return;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Lends what is not on disk yet, by stream, to a query. The snapshot is taken in the call's turn. */
  withUnsealed<T>(read: (streams: UnsealedStream[]) => Promise<T>): Promise<T> {
    // A batch counts as held from the moment its fsync is known, a little before its group is let go of here.
    const unsealed = this.#unsealed.filter(({ sealed }) => !sealed?.segment.entry(sealed.seq));
    const streams = this.#unsealedOf(
      unsealed.flatMap(({ blocks }) => blocks),
      unsealed.flatMap(({ pushed }) => pushed),
    );
    return this.#arena.reading(() => read(streams));
  }

  unsealedLabels(): Labels[] {
    const keys = new Set(this.#unsealed.flatMap(({ pushed }) => pushed.flatMap((rows) => rows.keys)));
    return [
      ...this.#unsealed.flatMap(({ blocks }) => blocks.map(({ labels }) => labels)),
      ...Array.from(keys, parseLabelsKey),
    ];
  }

  /** Calls `follow` with every block from now on; returns how to stop. */
  follow(follow: (streams: UnsealedStream[]) => void): () => void {
    this.#followers.add(follow);
    return () => this.#followers.delete(follow);
  }

  /** What is asked for or followed, each stream on its own: asked for far less often than lines come. */
  #unsealedOf(blocks: readonly TakenBlock[], pushed: readonly StreamRows[]): UnsealedStream[] {
    const { timeZone } = this.#options;
    const streams = this.#streamsOf(blocks);
    for (const { keys, rowEnds, columns } of pushed) {
      for (const [at, key] of keys.entries()) {
        const own = sliceRows(columns, at === 0 ? 0 : rowEnds[at - 1], rowEnds[at]);
        streams.push({ labels: parseLabelsKey(key), timeZone, blocks: [], columns: own });
      }
    }
    return streams;
  }

  #streamsOf(blocks: readonly TakenBlock[]): UnsealedStream[] {
    const byLabels = new Map<Labels, string>();
    const streams = new Map<string, UnsealedStream & { blocks: UnsealedStream['blocks'][number][] }>();
    for (const block of blocks) {
      const { labels } = block;
      let text = byLabels.get(labels);
      if (text === undefined) byLabels.set(labels, (text = labelsText(labels)));
      const timeZone = block.timeZone ?? this.#options.timeZone;
      const key = `${timeZone} ${text}`;
      let stream = streams.get(key);
      if (!stream) streams.set(key, (stream = { labels, timeZone, blocks: [], columns: undefined }));
      const { bytes, readAtMs, before, metadata } = block;
      stream.blocks.push({ bytes, readAtMs, before, metadata });
    }
    return [...streams.values()];
  }

  /** Seals what is open and waits until everything is on this peer's disk, or has failed. */
  async close(): Promise<void> {
    this.#close();
    this.#closed = true;
    this.#timer?.cancel();
    this.#wake();
    await this.#sealing;
  }
}
