import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { LIMITS } from '../limits.ts';

/**
 * A frame is a sealed batch as it stands on disk and on the wire:
 *
 *   0  magic "LVB1"        4
 *   4  header length       u32 LE
 *   8  payload length      u32 LE
 *  12  CRC-32 of payload   u32 LE
 *  16  signature           64 (Ed25519 over the header)
 *  80  CRC-32 of bytes 0…80 and the header   u32 LE
 *  84  header, payload
 */
export const PREAMBLE_BYTES = 84;
export const FRAME_MAGIC = Buffer.from('LVB1', 'latin1');
const SIGNATURE_BYTES = 64;
const NO_BYTES = Buffer.alloc(0);

export interface Preamble {
  readonly headerBytes: number;
  readonly payloadBytes: number;
  readonly payloadCrc: number;
  readonly frameBytes: number;
}

export interface Frame {
  readonly header: Buffer;
  readonly payload: Buffer;
  readonly signature: Buffer;
}

/** The preamble and header as one buffer; the payload is written after it as it is, uncopied. */
export function frameHead(
  header: Uint8Array,
  payload: Uint8Array,
  payloadCrc: number,
  signature: Uint8Array,
): Buffer {
  const head = Buffer.allocUnsafe(PREAMBLE_BYTES + header.length);
  FRAME_MAGIC.copy(head, 0);
  head.writeUInt32LE(header.length, 4);
  head.writeUInt32LE(payload.length, 8);
  head.writeUInt32LE(payloadCrc, 12);
  head.set(signature, 16);
  head.set(header, PREAMBLE_BYTES);
  head.writeUInt32LE(headCrc(head), 80);
  return head;
}

function headCrc(head: Buffer): number {
  return crc32(head.subarray(PREAMBLE_BYTES), crc32(head.subarray(0, 80)));
}

/** Undefined when the bytes are not the start of a frame within bounds. */
export function readPreamble(bytes: Buffer): Preamble | undefined {
  if (bytes.length < PREAMBLE_BYTES || bytes.compare(FRAME_MAGIC, 0, 4, 0, 4) !== 0) return undefined;
  const headerBytes = bytes.readUInt32LE(4);
  const payloadBytes = bytes.readUInt32LE(8);
  if (headerBytes > LIMITS.headerBytesMax || payloadBytes > LIMITS.payloadBytesMax) return undefined;
  return {
    headerBytes,
    payloadBytes,
    payloadCrc: bytes.readUInt32LE(12),
    frameBytes: PREAMBLE_BYTES + headerBytes + payloadBytes,
  };
}

/** Header bytes whose checksum holds, or undefined. `head` starts at the frame and holds preamble and header. */
export function readHead(head: Buffer): { header: Buffer; signature: Buffer } | undefined {
  const preamble = readPreamble(head);
  if (!preamble || head.length < PREAMBLE_BYTES + preamble.headerBytes) return undefined;
  const exact = head.subarray(0, PREAMBLE_BYTES + preamble.headerBytes);
  if (headCrc(exact) !== head.readUInt32LE(80)) return undefined;
  return { header: exact.subarray(PREAMBLE_BYTES), signature: exact.subarray(16, 16 + SIGNATURE_BYTES) };
}

/** A whole frame whose both checksums hold, or undefined. */
export function readFrame(bytes: Buffer): Frame | undefined {
  const preamble = readPreamble(bytes);
  if (!preamble || bytes.length !== preamble.frameBytes) return undefined;
  const head = readHead(bytes);
  if (!head) return undefined;
  const payload = bytes.subarray(PREAMBLE_BYTES + preamble.headerBytes);
  if (crc32(payload) !== preamble.payloadCrc) return undefined;
  return {
    header: head.header,
    payload: payload.length === 0 ? NO_BYTES : payload,
    signature: head.signature,
  };
}

/** The hash by which the next batch refers to this one. */
export function headerHash(header: Uint8Array): Buffer {
  return hash('sha256', header, 'buffer');
}
