import { isUtf8 } from 'node:buffer';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { LogvineError, messageOf, type StreamRows } from '../../store/index.ts';
import { RowsBuilder } from './push-columns.ts';
import { LabelsError, parseLabels, type StreamKeys } from './push-labels.ts';
import { checkMetadata, lineTooLong, pushInvalid, type Pairs, type PushLimits } from './push-limits.ts';

/*
 * message PushRequest { repeated Stream streams = 1; }
 * message Stream      { string labels = 1; repeated Entry entries = 2; uint64 hash = 3; }
 * message Entry       { google.protobuf.Timestamp timestamp = 1; string line = 2;
 *                       repeated Pair structuredMetadata = 3; repeated Pair parsed = 4; }
 * message Pair        { string name = 1; string value = 2; }
 *
 * `hash` and `parsed` are Loki's own, between its parts; they are skipped.
 */

const NO_PAIRS: Pairs = [];
/** For the first size of the columns. */
const ROWS_GUESS = 1_024;
const SECONDS_MAX = 9_223_372_036;

interface Context {
  readonly body: Buffer;
  readonly reader: BinaryReader;
  readonly builder: RowsBuilder;
  readonly keys: StreamKeys;
  readonly nowMs: number;
  readonly limits: PushLimits;
}

/** Decodes an uncompressed PushRequest. Lines are copied byte for byte. Throws LV_PUSH_INVALID. */
export function decodeProtobuf(
  body: Buffer,
  nowMs: number,
  keys: StreamKeys,
  limits: PushLimits,
): StreamRows {
  const reader = new BinaryReader(body);
  // Every entry costs at least two bytes (tag and length) besides its line: the `\n` after each line fits.
  const builder = new RowsBuilder(body.length, ROWS_GUESS);
  const context: Context = { body, reader, builder, keys, nowMs, limits };
  let index = 0;
  let where = 'the request';
  try {
    while (reader.pos < reader.len) {
      const [field, wire] = reader.tag();
      if (field !== 1) {
        reader.skip(wire, field);
        continue;
      }
      where = `stream ${index}`;
      if (++index > limits.streamsMax)
        throw pushInvalid(`more than ${limits.streamsMax} streams in one push`);
      decodeStream(context, messageEnd(reader, wire, reader.len), where);
    }
  } catch (error) {
    if (error instanceof LogvineError) throw error;
    if (error instanceof LabelsError) throw pushInvalid(`${where}: ${error.message}`, error);
    throw pushInvalid(`${where}: the protobuf is malformed: ${messageOf(error)}`, error);
  }
  return builder.finish();
}

/** Reads the length of a nested message or byte string and says where it ends, which is within its parent. */
function messageEnd(reader: BinaryReader, wire: WireType, parentEnd: number): number {
  if (wire !== WireType.LengthDelimited) throw new Error(`a field has wire type ${wire}, not 2`);
  const length = reader.uint32();
  const end = reader.pos + length;
  if (end > parentEnd) throw new Error('a field is longer than the message around it');
  return end;
}

/** Adds nothing for a stream without entries. */
function decodeStream(context: Context, end: number, where: string): void {
  const { reader, builder, keys, limits } = context;
  const start = reader.pos;
  const { labelsText, count } = surveyStream(context, end);
  if (builder.count + count > limits.entriesMax) {
    throw pushInvalid(`${where}: more than ${limits.entriesMax} entries in one push`);
  }
  if (count === 0) return;
  const key = keys.ofLabels(parseLabels(labelsText, limits));
  reader.pos = start;
  builder.reserve(count);
  for (let row = 0; reader.pos < end;) {
    const [field, wire] = reader.tag();
    if (field === 2) {
      decodeEntry(context, messageEnd(reader, wire, end), where, row++);
    } else {
      reader.skip(wire, field);
    }
  }
  builder.endStream(key);
}

