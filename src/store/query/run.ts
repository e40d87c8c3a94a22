import {
  ByteReader,
  ByteWriter,
  decodeColumns,
  encodeColumns,
  labelsKey,
  labelsText,
  lineStart,
  readSets,
  type Columns,
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
  /** For each of `streams`: which of its labels stages of the query made. Absent when there are none. */
  readonly parsedNames?: readonly (readonly string[])[];
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
  // The columns have it, too, but the ids need it before.
  writer.varint(run.count);
  writer.varint(run.streams.length);
  for (const [stream, labels] of run.streams.entries()) {
    const names = Object.keys(labels);
    writer.varint(names.length);
    for (const name of names) {
      writer.text(name);
      writer.text(labels[name]);
    }
    const parsed = run.parsedNames?.[stream] ?? NO_NAMES;
    writer.varint(parsed.length);
    for (const name of parsed) writer.text(name);
  }
  writer.varint(run.ranks.length);
  for (const rank of run.ranks) writer.text(rank);
  for (let row = 0; row < run.count; row++) writer.varint(run.streamIds[row]);
  for (let row = 0; row < run.count; row++) writer.varint(run.rankIds[row]);
  writer.bytes(encodeColumns(run));
  writer.bytes(run.lines);
  return writer.finish();
}

/** Throws LV_PROTOCOL when the bytes are not a run. */
export function decodeRun(bytes: Uint8Array): EntryRun {
  try {
    const reader = new ByteReader(bytes);
    const count = reader.varint();
    if (count > Math.min(bytes.length, LIMITS.batchEntriesMax)) throw new RangeError('count too large');
    const parsedNames: string[][] = [];
    const streams = readSets(
      reader,
      bytes,
      LIMITS.labelSetMax,
      () => void parsedNames.push(readNames(reader)),
    );
    const ranks: string[] = [];
    for (let left = reader.count(LIMITS.batchEntriesMax); left > 0; left--) ranks.push(reader.text(256));
    const streamIds = readIds(reader, count, streams.length);
    const rankIds = readIds(reader, count, ranks.length);
    const columns = reader.bytes(LIMITS.messageBytesMax);
    const lines = reader.bytes(LIMITS.messageBytesMax);
    const decoded = decodeColumns(columns, lines);
    if (decoded.count !== count) throw new RangeError('counts differ');
    if (!reader.done) throw new RangeError('bytes after the run');
    return { ...decoded, streamIds, streams, ...someNames(parsedNames), rankIds, ranks };
  } catch (cause) {
    throw new LogvineError('LV_PROTOCOL', `a run of entries is malformed: ${(cause as Error).message}`, {
      cause,
    });
  }
}

function someNames(parsedNames: readonly (readonly string[])[]): Pick<EntryRun, 'parsedNames'> {
  return parsedNames.some((names) => names.length > 0) ? { parsedNames } : {};
}

