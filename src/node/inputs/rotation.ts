import { dirname } from 'node:path';
import type { TailDisk, TailHandle, TailStat } from './files.ts';
import { NOTHING_READ, beginsWith, sourceName, type ReadState, type TailPosition } from './identity.ts';
import {
  pathsBeforeRotation,
  rotatedSiblings,
  siblings,
  startInCopy,
  startInCopyAt,
  isStartOf,
} from './relatives.ts';
import type { Sibling } from './relatives.ts';
import type { Watch } from './tail.ts';
import type { TailedFile } from './tailed-file.ts';
import type { FoundBy } from './tail-sources.ts';

/** How a file's times lag behind the clock: file systems stamp with the time of the last kernel tick. */
const STAMP_LAG_MS = 10;

/** What rotation asks of the tail input. */
export interface RotationHost {
  readonly watchAt: (path: string) => Watch | undefined;
  readonly isKnown: (source: string) => boolean;
  readonly positionOf: (source: string) => TailPosition | undefined;
  /** Starts to follow a file that no pattern leads to, from `position` or from its beginning. */
  readonly adopt: (
    path: string,
    stat: TailStat,
    foundBy: FoundBy,
    position: TailPosition | undefined,
  ) => TailedFile;
}

/**
 * What log rotation does to files that are not, or no longer, named by a pattern:
 *  - renamed while the node was down: followed from their position;
 *  - came and went between two looks (rotated twice in a row): read from their beginning;
 *  - copies (copytruncate): read from where the original was truncated, never from their beginning.
 */
export class Rotation {
  readonly #disk: TailDisk;
  readonly #host: RotationHost;

  constructor(disk: TailDisk, host: RotationHost) {
    this.#disk = disk;
    this.#host = host;
  }

  /** At start: looks beside the watched files for those that were rotated away while the node was down. */
  async adoptWhatRotatedBefore(watched: readonly string[]): Promise<void> {
    for (const directory of new Set(watched.map((path) => dirname(path)))) {
      const others = await siblings(
        this.#disk,
        directory,
        (path) => this.#host.watchAt(path) === undefined,
      ).catch(() => []);
      const lastRead = new Map<string, { readAtMs: number; birthMs: number }>();
      const noteRead = ({ path, readAtMs, birthMs }: TailPosition): void => {
        const known = lastRead.get(path) ?? { readAtMs: 0, birthMs: 0 };
        lastRead.set(path, {
          readAtMs: Math.max(readAtMs, known.readAtMs),
          birthMs: Math.max(birthMs, known.birthMs),
        });
      };
      for (const other of others) {
        const position = this.#host.positionOf(sourceName(other.stat));
        if (position === undefined) continue;
        noteRead(position);
        await this.#adoptRenamed(other, position);
      }
      for (const path of new Set(others.flatMap((other) => pathsBeforeRotation(other.path)))) {
        const watch = this.#host.watchAt(path);
        if (watch === undefined) continue;
        const position = watch.file && this.#host.positionOf(watch.file.source);
        if (position !== undefined) noteRead(position);
        const last = lastRead.get(path);
        if (last !== undefined) await this.adoptBetween(watch, last.birthMs, last.readAtMs);
      }
    }
  }

