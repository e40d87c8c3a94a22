import {
  ByteReader,
  ByteWriter,
  decodeColumns,
  encodeColumns,
  labelsText,
  lineStart,
  type Columns,
  type Instant,
  type Labels,
} from '../batch/index.ts';
import { LogvineError } from '../errors.ts';
import { LIMITS } from '../limits.ts';

/**
 * Entries that matched, sorted by time in the direction of the query: what holders send and coordinators merge.
 * Entries of one instant are ordered by batch id, then by their place in it, so that every peer gives the same order.
 */
export interface EntryRun extends Columns {
  /** Row → index into `streams`. */
  readonly streamIds: Uint32Array;
  readonly streams: readonly Labels[];
  /** Row → index into `ranks`. */
  readonly rankIds: Uint32Array;
  readonly ranks: readonly string[];
}

/** The rank of a batch. Unsealed lines rank behind every sealed one of their epoch. */
export function batchRank(origin: string, epoch: number, seq: number): string {
  return `${origin}/${epoch.toString().padStart(16, '0')}/${seq.toString().padStart(16, '0')}`;
}

export function encodeRun(run: EntryRun): Buffer {
  const writer = new ByteWriter(256 + run.lines.length + run.count * 8);
  writer.varint(run.streams.length);
  for (const labels of run.streams) {
    const names = Object.keys(labels);
    writer.varint(names.length);
    for (const name of names) {
      writer.text(name);
      writer.text(labels[name]);
    }
  }
  writer.varint(run.ranks.length);
  for (const rank of run.ranks) writer.text(rank);
  for (let row = 0; row < run.count; row++) writer.varint(run.streamIds[row]);
  for (let row = 0; row < run.count; row++) writer.varint(run.rankIds[row]);
  writer.bytes(encodeColumns(run));
  writer.bytes(run.lines);
  // The count comes last in the columns, but the ids need it first.
  const head = new ByteWriter(16);
  head.varint(run.count);
  return Buffer.concat([head.finish(), writer.finish()]);
}

/** Throws LV_PROTOCOL when the bytes are not a run. */
export function decodeRun(bytes: Uint8Array): EntryRun {
  try {
    const reader = new ByteReader(bytes);
    const count = reader.varint();
    if (count > bytes.length) throw new RangeError('count too large');
    const streams: Labels[] = [];
    for (let left = reader.count(LIMITS.batchEntriesMax); left > 0; left--) {
      const labels: Record<string, string> = {};
      for (let pair = reader.count(LIMITS.batchStreamsMax); pair > 0; pair--) {
        const name = reader.text(LIMITS.batchBytesMax);
        labels[name] = reader.text(LIMITS.batchBytesMax);
      }
      streams.push(labels);
    }
    const ranks: string[] = [];
    for (let left = reader.count(LIMITS.batchEntriesMax); left > 0; left--) ranks.push(reader.text(256));
    const streamIds = readIds(reader, count, streams.length);
    const rankIds = readIds(reader, count, ranks.length);
    const columns = reader.bytes(LIMITS.messageBytesMax);
    const lines = reader.bytes(LIMITS.messageBytesMax);
    const decoded = decodeColumns(columns, lines);
    if (decoded.count !== count) throw new RangeError('counts differ');
    return { ...decoded, streamIds, streams, rankIds, ranks };
  } catch (cause) {
    throw new LogvineError('LV_PROTOCOL', `a run of entries is malformed: ${(cause as Error).message}`, {
      cause,
    });
  }
}

function readIds(reader: ByteReader, count: number, below: number): Uint32Array {
  const ids = new Uint32Array(count);
  for (let row = 0; row < count; row++) {
    const id = reader.varint();
    if (id >= below) throw new RangeError('unknown id');
    ids[row] = id;
  }
  return ids;
}

export function lineOf(run: Columns, row: number): Uint8Array {
  return run.lines.subarray(lineStart(run, row), run.ends[row]);
}

export function instantOf(run: Columns, row: number): Instant {
  return { ms: run.ms[row], sub: run.sub[row] };
}

/** Nanoseconds since 1970, exact. */
export function nanosecondsOf(run: Columns, row: number): bigint {
  return BigInt(run.ms[row]) * 1_000_000n + BigInt(run.sub[row]);
}

