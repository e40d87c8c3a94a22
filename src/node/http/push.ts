import { inflateRawSync, inflateSync, gunzipSync } from 'node:zlib';
import { LogvineError, messageOf, type StreamRows } from '../../store/index.ts';
import { decodeJson } from './push-json.ts';
import { StreamKeys } from './push-labels.ts';
import { pushInvalid, quote, type PushLimits } from './push-limits.ts';
import { decodeProtobuf } from './push-protobuf.ts';
import { SnappyError, snappyUncompress } from './push-snappy.ts';

export { PUSH_LIMITS, type PushLimits } from './push-limits.ts';

export interface PushHeaders {
  readonly contentType: string | undefined;
  readonly contentEncoding: string | undefined;
}

export interface PushOptions {
  /** The time of a protobuf entry that carries none. */
  readonly nowMs: number;
  readonly discoverServiceName: boolean;
  readonly limits: PushLimits;
}

export interface Push {
  /** In the order of the body; two streams may have the same key. Streams without entries are left out, as Loki does. */
  readonly rows: StreamRows;
  /** Bytes of the lines alone. */
  readonly bytes: number;
  readonly entries: number;
}

/**
 * Decodes the body of `POST /loki/api/v1/push`: JSON, or a snappy block of protobuf. All of it or nothing.
 *
 * Lines keep their bytes and times their nanoseconds, in any order. Throws LV_PUSH_INVALID, which names the stream, the entry and the field.
 */
export function decodePush(
  body: Buffer,
  headers: PushHeaders,
  { nowMs, discoverServiceName, limits }: PushOptions,
): Push {
  const type = (headers.contentType ?? '').split(';', 1)[0].trim().toLowerCase();
  const encoding = (headers.contentEncoding ?? '').trim().toLowerCase();
  const keys = new StreamKeys(limits, discoverServiceName);
  let rows: StreamRows;
  if (type === 'application/json') {
    rows = decodeJson(decompress(body, encoding, limits), keys, limits);
  } else if (type === 'application/x-protobuf') {
    // Loki's clients say so or not, but their protobuf is always a snappy block.
    const block = encoding === 'snappy' ? body : decompress(body, encoding, limits);
    rows = decodeProtobuf(decompress(block, 'snappy', limits), nowMs, keys, limits);
  } else {
    throw pushInvalid(
      `content type ${quote(type)} is not known; allowed: application/json, application/x-protobuf`,
    );
  }
  const { count, lines } = rows.columns;
  return { rows, bytes: lines.length - count, entries: count };
}

function decompress(body: Buffer, encoding: string, limits: PushLimits): Buffer {
  const options = { maxOutputLength: limits.bodyBytesMax };
  try {
    switch (encoding) {
      case '':
      case 'identity':
        if (body.length > limits.bodyBytesMax) throw tooLarge(limits);
        return body;
      case 'gzip':
      case 'x-gzip':
        return gunzipSync(body, options);
      case 'deflate':
        // The HTTP word means zlib's format, Loki reads raw deflate: take either.
        return isZlib(body) ? inflateSync(body, options) : inflateRawSync(body, options);
      case 'snappy':
        return snappyUncompress(body, limits.bodyBytesMax);
    }
  } catch (error) {
    if (error instanceof LogvineError) throw error;
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(limits);
    const name = error instanceof SnappyError ? 'snappy' : encoding;
    throw pushInvalid(`the body is not valid ${name}: ${messageOf(error)}`, error);
  }
  throw pushInvalid(
    `content encoding ${quote(encoding)} is not known; allowed: identity, gzip, deflate, snappy`,
  );
}

function tooLarge(limits: PushLimits): LogvineError {
  return pushInvalid(
    `the body is larger than ${limits.bodyBytesMax} bytes uncompressed: push smaller batches`,
  );
}

function isZlib(body: Buffer): boolean {
  return body.length >= 2 && (body[0] & 0x0f) === 8 && body.readUInt16BE(0) % 31 === 0;
}
