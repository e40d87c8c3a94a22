import { closeSync, fstatSync, openSync, readSync, type BigIntStats } from 'node:fs';
import * as fs from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Disk, DiskFile, DiskReader, FileStat } from './index.ts';

/** After so long without a read, all files are closed. */
const READER_IDLE_MS = 10_000;
const OPEN_FILES_MAX = 64;

function toStat(stat: BigIntStats): FileStat {
  return {
    size: Number(stat.size),
    isFile: stat.isFile(),
    isDirectory: stat.isDirectory(),
    device: stat.dev.toString(),
    inode: stat.ino.toString(),
    mtimeMs: Number(stat.mtimeMs),
  };
}

function missing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOENT' || code === 'ENOTDIR';
}

class SystemFile implements DiskFile {
  readonly #handle: fs.FileHandle;
  constructor(handle: fs.FileHandle) {
    this.#handle = handle;
  }

  async read(position: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length);
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await this.#handle.read(buffer, filled, length - filled, position + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return buffer.subarray(0, filled);
  }

  async write(position: number, parts: readonly Uint8Array[]): Promise<void> {
    let wanted = 0;
    for (const part of parts) wanted += part.length;
    const { bytesWritten } = await this.#handle.writev(parts as Uint8Array[], position);
    if (bytesWritten === wanted) return;
    // A full disk shortens the write first and says ENOSPC only on the next one: make it say so now.
    const rest = Buffer.concat(parts as Uint8Array[]).subarray(bytesWritten);
    const again = await this.#handle.write(rest, 0, rest.length, position + bytesWritten);
    if (again.bytesWritten !== rest.length) {
      throw Object.assign(new Error('ENOSPC: short write, no space left on device'), { code: 'ENOSPC' });
    }
  }

  sync(): Promise<void> {
    return this.#handle.datasync();
  }

  truncate(size: number): Promise<void> {
    return this.#handle.truncate(size);
  }

  async stat(): Promise<FileStat> {
    return toStat(await this.#handle.stat({ bigint: true }));
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

export const systemDisk: Disk = {
  async open(path, mode) {
    if (mode === 'read') return new SystemFile(await fs.open(path, 'r'));
    // 'r+' does not create and 'w+' truncates: O_RDWR | O_CREAT is what is meant.
    const flags = fs.constants.O_RDWR | fs.constants.O_CREAT;
    return new SystemFile(await fs.open(path, flags, 0o600));
  },

  async stat(path) {
    try {
      return toStat(await fs.stat(path, { bigint: true }));
    } catch (error) {
      if (missing(error)) return undefined;
      throw error;
    }
  },

  async list(path) {
    try {
      return (await fs.readdir(path)).sort();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  },

  async makeDirectory(path) {
    await fs.mkdir(path, { recursive: true, mode: 0o700 });
  },

  rename: (from, to) => fs.rename(from, to),
  remove: (path) => fs.rm(path, { recursive: true, force: true }),

  async syncDirectory(path) {
    const handle = await fs.open(path, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },

  async space(path) {
    const { bavail, blocks, bsize } = await fs.statfs(path);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  },

  async readFile(path) {
    try {
      return await fs.readFile(path);
    } catch (error) {
      if (missing(error)) return undefined;
      throw error;
    }
  },

  async replaceFile(path, content, mode = 0o600) {
    const temporary = `${path}.tmp`;
    const handle = await fs.open(temporary, 'w', mode);
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await fs.rename(temporary, path);
    await this.syncDirectory(dirname(path));
  },
};

/**
 * Keeps the most recently used files open, so that a scan of one segment opens it once. Of a file that was removed, the disk gets its
 * room back once another is opened, or nothing was read for a while.
 */
export function systemDiskReader(idleMs = READER_IDLE_MS): DiskReader {
  const open = new Map<string, number>();
  const closeSome = (isToClose: (fd: number) => boolean): void => {
    for (const [path, fd] of open) {
      if (!isToClose(fd)) continue;
      open.delete(path);
      closeSync(fd);
    }
  };
  const isRemoved = (fd: number): boolean => fstatSync(fd).nlink === 0;
  const idle = setTimeout(() => closeSome(() => true), idleMs).unref();
  return {
    readAt(path, position, length) {
      idle.refresh();
      let fd = open.get(path);
      // A segment that was dropped and fetched again is another file of the same name.
      if (fd === undefined || isRemoved(fd)) {
        closeSome(isRemoved);
        if (open.size >= OPEN_FILES_MAX) {
          const [, oldest] = open.entries().next().value!;
          closeSome((one) => one === oldest);
        }
        fd = openSync(path, 'r');
      } else {
        open.delete(path);
      }
      open.set(path, fd);
      const buffer = Buffer.allocUnsafe(length);
      let filled = 0;
      while (filled < length) {
        const count = readSync(fd, buffer, filled, length - filled, position + filled);
        if (count === 0) break;
        filled += count;
      }
      return buffer.subarray(0, filled);
    },
    close() {
      clearTimeout(idle);
      closeSome(() => true);
    },
  };
}
