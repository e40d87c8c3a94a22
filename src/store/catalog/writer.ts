import { LogvineError, messageOf } from '../errors.ts';
import { OneByOne } from '../one-by-one.ts';
import { segmentName, type DiskHealth, type Segment, type SegmentRecord } from '../segment/index.ts';
import type { Catalog } from './index.ts';

export interface CatalogWriterOptions {
  readonly catalog: Catalog;
  readonly health: DiskHealth;
  log(level: 'warn', message: string): void;
}

/**
 * Keeps the catalog as new as the files, so that a start need not read them. The catalog is believed where it says how long a file
 * is. Healing changes a file and not its length, so before that it forgets the segment, for certain, and remembers it again only
 * when that is over.
 */
export class CatalogWriter {
  readonly #options: CatalogWriterOptions;
  /** Versions that the catalog has, those that were seen last of others, and segments of which it has no more than what rot took. */
  readonly #remembered = new WeakMap<Segment, number>();
  readonly #seen = new WeakMap<Segment, number>();
  readonly #doubted = new WeakMap<Segment, SegmentRecord['rotten']>();
  /** How many want it not to be remembered. */
  readonly #barred = new WeakMap<Segment, number>();
  /** What is put and what is removed reaches the catalog in this order. */
  readonly #changes = new OneByOne();

  constructor(options: CatalogWriterOptions) {
    this.#options = options;
  }

  /** The start found it in the catalog, or put it there. */
  wasFound(segment: Segment): void {
    this.#remembered.set(segment, segment.version);
  }

  /** Whether it is not remembered as it is, and has been as it is since this was last asked. */
  isDue(segment: Segment): boolean {
    const { version } = segment;
    if (this.#remembered.get(segment) === version || segment.isBusy) return false;
    if (this.#seen.get(segment) === version) return true;
    this.#seen.set(segment, version);
    return false;
  }

  /**
   * Unless the disk has failed: then the files may not hold what was written, and the next start reads them. False when the
   * catalog does not take it: that costs the next start a scan, and nothing else (I5).
   */
  remember(segment: Segment): Promise<boolean> {
    return this.#changes.run(async () => {
      const { version, record } = segment;
      if (record.fileBytes === 0 || this.#options.health.failure || this.#barred.has(segment)) return true;
      // The next start is to look again at what the disk would not give.
      if (record.hasUnread) return true;
      if (this.#remembered.get(segment) === version) return true;
      this.#doubted.delete(segment);
      try {
        await this.#options.catalog.put(record);
        this.#remembered.set(segment, version);
        return true;
      } catch (error) {
        this.#warn(`the catalog did not take ${segmentName(segment.id)}: ${messageOf(error)}`);
        return false;
      }
    });
  }

  /** It changed otherwise than by growing. What the catalog does not let go of, a later start finds out by itself. */
  async changed(segment: Segment): Promise<void> {
    await this.#doubt(segment).catch((error: LogvineError) => this.#warn(error.message));
  }

  /** It is about to be removed: another that is called as it is may come to be as long. */
  async willGo(segment: Segment): Promise<void> {
    this.#barred.set(segment, Infinity);
    await this.#forget(segment, () => this.#options.catalog.remove(segment.id)).catch((error: LogvineError) =>
      this.#warn(error.message),
    );
  }

  /**
   * Does what changes a file and not its length, while nothing about it is remembered. Rejects with LV_DISK_FULL when the catalog
   * cannot forget it: then nothing is done. Else a power cut could bring back what was remembered before, which would hide what
   * was written.
   */
  async whileForgotten<T>(segment: Segment, work: () => Promise<T>): Promise<T> {
    this.#barred.set(segment, (this.#barred.get(segment) ?? 0) + 1);
    try {
      await this.#doubt(segment);
      return await work();
    } finally {
      const others = this.#barred.get(segment)! - 1;
      if (others > 0) this.#barred.set(segment, others);
      else this.#barred.delete(segment);
    }
  }

  #doubt(segment: Segment): Promise<void> {
    return this.#forget(segment, async () => {
      const { rotten } = segment.record;
      // It is being removed: nothing of it is to outlive that.
      if (this.#doubted.get(segment) === rotten || this.#barred.get(segment) === Infinity) return;
      await this.#options.catalog.doubt(segment.record);
      this.#doubted.set(segment, rotten);
    });
  }

  #forget(segment: Segment, forget: () => Promise<void>): Promise<void> {
    return this.#changes.run(async () => {
      this.#remembered.delete(segment);
      try {
        await forget();
      } catch (cause) {
        const message = `the catalog did not forget ${segmentName(segment.id)}: ${messageOf(cause)}`;
        throw new LogvineError('LV_DISK_FULL', message, { cause });
      }
    });
  }

  #warn(message: string): void {
    this.#options.log('warn', message);
  }
}
