import {
  encodeHeader,
  frameHead,
  headerHash,
  type EpochLink,
  type Labels,
  type PackedBatch,
  type SealedHeader,
  type SourcePosition,
} from '../batch/index.ts';
import type { LogvineError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock } from '../host/index.ts';
import { emptyRecord, type SegmentId } from './record.ts';
import type { FrameToWrite, Segment } from './segment.ts';
import type { StreamPool } from './streams.ts';

const DISK_FULL_RETRY_MS = 1000;

/** A packed batch, and the digests of the pushes in it. */
export interface PackedToSeal extends PackedBatch {
  readonly pushes?: readonly Uint8Array[];
}

/** A batch that this peer sealed, and the promise that it is on this peer's disk. */
export interface SealedBatch {
  readonly segment: Segment;
  readonly seq: number;
  readonly frame: readonly Uint8Array[];
  readonly frameBytes: number;
  readonly rawBytes: number;
  readonly entries: number;
  readonly sources: readonly SourcePosition[];
  /** Settles with the origin's own fsync. Rejects only with LV_DATA_UNSAFE; a full disk is waited out. */
  readonly written: Promise<void>;
}

export interface OwnLogOptions {
  readonly origin: string;
  readonly epoch: number;
  readonly clock: Clock;
  readonly segmentBytesMax: number;
  readonly segmentAgeMsMax: number;
  /** Where the open segment's streams are taken from. */
  readonly pool: StreamPool;
  /** Where the chain ended before this epoch; asked for with the first batch. */
  previousEpoch(): EpochLink | undefined;
  sign(bytes: Uint8Array): Uint8Array;
  makeSegment(record: ReturnType<typeof emptyRecord>): Segment;
  /** The peers to place the next segment on, this one perhaps among them. */
  chooseOwners(id: SegmentId): readonly string[];
  onDiskFull(error: LogvineError | undefined): void;
}

interface OpenSegment {
  readonly segment: Segment;
  readonly openedAtMs: number;
  bytes: number;
  /** By `labelsKey`: the number of the stream in this segment. */
  readonly streams: Map<string, number>;
}

/** The chain of batches that this peer seals in this epoch, and the segments that they go into. */
export class OwnLog {
  readonly #options: OwnLogOptions;
  #seq = 0;
  #syncedSeq = 0;
  #lastHash: Buffer = Buffer.alloc(32);
  #open: OpenSegment | undefined;
  #index = 0;
  #rollWanted = false;
  #queue: { segment: Segment; frame: FrameToWrite; resolve(): void; reject(error: Error): void }[] = [];
  #writing: Promise<void> | undefined;
  #closed = false;

  constructor(options: OwnLogOptions) {
    this.#options = options;
  }

  get sealedSeq(): number {
    return this.#seq;
  }

  /** The segment that batches go into at present. */
  get openSegment(): Segment | undefined {
    return this.#rollWanted ? undefined : this.#open?.segment;
  }

  /** Rolled, with nothing that waits to be written to it. */
  isFinished(segment: Segment): boolean {
    return segment !== this.openSegment && !this.#queue.some((item) => item.segment === segment);
  }

