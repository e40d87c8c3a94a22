import { batchName, verifyFrame, type BatchHeader } from './batch/index.ts';
import type { CatalogWriter } from './catalog/index.ts';
import { LogvineError } from './errors.ts';
import { LIMITS } from './limits.ts';
import {
  areNamed,
  emptyRecord,
  segmentName,
  type DiskHealth,
  type ReceivedFrame,
  type Segment,
  type SegmentId,
  type SegmentRecord,
} from './segment/index.ts';

/** What taking copies asks of the store. */
export interface IntakeHost {
  readonly origin: string;
  readonly epoch: number;
  /** Of this run. */
  sealedSeq(): number;
  readonly health: DiskHealth;
  readonly catalog: Pick<CatalogWriter, 'whileForgotten'>;
  isReleased(id: SegmentId): boolean;
  segment(id: SegmentId): Segment | undefined;
  /** False while it is being dropped, too. */
  isStored(segment: Segment): boolean;
  add(record: SegmentRecord): Segment;
  /** A batch is held that was not held before. */
  onTaken(header: BatchHeader, frameBytes: number): void;
  /** See `StoreOptions`. */
  onLaterRun(epoch: number): void;
  whyNoReplicas(): LogvineError | undefined;
  /** Raises the alarm of I1: LV_BATCH_CONFLICT. */
  conflict(message: string): LogvineError;
  /** A batch came into a damaged segment that names streams. */
  onNamed(segment: Segment): void;
}

/** Takes copies of others' batches, and what this peer has lost of its own, after every check that a batch has to pass. */
export class Intake {
  readonly #host: IntakeHost;
  /** Streams that are named in frames on their way to the disk: a segment's record shows only what is on it. */
  readonly #naming = new WeakMap<Segment, Set<number>>();

  constructor(host: IntakeHost) {
    this.#host = host;
  }

  /**
   * Keeps a batch of another origin: verifies it in full, checks that it continues its segment, and resolves with its
   * place once it is on disk (I4). A batch that is here already is no error. With `isRepair`, one whose predecessors are
   * missing is taken too: they may be lost everywhere. `from` is who offers it, for the alarm.
   * Rejects with LV_FRAME_CORRUPT, LV_BATCH_CONFLICT (I1), LV_PROTOCOL (not the next one), LV_DISK_FULL, LV_DATA_UNSAFE.
   */
  async take(
    frame: Buffer,
    { from, isRepair = false }: { readonly from?: string; readonly isRepair?: boolean } = {},
  ): Promise<{ id: SegmentId; seq: number }> {
    if (this.#host.health.failure) throw this.#host.health.failure;
    const { header, headerHash } = verifyFrame(frame);
    const id = { origin: header.origin, epoch: header.epoch, index: header.segment };
    const done = { id, seq: header.seq };
    const write = { header, headerHash, headerBytes: frame.readUInt32LE(4), parts: [frame] };
    let segment = this.#host.segment(id);
    if (segment) this.#checkStored(segment);
    if (segment && segment.record.quarantined.length > 0 && (await this.#heal(segment, write, from)))
      return done;
    this.#checkOwn(header, id, segment);
    if (!segment) {
      if (!isRepair && header.owners.length === 0) {
        throw new LogvineError('LV_PROTOCOL', `${batchName(header)} is not the first of its segment`);
      }
      // What is refused must leave no empty segment behind.
      this.#checkTaking(header, undefined, isRepair);
      segment = this.#host.add(emptyRecord(id));
    }
    let known = segment.entry(header.seq);
    if (!known && header.seq <= (segment.accepted?.seq ?? 0)) {
      // It came by another way and is being written, or it is a hole; another may be the first to fill that.
      for (let other; (other = segment.writing(header.seq));) await other;
      known = segment.entry(header.seq);
    }
    if (known) {
      this.#checkSame(known.headerHash, write, from);
      return done;
    }
    const { accepted } = segment;
    if (header.seq === accepted?.seq) this.#checkSame(accepted.headerHash, write, from);
    const follows = accepted ? header.seq === accepted.seq + 1 : header.owners.length > 0;
    const fills = accepted !== undefined && header.seq < accepted.seq;
    if (!follows && !fills && !isRepair) {
      throw new LogvineError('LV_PROTOCOL', `${batchName(header)} does not follow ${accepted?.seq ?? 0}`);
    }
    this.#checkTaking(header, segment, isRepair);
    this.#checkStored(segment);
    if (segment.record.fileBytes > LIMITS.segmentFileBytesMax)
      throw new LogvineError('LV_PROTOCOL', `${segmentName(id)} is longer than any segment`);
    const before = follows ? accepted : segment.entry(header.seq - 1);
    if (before) this.#checkChain(header, before.headerHash, from);
    let naming = this.#naming.get(segment);
    if (!naming) this.#naming.set(segment, (naming = new Set()));
    const named = header.streams.filter((part) => part.labels).map((part) => part.stream);
    for (const stream of named) naming.add(stream);
    const isNew = await segment.append(write).finally(() => {
      for (const stream of named) naming.delete(stream);
    });
    if (isNew) this.#host.onTaken(header, frame.length);
    // What is sound in a hole may have waited for these names.
    if (named.length > 0 && segment.record.quarantined.length > 0) this.#host.onNamed(segment);
    return done;
  }

  /** Puts it into its place in a damaged file. False where it has none. */
  async #heal(damaged: Segment, copy: ReceivedFrame, from: string | undefined): Promise<boolean> {
    const { header } = copy;
    const before = damaged.entry(header.seq - 1);
    if (before) this.#checkChain(header, before.headerHash, from);
    const more = await this.#host.catalog.whileForgotten(damaged, async () => {
      this.#checkStored(damaged);
      return damaged.heal(copy);
    });
    if (!more) return false;
    this.#host.onTaken(header, copy.parts[0].length);
    for (const { header: behind, frameBytes } of more) this.#host.onTaken(behind, frameBytes);
    return true;
  }

