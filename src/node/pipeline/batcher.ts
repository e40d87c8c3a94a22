import type { Replicator } from '../../gossip/index.ts';
import {
  labelsText,
  LIMITS,
  LogvineError,
  ROOM_TEXT,
  type Clock,
  type DiskSpace,
  type Labels,
  type SealedBatch,
  type SourcePosition,
  type Store,
  type TaskRunner,
  type Timer,
} from '../../store/index.ts';
import type { Block, BlockSink, EntryBlock, RawBlock } from '../inputs/index.ts';
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
  readonly blocks: readonly Block[];
  /** By which the batch is known to hold it: PUSH_DIGEST_BYTES; undefined where pushes are not told apart. */
  readonly digest: Uint8Array | undefined;
}

/** A block in a batch; a raw one knows the time that its first lines go on with. */
type TakenBlock = (RawBlock & { readonly before: TimeBefore | undefined }) | EntryBlock;

/** Lines on their way into one batch. */
interface Group {
  readonly blocks: TakenBlock[];
  /** Where the raw blocks' bytes are. */
  readonly memory: ArenaWriter;
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

const CHECK_EVERY_MS = 50;
/** Time, end and metadata of one entry in its columns. */
const ROW_BYTES = 20;

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
  readonly #waiting: (() => void)[] = [];
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

  /** Bytes of lines and times that are not on this peer's disk yet. */
  get unsealedBytes(): number {
    return this.#unsealedBytes;
  }

  /** Raw bytes taken since the start, for the status. */
  get bytesTaken(): number {
    return this.#bytesTaken;
  }

  async write(block: Block): Promise<void> {
    this.#checkOpen();
    this.#add(this.#openGroup(), block);
    this.#sealIfDue();
    await this.#room();
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
    this.#checkOpen();
    const { replicator, store } = this.#options;
    if (store.diskFull) throw store.diskFull;
    const { room } = this.#options.space;
    if (room === 'no pushes' || room === 'nothing')
      throw new LogvineError('LV_DISK_FULL', `the disk is filling up: ${ROOM_TEXT[room]}`);
    if (!replicator.canAcknowledge) {
      const message = `an acknowledgement needs ${replicator.quorum} peers and fewer are up: send again later`;
      throw new LogvineError('LV_REPLICATION_TIMEOUT', message);
    }
    if (replicator.unacknowledgedBytes > LIMITS.unacknowledgedBytesMax) {
      const message = 'the other owners are behind, and no more can wait for them: send again later';
      throw new LogvineError('LV_REPLICATION_TIMEOUT', message);
    }
    // Those that were told that there is room may be several: inputs wait earlier than pushes are refused.
    if (this.#unsealedBytes > 2 * LIMITS.unsealedBytesMax) {
      throw new LogvineError('LV_OVERLOADED', 'more is waiting to be sealed than fits: send again later');
    }
    // In one turn, so that it is taken or refused as a whole.
    const durable = parts.map((part) => this.#addPart(part));
    return Promise.all(durable).then(() => undefined);
  }

  #addPart({ blocks, digest }: PushPart): Promise<void> {
    let bytes = 0;
    let labelBytes = 0;
    for (const block of blocks) {
      bytes += sizeOf(block);
      labelBytes += this.#labelBytes(block.labels);
    }
    const open = this.#open;
    const fits =
      open === undefined ||
      (open.bytes + bytes <= LIMITS.batchBytesMax &&
        open.labelBytes + labelBytes <= LIMITS.batchLabelBytesMax &&
        open.blocks.length + blocks.length <= LIMITS.batchStreamsMax);
    if (!fits) this.#close();
    const group = this.#openGroup();
    for (const block of blocks) this.#add(group, block);
    if (digest) group.pushes.push(digest);
    group.hurried = true;
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
    return group;
  }

  #add(group: Group, block: Block): void {
    const taken =
      block.kind === 'raw'
        ? {
            ...block,
            bytes: group.memory.copy(block.bytes),
            before: this.#continuation.next(block, block.timeZone ?? this.#options.timeZone),
          }
        : block;
    const bytes = sizeOf(taken);
    group.blocks.push(taken);
    group.bytes += bytes;
    group.labelBytes += this.#labelBytes(taken.labels);
    this.#unsealedBytes += bytes;
    this.#bytesTaken += bytes;
    if (taken.kind === 'raw' && taken.position)
      group.positions.set(taken.position.source, taken.position.position);
    if (this.#followers.size > 0) {
      // A copy of their own: followers read when the memory of the batch may be in use again.
      const own =
        taken.kind === 'raw' ? { ...taken, bytes: Buffer.from(new Uint8Array(taken.bytes).buffer) } : taken;
      const streams = this.#streamsOf([own]);
      for (const follow of this.#followers) follow(streams);
    }
  }

