import { ByteReader, ByteWriter } from '../batch/index.ts';
import { LogvineError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { PartialSeries } from '../logql/index.ts';

/** How the numbers of a series travel. */
const WHOLE_NUMBERS = 0;
const DOUBLES = 1;

/**
 * Partial results as they travel between threads and peers: for each leaf of the plan its series. In pieces of about
 * `queryChunkBytes`, each of which can be decoded alone.
 */
export function* encodeParts(leaves: readonly Iterable<PartialSeries>[]): Generator<Buffer> {
  let writer = new ByteWriter(4096);
  for (const [leaf, parts] of leaves.entries()) {
    for (const series of parts) {
      writer.varint(leaf);
      writeSeries(writer, series);
      if (writer.length < LIMITS.queryChunkBytes) continue;
      yield writer.finish();
      writer = new ByteWriter(4096);
    }
  }
  if (writer.length > 0) yield writer.finish();
}

function writeSeries(writer: ByteWriter, { labels, buckets, states }: PartialSeries): void {
  const names = Object.keys(labels);
  writer.varint(names.length);
  for (const name of names) {
    writer.text(name);
    writer.text(labels[name]);
  }
  const numbers = states.flat();
  const isWhole = numbers.every(
    (value) => Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0),
  );
  writer.varint(buckets.length);
  for (const [i, bucket] of buckets.entries()) {
    writer.varint(bucket);
    writer.varint(states[i].length);
  }
  writer.varint(isWhole ? WHOLE_NUMBERS : DOUBLES);
  if (isWhole) for (const value of numbers) writer.varint(value);
  else {
    const doubles = Buffer.allocUnsafe(numbers.length * 8);
    for (const [i, value] of numbers.entries()) doubles.writeDoubleLE(value, i * 8);
    writer.bytes(doubles);
  }
}

/** Throws LV_PROTOCOL when the bytes are not `encodeParts`'s for a plan of that many leaves. */
export function decodeParts(bytes: Uint8Array, leafCount: number): { leaf: number; series: PartialSeries }[] {
  try {
    const reader = new ByteReader(bytes);
    const decoded: { leaf: number; series: PartialSeries }[] = [];
    while (!reader.done) {
      const leaf = reader.varint();
      if (leaf >= leafCount) throw new RangeError('unknown leaf');
      decoded.push({ leaf, series: readSeries(reader) });
    }
    return decoded;
  } catch (cause) {
    throw new LogvineError('LV_PROTOCOL', `a partial result is malformed: ${(cause as Error).message}`, {
      cause,
    });
  }
}

function readSeries(reader: ByteReader): PartialSeries {
  const labels = Object.create(null) as Record<string, string>;
  for (let left = reader.count(LIMITS.labelSetMax); left > 0; left--) {
    const name = reader.text(LIMITS.batchBytesMax);
    labels[name] = reader.text(LIMITS.batchBytesMax);
  }
  const buckets: number[] = [];
  const lengths: number[] = [];
  let numbers = 0;
  for (let left = reader.count(LIMITS.messageBytesMax); left > 0; left--) {
    buckets.push(reader.varint());
    const length = reader.varint();
    lengths.push(length);
    numbers += length;
  }
  const kind = reader.varint();
  if (kind !== WHOLE_NUMBERS && kind !== DOUBLES) throw new RangeError('unknown kind of numbers');
  // Each number takes a byte at least, so that a lying length ends at the end of the message.
  const doubles = kind === DOUBLES ? reader.bytes(LIMITS.messageBytesMax) : undefined;
  if (doubles && doubles.length !== numbers * 8) throw new RangeError('numbers do not add up');
  let at = 0;
  const next = (): number => (doubles ? doubles.readDoubleLE(8 * at++) : reader.varint());
  const states = lengths.map((length) => {
    const state: number[] = [];
    for (let left = length; left > 0; left--) state.push(next());
    return state;
  });
  return { labels, buckets, states };
}
