import type { Metadata } from '../../store/index.ts';

const NEWLINE = 10;
const CARRIAGE_RETURN = 13;
const CRLF = Buffer.from('\r\n');

/** What to take from the front of a chunk. */
export interface Cut {
  /**
   * `lines`: whole lines. `piece`: a part of a line that is too long. `unfinished`: the start of a line whose end
   * hasn't come. `blank`: only the newline of a line that was already given out; there is nothing to give. `hole`:
   * zeros that nobody wrote.
   */
  readonly kind: 'lines' | 'piece' | 'unfinished' | 'blank' | 'hole';
  /** Bytes of the chunk that are done with. */
  readonly consumed: number;
  /** How many pieces of the line at the new place were given out; 0 at the start of a line. */
  readonly piece: number;
  readonly metadata?: Metadata;
}

/**
 * Takes what can be taken: all whole lines of `chunk`, or one piece of a line that is longer than `lineBytesMax`.
 * Undefined when the chunk ends within its first line.
 *
 * `chunk` holds at most `lineBytesMax + 1` bytes, so no whole line in it can be too long. `piece` > 0 says that it
 * starts in the middle of a line of which that many pieces were given out: the rest of the line comes alone, marked.
 */
export function cutLines(chunk: Buffer, piece: number, lineBytesMax: number): Cut | undefined {
  const end = piece > 0 ? chunk.indexOf(NEWLINE) : chunk.lastIndexOf(NEWLINE);
  if (end < 0) {
    if (chunk.length <= lineBytesMax) return undefined;
    return {
      kind: 'piece',
      consumed: lineBytesMax,
      piece: piece + 1,
      metadata: pieceMetadata(piece + 1, false),
    };
  }
  const consumed = end + 1;
  if (piece === 0) return { kind: 'lines', consumed, piece: 0 };
  const isBlank = end === 0 || (end === 1 && chunk[0] === CARRIAGE_RETURN);
  if (isBlank) return { kind: 'blank', consumed, piece: 0 };
  return { kind: 'lines', consumed, piece: 0, metadata: pieceMetadata(piece + 1, true) };
}

/**
 * Takes an unfinished line, because nothing more came for a while. Its first part is not marked: mostly it is the
 * whole line, without a newline at the end of its file. If the rest does come, it is marked as piece 2.
 */
export function cutUnfinished(chunk: Buffer, piece: number): Cut {
  const cut = { kind: 'unfinished', consumed: chunk.length, piece: piece + 1 } as const;
  return piece === 0 ? cut : { ...cut, metadata: pieceMetadata(piece + 1, false) };
}

/** The bytes of a cut as lines that each end in `\n`; `\r\n` becomes `\n`. May change the chunk in place. */
export function bytesOfCut(chunk: Buffer, cut: Cut): Buffer {
  const taken = chunk.subarray(0, cut.consumed);
  if (cut.kind === 'blank' || cut.kind === 'hole') return taken.subarray(0, 0);
  if (cut.kind === 'lines') return toLineFeeds(taken);
  const bytes = Buffer.allocUnsafeSlow(taken.length + 1);
  taken.copy(bytes);
  bytes[taken.length] = NEWLINE;
  return cut.kind === 'unfinished' ? toLineFeeds(bytes) : bytes;
}

function pieceMetadata(piece: number, isLast: boolean): Metadata {
  return isLast ? { logvine_piece: `${piece}`, logvine_piece_last: 'true' } : { logvine_piece: `${piece}` };
}

/** Drops one `\r` before each `\n`, in place. Costs one search where there is none. */
export function toLineFeeds(bytes: Buffer): Buffer {
  let hit = bytes.indexOf(CRLF);
  if (hit < 0) return bytes;
  let to = hit;
  let from = hit + 1;
  while ((hit = bytes.indexOf(CRLF, from)) >= 0) {
    bytes.copyWithin(to, from, hit);
    to += hit - from;
    from = hit + 1;
  }
  bytes.copyWithin(to, from);
  return bytes.subarray(0, to + bytes.length - from);
}
