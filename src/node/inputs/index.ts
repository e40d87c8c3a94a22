import type { Labels, Metadata } from '../../store/index.ts';

/**
 * Where a tailed source stands after a block, kept in the header of the batch that carries the block (I3). `source`
 * names the file across restarts; `position` is opaque to everything but the input that made it.
 */
export interface SourcePosition {
  readonly source: string;
  readonly position: string;
}

/** Whole lines of one stream as they were read, each ended by `\n`. Not yet split: that is the seal worker's work. */
export interface RawBlock {
  readonly kind: 'raw';
  readonly labels: Labels;
  readonly bytes: Buffer;
  /**
   * Wall clock when the bytes were read: the hint for a missing year, and the time of lines that carry none and do not
   * go on with a line before them. Blocks go on with one another whose `labels` are the same object.
   */
  readonly readAtMs: number;
  /** Structured metadata for every line of the block (a piece of an overlong line, a gap record). */
  readonly metadata?: Metadata;
  readonly position?: SourcePosition;
  /** The source held more when this was read, so that the next block comes without a pause. */
  readonly hasMore?: boolean;
  /** A line of the input's own (a gap record): it goes on with none before it, and none goes on with it. */
  readonly isNote?: boolean;
  /** Zone of times that name none, where it is not the node's. */
  readonly timeZone?: string;
}

/** What inputs write into; implemented by the batcher. */
export interface BlockSink {
  /**
   * Takes a block, and copies its bytes before it returns: the caller uses their memory again. Resolves when there is room
   * for the next one, which is how back-pressure reaches a source. Rejects with LV_CLOSED when the node is closing.
   */
  write(block: RawBlock): Promise<void>;
  /** A position that no lines go with: it is stored with whatever is written next. */
  note(position: SourcePosition): void;
}

/** One row of the status page's "inputs". */
export interface InputStatus {
  readonly source: string;
  readonly path: string;
  readonly sizeBytes: number;
  readonly readBytes: number;
  readonly durableBytes: number;
  /** Places where bytes could not be read before they were gone; each left a gap record among the lines. */
  readonly gaps?: number;
  /** How many bytes those were, as far as it is known. */
  readonly gapBytes?: number;
  /** Why the input is not being read, when it is not. */
  readonly problem?: string;
}

/** A running input. */
export interface Input {
  /** A batch with this position is acknowledged (I3): rotated files may be let go, `durableBytes` moves. */
  onDurable(position: SourcePosition): void;
  status(): InputStatus[];
  /** Stops reading; resolves once no further `write` will happen. */
  close(): Promise<void>;
}

export { fileLabels } from './labels.ts';
export { systemTailDisk, type TailDisk } from './files.ts';
export { TAIL_LIMITS, type TailLimits } from './limits.ts';
export { startStdin, type StdinOptions } from './stdin.ts';
export { startTail, type TailOptions, type TailTotals } from './tail.ts';
export type { TailLog, TailSource } from './tail-sources.ts';