  /** The next batch opens a new segment, on owners that are healthy then. */
  roll(): void {
    if (!this.#open || this.#rollWanted) return;
    this.#rollWanted = true;
    // Others must hear that it is closed now, to fetch what they missed of it.
    this.#open.segment.touch();
  }

  /** Rolls when the open segment is past its age. */
  rollIfAged(): void {
    const { clock, segmentAgeMsMax } = this.#options;
    if (this.#open && clock.monotonicMs() - this.#open.openedAtMs >= segmentAgeMsMax) this.roll();
  }

  /** Gives the packed batch its place in the chain, signs it and writes it. Calls seal in the order of their calls. */
  seal(packed: PackedToSeal, sources: readonly SourcePosition[]): SealedBatch {
    const { origin, epoch, clock, sign } = this.#options;
    const open = this.#segmentForNext();
    const first = open.bytes === 0;
    const seq = ++this.#seq;
    const header: SealedHeader = {
      origin,
      epoch,
      seq,
      segment: open.segment.id.index,
      previousHash: this.#lastHash,
      previousEpoch: seq === 1 ? this.#options.previousEpoch() : undefined,
      payloadHash: Buffer.from(packed.payloadHash),
      contentHash: Buffer.from(packed.contentHash),
      sealedAtMs: Math.max(0, Math.floor(clock.nowMs())),
      syncedSeq: this.#syncedSeq,
      owners: first ? open.segment.record.owners : [],
      filterBytes: packed.filterBytes,
      blocks: packed.blocks,
      streams: this.#numberStreams(packed.streams, open.streams),
      sources,
      pushes: packed.pushes,
    };
    const encoded = encodeHeader(header);
    // Whoever gathers lines sees to it: nobody could read it.
    if (encoded.length > LIMITS.headerBytesMax) {
      // What it names, no batch of this segment would name again.
      this.#seq--;
      this.roll();
      throw new RangeError(`a header of ${encoded.length} bytes`);
    }
    const hash = headerHash(encoded);
    this.#lastHash = hash;
    const head = frameHead(encoded, packed.payload, packed.payloadCrc, sign(encoded));
    const parts = [head, packed.payload];
    const frameBytes = head.length + packed.payload.length;
    open.bytes += frameBytes;
    const frame: FrameToWrite = { header, headerHash: hash, headerBytes: encoded.length, parts };
    const written = new Promise<void>((resolve, reject) => {
      this.#queue.push({ segment: open.segment, frame, resolve, reject });
      this.#writing ??= this.#writeAll();
    });
    const { entries, linesBytes: rawBytes } = packed.streams;
    return { segment: open.segment, seq, frame: parts, frameBytes, rawBytes, entries, sources, written };
  }

  #segmentForNext(): OpenSegment {
    const { clock, segmentBytesMax, segmentAgeMsMax, origin, epoch, pool } = this.#options;
    const open = this.#open;
    if (
      open &&
      !this.#rollWanted &&
      open.bytes < segmentBytesMax &&
      clock.monotonicMs() - open.openedAtMs < segmentAgeMsMax
    ) {
      return open;
    }
    this.roll();
    this.#rollWanted = false;
    for (const key of open?.streams.keys() ?? []) pool.release({ key });
    const record = emptyRecord({ origin, epoch, index: ++this.#index });
    record.owners = this.#options.chooseOwners(record.id);
    const segment = this.#options.makeSegment(record);
    this.#open = { segment, openedAtMs: clock.monotonicMs(), bytes: 0, streams: new Map() };
    return this.#open;
  }

  /**
   * Writes the queue in its order, one segment at a time: a batch must never be on disk without those before it, or a
   * crash would leave a hole in the chain. A full disk is waited out; the sealed bytes stay as they are (I1).
   */
  async #writeAll(): Promise<void> {
    while (this.#queue.length > 0) {
      const { segment } = this.#queue[0];
      const other = this.#queue.findIndex((item) => item.segment !== segment);
      const group = other < 0 ? this.#queue : this.#queue.slice(0, other);
      // Stays in the queue until written, so that a retry keeps the order.
      const results = await Promise.allSettled(group.slice().map(({ frame }) => segment.append(frame)));
      const failed = results.findIndex((result) => result.status === 'rejected');
      const done = this.#queue.splice(0, failed < 0 ? results.length : failed);
      for (const { frame, resolve } of done) {
        this.#syncedSeq = frame.header.seq;
        resolve();
      }
      if (failed < 0) {
        this.#options.onDiskFull(undefined);
        continue;
      }
      const error = (results[failed] as PromiseRejectedResult).reason as LogvineError;
      if ((error.code !== 'LV_DISK_FULL' && error.code !== 'LV_OVERLOADED') || this.#closed) {
        for (const { reject } of this.#queue.splice(0)) reject(error);
        break;
      }
      this.#options.onDiskFull(error);
      await new Promise<void>((resolve) => this.#options.clock.after(DISK_FULL_RETRY_MS, resolve));
    }
    this.#writing = undefined;
  }

  /** Waits for what is sealed; after it a full disk is no longer waited for. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#writing;
  }

  #numberStreams(packed: PackedBatch['streams'], known: OpenSegment['streams']): SealedHeader['streams'] {
    const { keys } = packed;
    const numbers = new Uint32Array(keys.length);
    const named: { at: number; labels: Labels }[] = [];
    for (let at = 0; at < keys.length; at++) {
      let number = known.get(keys[at]);
      if (number === undefined) {
        const { key, labels } = this.#options.pool.takeKey(keys[at]);
        number = known.size;
        known.set(key, number);
        named.push({ at, labels });
      }
      numbers[at] = number;
    }
    return { ...packed, numbers, named };
  }
}
