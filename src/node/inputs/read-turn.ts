import { LogvineError, type Clock } from '../../store/index.ts';
import type { TailHandle, TailStat } from './files.ts';
import {
  HEAD_BYTES_MAX,
  SEAM_BYTES_MAX,
  NOTHING_READ,
  PREVIOUS_MAX,
  matchesHead,
  matchesSeam,
  stateAfter,
} from './identity.ts';
import type { BlockSink, RawBlock } from './index.ts';
import type { TailLimits } from './limits.ts';
import { bytesOfCut, cutLines, cutUnfinished, type Cut } from './lines.ts';
import type { Progress, TailedFile } from './tailed-file.ts';

/** What reading a file needs. */
export interface TurnContext {
  readonly sink: BlockSink;
  readonly clock: Clock;
  readonly limits: TailLimits;
  readonly isClosing: () => boolean;
  /** Another file has the inode of one that is gone, and with it the source, and is being read. */
  readonly isSuperseded: (file: TailedFile) => boolean;
  /**
   * The file was truncated; called before it is read again from its beginning.
   * Resolves to the size of its copy, or 0.
   */
  readonly onTruncated: (file: TailedFile) => Promise<number>;
  /** Bytes were lost; of a file that changed while the node was down, at least so many. */
  readonly onGap: (file: TailedFile, lostBytes: number) => void;
  /** How much was lost while the node was down, if anything, nobody knows. */
  readonly onUnknownLoss: (text: string) => void;
}

export type GapKind = 'truncated' | 'replaced' | 'deleted';

/**
 * Reads a file on, up to `turnBytesMax`, one block at a time: the next is read only when the sink has taken the last.
 * Resolves to whether there is more to read now. Rejects with the error of the disk or the sink; `file.progress` then
 * stands after the last block that the sink took.
 */
export async function readTurn(file: TailedFile, handle: TailHandle, context: TurnContext): Promise<boolean> {
  const askedMs = context.clock.monotonicMs();
  const stat = await handle.stat();
  file.observe(stat, context.clock.monotonicMs(), askedMs);
  const head = await handle.read(0, HEAD_BYTES_MAX);
  file.isDue = false;
  const isShort = stat.size < file.offset || (file.hasShrunk && file.offset === 0 && file.seenBytes > 0);
  if (isShort || !matchesHead(file.progress.state, head)) {
    await startAgain(file, stat, context);
    return true;
  }
  file.verifiedBytes = Math.max(file.verifiedBytes, stat.size);
  if (file.hasShrunk) await settleCutTail(file, stat, context);

  // Sinks copy what they take, so one buffer serves every read of the turn, and the next turn's.
  const scratch = SCRATCH.pop() ?? Buffer.allocUnsafeSlow(context.limits.readBytes + SEAM_BYTES_MAX);
  try {
    const hasMore = await readOn(file, handle, stat, head, scratch, context);
    file.downSinceMs = undefined;
    return hasMore;
  } finally {
    SCRATCH.push(scratch);
  }
}

/** As many as turns ran at once, which is bounded. */
const SCRATCH: Buffer[] = [];

async function readOn(
  file: TailedFile,
  handle: TailHandle,
  stat: TailStat,
  head: Buffer,
  scratch: Buffer,
  context: TurnContext,
): Promise<boolean> {
  const turnEnd = file.offset + context.limits.turnBytesMax;
  let known = head;
  while (file.offset < stat.size && file.offset < turnEnd) {
    if (context.isClosing()) return false;
    const chunk = await readChunk(file, handle, stat.size, scratch, context.limits);
    if (!matchesSeam(file.progress.state, chunk.seam)) {
      await startAgain(file, stat, context);
      return true;
    }
    const isHole = file.mayBeHole && chunk.bytes[0] === 0;
    const cut = isHole ? cutHole(chunk.bytes) : (chunk.cut ?? flushable(file, chunk.bytes, stat, context));
    if (cut === undefined) return false;
    if (known.length < HEAD_BYTES_MAX) known = Buffer.concat([known.subarray(0, file.offset), chunk.bytes]);
    await give(file, chunk.whole, cut, known, stat.size, context);
    file.mayBeHole = isHole;
  }
  return file.offset < stat.size;
}

