import { LogvineError, type Clock } from '../../store/index.ts';
import type { TailDisk, TailEntry, TailHandle, TailStat } from './files.ts';

const ANSWER_MAX_MS = 3_000;
/** Each call that is never answered keeps one of the few threads that wait for disks. */
const UNANSWERED_MAX = 2;

/** A disk whose calls are given up after a while: a mount whose server is away answers none. */
export class BoundedDisk implements TailDisk {
  readonly #disk: TailDisk;
  readonly #clock: Clock;
  readonly #waiting = new Set<() => void>();
  #unanswered = 0;
  #isEnded = false;

  constructor(disk: TailDisk, clock: Clock) {
    this.#disk = disk;
    this.#clock = clock;
  }

  get hasHung(): boolean {
    return this.#unanswered > 0;
  }

  stat(path: string): Promise<TailStat | undefined> {
    return this.#bound(path, () => this.#disk.stat(path));
  }

  list(directory: string): Promise<TailEntry[]> {
    return this.#bound(directory, () => this.#disk.list(directory));
  }

  realPath(path: string): Promise<string | undefined> {
    return this.#bound(path, () => this.#disk.realPath(path));
  }

  open(path: string): Promise<TailHandle> {
    let isGivenUp = false;
    let handle: TailHandle | undefined;
    const opening = this.#bound(path, async () => {
      handle = await this.#disk.open(path);
      if (isGivenUp) await handle.close();
      return this.#boundHandle(path, handle);
    });
    opening.catch(() => {
      isGivenUp = true;
      return handle?.close();
    });
    return opening;
  }

  #boundHandle(path: string, handle: TailHandle): TailHandle {
    return {
      stat: () => this.#bound(path, () => handle.stat()),
      read: (position, length, into) => this.#bound(path, () => handle.read(position, length, into)),
      close: async () => {
        // It waits for what is still being read.
        const closed = handle.close();
        await this.#bound(path, () => closed).catch(() => undefined);
      },
    };
  }

  /** Gives up what waits, and all that is asked later. */
  end(): void {
    this.#isEnded = true;
    for (const giveUp of this.#waiting) giveUp();
  }

  #bound<T>(path: string, call: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const giveUp = (): void => {
        settle();
        reject(new LogvineError('LV_INPUT_UNREADABLE', `${path} gives no answer`));
      };
      const late = (): void => {
        giveUp();
        if (++this.#unanswered >= UNANSWERED_MAX) this.end();
      };
      // The process may have stood still: an answer that has come by then is taken first.
      let timer = this.#clock.after(ANSWER_MAX_MS, () => {
        timer = this.#clock.after(0, late);
      });
      const settle = (): void => {
        timer.cancel();
        this.#waiting.delete(giveUp);
      };
      if (this.#isEnded) return giveUp();
      this.#waiting.add(giveUp);
      call().finally(settle).then(resolve, reject);
    });
  }
}
