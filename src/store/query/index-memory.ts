import type { StreamPart } from '../batch/index.ts';
import { LIMITS } from '../limits.ts';
import type { BatchEntry } from '../segment/index.ts';

/** One thing that is kept of one batch. */
interface Slot {
  readonly batch: WeakRef<BatchEntry>;
  readonly keptIn: WeakMap<BatchEntry, unknown>;
  readonly bytes: number;
  /** Its place among the slots. */
  at: number;
}

/** The objects of a slot: weak reference, table entry, typed array. Measured: some 400 bytes. */
const SLOT_BYTES = 512;
/** A part as StreamPart, with its times and level counts. */
const PART_BYTES = 400;
/** While there is less room, it counts as full: any filter fits. */
const ROOM_BYTES = 64 * 1024;
/** Once it is full, one in so many batches that are not in it takes another one's place. */
const REPLACE_EVERY = 8;
/** Steps of a pseudo-random sequence (Numerical Recipes' generator). */
const NEXT_FACTOR = 1_664_525;
const NEXT_ADDEND = 1_013_904_223;

/**
 * What scans found in the index of batches, kept where questions are planned, so that they need not ask the disk again: filters
 * whose checksum held, and what headers say of their streams. A batch never changes, so neither does this; it goes when the
 * batch's entry does (dropped, or quarantined). One for all queries of a peer, empty until somebody asks.
 *
 * When it is full, batches in no particular order make room: queries sweep over all batches in the same order, so that
 * the least recently used one is the one that is needed next.
 */
export class IndexMemory {
  readonly #bytesMax: number;
  readonly #filters = new WeakMap<BatchEntry, Uint8Array>();
  readonly #parts = new WeakMap<BatchEntry, readonly StreamPart[]>();
  /** Batches that a task under way will tell of. */
  readonly #claimed = new WeakSet<BatchEntry>();
  readonly #slots: Slot[] = [];
  readonly #gone = new FinalizationRegistry<Slot>((slot) => this.#release(slot));
  #bytes = 0;
  #refused = 0;
  #random = 1;

  constructor(bytesMax: number = LIMITS.indexMemoryBytesMax) {
    this.#bytesMax = bytesMax;
  }

  /** Bytes that are kept, as estimated; never above the bound. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The bits of the batch's filter. */
  filterOf(batch: BatchEntry): Uint8Array | undefined {
    return this.#filters.get(batch);
  }

  /** What the batch's header says of its streams, without their labels. */
  partsOf(batch: BatchEntry): readonly StreamPart[] | undefined {
    return this.#parts.get(batch);
  }

  /**
   * Whether to bring what is found of a batch that it does not know: for one task at a time, so that many queries at once do not
   * carry the same many times, and rarely when it is full. Who is told so calls `settle` when the task is over.
   */
  claim(batch: BatchEntry): boolean {
    if (this.#claimed.has(batch)) return false;
    if (this.#bytes + ROOM_BYTES > this.#bytesMax) {
      this.#refused = (this.#refused + 1) % REPLACE_EVERY;
      if (this.#refused !== 0) return false;
    }
    this.#claimed.add(batch);
    return true;
  }

  settle(batch: BatchEntry): void {
    this.#claimed.delete(batch);
  }

  keepFilter(batch: BatchEntry, filter: Uint8Array): void {
    if (!this.#filters.has(batch)) this.#keep(batch, this.#filters, filter, filter.length);
  }

  keepParts(batch: BatchEntry, parts: readonly StreamPart[]): void {
    if (!this.#parts.has(batch)) this.#keep(batch, this.#parts, parts, parts.length * PART_BYTES);
  }

  #keep<Kept extends object>(
    batch: BatchEntry,
    keptIn: WeakMap<BatchEntry, Kept>,
    kept: Kept,
    keptBytes: number,
  ): void {
    const bytes = keptBytes + SLOT_BYTES;
    if (bytes > this.#bytesMax) return;
    while (this.#bytes + bytes > this.#bytesMax) this.#evictOne();
    keptIn.set(batch, kept);
    const slot: Slot = { batch: new WeakRef(batch), keptIn, bytes, at: this.#slots.length };
    this.#slots.push(slot);
    this.#gone.register(batch, slot, slot);
    this.#bytes += bytes;
  }

  #evictOne(): void {
    this.#random = (Math.imul(this.#random, NEXT_FACTOR) + NEXT_ADDEND) >>> 0;
    const slot = this.#slots[Math.floor((this.#random / 2 ** 32) * this.#slots.length)];
    const batch = slot.batch.deref();
    if (batch) slot.keptIn.delete(batch);
    this.#gone.unregister(slot);
    this.#release(slot);
  }

  #release(slot: Slot): void {
    const last = this.#slots.pop()!;
    if (last !== slot) {
      this.#slots[slot.at] = last;
      last.at = slot.at;
    }
    this.#bytes -= slot.bytes;
  }
}