  /** What an earlier run of this peer lost may come back, and what this one has sealed. Throws LV_PROTOCOL for what it has not. */
  #checkOwn(header: BatchHeader, id: SegmentId, segment: Segment | undefined): void {
    const { origin, epoch } = this.#host;
    if (header.origin !== origin || header.epoch < epoch || this.#host.isReleased(id)) return;
    const isLaterRun = header.epoch > epoch;
    if (!isLaterRun && header.seq <= (segment?.accepted?.seq ?? 0)) return;
    // Of this very epoch, another run with it must have sealed what this one has not.
    if (isLaterRun || header.seq > this.#host.sealedSeq()) this.#host.onLaterRun(header.epoch);
    throw new LogvineError('LV_PROTOCOL', `${batchName(header)}: a peer offers this peer its own batch`);
  }

  /** Throws LV_PROTOCOL for a batch that could not be answered for, and why no copies are taken at present. */
  #checkTaking(header: BatchHeader, segment: Segment | undefined, isRepair: boolean): void {
    const naming = segment && this.#naming.get(segment);
    const streams = segment?.record.streams ?? [];
    if (!areNamed(header.streams, streams, naming)) {
      const message = `the streams of ${batchName(header)} are named in a batch that is not here`;
      throw new LogvineError('LV_PROTOCOL', message);
    }
    // What comes by repair may come before the batches that name the streams between.
    if (!isRepair) checkNumbered(header, streams.length, naming);
    const refusal = this.#host.whyNoReplicas();
    if (refusal) throw refusal;
  }

  /** What is added to a file that goes would be gone with it. Throws LV_PROTOCOL. */
  #checkStored(segment: Segment): void {
    if (this.#host.isStored(segment)) return;
    throw new LogvineError('LV_PROTOCOL', `${segmentName(segment.id)} is just being dropped here`);
  }

  #checkChain(header: BatchHeader, previousHash: Buffer, from: string | undefined): void {
    if (previousHash.equals(header.previousHash)) return;
    const message = `${batchName(header)}${offeredBy(from)} does not continue the chain that is stored here`;
    throw this.#host.conflict(message);
  }

  /** Throws LV_BATCH_CONFLICT where another batch is held under the same number (I1). */
  #checkSame(known: Buffer, { header, headerHash }: ReceivedFrame, from: string | undefined): void {
    if (known.equals(headerHash)) return;
    throw this.#host.conflict(
      `batch ${batchName(header)} exists with two different contents, one here and one${offeredBy(from)}`,
    );
  }
}

function offeredBy(from: string | undefined): string {
  return from === undefined ? '' : ` offered by ${from}`;
}

/**
 * An origin numbers the streams of a segment as it names them; an index far beyond would make whoever lists them count to it.
 * Throws LV_PROTOCOL.
 */
function checkNumbered(header: BatchHeader, known: number, naming: ReadonlySet<number> | undefined): void {
  let next = known;
  for (const stream of naming ?? []) next = Math.max(next, stream + 1);
  for (const { labels, stream } of header.streams) {
    if (!labels) continue;
    if (stream > next) {
      const message = `${batchName(header)} names stream ${stream} where ${next} is the next`;
      throw new LogvineError('LV_PROTOCOL', message);
    }
    next = Math.max(next, stream + 1);
  }
}
