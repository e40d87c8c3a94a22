import { hash } from 'node:crypto';
import { constants, zstdDecompressSync } from 'node:zlib';
import { LogvineError } from '../errors.ts';
import type { Columns } from './columns.ts';
import { decodeColumns } from './content.ts';
import { headerHash, readFrame, type Frame } from './frame.ts';
import { checkClaims, decodeHeader, type BatchHeader, type HeaderOptions } from './header.ts';
import { signedBy } from './identity.ts';

/** A frame that was checked in full. */
export interface VerifiedBatch {
  readonly header: BatchHeader;
  readonly headerHash: Buffer;
  readonly frame: Buffer;
}

/** Checks checksums, hash and signature (I4). Throws LV_FRAME_CORRUPT that says which did not hold. */
export function verifyFrame(bytes: Buffer): VerifiedBatch {
  const frame = readFrame(bytes);
  if (!frame) throw new LogvineError('LV_FRAME_CORRUPT', 'a frame does not match its checksums');
  const header = parseHeader(frame.header);
  const name = batchName(header);
  if (!hash('sha256', frame.payload, 'buffer').equals(header.payloadHash)) {
    throw new LogvineError('LV_FRAME_CORRUPT', `batch ${name}: the payload does not match its hash`);
  }
  if (!signedBy(header.origin, frame.header, frame.signature)) {
    throw new LogvineError('LV_FRAME_CORRUPT', `batch ${name}: the signature is not its origin's`);
  }
  return { header, headerHash: headerHash(frame.header), frame: bytes };
}

/** Decodes header bytes. Throws LV_FRAME_CORRUPT. */
export function parseHeader(bytes: Uint8Array, options?: HeaderOptions): BatchHeader {
  try {
    const header = decodeHeader(bytes, options);
    checkClaims(header);
    return header;
  } catch (cause) {
    throw new LogvineError('LV_FRAME_CORRUPT', `a batch header is malformed: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** `origin/epoch/seq`, as messages name a batch. */
export function batchName(id: { origin: string; epoch: number; seq: number }): string {
  return `${id.origin}/${id.epoch}/${id.seq}`;
}

/** Reads the content of the named stream parts; each block is decompressed once. Throws LV_FRAME_CORRUPT. */
export function openStreams(
  header: BatchHeader,
  payload: Frame['payload'],
  wanted: readonly number[],
): { part: number; columns: Columns }[] {
  try {
    return openParts(header, payload, wanted).map(({ part, columns, lines }) => {
      const decoded = decodeColumns(columns, lines);
      checkEntries(header, part, decoded);
      return { part, columns: decoded };
    });
  } catch (cause) {
    const name = batchName(header);
    throw new LogvineError('LV_FRAME_CORRUPT', `batch ${name}: ${(cause as Error).message}`, { cause });
  }
}

/** A stream part as it was encoded: the bytes of its columns, decompressed when first asked for, and its lines. */
export interface EncodedPart {
  readonly part: number;
  /** Throws RangeError. */
  readonly columns: Buffer;
  readonly lines: Buffer;
}

/** As `openStreams`, for those who decode what they need. Throws RangeError. */
export function openParts(
  header: BatchHeader,
  payload: Frame['payload'],
  wanted: readonly number[],
): EncodedPart[] {
  const opened: EncodedPart[] = [];
  const isWanted = new Set(wanted);
  const partsOfBlocks = partsByBlock(header);
  let payloadAt = header.filterBytes;
  for (const [block, extent] of header.blocks.entries()) {
    const linesAt = payloadAt + extent.columnsStored;
    const end = linesAt + extent.linesStored;
    const parts = partsOfBlocks[block];
    if (parts.some((part) => isWanted.has(part))) {
      const columnsStored = payload.subarray(payloadAt, linesAt);
      let decompressed: Buffer | undefined;
      const columns = (): Buffer => (decompressed ??= decompress(columnsStored, extent.columnsRaw));
      const lines = decompress(payload.subarray(linesAt, end), extent.linesRaw);
      let columnsStart = 0;
      let linesStart = 0;
      for (const part of parts) {
        const columnsEnd = columnsStart + header.streams[part].columnsBytes;
        const linesEnd = linesStart + header.streams[part].linesBytes;
        if (isWanted.has(part)) {
          const start = columnsStart;
          opened.push({
            part,
            get columns() {
              return columns().subarray(start, columnsEnd);
            },
            lines: lines.subarray(linesStart, linesEnd),
          });
        }
        columnsStart = columnsEnd;
        linesStart = linesEnd;
      }
    }
    payloadAt = end;
  }
  return opened;
}

/** Throws RangeError when a part has not as many entries as its header says. */
export function checkEntries(header: BatchHeader, part: number, { count }: Pick<Columns, 'count'>): void {
  if (count !== header.streams[part].entries) throw new RangeError('entries do not add up');
}

/** Block → its stream parts, in order: one pass, however many of both a header names. */
function partsByBlock({ blocks, streams }: BatchHeader): number[][] {
  const parts = blocks.map((): number[] => []);
  for (const [part, { block }] of streams.entries()) parts[block].push(part);
  return parts;
}

/** 32 MiB: more than the content of any batch, and the memory that a frame can make zstd set aside. */
const WINDOW_LOG_MAX = 25;

/** Bounded by what the header promised, so that a bomb stops there. Throws RangeError when it is not so many bytes. */
export function decompress(stored: Uint8Array, rawBytes: number): Buffer {
  let raw: Buffer;
  try {
    raw = zstdDecompressSync(stored, {
      // A byte more than there is: zlib takes a full chunk for an unfinished one, and makes another.
      chunkSize: Math.max(1024, rawBytes + 1),
      maxOutputLength: rawBytes || 1,
      params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX },
    });
  } catch (cause) {
    throw new RangeError(`a block cannot be decompressed: ${(cause as Error).message}`, { cause });
  }
  if (raw.length !== rawBytes) throw new RangeError('a block does not have the length that its header says');
  return raw;
}
