import type { TailDisk, TailHandle, TailStat } from './files.ts';
import { NOTHING_READ, beginsWith, sourceName, type ReadState, type TailPosition } from './identity.ts';
import { isStartOf, pathsBeforeRotation, rotatedSiblings, startInCopy, startInCopyAt } from './relatives.ts';
import type { Sibling } from './relatives.ts';
import type { Watch } from './tail.ts';
import type { TailedFile } from './tailed-file.ts';
import type { FoundBy } from './tail-sources.ts';

/** How a file's times lag behind the clock: file systems stamp with the time of the last kernel tick, which a busy machine may miss. */
export const STAMP_LAG_MS = 50;

/** What rotation asks of the tail input. */
export interface RotationHost {
  readonly watchAt: (path: string) => Watch | undefined;
  readonly fileOf: (source: string) => TailedFile | undefined;
  readonly positionOf: (source: string) => TailPosition | undefined;
  /** Starts to follow a file that no pattern leads to, from `position` or from its beginning. */
  readonly adopt: (
    path: string,
    stat: TailStat,
    foundBy: FoundBy,
    position: TailPosition | undefined,
  ) => void;
  /** Where a copy is read on: else it would be read again where its original's inode has got another file by the next start. */
  readonly remember: (file: TailedFile) => void;
  /** What may be a copy of a file in the directories below its own; nothing, unless it was made while the node was down. */
  readonly copiesBelow: (file: TailedFile) => Promise<readonly Sibling[]>;
}

/** A name that files have in turn, and the one that has it now. */
export interface Name {
  readonly path: string;
  readonly file: TailedFile | undefined;
  readonly foundBy: FoundBy;
}

/**
 * What log rotation does to files that are not, or no longer, named by a pattern:
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

  /**
   * Finds files that had a name and were renamed before they were looked at: those made after `bornMs` and written to
   * after `writtenMs` (wall clock). `file` is what has the name now.
   */
  async adoptBetween(
    { path, file, foundBy }: Name,
    relatives: readonly Sibling[],
    bornMs: number,
    writtenMs: number,
  ): Promise<void> {
    for (const relative of relatives) {
      const { stat } = relative;
      // Born before its last write: else the file system gives another time for the birth, and nothing is known.
      const isBetween =
        stat.birthMs >= bornMs - STAMP_LAG_MS &&
        stat.mtimeMs >= writtenMs - STAMP_LAG_MS &&
        stat.birthMs <= stat.mtimeMs;
      if (!isBetween || this.#isTaken(relative)) continue;
      const start = file && (await this.#startIfCopy(path, file, relative));
      if (start === 'a copy of what is there' || this.#isTaken(relative)) continue;
      this.#host.adopt(relative.path, stat, foundBy, this.#positionIn(relative, path, start));
    }
  }

  /** Goes on in a copy of a file that was read to `start`, unless it is read already. */
  adoptCopy(copy: Sibling, labelPath: string, foundBy: FoundBy, start: ReadState): void {
    if (this.#isTaken(copy)) return;
    this.#host.adopt(copy.path, copy.stat, foundBy, this.#positionIn(copy, labelPath, start));
  }

  #isTaken(relative: Sibling): boolean {
    const source = sourceName(relative.stat);
    // A position of a file with another time of birth is that of an earlier owner of the inode.
    const isPositioned = this.#host.positionOf(source)?.birthMs === relative.stat.birthMs;
    return (
      this.#host.fileOf(source) !== undefined ||
      isPositioned ||
      this.#host.watchAt(relative.path) !== undefined
    );
  }

  /** What cannot be opened is no copy. */
  #startIn(copy: Sibling, state: ReadState): Promise<ReadState | undefined> {
    return startInCopyAt(this.#disk, copy, state).catch(() => undefined);
  }

  /** Whether a file is a copy of what is, or was, under a name, and where to go on in it. */
  async #startIfCopy(
    path: string,
    file: TailedFile,
    relative: Sibling,
  ): Promise<ReadState | 'a copy of what is there' | undefined> {
    const { state, previous } = file.progress;
    for (const older of previous) {
      const start = await this.#startIn(relative, older);
      if (start !== undefined) return start;
    }
    const start = await this.#startIn(relative, state);
    if (start === undefined) return undefined;
    const current = { path, stat: { ...relative.stat, device: file.device, inode: file.inode } };
    const isIntact = (await this.#startIn(current, state)) !== undefined;
    return isIntact ? 'a copy of what is there' : start;
  }

  /** The position of a copy that is read from `start`; undefined to read from the beginning. The label stays the original's. */
  #positionIn(copy: Sibling, labelPath: string, start: ReadState | undefined): TailPosition {
    return {
      ...(start ?? NOTHING_READ),
      path: labelPath,
      previous: start === undefined ? [] : [start],
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
    const beside = await rotatedSiblings(this.#disk, original.path).catch(() => []);
    for (const relative of [...beside, ...(await this.#host.copiesBelow(original))]) {
      if (sourceName(relative.stat) === original.source) continue;
      const start = await this.#startIn(relative, state);
      if (start === undefined) continue;
      // A copy that a pattern leads to waits for this, or compares itself when it is found: see settleFresh.
      this.adoptCopy(relative, original.labelPath, original.foundBy, start);
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
      this.#host.remember(file);
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
