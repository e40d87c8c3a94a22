import type { Labels } from '../../store/index.ts';
import type { TailHandle, TailStat } from './files.ts';
import { NOTHING_READ, decodePosition, encodePosition, sourceName } from './identity.ts';
import type { ReadState, TailPosition } from './identity.ts';
import type { InputStatus } from './index.ts';
import type { FoundBy } from './tail-sources.ts';

/** How far a file was read: what changes with each block. */
export interface Progress {
  readonly state: ReadState;
  readonly piece: number;
  readonly generation: number;
  readonly previous: readonly ReadState[];
  readonly isGone?: true;
}

export interface TailedFileStart {
  readonly stat: TailStat;
  /** Where the file can be opened now. */
  readonly path: string;
  readonly foundBy: FoundBy;
  readonly nowMs: number;
  /** Where an earlier run, or an earlier look, left off. */
  readonly position?: TailPosition;
}

/** One file (not one name): what was read of it, and what is known about it. Reading it is `readTurn`'s work. */
export class TailedFile {
  readonly source: string;
  readonly device: string;
  readonly inode: string;
  readonly foundBy: FoundBy;
  /** Where to open it, and the name it was found under first, which labels its lines. */
  path: string;
  labelPath: string;
  /** `path` without symbolic links, when it was last opened. */
  realPath: string | undefined;
  labels: Labels;
  progress: Progress = { state: NOTHING_READ, piece: 0, generation: 0, previous: [] };
  birthMs: number;
  /** The size at the last look, and the largest one since the file was last truncated. */
  sizeBytes: number;
  seenBytes: number;
  /** The largest size at which the content was known to be still that which was read. */
  verifiedBytes: number;
  mtimeMs: number;
  hasShrunk = false;
  /** When it last changed, by the monotonic clock. */
  changedMs: number;
  /** When a look at it last ended, by the monotonic clock. */
  observedMs: number;
  /** Names under which it is being watched; none: it was renamed away or deleted at `lostMs`. */
  names = 0;
  lostMs = 0;
  /** When it was last known to have the name that labels its lines, by the wall clock; undefined: it has it. */
  namedAtMs: number | undefined;
  /** Not watched, but known to be at `path`: it need not stay open. */
  isAtPath = false;
  handle: TailHandle | undefined;
  isReading = false;
  isWriting = false;
  /** Something to do even if the size says otherwise: the content may have been replaced. */
  isDue = true;
  /** Never read, and not yet compared with the file that it may be a copy of. */
  isFresh: boolean;
  /** This file is a copy of that one, which is still there: what to read here is known when that one is truncated. */
  copyOf: { readonly original: TailedFile; readonly generation: number } | undefined;
  /** After a truncation a writer may go on at its old place, and leave a hole of zeros before it. */
  mayBeHole: boolean;
  /** Not looked into since the node was down: when an earlier run last read it, by the wall clock. */
  downSinceMs: number | undefined;
  problem: string | undefined;
  retryAtMs = 0;
  retryMs = 0;
  emittedOffset: number;
  durableOffset: number;
  gaps = 0;
  gapBytes = 0;

  constructor({ stat, path, foundBy, nowMs, position }: TailedFileStart) {
    this.source = sourceName(stat);
    this.device = stat.device;
    this.inode = stat.inode;
    this.foundBy = foundBy;
    this.path = path;
    this.labelPath = position?.path ?? path;
    this.realPath = position?.realPath;
    if (position !== undefined && position.path !== path)
      this.namedAtMs = position.namedAtMs ?? position.readAtMs;
    this.labels = foundBy.labelsOf(this.labelPath);
    if (position !== undefined) {
      const { offset, headBytes, head, seamBytes, seam, piece, generation, previous } = position;
      this.progress = { state: { offset, headBytes, head, seamBytes, seam }, piece, generation, previous };
    }
    const { offset } = this.progress.state;
    this.birthMs = position?.birthMs ?? stat.birthMs;
    this.sizeBytes = stat.size;
    this.seenBytes = position?.seenBytes ?? stat.size;
    this.verifiedBytes = position?.seenBytes ?? 0;
    this.hasShrunk = stat.size < this.seenBytes;
    this.mtimeMs = stat.mtimeMs;
    this.changedMs = nowMs;
    this.observedMs = nowMs;
    this.lostMs = nowMs;
    this.isFresh = position === undefined;
    this.mayBeHole = offset === 0 && this.progress.generation > 0;
    this.emittedOffset = offset;
    this.durableOffset = offset;
  }

