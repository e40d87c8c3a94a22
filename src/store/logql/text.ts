/**
 * Lines and literals are bytes that need not be UTF-8, but most stages work on strings. A byte that is not part of
 * valid UTF-8 becomes the lone surrogate U+DC00 + byte, and becomes that byte again on the way out, so nothing is lost.
 */
import { isAscii, isUtf8 } from 'node:buffer';

const ESCAPE_BASE = 0xdc00;

/** Length of the valid UTF-8 sequence at `at`, or 0. Overlong forms and surrogates are not valid, as in Go. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at];
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (at + length > bytes.length) return 0;
  const second = bytes[at + 1];
  const low = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const high = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (second < low || second > high) return 0;
  for (let i = at + 2; i < at + length; i++) if ((bytes[i] & 0xc0) !== 0x80) return 0;
  return length;
}

/** Calls `valid` for each run of valid UTF-8 and `bad` for each byte outside of one, in order. */
function eachRun(
  bytes: Buffer,
  valid: (from: number, to: number) => void,
  bad: (byte: number) => void,
): void {
  let from = 0;
  let at = 0;
  while (at < bytes.length) {
    const length = sequenceLength(bytes, at);
    if (length > 0) {
      at += length;
      continue;
    }
    if (at > from) valid(from, at);
    bad(bytes[at]);
    at++;
    from = at;
  }
  if (at > from) valid(from, at);
}

/** Bytes as a string, reversible by `encodeText`. */
export function decodeText(bytes: Buffer): string {
  if (isAscii(bytes)) return bytes.toString('latin1', 0, bytes.length);
  if (isUtf8(bytes)) return bytes.toString('utf8', 0, bytes.length);
  let text = '';
  eachRun(
    bytes,
    (from, to) => (text += bytes.toString('utf8', from, to)),
    (byte) => (text += String.fromCharCode(ESCAPE_BASE + byte)),
  );
  return text;
}

/** The bytes of a string that `decodeText` made, or of any string. */
export function encodeText(text: string): Buffer {
  if (text.isWellFormed()) return Buffer.from(text, 'utf8');
  const parts: Buffer[] = [];
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0xd800 && unit < 0xdc00 && isLowSurrogate(text.charCodeAt(i + 1))) {
      i++;
    } else if (unit >= ESCAPE_BASE + 0x80 && unit <= ESCAPE_BASE + 0xff) {
      parts.push(Buffer.from(text.slice(from, i), 'utf8'), Buffer.of(unit - ESCAPE_BASE));
      from = i + 1;
    }
  }
  parts.push(Buffer.from(text.slice(from), 'utf8'));
  return Buffer.concat(parts);
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}

/** The same line with every byte that is not valid UTF-8 replaced by U+FFFD, each on its own, as Go reads it. */
export function asValidUtf8(bytes: Buffer): Buffer {
  if (isUtf8(bytes)) return bytes;
  const parts: Buffer[] = [];
  eachRun(
    bytes,
    (from, to) => parts.push(bytes.subarray(from, to)),
    () => parts.push(REPLACEMENT),
  );
  return Buffer.concat(parts);
}

const REPLACEMENT = Buffer.from('\ufffd', 'utf8');

// oxlint-disable-next-line no-control-regex
const UNREADABLE = /[\ufffd\udc80-\udcff]/;

/** Replaces what is not a character by a space, as Loki does in label values. */
export function withoutInvalid(text: string): string {
  if (!UNREADABLE.test(text)) return text;
  let out = '';
  for (const char of text) {
    const code = char.codePointAt(0) as number;
    out += code === 0xfffd || (code >= 0xdc80 && code <= 0xdcff) ? ' ' : char;
  }
  return out;
}
