import type { StreamPart } from '../batch/index.ts';
import { LIMITS } from '../limits.ts';
import type { BatchEntry } from '../segment/index.ts';

/** What is kept of the batches of one list, by `keyOf`. */
type KeptOfList = Map<number, Slot>;

/** One thing that is kept of one batch. */
interface Slot {
  readonly kept: Uint8Array | readonly StreamPart[];
  readonly keptIn: KeptOfList;
  readonly key: number;
  readonly bytes: number;
  /** Its place among the slots. */
  at: number;
}

const FILTER = 0;
const PARTS = 1;

function keyOf({ row }: BatchEntry, kind: typeof FILTER | typeof PARTS): number {
  return 2 * row + kind;
}

/** The objects of a slot: itself, table entry, typed array. Measured: 300 bytes, 570 in segments of one batch. */
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
 * segment does. One for all queries of a peer, empty until somebody asks.
 *
 * When it is full, batches in no particular order make room: queries sweep over all batches in the same order, so that
 * the least recently used one is the one that is needed next.
 */
export class IndexMemory {
  readonly #bytesMax: number;
  readonly #byList = new WeakMap<object, KeptOfList>();
  /** Rows of batches that a task under way will tell of. */
  readonly #claimed = new Map<object, Set<number>>();
  readonly #slots: Slot[] = [];
  readonly #gone = new FinalizationRegistry<KeptOfList>((kept) => {
    for (const slot of kept.values()) this.#release(slot);
  });
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
    return this.#byList.get(batch.list)?.get(keyOf(batch, FILTER))?.kept as Uint8Array | undefined;
  }

  /** What the batch's header says of its streams, without their labels. */
  partsOf(batch: BatchEntry): readonly StreamPart[] | undefined {
    return this.#byList.get(batch.list)?.get(keyOf(batch, PARTS))?.kept as readonly StreamPart[] | undefined;
  }

  /**
   * Whether to bring what is found of a batch that it does not know: for one task at a time, so that many queries at once do not
   * carry the same many times, and rarely when it is full. Who is told so calls `settle` when the task is over.
   */
  claim(batch: BatchEntry): boolean {
    const { list, row } = batch;
    let claimed = this.#claimed.get(list);
    if (claimed?.has(row)) return false;
    if (this.#bytes + ROOM_BYTES > this.#bytesMax) {
      this.#refused = (this.#refused + 1) % REPLACE_EVERY;
      if (this.#refused !== 0) return false;
    }
    if (!claimed) this.#claimed.set(list, (claimed = new Set()));
    claimed.add(row);
    return true;
  }

  settle({ list, row }: BatchEntry): void {
    const claimed = this.#claimed.get(list);
    claimed?.delete(row);
    if (claimed?.size === 0) this.#claimed.delete(list);
  }

  keepFilter(batch: BatchEntry, filter: Uint8Array): void {
    this.#keep(batch, FILTER, filter, filter.length);
  }

  keepParts(batch: BatchEntry, parts: readonly StreamPart[]): void {
    this.#keep(batch, PARTS, parts, parts.length * PART_BYTES);
  }

  #keep(batch: BatchEntry, kind: typeof FILTER | typeof PARTS, kept: Slot['kept'], keptBytes: number): void {
    const { list } = batch;
    const key = keyOf(batch, kind);
    const bytes = keptBytes + SLOT_BYTES;
    let keptIn = this.#byList.get(list);
    if (bytes > this.#bytesMax || keptIn?.has(key)) return;
    while (this.#bytes + bytes > this.#bytesMax) this.#evictOne();
    if (!keptIn) {
      this.#byList.set(list, (keptIn = new Map()));
      this.#gone.register(list, keptIn);
    }
    const slot = { kept, keptIn, key, bytes, at: this.#slots.length };
    keptIn.set(key, slot);
    this.#slots.push(slot);
    this.#bytes += bytes;
  }

  #evictOne(): void {
    this.#random = (Math.imul(this.#random, NEXT_FACTOR) + NEXT_ADDEND) >>> 0;
    const slot = this.#slots[Math.floor((this.#random / 2 ** 32) * this.#slots.length)];
    slot.keptIn.delete(slot.key);
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