interface Chunk {
  /** The bytes before the offset, re-read to see that they are still the same, and the new ones after them. */
  readonly whole: Buffer;
  readonly seam: Buffer;
  readonly bytes: Buffer;
  readonly cut: Cut | undefined;
}

/** Reads the next chunk; a larger one if the line in it is longer than usual. */
async function readChunk(
  file: TailedFile,
  handle: TailHandle,
  size: number,
  scratch: Buffer,
  limits: TailLimits,
): Promise<Chunk> {
  const { offset, seamBytes } = file.progress.state;
  for (const most of [limits.readBytes, limits.lineBytesMax + 1]) {
    const wanted = Math.min(most, size - offset);
    const whole = await handle.read(offset - seamBytes, seamBytes + wanted, scratch);
    const bytes = whole.subarray(seamBytes);
    const cut = cutLines(bytes, file.progress.piece, limits.lineBytesMax);
    const isAll = bytes.length < wanted || wanted === size - offset;
    if (cut !== undefined || isAll || most > limits.lineBytesMax) {
      return { whole, seam: whole.subarray(0, seamBytes), bytes, cut };
    }
  }
  throw new LogvineError(
    'LV_INPUT_UNREADABLE',
    `${file.path}: a chunk holds neither a line nor a piece of one`,
  );
}

function cutHole(bytes: Buffer): Cut {
  let end = 0;
  while (end < bytes.length && bytes[end] === 0) end++;
  return { kind: 'hole', consumed: end, piece: 0 };
}

/** The unfinished last line, if it has waited long enough for its end. */
function flushable(file: TailedFile, bytes: Buffer, stat: TailStat, context: TurnContext): Cut | undefined {
  const isAtEnd = bytes.length > 0 && file.offset + bytes.length === stat.size;
  const waitedMs = context.clock.monotonicMs() - file.changedMs;
  if (!isAtEnd || waitedMs < context.limits.idleFlushMs) return undefined;
  return cutUnfinished(bytes, file.progress.piece);
}

async function give(
  file: TailedFile,
  whole: Buffer,
  cut: Cut,
  head: Buffer,
  size: number,
  context: TurnContext,
): Promise<void> {
  const { state, generation, previous } = file.progress;
  const before = whole.subarray(0, state.seamBytes + cut.consumed);
  const next = {
    state: stateAfter(state, cut.consumed, head, before),
    piece: cut.piece,
    generation,
    previous,
  };
  const bytes = bytesOfCut(whole.subarray(state.seamBytes), cut);
  const hasMore = next.state.offset < size;
  if (bytes.length > 0) await write(file, { bytes, metadata: cut.metadata, hasMore }, next, context);
  file.progress = next;
}

async function write(
  file: TailedFile,
  lines: Pick<RawBlock, 'bytes' | 'metadata' | 'hasMore' | 'isNote'>,
  next: Progress,
  context: TurnContext,
): Promise<void> {
  if (context.isClosing()) throw new LogvineError('LV_CLOSED', 'The node is shutting down');
  const readAtMs = context.clock.nowMs();
  const position = { source: file.source, position: file.positionAt(next, readAtMs) };
  file.isWriting = true;
  const { timeZone } = file.foundBy;
  try {
    await context.sink.write({
      kind: 'raw',
      labels: file.labels,
      ...(timeZone !== undefined && { timeZone }),
      readAtMs,
      ...lines,
      // The position of a source is that of the file that has the inode now.
      ...(!context.isSuperseded(file) && { position }),
    });
  } finally {
    file.isWriting = false;
  }
  file.emittedOffset = next.state.offset;
}

