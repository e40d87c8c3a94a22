import type { Columns, Labels, Metadata } from '../../store/index.ts';
import type { TimeBefore } from './continuation.ts';
import { levelOfEntry, levelOfForm, levelOfLine, LEVELS, metadataWithLevel } from './level.ts';
import { TimeReader } from './time.ts';

/** Whole lines of one stream, each ended by `\n`. */
export interface LineBlock {
  readonly bytes: Buffer;
  /** When they were read, milliseconds since 1970: the time of lines that have none. */
  readonly readAtMs: number;
  /** Of the line before the block, where its first lines may go on with that line. */
  readonly before?: TimeBefore;
  /** Structured metadata of every line. */
  readonly metadata?: Metadata;
}

export interface LineOptions {
  /** Of stamps that name no zone: an IANA name, `UTC`, or `local` for the machine's. */
  readonly timeZone: string;
  /** Adds `detected_level` to each line's structured metadata. */
  readonly discoverLevels: boolean;
  /** The time in the line where there is one, or when it was read. */
  readonly time: 'line' | 'read';
  /** The stream's labels: a level among them is the level of its lines, as in Loki. */
  readonly labels?: Labels;
}

const NEWLINE = 10;
/** A guess at the bytes of a line, for the first size of the columns. */
const LINE_BYTES_GUESS = 64;
const NO_METADATA: Metadata = {};

/**
 * Splits blocks into entries with their times and levels. A line without a time of its own has that of the line
 * before it, so that a stack trace stays together: in its block, or as `before` tells. With no line before it, and if
 * a stamp lies before 1971, it has the time it was read. The order of lines is kept.
 *
 * `lines` of a single block is that block's memory. A last line without its `\n` gets one. Throws LV_CONFIG_INVALID
 * for an unknown time zone.
 */
export function columnsOf(blocks: readonly LineBlock[], options: LineOptions): Columns {
  const parts = blocks.map(({ bytes }) => withFinalNewline(bytes));
  const lines = parts.length === 1 ? parts[0] : Buffer.concat(parts);
  const rows = new Rows(Math.ceil(lines.length / LINE_BYTES_GUESS) + 1);
  const sets = new MetadataSets(options);
  let start = 0;
  blocks.forEach((block, index) => {
    const end = start + parts[index].length;
    appendBlock(rows, sets.ofBlock(block.metadata ?? NO_METADATA), lines, start, end, block, options);
    start = end;
  });
  return rows.columns(lines, sets.sets);
}

function withFinalNewline(bytes: Buffer): Buffer {
  if (bytes.length === 0 || bytes[bytes.length - 1] === NEWLINE) return bytes;
  return Buffer.concat([bytes, Buffer.of(NEWLINE)]);
}

function appendBlock(
  rows: Rows,
  sets: BlockSets,
  lines: Buffer,
  blockStart: number,
  blockEnd: number,
  { readAtMs, before }: LineBlock,
  options: LineOptions,
): void {
  const time = options.time === 'line' ? new TimeReader(options.timeZone, readAtMs) : undefined;
  let ms = time && before ? before.ms : readAtMs;
  let sub = time && before ? before.sub : 0;
  for (let start = blockStart; start < blockEnd;) {
    const end = lines.indexOf(NEWLINE, start);
    const found = time === undefined ? 'none' : time.read(lines, start, end);
    if (time !== undefined && found === 'own') {
      ms = time.ms;
      sub = time.sub;
    } else if (found === 'implausible') {
      ms = readAtMs;
      sub = 0;
    }
    let level = 0;
    if (sets.needsLine) {
      level = levelOfLine(lines, start, end, time?.textStart);
      if (level === 0 && time !== undefined && found === 'own') {
        level = levelOfForm(time.form, lines, start, time.stampEnd, end);
      }
    }
    rows.append(ms, sub, end, sets.idOfLevel(level));
    start = end + 1;
  }
}

/** Columns that grow. */
class Rows {
  #count = 0;
  #ms: Float64Array;
  #sub: Uint32Array;
  #ends: Uint32Array;
  #metadataIds: Uint32Array;

  constructor(capacity: number) {
    this.#ms = new Float64Array(capacity);
    this.#sub = new Uint32Array(capacity);
    this.#ends = new Uint32Array(capacity);
    this.#metadataIds = new Uint32Array(capacity);
  }

  append(ms: number, sub: number, end: number, metadataId: number): void {
    if (this.#count === this.#ms.length) this.#grow();
    const row = this.#count++;
    this.#ms[row] = ms;
    this.#sub[row] = sub;
    this.#ends[row] = end;
    this.#metadataIds[row] = metadataId;
  }

  columns(lines: Buffer, metadata: readonly Metadata[]): Columns {
    const count = this.#count;
    return {
      count,
      ms: this.#ms.slice(0, count),
      sub: this.#sub.slice(0, count),
      ends: this.#ends.slice(0, count),
      lines,
      metadataIds: this.#metadataIds.slice(0, count),
      metadata,
    };
  }

  #grow(): void {
    const capacity = this.#ms.length * 2;
    const ms = new Float64Array(capacity);
    ms.set(this.#ms);
    this.#ms = ms;
    this.#sub = grown(this.#sub, capacity);
    this.#ends = grown(this.#ends, capacity);
    this.#metadataIds = grown(this.#metadataIds, capacity);
  }
}

function grown(column: Uint32Array, capacity: number): Uint32Array {
  const larger = new Uint32Array(capacity);
  larger.set(column);
  return larger;
}

/** The distinct metadata sets of all blocks, in order of first use. */
class MetadataSets {
  readonly sets: Metadata[] = [];
  readonly #ids = new Map<string, number>();
  readonly #options: LineOptions;

  constructor(options: LineOptions) {
    this.#options = options;
  }

  ofBlock(metadata: Metadata): BlockSets {
    const { discoverLevels, labels } = this.#options;
    return new BlockSets(
      this,
      metadata,
      discoverLevels,
      discoverLevels ? levelOfEntry(labels ?? {}, metadata) : undefined,
    );
  }

  idOf(metadata: Metadata): number {
    const key = JSON.stringify(Object.entries(metadata));
    let id = this.#ids.get(key);
    if (id === undefined) {
      id = this.sets.push(metadata) - 1;
      this.#ids.set(key, id);
    }
    return id;
  }
}

/** The metadata sets of one block's lines: one, or one a level. */
class BlockSets {
  /** Whether the level must be read from each line. */
  readonly needsLine: boolean;
  readonly #sets: MetadataSets;
  readonly #metadata: Metadata;
  readonly #level: string | undefined;
  readonly #ids = new Int32Array(LEVELS.length).fill(-1);

  /** `level`: of all lines of the block, where something beside the line tells it. */
  constructor(sets: MetadataSets, metadata: Metadata, discoverLevels: boolean, level: string | undefined) {
    this.#sets = sets;
    this.#level = level;
    this.#metadata = metadata;
    this.needsLine = discoverLevels && level === undefined;
  }

  /** The id of the set for a line of that level; `level` is 0 unless `needsLine`. */
  idOfLevel(level: number): number {
    const id = this.#ids[level];
    if (id >= 0) return id;
    const name = this.needsLine ? LEVELS[level] : this.#level;
    const set = name === undefined ? this.#metadata : metadataWithLevel(this.#metadata, name);
    return (this.#ids[level] = this.#sets.idOf(set));
  }
}
