import { isDeepStrictEqual } from 'node:util';
import { LogvineError } from '../errors.ts';
import type { Disk } from '../host/index.ts';
import { LIMITS } from '../limits.ts';
import { OneByOne } from '../one-by-one.ts';
import { unwritten, type DiskHealth } from '../segment/index.ts';
import type { DroppedLog, Going, Loss } from './dropped.ts';
import type { ExpiredRuns } from './expired.ts';
import type { Tombstones } from './tombstones.ts';

export interface DroppedFileOptions {
  readonly directory: string;
  readonly disk: Pick<Disk, 'replaceFile'>;
  readonly health: DiskHealth;
  readonly tombstones: Tombstones;
}

/** dropped.json, which one at a time changes: see DroppedLog. */
export class DroppedFile {
  readonly log: DroppedLog;
  readonly #options: DroppedFileOptions;
  /** Each changes the log and saves it. */
  readonly changes = new OneByOne();

  constructor(options: DroppedFileOptions, log: DroppedLog) {
    this.#options = options;
    this.log = log;
    log.expired.add(options.tombstones.found);
  }

  /** What retention took off this disk. */
  get expired(): ExpiredRuns {
    return this.log.expired;
  }

  /** What a person has accepted as lost. */
  get losses(): readonly Loss[] {
    return this.log.losses;
  }

  /**
   * Remembers a loss. Resolves when it is on disk; rejects with LV_DISK_FULL, LV_DATA_UNSAFE, LV_OVERLOADED (there are too
   * many): then it does not count.
   */
  acceptLoss(loss: Loss): Promise<void> {
    return this.changes.run(async () => {
      if (this.#options.health.failure) throw this.#options.health.failure;
      const before = this.losses;
      if (before.some((known) => isDeepStrictEqual(known, loss))) return;
      const runs = before.reduce((sum, one) => sum + one.runs.length, loss.runs.length);
      if (before.length >= LIMITS.lossesMax || runs > LIMITS.lostRunsMax)
        throw new LogvineError('LV_OVERLOADED', 'no more losses can be remembered than there are already');
      this.log.losses = [...before, loss];
      await this.save().catch((error: unknown) => {
        this.log.losses = before;
        throw error;
      });
    });
  }

  /** Forgets the losses that hold no more. Rejects with LV_DISK_FULL: then they are on disk still. */
  endLosses(isOver: (loss: Loss) => boolean): Promise<void> {
    return this.changes.run(async () => {
      const left = this.losses.filter((loss) => !isOver(loss));
      if (left.length === this.losses.length) return;
      this.log.losses = left;
      await this.save();
    });
  }

  /** Resolves when it is on disk that these go. To be called in turn. Rejects as `save`: then nobody is told so. */
  async willGo(going: Going): Promise<void> {
    await this.#write(this.log.encode(going));
    this.log.add(going);
  }

  /** The file of a segment of others goes before that can be written, to make room. To be called in turn. Rejects with Node's errors. */
  async goesUnwritten(path: string, going: Going): Promise<void> {
    await this.#options.tombstones.put(path, going.expired);
    this.log.add(going);
  }

  /** Resolves when the log is on disk as it is now. To be called in turn. Rejects with LV_DISK_FULL, LV_DATA_UNSAFE. */
  save(): Promise<void> {
    return this.#write(this.log.encode());
  }

  async #write(bytes: Buffer): Promise<void> {
    const path = `${this.#options.directory}/dropped.json`;
    try {
      await this.#options.disk.replaceFile(path, bytes);
    } catch (cause) {
      throw unwritten(this.#options.health, path, cause);
    }
    await this.#options.tombstones.clear();
  }
}