/** The content is not what was read: the file was truncated, or another one has taken its inode. */
async function startAgain(file: TailedFile, stat: TailStat, context: TurnContext): Promise<void> {
  const { state, generation, previous } = file.progress;
  const isOther = file.birthMs > 0 && stat.birthMs > 0 && file.birthMs !== stat.birthMs;
  const savedBytes = isOther ? 0 : await context.onTruncated(file);
  // What came while the node was down is in the copy.
  if (savedBytes > 0) file.downSinceMs = undefined;
  // If nobody saw it shrink, the last sizes seen may be those of the new content.
  const seenBytes = file.hasShrunk ? file.seenBytes : file.verifiedBytes;
  const lostBytes = Math.max(0, seenBytes - Math.max(state.offset, savedBytes));
  const next: Progress = {
    state: NOTHING_READ,
    piece: 0,
    generation: generation + 1,
    previous: isOther ? [] : [...(state.offset > 0 ? [state] : []), ...previous].slice(0, PREVIOUS_MAX),
  };
  // An inode is mostly reused after the old file was read to its end; then nothing was lost. Whether something was
  // written just before a truncation, nobody can know.
  if (!isOther || lostBytes > 0) {
    // The record of a replaced file has the old file's labels, so it says nothing about where the new one stands.
    if (isOther) await writeGap(file, 'replaced', lostBytes, { ...file.progress, isGone: true }, context);
    else await writeGap(file, 'truncated', lostBytes, next, context);
  }
  file.startAgain(next, stat);
  if (isOther) file.becomeOther(stat.birthMs);
}

/** The end of the file, not yet read, was cut off; what was read is still there. */
async function settleCutTail(file: TailedFile, stat: TailStat, context: TurnContext): Promise<void> {
  const lostBytes = Math.max(0, file.seenBytes - stat.size);
  file.hasShrunk = false;
  file.seenBytes = stat.size;
  file.verifiedBytes = stat.size;
  if (lostBytes > 0) await writeGap(file, 'truncated', lostBytes, file.progress, context);
}

/** The file is gone, and with it what had been seen of it and was not read, or what came while the node was down. */
export async function writeDeletedGap(file: TailedFile, context: TurnContext): Promise<void> {
  const lostBytes = file.seenBytes - file.offset;
  if (lostBytes === 0 && file.downSinceMs === undefined) return;
  await writeGap(file, 'deleted', lostBytes, { ...file.progress, isGone: true }, context);
  // Nothing is left to read of it; and its inode may be another file's next.
  file.sizeBytes = file.offset;
  file.seenBytes = file.offset;
  file.verifiedBytes = file.offset;
  file.downSinceMs = undefined;
}

const GAP_REASONS: Record<GapKind, string> = {
  truncated: 'truncated before they were read',
  replaced: 'the file was replaced before they were read',
  deleted: 'deleted before they were read',
};

const DOWN_REASONS: Record<GapKind, string> = {
  truncated: 'truncated',
  replaced: 'deleted',
  deleted: 'deleted, compressed or moved out of reach',
};

/** What is known to be lost; of a file that changed while the node was down, what is known of that. */
function gapText(file: TailedFile, kind: GapKind, lostBytes: number): string {
  // A name may hold anything; a record is one line, and safe to print.
  // eslint-disable-next-line no-control-regex
  const name = file.labelPath.replaceAll(/[\u0000-\u001f\u007f]/g, '?');
  if (file.downSinceMs === undefined) {
    return lostBytes > 0
      ? `gap in ${name}: ${lostBytes} bytes lost (${GAP_REASONS[kind]})`
      : `${name} was truncated: all that was seen of it had been read; what was written right before, if anything, is lost`;
  }
  const readAt = new Date(file.downSinceMs).toISOString();
  const reason = `${DOWN_REASONS[kind]} while the node was down`;
  return lostBytes > 0
    ? `gap in ${name}: at least ${lostBytes} bytes lost (${reason}; what was written to it after ${readAt} is lost too)`
    : `${name} was ${reason}: it had been read to byte ${file.offset}, its end at ${readAt}; what was written to it later, if anything, is lost`;
}

async function writeGap(
  file: TailedFile,
  kind: GapKind,
  lostBytes: number,
  next: Progress,
  context: TurnContext,
): Promise<void> {
  const text = gapText(file, kind, lostBytes);
  const metadata = { detected_level: lostBytes > 0 ? 'warn' : 'info', logvine_gap: kind };
  await write(file, { bytes: Buffer.from(`logvine: ${text}\n`), metadata, isNote: true }, next, context);
  if (lostBytes > 0) {
    file.gaps++;
    file.gapBytes += lostBytes;
    context.onGap(file, lostBytes);
  } else if (file.downSinceMs !== undefined) {
    context.onUnknownLoss(text);
  }
}