function readNames(reader: ByteReader): string[] {
  const names: string[] = [];
  for (let left = reader.count(LIMITS.labelSetMax); left > 0; left--)
    names.push(reader.text(LIMITS.batchBytesMax));
  return names;
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

/** About how much memory, or room in a message, a run takes: where stages make labels, those may be more than the lines. */
export function runBytes({ lines, streams, metadata }: EntryRun): number {
  let bytes = lines.length;
  for (const sets of [streams, metadata])
    for (const set of sets) for (const name in set) bytes += name.length + set[name].length;
  return bytes;
}

export function lineOf(run: Columns, row: number): Uint8Array {
  return run.lines.subarray(lineStart(run, row), run.ends[row]);
}

/** Nanoseconds since 1970, exact. */
export function nanosecondsOf(run: Columns, row: number): bigint {
  return BigInt(run.ms[row]) * 1_000_000n + BigInt(run.sub[row]);
}

const NO_NAMES: readonly string[] = [];
/** Most runs are short or empty: a search that finds little in many batches should not set memory aside for more. */
const ROWS_FIRST = 64;
const NO_TIMES = new Float64Array(0);
const NO_NUMBERS = new Uint32Array(0);

function grown<T extends Float64Array | Uint32Array>(array: T, length: number): T {
  const larger = new (array.constructor as new (length: number) => T)(length);
  larger.set(array);
  return larger;
}

/** Gathers rows of several sources into one run, keeping the order in which they are added. Copies lines only at the end. */
export class RunBuilder {
  #streams: Labels[] = [];
  #parsedNames: (readonly string[])[] = [];
  readonly #streamIds = new Map<string, number>();
  readonly #ranks: string[] = [];
  #metadata: Columns['metadata'][number][] = [];
  readonly #metadataIds = new Map<string, number>();
  /** The buffers that hold lines, as many as there are sources. */
  #buffers: Uint8Array[] = [];
  #count = 0;
  #bytes = 0;
  #ms: Float64Array = NO_TIMES;
  #sub: Uint32Array = NO_NUMBERS;
  #stream: Uint32Array = NO_NUMBERS;
  #rank: Uint32Array = NO_NUMBERS;
  #meta: Uint32Array = NO_NUMBERS;
  #buffer: Uint32Array = NO_NUMBERS;
  #start: Uint32Array = NO_NUMBERS;
  #end: Uint32Array = NO_NUMBERS;

  get count(): number {
    return this.#count;
  }

  /** Of lines, and of the label sets and metadata that they have. */
  get bytes(): number {
    return this.#bytes;
  }

  /** `parsed`: the names of those labels that stages made. */
  stream(labels: Labels, parsed: readonly string[] = NO_NAMES): number {
    const key = parsed.length === 0 ? labelsText(labels) : `${labelsText(labels)} ${JSON.stringify(parsed)}`;
    const before = this.#streams.length;
    const id = intern(this.#streams, this.#streamIds, labels, key);
    if (this.#streams.length > before) this.#bytes += key.length;
    this.#parsedNames[id] ??= parsed;
    return id;
  }

  metadata(set: Columns['metadata'][number]): number {
    const text = JSON.stringify(set);
    const known = this.#metadataIds.get(text);
    if (known !== undefined) return known;
    // Whatever order stages put the names in: no reader takes a set that stands twice.
    const key = labelsKey(set);
    const before = this.#metadata.length;
    const id = intern(this.#metadata, this.#metadataIds, set, key);
    this.#metadataIds.set(text, id);
    if (this.#metadata.length > before) this.#bytes += key.length;
    return id;
  }

  rank(rank: string): number {
    return this.#ranks.at(-1) === rank ? this.#ranks.length - 1 : this.#ranks.push(rank) - 1;
  }

  /** The line is `buffer[start … end)`; it must not change until `finish`. */
  add(
    ms: number,
    sub: number,
    stream: number,
    rank: number,
    metadata: number,
    buffer: Uint8Array,
    start: number,
    end: number,
  ): void {
    const row = this.#count++;
    if (row === this.#ms.length) this.#grow(Math.max(ROWS_FIRST, row * 2));
    this.#ms[row] = ms;
    this.#sub[row] = sub;
    this.#stream[row] = stream;
    this.#rank[row] = rank;
    this.#meta[row] = metadata;
    if (this.#buffers.at(-1) !== buffer) this.#buffers.push(buffer);
    this.#buffer[row] = this.#buffers.length - 1;
    this.#start[row] = start;
    this.#end[row] = end;
    this.#bytes += end - start + 1;
  }

  #grow(length: number): void {
    this.#ms = grown(this.#ms, length);
    this.#sub = grown(this.#sub, length);
    this.#stream = grown(this.#stream, length);
    this.#rank = grown(this.#rank, length);
    this.#meta = grown(this.#meta, length);
    this.#buffer = grown(this.#buffer, length);
    this.#start = grown(this.#start, length);
    this.#end = grown(this.#end, length);
  }

  /** The run in the order of `order` (indexes of added rows), or as added. */
  finish(order?: Uint32Array): EntryRun {
    const count = order ? order.length : this.#count;
    const pick = <T extends Float64Array | Uint32Array>(column: T): T => {
      if (!order) return column.slice(0, count) as T;
      const picked = new (column.constructor as new (length: number) => T)(count);
      for (let i = 0; i < count; i++) picked[i] = column[order[i]];
      return picked;
    };
    return {
      count,
      ms: pick(this.#ms),
      sub: pick(this.#sub),
      ...this.#copyLines(count, order),
      metadataIds: pick(this.#meta),
      metadata: this.#metadata,
      streamIds: pick(this.#stream),
      streams: this.#streams,
      ...someNames(this.#parsedNames),
      rankIds: pick(this.#rank),
      ranks: this.#ranks,
    };
  }

  #copyLines(count: number, order: Uint32Array | undefined): { lines: Uint8Array; ends: Uint32Array } {
    let bytes = count;
    for (let i = 0; i < count; i++) {
      const row = order ? order[i] : i;
      bytes += this.#end[row] - this.#start[row];
    }
    const lines = new Uint8Array(bytes);
    const ends = new Uint32Array(count);
    let at = 0;
    for (let i = 0; i < count;) {
      const first = order ? order[i] : i;
      const buffer = this.#buffer[first];
      const start = this.#start[first];
      let end = this.#end[first];
      let last = i;
      // Neighbours in a source are copied at once, with the newlines between them.
      ends[last] = at + end - start;
      while (last + 1 < count) {
        const next = order ? order[last + 1] : last + 1;
        if (this.#buffer[next] !== buffer || this.#start[next] !== end + 1) break;
        end = this.#end[next];
        ends[++last] = at + end - start;
      }
      lines.set(this.#buffers[buffer].subarray(start, end), at);
      at += end - start;
      lines[at++] = 10;
      i = last + 1;
    }
    return { lines, ends };
  }

  /** Forgets all rows but these, and the ids of streams and metadata. Ranks stay, and the rows keep their order of adding. */
  keep(rows: Uint32Array): void {
    const run = this.finish(Uint32Array.from(rows).sort());
    this.#streams = [];
    this.#parsedNames = [];
    this.#streamIds.clear();
    this.#metadata = [];
    this.#metadataIds.clear();
    this.#buffers = [];
    this.#count = 0;
    this.#bytes = 0;
    const streams: number[] = [];
    const metadata: number[] = [];
    for (let row = 0; row < run.count; row++) {
      const [stream, set] = [run.streamIds[row], run.metadataIds[row]];
      streams[stream] ??= this.stream(run.streams[stream], run.parsedNames?.[stream]);
      metadata[set] ??= this.metadata(run.metadata[set]);
      this.add(
        run.ms[row],
        run.sub[row],
        streams[stream],
        run.rankIds[row],
        metadata[set],
        run.lines,
        lineStart(run, row),
        run.ends[row],
      );
    }
  }

  /** Row indexes sorted by time (then rank, then order of adding), ascending or descending. */
  sorted(descending: boolean): Uint32Array {
    const [ms, sub, rank, ranks] = [this.#ms, this.#sub, this.#rank, this.#ranks];
    const order = new Uint32Array(this.#count);
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

/** Rows `from` to `to` of a run, sharing its memory. */
export function sliceRun(run: EntryRun, from: number, to: number): EntryRun {
  const start = lineStart(run, from);
  const ends = run.ends.slice(from, to);
  if (start > 0) for (let row = 0; row < ends.length; row++) ends[row] -= start;
  return {
    ...run,
    count: to - from,
    ms: run.ms.subarray(from, to),
    sub: run.sub.subarray(from, to),
    ends,
    lines: run.lines.subarray(start, to === from ? start : run.ends[to - 1] + 1),
    metadataIds: run.metadataIds.subarray(from, to),
    streamIds: run.streamIds.subarray(from, to),
    rankIds: run.rankIds.subarray(from, to),
  };
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
