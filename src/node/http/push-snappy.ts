/**
 * Decodes a snappy block (not the framing format), the compression of Loki's protobuf push.
 *
 * Not left to a library: a literal whose four-byte length has its top bit set sends snappyjs backwards, for ever, and
 * these bytes come from the network. Here every step moves the read position forward and both ends are checked.
 */

/** Why a block was refused; the caller turns it into its own error. */
export class SnappyError extends Error {}

const PREAMBLE_BYTES_MAX = 5;

/**
 * The content of the block, a fresh buffer. The declared length is checked before anything is allocated.
 * Throws SnappyError when the block is malformed or declares more than `lengthMax` bytes.
 */
export function snappyUncompress(block: Uint8Array, lengthMax: number): Buffer {
  const preamble = readLength(block);
  if (preamble.length > lengthMax) {
    throw new SnappyError(`it would decompress to ${preamble.length} bytes, allowed are ${lengthMax}`);
  }
  // An element of two or three bytes makes at most 64: a block that declares far more lies, and would cost memory.
  if (preamble.length > block.length * 32) {
    throw new SnappyError('the snappy block declares more bytes than it can hold');
  }
  const out = Buffer.allocUnsafe(preamble.length);
  const filled = uncompressInto(block, preamble.end, out);
  if (filled !== out.length) throw new SnappyError('the snappy block is shorter than it declares');
  return out;
}

function readLength(block: Uint8Array): { length: number; end: number } {
  let length = 0;
  for (let at = 0; at < PREAMBLE_BYTES_MAX && at < block.length; at++) {
    const byte = block[at];
    length += (byte & 0x7f) * 2 ** (7 * at);
    if (byte < 0x80) return { length, end: at + 1 };
  }
  throw new SnappyError('the snappy block does not begin with a length');
}

/** Returns how many bytes of `out` were filled. */
function uncompressInto(block: Uint8Array, start: number, out: Buffer): number {
  let at = start;
  let filled = 0;
  while (at < block.length) {
    const tag = block[at++];
    const kind = tag & 3;
    if (kind === 0) {
      let length = (tag >>> 2) + 1;
      if (length > 60) {
        const extra = length - 60;
        length = readLittleEndian(block, at, extra) + 1;
        at += extra;
      }
      if (at + length > block.length || filled + length > out.length) throw overrun();
      out.set(block.subarray(at, at + length), filled);
      at += length;
      filled += length;
      continue;
    }
    const length = kind === 1 ? ((tag >>> 2) & 7) + 4 : (tag >>> 2) + 1;
    const offsetBytes = kind === 3 ? 4 : kind;
    const low = readLittleEndian(block, at, offsetBytes);
    const offset = kind === 1 ? ((tag >>> 5) << 8) | low : low;
    at += offsetBytes;
    if (offset === 0 || offset > filled || filled + length > out.length) throw overrun();
    copyWithin(out, filled, offset, length);
    filled += length;
  }
  return filled;
}

/** Copies may overlap what they write: `offset` 1 repeats the last byte. */
function copyWithin(out: Buffer, filled: number, offset: number, length: number): void {
  const from = filled - offset;
  for (let i = 0; i < length; i++) out[filled + i] = out[from + i];
}

function readLittleEndian(block: Uint8Array, at: number, count: number): number {
  if (at + count > block.length) throw overrun();
  let value = 0;
  for (let i = count - 1; i >= 0; i--) value = value * 256 + block[at + i];
  return value;
}

function overrun(): SnappyError {
  return new SnappyError('the snappy block points outside itself');
}