  get offset(): number {
    return this.progress.state.offset;
  }

  get isCaughtUp(): boolean {
    return !this.isDue && this.offset >= this.sizeBytes;
  }

  get isDurable(): boolean {
    return this.durableOffset >= this.emittedOffset;
  }

  /**
   * Takes note of a look at the file, which began at `askedMs`. A shrinking one keeps `seenBytes`, until the reader has
   * settled what was lost.
   */
  observe(stat: TailStat, nowMs: number, askedMs: number): void {
    // A look that another one overtook may show a size from before the last lines: that is not a shrinking file.
    if (stat.size < this.sizeBytes && askedMs < this.observedMs) return;
    this.observedMs = nowMs;
    if (stat.size === this.sizeBytes && stat.mtimeMs === this.mtimeMs) return;
    if (stat.size < this.sizeBytes) this.hasShrunk = true;
    if (!this.hasShrunk) this.seenBytes = Math.max(this.seenBytes, stat.size);
    this.sizeBytes = stat.size;
    this.mtimeMs = stat.mtimeMs;
    this.changedMs = nowMs;
    this.isDue = true;
  }

  /** The position to travel with a block that ends at `progress`. */
  positionAt(progress: Progress, readAtMs: number): string {
    const { state, isGone = false, ...others } = progress;
    const { realPath, labelPath, namedAtMs } = this;
    return encodePosition({
      ...state,
      ...others,
      isGone,
      path: labelPath,
      ...(realPath !== undefined && realPath !== labelPath && { realPath }),
      ...(namedAtMs !== undefined && { namedAtMs }),
      seenBytes: this.#seenBytesAt(progress),
      birthMs: this.birthMs,
      readAtMs,
    });
  }

  #seenBytesAt({ state, generation, isGone }: Progress): number {
    if (generation !== this.progress.generation) return 0;
    // What was told as lost is not told again.
    return isGone === true ? state.offset : Math.max(this.seenBytes, state.offset);
  }

  /** A batch with this position is acknowledged. One from before a truncation says nothing about what came after. */
  onDurable(positionText: string): void {
    const position = decodePosition(positionText);
    if (position?.generation !== this.progress.generation) return;
    this.durableOffset = Math.max(this.durableOffset, position.offset);
  }

  /** A copy goes on where its original was left, as one stream with it. */
  beginAt(state: ReadState, labelPath: string): void {
    this.progress = { ...this.progress, state, previous: [state] };
    this.emittedOffset = state.offset;
    this.durableOffset = state.offset;
    this.labelPath = labelPath;
    this.namedAtMs = 0;
    this.labels = this.foundBy.labelsOf(labelPath);
    this.copyOf = undefined;
    this.isFresh = false;
  }

  /** Nothing is read of what the file has now. */
  startAgain(progress: Progress, stat: TailStat): void {
    this.progress = progress;
    this.emittedOffset = 0;
    this.durableOffset = 0;
    this.hasShrunk = false;
    this.seenBytes = stat.size;
    this.verifiedBytes = 0;
    this.mayBeHole = true;
    this.downSinceMs = undefined;
    this.isDue = true;
  }

  /** The file has other content now, under the name it has now. */
  becomeOther(birthMs: number): void {
    this.birthMs = birthMs;
    this.labelPath = this.path;
    this.namedAtMs = undefined;
    this.labels = this.foundBy.labelsOf(this.path);
  }

  status(): InputStatus {
    return {
      source: this.source,
      path: this.path,
      sizeBytes: this.sizeBytes,
      readBytes: this.offset,
      durableBytes: Math.min(this.durableOffset, this.offset),
      gaps: this.gaps,
      gapBytes: this.gapBytes,
      ...(this.problem !== undefined && { problem: this.problem }),
    };
  }
}
