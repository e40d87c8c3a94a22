import { constants, type BigIntStats } from 'node:fs';
import * as fs from 'node:fs/promises';

/** What tailing wants to know of a file. Device and inode are exact decimal strings. */
export interface TailStat {
  readonly size: number;
  readonly isFile: boolean;
  readonly isDirectory: boolean;
  readonly device: string;
  readonly inode: string;
  /** Names that the file still has: 0 once it is deleted but open. */
  readonly links: number;
  readonly mtimeMs: number;
  /** When the file was made. Where the file system doesn't know, it is 0 or the time of the last change. */
  readonly birthMs: number;
}

export interface TailEntry {
  readonly name: string;
  readonly kind: 'file' | 'directory' | 'link' | 'other';
}

/** A file that is open for reading; stays readable after a rename or a deletion. */
export interface TailHandle {
  stat(): Promise<TailStat>;
  /**
   * Up to `length` bytes at `position`; shorter only at the end of the file. The buffer belongs to the caller; it is
   * part of `into` when that is large enough.
   */
  read(position: number, length: number, into?: Buffer): Promise<Buffer>;
  close(): Promise<void>;
}

/** The file system as tailing sees it: read-only. Errors are Node's, with `code`. */
export interface TailDisk {
  /** Follows symbolic links; undefined when nothing is there. */
  stat(path: string): Promise<TailStat | undefined>;
  /** The entries of a directory; empty when it is missing or not a directory. */
  list(directory: string): Promise<TailEntry[]>;
  /** The path without symbolic links; undefined when nothing is there. */
  realPath(path: string): Promise<string | undefined>;
  /** Never waits for a writer, not even on a named pipe. */
  open(path: string): Promise<TailHandle>;
}

/** The error's code (`ENOENT`, `EIO`, …), if it has one. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}

function isMissing(error: unknown): boolean {
  const code = codeOf(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}

function toTailStat(stat: BigIntStats): TailStat {
  return {
    size: Number(stat.size),
    isFile: stat.isFile(),
    isDirectory: stat.isDirectory(),
    device: stat.dev.toString(),
    inode: stat.ino.toString(),
    links: Number(stat.nlink),
    mtimeMs: Number(stat.mtimeNs) / 1e6,
    birthMs: Number(stat.birthtimeNs) / 1e6,
  };
}

class SystemTailHandle implements TailHandle {
  readonly #handle: fs.FileHandle;
  constructor(handle: fs.FileHandle) {
    this.#handle = handle;
  }

  async stat(): Promise<TailStat> {
    return toTailStat(await this.#handle.stat({ bigint: true }));
  }

  async read(position: number, length: number, into?: Buffer): Promise<Buffer> {
    const buffer = into && into.length >= length ? into : Buffer.allocUnsafe(length);
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await this.#handle.read(buffer, filled, length - filled, position + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return buffer.subarray(0, filled);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

export const systemTailDisk: TailDisk = {
  async stat(path) {
    try {
      return toTailStat(await fs.stat(path, { bigint: true }));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  },

  async list(directory) {
    try {
      const entries = await fs.readdir(directory, { withFileTypes: true });
      return entries.map((entry) => ({
        name: entry.name,
        kind: entry.isFile()
          ? 'file'
          : entry.isDirectory()
            ? 'directory'
            : entry.isSymbolicLink()
              ? 'link'
              : 'other',
      }));
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  },

  async realPath(path) {
    try {
      return await fs.realpath(path);
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  },

  async open(path) {
    return new SystemTailHandle(await fs.open(path, constants.O_RDONLY | constants.O_NONBLOCK));
  },
};
