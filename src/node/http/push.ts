import { inflateRawSync, inflateSync, gunzipSync } from 'node:zlib';
import { LogvineError, messageOf } from '../../store/index.ts';
import { decodeJson } from './push-json.ts';
import { pushInvalid, quote, type PushedStream, type PushLimits } from './push-limits.ts';
import { decodeProtobuf } from './push-protobuf.ts';
import { SnappyError, snappyUncompress } from './push-snappy.ts';

export { PUSH_LIMITS, type PushedStream, type PushLimits } from './push-limits.ts';

export interface PushHeaders {
  readonly contentType: string | undefined;
  readonly contentEncoding: string | undefined;
}

export interface Push {
  /** In the order of the body; two may have the same labels. Streams without entries are left out, as Loki does. */
  readonly streams: readonly PushedStream[];
  /** Bytes of the lines alone. */
  readonly bytes: number;
  readonly entries: number;
}

/**
 * Decodes the body of `POST /loki/api/v1/push`: JSON, or a snappy block of protobuf. All of it or nothing.
 *
 * Lines keep their bytes and times their nanoseconds, in any order; `nowMs` is the time of a protobuf entry that
 * carries none. Throws LV_PUSH_INVALID, which names the stream, the entry and the field.
 */
export function decodePush(body: Buffer, headers: PushHeaders, nowMs: number, limits: PushLimits): Push {
  const type = (headers.contentType ?? '').split(';', 1)[0].trim().toLowerCase();
  const encoding = (headers.contentEncoding ?? '').trim().toLowerCase();
  let streams: PushedStream[];
  if (type === 'application/json') {
    streams = decodeJson(decompress(body, encoding, limits), limits);
  } else if (type === 'application/x-protobuf') {
    // Loki's clients say so or not, but their protobuf is always a snappy block.
    const block = encoding === 'snappy' ? body : decompress(body, encoding, limits);
    streams = decodeProtobuf(decompress(block, 'snappy', limits), nowMs, limits);
  } else {
    throw pushInvalid(
      `content type ${quote(type)} is not known; allowed: application/json, application/x-protobuf`,
    );
  }
  let bytes = 0;
  let entries = 0;
  for (const { columns } of streams) {
    entries += columns.count;
    bytes += columns.lines.length - columns.count;
  }
  return { streams, bytes, entries };
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
