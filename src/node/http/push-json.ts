import { isUtf8 } from 'node:buffer';
import { messageOf, type StreamRows } from '../../store/index.ts';
import { RowsBuilder } from './push-columns.ts';
import { LabelsError, type StreamKeys } from './push-labels.ts';
import {
  checkMetadata,
  lineTooLong,
  pushInvalid,
  quote,
  type Pairs,
  type PushLimits,
} from './push-limits.ts';

const NO_PAIRS: Pairs = [];

/** `{"streams": [{"stream": {…}, "values": [["<ns>", "line", {…}]]}]}`. Throws LV_PUSH_INVALID. */
export function decodeJson(body: Buffer, keys: StreamKeys, limits: PushLimits): StreamRows {
  // Decoding would put U+FFFD in the place of every bad byte: a line must not change on its way in.
  if (!isUtf8(body))
    throw pushInvalid('the JSON is not UTF-8; lines of other bytes can be pushed as protobuf');
  checkShape(body, limits);
  let document: unknown;
  try {
    document = JSON.parse(body.toString());
  } catch (error) {
    throw pushInvalid(`the body is not JSON: ${quote(messageOf(error))}`, error);
  }
  const streams = isObject(document) ? document.streams : undefined;
  if (!Array.isArray(streams)) throw pushInvalid('the body has no array "streams"');
  if (streams.length > limits.streamsMax) {
    throw pushInvalid(`${streams.length} streams in one push, allowed are ${limits.streamsMax}`);
  }
  // A line is longer in JSON, by its quotes at least: each fits with its `\n`.
  const builder = new RowsBuilder(body.length, rowsIn(streams));
  for (const [index, stream] of (streams as unknown[]).entries()) {
    const where = `stream ${index}`;
    if (!isObject(stream)) throw pushInvalid(`${where} is not an object`);
    const { values } = stream;
    if (!Array.isArray(values)) throw pushInvalid(`${where} has no array "values"`);
    if (builder.count + values.length > limits.entriesMax) {
      throw pushInvalid(`${where}: more than ${limits.entriesMax} entries in one push`);
    }
    if (values.length === 0) continue;
    const key = streamKey(stream.stream, where, keys);
    addRows(builder, values, where, limits);
    builder.endStream(key);
  }
  return builder.finish();
}

/** A guess where the body is not what it should be. */
function rowsIn(streams: readonly unknown[]): number {
  let rows = 0;
  for (const stream of streams) {
    const values = isObject(stream) ? stream.values : undefined;
    if (Array.isArray(values)) rows += values.length;
  }
  return rows;
}

const [QUOTE, BACKSLASH, OPEN_LIST, OPEN_OBJECT, CLOSE_LIST, CLOSE_OBJECT] = Buffer.from('"\\[{]}');
const DEPTH_MAX = 32;

/**
 * Counts lists and objects before they are made: two bytes become a hundred. A push has a list and at most an object for
 * each entry, and three for each stream.
 */
function checkShape(body: Buffer, limits: PushLimits): void {
  const openedMax = 2 * limits.entriesMax + 3 * limits.streamsMax + 100;
  let opened = 0;
  let depth = 0;
  const { length } = body;
  for (let at = 0; at < length; at++) {
    const byte = body[at];
    if (byte === QUOTE) {
      at = endOfText(body, at + 1);
    } else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
      if (++opened > openedMax) throw pushInvalid(`more than ${openedMax} lists and objects in one push`);
      if (++depth > DEPTH_MAX)
        throw pushInvalid(`the body is not JSON of a push: it nests deeper than ${DEPTH_MAX}`);
    } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) {
      depth--;
    }
  }
}

/** The place of the quote that ends a text, or the end of the body. Most of a push is text. */
function endOfText(body: Buffer, start: number): number {
  const { length } = body;
  let at = start;
  for (; at < length; at++) {
    const byte = body[at];
    if (byte === QUOTE) break;
    if (byte === BACKSLASH) at++;
  }
  return at;
}

