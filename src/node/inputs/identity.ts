import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { TailHandle, TailStat } from './files.ts';

/** A file is known by device and inode, and by its content: its first bytes, and the bytes before the place read to. */
export const HEAD_BYTES_MAX = 1_024;
export const SEAM_BYTES_MAX = 64;

/** How much of a file was read, and how to tell later that it is still the same file. */
export interface ReadState {
  /** Bytes of the file that were given out. */
  readonly offset: number;
  /** Hash of the first `headBytes` = min(1024, offset) bytes. */
  readonly headBytes: number;
  readonly head: string;
  /** CRC of the `seamBytes` = min(64, offset) bytes before `offset`. */
  readonly seamBytes: number;
  readonly seam: number;
}

export const NOTHING_READ: ReadState = { offset: 0, headBytes: 0, head: '', seamBytes: 0, seam: 0 };

/** What a batch header keeps of a tailed file. Device and inode are in the name of the source. */
export interface TailPosition extends ReadState {
  /** The path under which the file was found first: its `filename` label, also after a rename. */
  readonly path: string;
  /** Where it stood when it was last opened, if elsewhere: behind a symbolic link, or renamed. */
  readonly realPath?: string;
  /** When it was last known to have the name `path`, if it was read after it had lost that; 0 of a copy, which never had it. */
  readonly namedAtMs?: number;
  /** It was told that the file is gone, and what is lost with it. Older versions don't say. */
  readonly isGone?: boolean;
  /** How often the file was truncated and read again from its beginning. */
  readonly generation: number;
  /** Pieces given out of the line that `offset` is in; 0 at the start of a line. */
  readonly piece: number;
  /** The size at the last look; what lies between `offset` and it was seen but not yet read. */
  readonly seenBytes: number;
  readonly birthMs: number;
  readonly readAtMs: number;
  /**
   * Where reading stood when the file was truncated, newest first: recognises the copies that copytruncate leaves. Of a
   * copy: where the original stood.
   */
  readonly previous: readonly ReadState[];
}

/** How many truncations of a file are remembered. */
export const PREVIOUS_MAX = 4;

const VERSION = 1;

export function sourceName(file: { readonly device: string; readonly inode: string }): string {
  return `file:${file.device}:${file.inode}`;
}

/** The device and inode of which `source` is the name. */
export function fileOfSource(source: string): { readonly device: string; readonly inode: string } {
  const [, device, inode] = source.split(':');
  return { device, inode };
}

export function encodePosition(position: TailPosition): string {
  return JSON.stringify({ version: VERSION, ...position });
}

/** Undefined when the text is not a position that this version can use; the file is then read from its beginning. */
export function decodePosition(text: string): TailPosition | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { version, ...position } = value as TailPosition & { version: unknown };
  const numbers = [
    position.generation,
    position.piece,
    position.seenBytes,
    position.birthMs,
    position.readAtMs,
    position.namedAtMs ?? 0,
  ];
  const isValid =
    version === VERSION &&
    typeof position.path === 'string' &&
    (position.realPath === undefined || typeof position.realPath === 'string') &&
    numbers.every((number) => Number.isFinite(number) && number >= 0) &&
    isReadState(position) &&
    Array.isArray(position.previous) &&
    position.previous.length <= PREVIOUS_MAX &&
    position.previous.every(isReadState);
  return isValid ? position : undefined;
}

function isReadState(state: ReadState): boolean {
  return (
    typeof state === 'object' &&
    state !== null &&
    Number.isSafeInteger(state.offset) &&
    state.offset >= 0 &&
    state.headBytes === Math.min(HEAD_BYTES_MAX, state.offset) &&
    state.seamBytes === Math.min(SEAM_BYTES_MAX, state.offset) &&
    typeof state.head === 'string' &&
    typeof state.seam === 'number'
  );
}

export function sameFile(a: TailStat, b: { readonly device: string; readonly inode: string }): boolean {
  return a.device === b.device && a.inode === b.inode;
}

export function hashHead(head: Buffer): string {
  return createHash('sha256').update(head).digest('hex').slice(0, 20);
}

/** Whether the first bytes of a file are those that were read. `head` are its first bytes, up to 1 KiB. */
export function matchesHead(state: ReadState, head: Buffer): boolean {
  if (state.headBytes === 0) return true;
  return head.length >= state.headBytes && hashHead(head.subarray(0, state.headBytes)) === state.head;
}

/** Whether the bytes before the offset are those that were read. */
export function matchesSeam(state: ReadState, seam: Buffer): boolean {
  return seam.length === state.seamBytes && (state.seamBytes === 0 || crc32(seam) === state.seam);
}

/** The state after `taken` more bytes. `head`: the file's first bytes; `before`: at least its 64 bytes before the new offset. */
export function stateAfter(state: ReadState, taken: number, head: Buffer, before: Buffer): ReadState {
  const offset = state.offset + taken;
  const headBytes = Math.min(HEAD_BYTES_MAX, offset);
  const seamBytes = Math.min(SEAM_BYTES_MAX, offset);
  return {
    offset,
    headBytes,
    head: headBytes === state.headBytes ? state.head : hashHead(head.subarray(0, headBytes)),
    seamBytes,
    seam: crc32(before.subarray(before.length - seamBytes)),
  };
}

/**
 * Whether an open file of `size` bytes begins with what was read in `state`: it is that file, or a copy of it.
 * A file that is shorter is compared by its first KiB alone, and only when that was read in full.
 */
export async function beginsWith(handle: TailHandle, size: number, state: ReadState): Promise<boolean> {
  if (state.offset === 0) return false;
  const isShorter = size < state.offset;
  if (isShorter && state.headBytes < HEAD_BYTES_MAX) return false;
  if (!matchesHead(state, await handle.read(0, state.headBytes))) return false;
  if (isShorter) return true;
  return matchesSeam(state, await handle.read(state.offset - state.seamBytes, state.seamBytes));
}
