import { LogvineError } from '../../store/index.ts';
import type { TailDisk, TailHandle } from './files.ts';
import { sameFile } from './identity.ts';
import type { TailedFile } from './tailed-file.ts';

/**
 * Keeps the most recently read files open, up to a bound. A file that lost its name stays open until it is let go:
 * it could not be opened again, unless it was found under another one.
 */
export class HandleCache {
  readonly #disk: TailDisk;
  readonly #openFilesMax: number;
  readonly #open = new Set<TailedFile>();
  #opening = 0;

  constructor(disk: TailDisk, openFilesMax: number) {
    this.#disk = disk;
    this.#openFilesMax = openFilesMax;
  }

  /** The file's handle, opened if need be; undefined when its path leads to another file or nowhere. */
  async acquire(file: TailedFile): Promise<TailHandle | undefined> {
    if (file.handle !== undefined) {
      this.#open.delete(file);
      this.#open.add(file);
      return file.handle;
    }
    this.#opening++;
    try {
      await this.#makeRoom();
      const handle = await this.#openSame(file);
      if (handle !== undefined) {
        file.handle = handle;
        this.#open.add(file);
      }
      return handle;
    } finally {
      this.#opening--;
    }
  }

  async #openSame(file: TailedFile): Promise<TailHandle | undefined> {
    // Asked first, so that what is not a plain file (a device, a pipe) is never opened.
    const found = await this.#disk.stat(file.path);
    if (found === undefined || !found.isFile || !sameFile(found, file)) return undefined;
    const handle = await this.#disk.open(file.path);
    try {
      if (sameFile(await handle.stat(), file)) {
        file.realPath = await this.#disk.realPath(file.path);
        return handle;
      }
    } catch (error) {
      await handle.close();
      throw error;
    }
    await handle.close();
    return undefined;
  }

  async #makeRoom(): Promise<void> {
    while (this.#open.size + this.#opening > this.#openFilesMax) {
      let victim: TailedFile | undefined;
      for (const file of this.#open) {
        if (file.isReading || (file.names === 0 && !file.isAtPath)) continue;
        victim = file;
        break;
      }
      if (victim === undefined) {
        throw new LogvineError(
          'LV_INPUT_UNREADABLE',
          `All ${this.#openFilesMax} files that may be open are renamed or deleted ones not yet let go`,
        );
      }
      await this.release(victim);
    }
  }

  async release(file: TailedFile): Promise<void> {
    const { handle } = file;
    file.handle = undefined;
    this.#open.delete(file);
    // Nothing was written through it, so a failing close has nothing to tell.
    await handle?.close().catch(() => undefined);
  }
}