/** A first pass over the stream's own fields: its labels, which may come last, and how many entries it has. */
function surveyStream(context: Context, end: number): { labelsText: string; count: number } {
  const { reader, body, limits } = context;
  // Names, values and punctuation of as many labels as are allowed, every character escaped.
  const textBytesMax = limits.labelsMax * 4 * (limits.labelNameBytesMax + limits.labelValueBytesMax);
  let labelsText = '';
  let count = 0;
  while (reader.pos < end) {
    const [field, wire] = reader.tag();
    if (field === 1) {
      const textEnd = messageEnd(reader, wire, end);
      if (textEnd - reader.pos > textBytesMax) throw new Error('the labels are too long');
      if (!isUtf8(body.subarray(reader.pos, textEnd))) throw new Error('the labels are not UTF-8');
      labelsText = readText(context, textEnd);
    } else if (field === 2) {
      count++;
      reader.pos = messageEnd(reader, wire, end);
    } else {
      reader.skip(wire, field);
    }
  }
  if (reader.pos !== end) throw new Error('a field is longer than its stream');
  return { labelsText, count };
}

function decodeEntry(context: Context, end: number, stream: string, row: number): void {
  const { reader, body, builder, nowMs, limits } = context;
  let lineFrom = 0;
  let lineEnd = 0;
  let pairs: [string, string][] | undefined;
  let metadataBytes = 0;
  builder.time(Math.floor(nowMs), 0);
  while (reader.pos < end) {
    const [field, wire] = reader.tag();
    if (field === 1) {
      readTimestamp(reader, messageEnd(reader, wire, end), builder, stream, row);
    } else if (field === 2) {
      lineEnd = messageEnd(reader, wire, end);
      lineFrom = reader.pos;
      reader.pos = lineEnd;
    } else if (field === 3) {
      const pairEnd = messageEnd(reader, wire, end);
      metadataBytes += pairEnd - reader.pos;
      pairs ??= [];
      // Looked at while they are read: a pair of two bytes becomes a hundred in memory.
      if (pairs.length > limits.metadataPairsMax) reader.pos = pairEnd;
      else pairs.push(readPair(context, pairEnd));
    } else {
      reader.skip(wire, field);
    }
  }
  if (reader.pos !== end) throw new Error('a field is longer than its entry');
  if (lineEnd - lineFrom > limits.lineBytesMax) {
    throw lineTooLong(`${stream}, entry ${row}`, lineEnd - lineFrom, limits);
  }
  if (pairs) checkMetadata(pairs, metadataBytes, `${stream}, entry ${row}`, limits);
  builder.metadata(pairs ?? NO_PAIRS);
  builder.addBytes(body, lineFrom, lineEnd);
}

function readTimestamp(
  reader: BinaryReader,
  end: number,
  builder: RowsBuilder,
  stream: string,
  row: number,
): void {
  let seconds = 0;
  let nanos = 0;
  while (reader.pos < end) {
    const [field, wire] = reader.tag();
    if (field === 1 && wire === WireType.Varint) seconds = Number(reader.int64());
    else if (field === 2 && wire === WireType.Varint) nanos = reader.int32();
    else reader.skip(wire, field);
  }
  if (reader.pos !== end) throw new Error('a field is longer than its timestamp');
  if (Math.abs(seconds) >= SECONDS_MAX || nanos < 0 || nanos >= 1e9) {
    throw pushInvalid(
      `${stream}, entry ${row}: timestamp of ${seconds} seconds and ${nanos} nanos is out of range ` +
        '(64 bits of nanoseconds since 1970)',
    );
  }
  builder.time(seconds * 1000 + Math.floor(nanos / 1e6), nanos % 1e6);
}

function readPair(context: Context, end: number): [string, string] {
  const { reader } = context;
  let name = '';
  let value = '';
  while (reader.pos < end) {
    const [field, wire] = reader.tag();
    if (field === 1) name = readText(context, messageEnd(reader, wire, end));
    else if (field === 2) value = readText(context, messageEnd(reader, wire, end));
    else reader.skip(wire, field);
  }
  if (reader.pos !== end) throw new Error('a field is longer than its pair');
  return [name, value];
}

/** For names and metadata values, which are text, unlike lines: what is not UTF-8 becomes U+FFFD. */
function readText(context: Context, end: number): string {
  const { reader, body } = context;
  const text = Buffer.from(body.buffer, body.byteOffset + reader.pos, end - reader.pos).toString();
  reader.pos = end;
  return text;
}
