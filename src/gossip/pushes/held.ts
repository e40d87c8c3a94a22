import {
  LIMITS,
  OneByOne,
  parseHeader,
  PREAMBLE_BYTES,
  readHead,
  segmentName,
  type BatchEntry,
  type Clock,
  type DiskFile,
  type Segment,
  type SegmentId,
  type Store,
} from '../../store/index.ts';
import type { HeldBatch } from './messages.ts';

/** What of the disk is needed here. */
export interface PushDisk {
  open(path: string, mode: 'read'): Promise<Pick<DiskFile, 'read' | 'close'>>;
}

interface Place {
  readonly id: SegmentId;
  readonly seq: number;
}

/** How far a segment has been read. */
interface Progress {
  readonly version: number;
  readonly batches: number;
  readonly lastSeq: number;
}

/**
 * Which of the batches that this peer holds carry a push. Read from the headers on disk, and only when somebody asks:
 * that happens after a crash, not for every push. Batches sealed within twice the window count, since the clock that
 * stamped them is another peer's.
 */
export class HeldPushes {
  readonly #store: Store;
  readonly #disk: PushDisk;
  readonly #clock: Clock;
  readonly #windowMs: number;
  /** Oldest first. */
  readonly #places = new Map<string, Place[]>();
  readonly #progress = new Map<string, Progress>();
  readonly #reads = new OneByOne();

  constructor(options: { store: Store; disk: PushDisk; clock: Clock; windowMs: number }) {
    this.#store = options.store;
    this.#disk = options.disk;
    this.#clock = options.clock;
    this.#windowMs = options.windowMs;
  }

  /** Rejects with Node's error when the disk cannot be read. */
  async find(digests: readonly string[]): Promise<HeldBatch[][]> {
    await this.#catchUp();
    return digests.map((digest) => (this.#places.get(digest) ?? []).flatMap((place) => this.#toTell(place)));
  }

  /** Digests in this peer's own batches, with the run that sealed them. */
  async own(): Promise<{ digest: string; epoch: number }[]> {
    await this.#catchUp();
    return [...this.#places].flatMap(([digest, places]) =>
      places
        .filter(({ id }) => id.origin === this.#store.origin)
        .map(({ id }) => ({ digest, epoch: id.epoch })),
    );
  }

  #toTell({ id, seq }: Place): HeldBatch[] {
    const segment = this.#store.segment(id);
    if (!segment?.entry(seq)) return [];
    const { origin } = this.#store;
    const isClosed = this.#store.openSegment !== segment;
    const counts = id.origin !== origin || isClosed || segment.record.owners.includes(origin);
    return [{ origin: id.origin, epoch: id.epoch, index: id.index, seq, counts }];
  }

  #catchUp(): Promise<void> {
    return this.#reads.run(() => this.#readNew());
  }

  async #readNew(): Promise<void> {
    const fromMs = this.#clock.nowMs() - 2 * this.#windowMs;
    const seen = new Set<string>();
    for (const segment of [...this.#store.segments()]) {
      // What is on its way to the disk may be all that is left of a push.
      await segment.flushed();
      const { last, version } = segment;
      if (!last || last.sealedAtMs < fromMs) continue;
      const name = segmentName(segment.id);
      seen.add(name);
      const before = this.#progress.get(name);
      if (before?.version === version) continue;
      const { batches } = segment.record;
      const added = batches.between([[(before?.lastSeq ?? 0) + 1, Infinity]]);
      // A batch that was healed, or proved rotten, stands between those that were read: all are read again.
      const isContinued = before !== undefined && before.batches + added.length === batches.length;
      const wanted = [...(isContinued ? added : batches)].filter(({ sealedAtMs }) => sealedAtMs >= fromMs);
      const progress = { version, batches: batches.length, lastSeq: last.seq };
      await this.#read(segment, wanted);
      this.#progress.set(name, progress);
    }
    for (const name of this.#progress.keys()) if (!seen.has(name)) this.#progress.delete(name);
  }

  async #read(segment: Segment, batches: readonly BatchEntry[]): Promise<void> {
    if (batches.length === 0) return;
    let file: Pick<DiskFile, 'read' | 'close'>;
    try {
      file = await this.#disk.open(segment.path, 'read');
    } catch (error) {
      // Dropped in the meantime.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    try {
      for (const { offset, headerBytes, seq } of batches) {
        for (const digest of pushesIn(await file.read(offset, PREAMBLE_BYTES + headerBytes)))
          this.#add(Buffer.from(digest).toString('base64url'), { id: segment.id, seq });
      }
    } finally {
      await file.close();
    }
  }

  #add(digest: string, place: Place): void {
    const places = this.#places.get(digest) ?? [];
    const isKnown = places.some(
      ({ id, seq }) => seq === place.seq && segmentName(id) === segmentName(place.id),
    );
    if (isKnown) return;
    this.#places.set(digest, [...places, place]);
    if (this.#places.size <= LIMITS.pushesRememberedMax) return;
    this.#places.delete(this.#places.keys().next().value!);
  }
}

/** None where the header is rotten: that batch is not held. */
function pushesIn(bytes: Buffer): readonly Uint8Array[] {
  const head = readHead(bytes);
  try {
    return (head && parseHeader(head.header).pushes) ?? [];
  } catch {
    return [];
  }
}
