import { crc32 } from 'node:zlib';

/**
 * The n-gram filter of a batch: one bit for each distinct run of four bytes in its lines (ASCII letters folded to lower
 * case). A literal of n ≥ 4 bytes can occur only if all of its n − 3 runs are set, so the filter prunes *substring*
 * searches, which a filter over whole words cannot. One hash a gram is enough, since a literal asks for several.
 *
 * The bitmap has 2^18 bits and is halved while it stays sparse (see docs/decisions/0002-ngram-filter.md).
 */

const LOG2_BITS_MAX = 18;
const LOG2_BITS_MIN = 6;
/** Halving goes on while the halved bitmap would be at most this full. */
const FILL_MAX = 0.36;
const MULTIPLIER = 0x9e3779b1;

const FOLD = new Uint8Array(256);
for (let byte = 0; byte < 256; byte++) FOLD[byte] = byte >= 65 && byte <= 90 ? byte + 32 : byte;

/** Builds a filter over several blocks of lines: a power of two of bytes, and their CRC-32. */
export function buildFilter(blocks: readonly Uint8Array[]): Buffer {
  const log2Bits = log2BitsFor(blocks.reduce((sum, { length }) => sum + Math.max(0, length - 3), 0));
  const words = new Int32Array(1 << (log2Bits - 5));
  for (const block of blocks) addBlock(words, block, log2Bits);
  const bits = fold(words);
  const checksum = Buffer.allocUnsafe(4);
  checksum.writeUInt32LE(crc32(bits));
  return Buffer.concat([bits, checksum]);
}

/**
 * The bits of a stored filter, or undefined when they fail their checksum. It has one of its own, because a filter is
 * read without the payload around it, and a flipped bit in it would hide lines.
 */
export function readFilter(stored: Buffer): Uint8Array | undefined {
  const bits = stored.subarray(0, -4);
  const sound = bits.length >= 8 && (bits.length & (bits.length - 1)) === 0;
  return sound && crc32(bits) === stored.readUInt32LE(bits.length) ? bits : undefined;
}

/**
 * The size to begin with: that which a bitmap of the largest size would be halved to at least, since so many grams do not fill
 * it however few of them are the same.
 */
function log2BitsFor(grams: number): number {
  let log2Bits = LOG2_BITS_MAX;
  while (log2Bits > LOG2_BITS_MIN && grams <= FILL_MAX * 2 ** (log2Bits - 1)) log2Bits--;
  return log2Bits;
}

function addBlock(words: Int32Array, block: Uint8Array, log2Bits: number): void {
  const fold = FOLD;
  const shift = 32 - log2Bits;
  const length = block.length;
  if (length < 4) return;
  let gram = (fold[block[0]] << 16) | (fold[block[1]] << 8) | fold[block[2]];
  for (let at = 3; at < length; at++) {
    gram = (gram << 8) | fold[block[at]];
    const bit = Math.imul(gram, MULTIPLIER) >>> shift;
    words[bit >>> 5] |= 1 << bit;
  }
}

/** The top bits of a hash choose the bit, so half of a bitmap is each pair of neighbours or-ed. */
function fold(words: Int32Array): Buffer {
  let bits = Buffer.from(words.buffer, words.byteOffset, words.byteLength);
  while (bits.length > 1 << (LOG2_BITS_MIN - 3)) {
    const half = halve(bits);
    if (countBits(half) > FILL_MAX * half.length * 8) break;
    bits = half;
  }
  return bits;
}

/** Byte → four bits: neighbours or-ed. */
const PAIRS = new Uint8Array(256);
const ONES = new Uint8Array(256);
for (let byte = 0; byte < 256; byte++) {
  for (let pair = 0; pair < 4; pair++) if ((byte >> (pair * 2)) & 3) PAIRS[byte] |= 1 << pair;
  ONES[byte] = (byte & 1) + ONES[byte >> 1];
}

function halve(bits: Buffer): Buffer {
  const half = Buffer.allocUnsafe(bits.length / 2);
  for (let at = 0; at < half.length; at++) half[at] = PAIRS[bits[2 * at]] | (PAIRS[bits[2 * at + 1]] << 4);
  return half;
}

function countBits(bits: Buffer): number {
  let count = 0;
  for (let at = 0; at < bits.length; at++) count += ONES[bits[at]];
  return count;
}

/** The grams of a literal, hashed once a query. Empty when it is too short to say anything. */
export function gramsOf(literal: Uint8Array): Int32Array {
  const grams = new Set<number>();
  for (let at = 3; at < literal.length; at++) {
    const gram =
      (FOLD[literal[at - 3]] << 24) |
      (FOLD[literal[at - 2]] << 16) |
      (FOLD[literal[at - 1]] << 8) |
      FOLD[literal[at]];
    grams.add(Math.imul(gram, MULTIPLIER));
  }
  return Int32Array.from(grams);
}

/** False only when no line of the batch contains the literal (in any case of its ASCII letters). */
export function filterMayContain(filter: Uint8Array, grams: Int32Array): boolean {
  const shift = 32 - (Math.clz32(1) - Math.clz32(filter.length * 8));
  for (let at = 0; at < grams.length; at++) {
    const bit = grams[at] >>> shift;
    if ((filter[bit >>> 3] & (1 << (bit & 7))) === 0) return false;
  }
  return true;
}
