import type { Metadata, StreamRows } from '../../store/index.ts';
import type { Pairs } from './push-limits.ts';

const NEWLINE = 0x0a;
const NO_METADATA: Metadata = {};

/** Fills the rows of all streams of a push, one stream after the other. Grows by half at least. */
export class RowsBuilder {
  #ms: Float64Array;
  #sub: Uint32Array;
  #ends: Uint32Array;
  #metadataIds: Uint32Array;
  readonly #lines: Buffer;
  readonly #metadata: Metadata[] = [];
  readonly #idOfMetadata = new Map<string, number>();
  readonly #keys: string[] = [];
  readonly #rowEnds: number[] = [];
  #count = 0;
  #filled = 0;

  /** `linesBytesMax` holds every line and its `\n`; `rows` is a first guess. */
  constructor(linesBytesMax: number, rows: number) {
    this.#ms = new Float64Array(rows);
    this.#sub = new Uint32Array(rows);
    this.#ends = new Uint32Array(rows);
    this.#metadataIds = new Uint32Array(rows);
    this.#lines = Buffer.allocUnsafeSlow(linesBytesMax);
  }

  /** Rows so far. */
  get count(): number {
    return this.#count;
  }

  /** Makes room for so many rows more: to be called before they are filled. */
  reserve(rows: number): void {
    const needed = this.#count + rows;
    if (needed <= this.#ms.length) return;
    const capacity = Math.max(needed, Math.ceil(this.#ms.length * 1.5));
    const ms = new Float64Array(capacity);
    ms.set(this.#ms);
    this.#ms = ms;
    this.#sub = grown(this.#sub, capacity);
    this.#ends = grown(this.#ends, capacity);
    this.#metadataIds = grown(this.#metadataIds, capacity);
  }

  /** The rows since the last call are those of the stream with this `labelsKey`. */
  endStream(key: string): void {
    this.#keys.push(key);
    this.#rowEnds.push(this.#count);
  }

  /** Sets the time of the row that the next `add…` call completes: ms since 1970 and nanoseconds within it. */
  time(ms: number, sub: number): void {
    this.#ms[this.#count] = ms;
    this.#sub[this.#count] = sub;
  }

  /** Sets the structured metadata of the row that the next `add…` call completes; none is an empty one. */
  metadata(pairs: Pairs): void {
    const isNone = pairs.length === 0;
    // Names are unique after this, and the text is the same whatever order the client sent.
    const sorted = isNone ? NO_METADATA : metadataOf(pairs);
    const key = isNone ? '{}' : JSON.stringify(sorted);
    let id = this.#idOfMetadata.get(key);
    if (id === undefined) {
      id = this.#metadata.length;
      this.#metadata.push(sorted);
      this.#idOfMetadata.set(key, id);
    }
    this.#metadataIds[this.#count] = id;
  }

  addText(line: string): void {
    this.#filled += this.#lines.write(line, this.#filled);
    this.#endLine();
  }

  addBytes(source: Buffer, start: number, end: number): void {
    this.#filled += source.copy(this.#lines, this.#filled, start, end);
    this.#endLine();
  }

  #endLine(): void {
    this.#ends[this.#count++] = this.#filled;
    this.#lines[this.#filled++] = NEWLINE;
  }

  finish(): StreamRows {
    const count = this.#count;
    return {
      keys: this.#keys,
      rowEnds: Uint32Array.from(this.#rowEnds),
      columns: {
        count,
        ms: this.#ms.subarray(0, count),
        sub: this.#sub.subarray(0, count),
        ends: this.#ends.subarray(0, count),
        lines: this.#lines.subarray(0, this.#filled),
        metadataIds: this.#metadataIds.subarray(0, count),
        metadata: this.#metadata,
      },
    };
  }
}

function grown(column: Uint32Array, capacity: number): Uint32Array {
  const larger = new Uint32Array(capacity);
  larger.set(column);
  return larger;
}

function metadataOf(pairs: Pairs): Metadata {
  const values = new Map<string, string>();
  // As it is stored: two that differ in half a character only would be one there.
  for (const [name, value] of pairs) values.set(metadataName(name), value.toWellFormed());
  // As a label, an empty one is the same as none.
  for (const [name, value] of values) if (value === '') values.delete(name);
  return Object.fromEntries([...values].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * Names as Loki stores them, since LogQL can only say those: other characters become `_`, and a name that then begins
 * with a digit or a single `_` gets a prefix.
 */
function metadataName(name: string): string {
  const plain = name.replace(/[^a-zA-Z0-9_]/g, '_');
  if (/^[0-9]/.test(plain)) return `key_${plain}`;
  return plain.startsWith('_') && !plain.startsWith('__') ? `key${plain}` : plain;
}
