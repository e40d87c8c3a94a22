import type { Columns, Metadata } from '../../store/index.ts';
import type { Pairs } from './push-limits.ts';

const NEWLINE = 0x0a;
const NO_METADATA: Metadata = {};

/** Fills the columns of one stream; the sizes are known beforehand, so nothing grows. */
export class ColumnsBuilder {
  readonly #ms: Float64Array;
  readonly #sub: Uint32Array;
  readonly #ends: Uint32Array;
  readonly #metadataIds: Uint32Array;
  readonly #lines: Buffer;
  readonly #metadata: Metadata[] = [];
  readonly #idOfMetadata = new Map<string, number>();
  #count = 0;
  #filled = 0;

  /** `linesBytesMax` holds every line and its `\n`. */
  constructor(count: number, linesBytesMax: number) {
    this.#ms = new Float64Array(count);
    this.#sub = new Uint32Array(count);
    this.#ends = new Uint32Array(count);
    this.#metadataIds = new Uint32Array(count);
    this.#lines = Buffer.allocUnsafe(linesBytesMax);
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
    const key = isNone ? '' : JSON.stringify(sorted);
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

  addBytes(source: Uint8Array, start: number, end: number): void {
    this.#lines.set(source.subarray(start, end), this.#filled);
    this.#filled += end - start;
    this.#endLine();
  }

  #endLine(): void {
    this.#ends[this.#count++] = this.#filled;
    this.#lines[this.#filled++] = NEWLINE;
  }

  finish(): Columns {
    return {
      count: this.#count,
      ms: this.#ms,
      sub: this.#sub,
      ends: this.#ends,
      lines: this.#lines.subarray(0, this.#filled),
      metadataIds: this.#metadataIds,
      metadata: this.#metadata,
    };
  }
}

function metadataOf(pairs: Pairs): Metadata {
  const values = new Map<string, string>();
  for (const [name, value] of pairs) values.set(metadataName(name), value);
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