function streamKey(labels: unknown, where: string, keys: StreamKeys): string {
  if (!isObject(labels)) throw pushInvalid(`${where} has no object "stream" with its labels`);
  try {
    return keys.ofJson(labels);
  } catch (error) {
    if (error instanceof LabelsError) throw pushInvalid(`${where}: ${error.message}`, error);
    throw error;
  }
}

function addRows(builder: RowsBuilder, values: readonly unknown[], where: string, limits: PushLimits): void {
  builder.reserve(values.length);
  const setTime = (ms: number, sub: number) => builder.time(ms, sub);
  for (let row = 0; row < values.length; row++) {
    const value = values[row];
    if (!Array.isArray(value) || value.length < 2 || value.length > 3) {
      throw pushInvalid(`${where}, entry ${row} is not [timestamp, line] or [timestamp, line, metadata]`);
    }
    const entry = value as readonly unknown[];
    const line = entry[1];
    if (typeof line !== 'string') throw pushInvalid(`${where}, entry ${row}: the line is not a string`);
    // At most three bytes a character: only what may be too long is measured.
    const length = line.length * 3 > limits.lineBytesMax ? Buffer.byteLength(line) : 0;
    if (length > limits.lineBytesMax) throw lineTooLong(`${where}, entry ${row}`, length, limits);
    const time = entry[0];
    if (typeof time !== 'string' || !readNanoseconds(time, setTime)) {
      throw pushInvalid(
        `${where}, entry ${row}: timestamp ${quote(JSON.stringify(time) ?? 'missing')} is not a string of ` +
          'nanoseconds since 1970 (64 bits)',
      );
    }
    builder.metadata(entry.length < 3 ? NO_PAIRS : metadataPairs(entry[2], `${where}, entry ${row}`, limits));
    builder.addText(line);
  }
}

function metadataPairs(metadata: unknown, where: string, limits: PushLimits): Pairs {
  if (metadata === null || metadata === undefined) return NO_PAIRS;
  if (!isObject(metadata)) throw pushInvalid(`${where}: the structured metadata is not an object`);
  const pairs = Object.entries(metadata);
  let bytes = 0;
  for (const [name, value] of pairs) {
    if (typeof value !== 'string') {
      throw pushInvalid(`${where}: the value of structured metadata ${quote(name)} is not a string`);
    }
    bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  }
  checkMetadata(pairs as [string, string][], bytes, where, limits);
  return pairs as [string, string][];
}

const DIGITS_MAX = 19;
const INT64_MAX = { ms: 9_223_372_036_854, sub: 775_807 };

/**
 * Reads a decimal int64 of nanoseconds into whole milliseconds (rounded down) and the nanoseconds within; false when
 * `text` is something else. Digit by digit: a BigInt for every line is garbage.
 */
export function readNanoseconds(text: string, set: (ms: number, sub: number) => void): boolean {
  const sign = text.charCodeAt(0);
  const isNegative = sign === 0x2d;
  const start = isNegative || sign === 0x2b ? 1 : 0;
  const digits = text.length - start;
  if (digits < 1 || digits > DIGITS_MAX) return false;
  const subFrom = text.length - 6;
  let ms = 0;
  let sub = 0;
  for (let at = start; at < text.length; at++) {
    const digit = text.charCodeAt(at) - 0x30;
    if (digit < 0 || digit > 9) return false;
    if (at < subFrom) ms = ms * 10 + digit;
    else sub = sub * 10 + digit;
  }
  const subMax = INT64_MAX.sub + (isNegative ? 1 : 0);
  if (ms > INT64_MAX.ms || (ms === INT64_MAX.ms && sub > subMax)) return false;
  if (!isNegative) set(ms, sub);
  else if (sub === 0) set(ms === 0 ? 0 : -ms, 0);
  else set(-ms - 1, 1_000_000 - sub);
  return true;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