  async #adoptRenamed(other: Sibling, position: TailPosition): Promise<void> {
    const watch = this.#host.watchAt(position.path);
    const isUnread = position.offset < other.stat.size;
    if (watch === undefined || !isUnread || this.#host.isKnown(sourceName(other.stat))) return;
    // Its inode may belong to another file by now, one that nobody asked for.
    const isSame = position.offset === 0 || (await startInCopyAt(this.#disk, other, position)) !== undefined;
    if (isSame && !this.#host.isKnown(sourceName(other.stat))) {
      this.#host.adopt(other.path, other.stat, watch.found.foundBy, position);
    }
  }

  /**
   * Finds files that had the name of `watch` and were renamed before they were looked at: those made after `bornMs`
   * and written to after `writtenMs` (wall clock).
   */
  async adoptBetween(watch: Watch, bornMs: number, writtenMs: number): Promise<void> {
    const relatives = await rotatedSiblings(this.#disk, watch.path).catch(() => []);
    for (const relative of relatives) {
      const { stat } = relative;
      // Born before its last write: else the file system gives another time for the birth, and nothing is known.
      const isBetween =
        stat.birthMs >= bornMs - STAMP_LAG_MS &&
        stat.mtimeMs >= writtenMs - STAMP_LAG_MS &&
        stat.birthMs <= stat.mtimeMs;
      const source = sourceName(stat);
      if (!isBetween || this.#isTaken(source, relative)) continue;
      const start = await this.#startIfCopy(watch, relative);
      if (start === 'a copy of what is there' || this.#isTaken(source, relative)) continue;
      this.#host.adopt(
        relative.path,
        stat,
        watch.found.foundBy,
        this.#positionIn(relative, watch.path, start),
      );
    }
  }

  #isTaken(source: string, relative: Sibling): boolean {
    // A position of a file with another time of birth is that of an earlier owner of the inode.
    const isPositioned = this.#host.positionOf(source)?.birthMs === relative.stat.birthMs;
    return this.#host.isKnown(source) || isPositioned || this.#host.watchAt(relative.path) !== undefined;
  }

  /** Whether a file is a copy of what is, or was, under a name, and where to go on in it. */
  async #startIfCopy(
    watch: Watch,
    relative: Sibling,
  ): Promise<ReadState | 'a copy of what is there' | undefined> {
    const { file } = watch;
    if (file === undefined) return undefined;
    const { state, previous } = file.progress;
    for (const older of previous) {
      const start = await startInCopyAt(this.#disk, relative, older);
      if (start !== undefined) return start;
    }
    const start = await startInCopyAt(this.#disk, relative, state);
    if (start === undefined) return undefined;
    const current = { path: watch.path, stat: { ...relative.stat, device: file.device, inode: file.inode } };
    const isIntact = (await startInCopyAt(this.#disk, current, state)) !== undefined;
    return isIntact ? 'a copy of what is there' : start;
  }

  /** The position of a copy that is read from `start`; undefined to read from the beginning. The label stays the original's. */
  #positionIn(copy: Sibling, labelPath: string, start: ReadState | undefined): TailPosition {
    return {
      ...(start ?? NOTHING_READ),
      path: labelPath,
      previous: [],
      generation: (this.#host.positionOf(sourceName(copy.stat))?.generation ?? -1) + 1,
      piece: 0,
      seenBytes: copy.stat.size,
      birthMs: copy.stat.birthMs,
      readAtMs: 0,
    };
  }

  /**
   * A file was truncated: what was not yet read of it may stand in a copy beside it (copytruncate). Follows that copy
   * from where the original was left. Resolves to the size of the copy, or 0 when there is none.
   */
  async saveCopyOf(original: TailedFile): Promise<number> {
    const { state } = original.progress;
    if (state.offset === 0) return 0;
    for (const relative of await rotatedSiblings(this.#disk, original.path).catch(() => [])) {
      const source = sourceName(relative.stat);
      if (source === original.source) continue;
      const start = await startInCopyAt(this.#disk, relative, state);
      if (start === undefined) continue;
      // A copy that a pattern leads to waits for this, or compares itself when it is found: see settleFresh.
      if (!this.#isTaken(source, relative)) {
        const position = this.#positionIn(relative, original.labelPath, start);
        this.#host.adopt(relative.path, relative.stat, original.foundBy, position);
      }
      return relative.stat.size;
    }
    return 0;
  }

  /**
   * Decides where a new file begins. Resolves to false while that is open: it begins like another file that is still
   * there, so it is a copy of it, perhaps still in the making. What it holds is read there, until that one is truncated.
   */
  async settleFresh(file: TailedFile, handle: TailHandle): Promise<boolean> {
    // A copy in the making starts empty: there is nothing to read yet, and nothing to compare.
    if ((await handle.stat()).size === 0) return false;
    const known = file.copyOf?.original;
    // What once began like another, since neither had much yet, is found out when they have grown apart.
    const isStillCopy = known === undefined || (await this.#isLikeSoFar(known, handle));
    const original = known && isStillCopy ? known : await this.#originalOf(file, handle);
    if (!isStillCopy) file.copyOf = undefined;
    if (original === undefined) {
      file.isFresh = false;
      return true;
    }
    const { state, previous, generation } = original.progress;
    const isTruncated = file.copyOf !== undefined && generation !== file.copyOf.generation;
    const candidates = isTruncated || file.copyOf === undefined ? [...previous] : [];
    if (original.names === 0) candidates.push(state);
    for (const candidate of candidates) {
      const start = await startInCopy(handle, candidate);
      if (start === undefined) continue;
      file.beginAt(start, original.labelPath);
      return true;
    }
    if (isTruncated || original.names === 0) {
      file.copyOf = undefined;
      file.isFresh = false;
      return true;
    }
    file.copyOf ??= { original, generation };
    return false;
  }

  /** False when a file has as many bytes as were read of another, and they are others. */
  async #isLikeSoFar({ progress }: TailedFile, handle: TailHandle): Promise<boolean> {
    const { size } = await handle.stat();
    return size < progress.state.offset || (await beginsWith(handle, size, progress.state));
  }

  async #originalOf(file: TailedFile, handle: TailHandle): Promise<TailedFile | undefined> {
    const { size } = await handle.stat();
    for (const path of pathsBeforeRotation(file.path)) {
      const original = this.#host.watchAt(path)?.file;
      if (original === undefined || original === file) continue;
      const { state, previous } = original.progress;
      for (const older of previous) {
        if (await beginsWith(handle, size, older)) return original;
      }
      const isCopy =
        size >= state.offset
          ? await beginsWith(handle, size, state)
          : await isStartOf(this.#disk, handle, size, original);
      if (isCopy) return original;
    }
    return undefined;
  }
}