  #sealIfDue(): void {
    const group = this.#open;
    if (!group) return;
    const { clock, targetBytes, lingerBytes, lingerMs, ageMsMax, pushLingerMs } = this.#options;
    const ageMs = clock.monotonicMs() - group.openedAtMs;
    const due =
      group.bytes >= targetBytes ||
      group.blocks.length >= LIMITS.batchStreamsMax ||
      group.pushes.length >= LIMITS.batchPushesMax ||
      group.labelBytes >= LIMITS.batchLabelBytesMax ||
      (group.bytes >= lingerBytes && ageMs >= lingerMs) ||
      ageMs >= ageMsMax ||
      (group.hurried && ageMs >= pushLingerMs);
    if (due) {
      this.#close();
      return;
    }
    const checkMs = group.hurried ? Math.max(1, pushLingerMs - ageMs) : CHECK_EVERY_MS;
    if (group.hurried) this.#timer?.cancel();
    else if (this.#timer) return;
    this.#timer = clock.after(checkMs, () => {
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
    const packed = pool.run('pack', { streams, discoverLevels, compressionLevel }, { priority: 'write' });
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

  #isFull(): boolean {
    return (
      this.#unsealedBytes > LIMITS.unsealedBytesMax ||
      this.#arena.bytesInUse > LIMITS.arenaBytesMax ||
      this.#options.replicator.unacknowledgedBytes > LIMITS.unacknowledgedBytesMax
    );
  }

  async #room(): Promise<void> {
    while (this.#isFull() && !this.#closed && !this.#failure) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#checkOpen();
  }

  #wake(): void {
    if (this.#isFull() && !this.#failure && !this.#closed) return;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Lends what is not on disk yet, by stream, to a query. The snapshot is taken in the call's turn. */
  withUnsealed<T>(read: (streams: UnsealedStream[]) => Promise<T>): Promise<T> {
    // A batch counts as held from the moment its fsync is known, a little before its group is let go of here.
    const unsealed = this.#unsealed.filter(({ sealed }) => !sealed?.segment.entry(sealed.seq));
    const streams = this.#streamsOf(unsealed.flatMap(({ blocks }) => blocks));
    return this.#arena.reading(() => read(streams));
  }

  unsealedLabels(): Labels[] {
    return this.#unsealed.flatMap(({ blocks }) => blocks.map(({ labels }) => labels));
  }

  /** Calls `follow` with every block from now on; returns how to stop. */
  follow(follow: (streams: UnsealedStream[]) => void): () => void {
    this.#followers.add(follow);
    return () => this.#followers.delete(follow);
  }

  #streamsOf(blocks: readonly TakenBlock[]): UnsealedStream[] {
    const byLabels = new Map<Labels, string>();
    const streams = new Map<string, UnsealedStream & { blocks: UnsealedStream['blocks'][number][] }>();
    const pushed: UnsealedStream[] = [];
    for (const block of blocks) {
      const { labels } = block;
      if (block.kind === 'entries') {
        pushed.push({ labels, timeZone: this.#options.timeZone, blocks: [], columns: block.columns });
        continue;
      }
      let text = byLabels.get(labels);
      if (text === undefined) byLabels.set(labels, (text = labelsText(labels)));
      const timeZone = block.timeZone ?? this.#options.timeZone;
      const key = `${timeZone} ${text}`;
      let stream = streams.get(key);
      if (!stream) streams.set(key, (stream = { labels, timeZone, blocks: [], columns: undefined }));
      const { bytes, readAtMs, before, metadata } = block;
      stream.blocks.push({ bytes, readAtMs, before, metadata });
    }
    return [...streams.values(), ...pushed];
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

function sizeOf(block: Block): number {
  return block.kind === 'raw'
    ? block.bytes.length
    : block.columns.lines.length + block.columns.count * ROW_BYTES;
}
