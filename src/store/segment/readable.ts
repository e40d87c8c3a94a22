import type { DiskFile } from '../host/index.ts';
import { subtractRuns, unionRuns, type Run } from '../runs.ts';

const SECTOR_BYTES = 4096;
const COPY_BYTES = 1024 * 1024;

/**
 * A file of which some sectors may be unreadable: one such sector must not keep all else from being read. Zeros stand for what
 * it holds, which are no frame. But they are not what is on the disk: a later try may read it, so they are to be told from it.
 */
export class ReadableFile implements Pick<DiskFile, 'read' | 'stat'> {
  readonly #file: DiskFile;
  #unread: readonly Run[] = [];

  constructor(file: DiskFile) {
    this.#file = file;
  }

  /** Where zeros were given, as offsets. */
  get unread(): readonly Run[] {
    return this.#unread;
  }

  stat: DiskFile['stat'] = () => this.#file.stat();

  async read(position: number, length: number): Promise<Buffer> {
    try {
      return await this.#file.read(position, length);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error;
    }
    const end = Math.min(position + length, (await this.#file.stat()).size);
    if (end <= position) return Buffer.alloc(0);
    const sectorEnd = (Math.floor(position / SECTOR_BYTES) + 1) * SECTOR_BYTES;
    if (end <= sectorEnd) {
      this.#unread = unionRuns(this.#unread, [[position, end - 1]]);
      return Buffer.alloc(end - position);
    }
    const parts: Buffer[] = [];
    for (let at = position, to = sectorEnd; at < end; at = to, to += SECTOR_BYTES) {
      parts.push(await this.read(at, Math.min(end, to) - at));
    }
    return Buffer.concat(parts);
  }

  /**
   * After an fsync that failed the kernel may take pages for written that are not, and the next fsync says nothing of them
   * (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020). What is written again is what it must write:
   * of the first `bytes`, all that could be read.
   */
  async writeAgain(bytes: number): Promise<void> {
    for (let at = 0; at < bytes; at += COPY_BYTES) {
      const content = await this.read(at, Math.min(COPY_BYTES, bytes - at));
      for (const [from, to] of subtractRuns([[at, at + content.length - 1]], this.#unread)) {
        await this.#file.write(from, [content.subarray(from - at, to + 1 - at)]);
      }
    }
  }
}
