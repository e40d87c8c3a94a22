import { LIMITS, LogvineError } from '../../store/index.ts';

/** The bounds of tailing. */
export interface TailLimits {
  /** How often files that change are looked at. */
  readonly tickMs: number;
  /** How often the patterns are listed again; more rarely when listing takes long (at most 2 % of the time). */
  readonly scanMs: number;
  /** A file that didn't change for this long is quiet: it is looked at about once a second, as far as the budget goes. */
  readonly quietMs: number;
  /** Quiet files looked at each tick, at most; with more of them, each waits longer for its turn. */
  readonly quietChecksPerTickMax: number;
  /** How long an unfinished last line is held back before it is given out without its end. */
  readonly idleFlushMs: number;
  /** How long a file that lost its name (renamed out of all patterns) is still followed after its last change. */
  readonly rotatedLingerMs: number;
  /** The same for a deleted file, whose space on disk we hold. */
  readonly deletedLingerMs: number;
  /** Files known at once. */
  readonly filesMax: number;
  readonly openFilesMax: number;
  /** Files being read at once: bounds the bytes in flight to about `readersMax` × `lineBytesMax`. */
  readonly readersMax: number;
  readonly readBytes: number;
  /** A longer line comes in pieces. */
  readonly lineBytesMax: number;
  /** What one file may read before the next one has its turn. */
  readonly turnBytesMax: number;
  /** First and longest wait before a file that failed is tried again. */
  readonly retryMs: number;
  readonly retryMsMax: number;
}

export const TAIL_LIMITS: TailLimits = {
  tickMs: 250,
  scanMs: 1_000,
  quietMs: 10_000,
  quietChecksPerTickMax: 250,
  idleFlushMs: 5_000,
  rotatedLingerMs: 300_000,
  deletedLingerMs: 10_000,
  filesMax: 100_000,
  openFilesMax: 512,
  readersMax: 4,
  readBytes: 512 * 1024,
  lineBytesMax: LIMITS.lineBytesMax,
  turnBytesMax: 4 * 1024 * 1024,
  retryMs: 1_000,
  retryMsMax: 60_000,
};

/** Throws LV_CONFIG_INVALID when the bounds contradict each other. */
export function checkTailLimits(limits: TailLimits): void {
  const relations: Array<[boolean, string]> = [
    [
      Object.values(limits).every((value) => Number.isFinite(value) && value > 0),
      'every limit must be above 0',
    ],
    [limits.readBytes <= limits.lineBytesMax + 1, 'readBytes must not be above lineBytesMax + 1'],
    [limits.openFilesMax > limits.readersMax, 'openFilesMax must be above readersMax'],
    [limits.retryMs <= limits.retryMsMax, 'retryMs must not be above retryMsMax'],
  ];
  for (const [holds, rule] of relations) {
    if (!holds) throw new LogvineError('LV_CONFIG_INVALID', `Limits of tailing: ${rule}`);
  }
}