/** Gathers rows of several sources into one run, keeping the order in which they are added. */
export class RunBuilder {
  readonly #streams: Labels[] = [];
  readonly #streamIds = new Map<string, number>();
  readonly #ranks: string[] = [];
  readonly #metadata: Columns['metadata'][number][] = [];
  readonly #metadataIds = new Map<string, number>();
  #ms: number[] = [];
  #sub: number[] = [];
  #stream: number[] = [];
  #rank: number[] = [];
  #meta: number[] = [];
  #lines: Uint8Array[] = [];
  #bytes = 0;

  get count(): number {
    return this.#ms.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  stream(labels: Labels): number {
    return intern(this.#streams, this.#streamIds, labels, labelsText(labels));
  }

  metadata(set: Columns['metadata'][number]): number {
    return intern(this.#metadata, this.#metadataIds, set, JSON.stringify(set));
  }

  rank(rank: string): number {
    return this.#ranks.at(-1) === rank ? this.#ranks.length - 1 : this.#ranks.push(rank) - 1;
  }

  add(ms: number, sub: number, stream: number, rank: number, metadata: number, line: Uint8Array): void {
    this.#ms.push(ms);
    this.#sub.push(sub);
    this.#stream.push(stream);
    this.#rank.push(rank);
    this.#meta.push(metadata);
    this.#lines.push(line);
    this.#bytes += line.length + 1;
  }

  /** The run in the order of `order` (indexes of added rows), or as added. */
  finish(order?: Uint32Array): EntryRun {
    const count = order ? order.length : this.#ms.length;
    const at = (i: number): number => (order ? order[i] : i);
    const ms = new Float64Array(count);
    const sub = new Uint32Array(count);
    const streamIds = new Uint32Array(count);
    const rankIds = new Uint32Array(count);
    const metadataIds = new Uint32Array(count);
    const ends = new Uint32Array(count);
    let bytes = count;
    for (let i = 0; i < count; i++) bytes += this.#lines[at(i)].length;
    const lines = new Uint8Array(bytes);
    let end = 0;
    for (let i = 0; i < count; i++) {
      const row = at(i);
      ms[i] = this.#ms[row];
      sub[i] = this.#sub[row];
      streamIds[i] = this.#stream[row];
      rankIds[i] = this.#rank[row];
      metadataIds[i] = this.#meta[row];
      const line = this.#lines[row];
      lines.set(line, end);
      end += line.length;
      ends[i] = end;
      lines[end++] = 10;
    }
    const { 0: streams, 1: ranks, 2: metadata } = [this.#streams, this.#ranks, this.#metadata];
    return { count, ms, sub, ends, lines, metadataIds, metadata, streamIds, streams, rankIds, ranks };
  }

  /** Row indexes sorted by time (then rank, then order of adding), ascending or descending. */
  sorted(descending: boolean): Uint32Array {
    const { 0: ms, 1: sub, 2: rank, 3: ranks } = [this.#ms, this.#sub, this.#rank, this.#ranks];
    const order = new Uint32Array(ms.length);
    let ascending = true;
    const compare = (a: number, b: number): number =>
      ms[a] - ms[b] ||
      sub[a] - sub[b] ||
      (rank[a] === rank[b] || ranks[rank[a]] === ranks[rank[b]]
        ? a - b
        : ranks[rank[a]] < ranks[rank[b]]
          ? -1
          : 1);
    for (let i = 0; i < order.length; i++) {
      order[i] = i;
      if (ascending && i > 0 && compare(i - 1, i) > 0) ascending = false;
    }
    if (!ascending) order.sort(compare);
    return descending ? order.reverse() : order;
  }
}

function intern<T>(table: T[], known: Map<string, number>, value: T, key: string): number {
  let id = known.get(key);
  if (id === undefined) {
    id = table.push(value) - 1;
    known.set(key, id);
  }
  return id;
}

/** Order of two rows of two runs in a query that runs forward; negative when `a` comes first. */
export function compareRows(a: EntryRun, rowA: number, b: EntryRun, rowB: number): number {
  return (
    a.ms[rowA] - b.ms[rowB] ||
    a.sub[rowA] - b.sub[rowB] ||
    (a.ranks[a.rankIds[rowA]] < b.ranks[b.rankIds[rowB]]
      ? -1
      : a.ranks[a.rankIds[rowA]] > b.ranks[b.rankIds[rowB]]
        ? 1
        : 0)
  );
}
