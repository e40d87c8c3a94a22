/**
 * The content of one stream within a batch, uncompressed: parallel columns, one row an entry.
 *
 * Time is (ms, sub): whole milliseconds since 1970 (may be negative) and nanoseconds within them (0…999,999). Two
 * plain columns, since a nanosecond timestamp does not fit a double and BigInts allocate.
 *
 * Line `i` is `lines[i === 0 ? 0 : ends[i - 1] + 1 … ends[i])`: every line is followed by one `\n`, which makes the
 * block searchable as a whole; `ends` is authoritative, so a line may itself contain `\n` or any other byte.
 */
export interface Columns {
  readonly count: number;
  readonly ms: Float64Array;
  readonly sub: Uint32Array;
  readonly ends: Uint32Array;
  readonly lines: Uint8Array;
  /** Row → index into `metadata`. */
  readonly metadataIds: Uint32Array;
  /** Distinct structured-metadata sets in order of first use; often just one level each. */
  readonly metadata: readonly Metadata[];
}

/** The columns that a search looks at. */
export type Lines = Pick<Columns, 'count' | 'ends' | 'lines'>;

/** Structured metadata: name → value, names sorted. */
export type Metadata = Readonly<Record<string, string>>;

/** Stream labels: name → value. */
export type Labels = Readonly<Record<string, string>>;

/** Adds a label, whatever its name: plain assignment of `__proto__` sets no property. */
export function setLabel(labels: Record<string, string>, name: string, value: string): void {
  if (name !== '__proto__') labels[name] = value;
  else Object.defineProperty(labels, name, { value, enumerable: true, configurable: true, writable: true });
}

/** Start of line `row` within `columns.lines`. */
export function lineStart(columns: Pick<Columns, 'ends'>, row: number): number {
  return row === 0 ? 0 : columns.ends[row - 1] + 1;
}

/** The canonical text of a label set: names sorted, as Loki prints it. Two label sets are one stream iff these are equal. */
export function labelsText(labels: Labels): string {
  const parts = Object.keys(labels)
    .sort()
    .map((name) => `${name}=${JSON.stringify(labels[name])}`);
  return `{${parts.join(', ')}}`;
}

/** A label set as JSON, names sorted: equal for equal sets. */
export function labelsKey(labels: Labels): string {
  let key = '';
  for (const name of Object.keys(labels).sort()) {
    key += `${key === '' ? '{' : ','}${JSON.stringify(name)}:${JSON.stringify(labels[name])}`;
  }
  return key === '' ? '{}' : `${key}}`;
}

/** The label set of a `labelsKey`. Throws RangeError on anything else. */
export function parseLabelsKey(key: string): Labels {
  let labels: unknown;
  try {
    labels = JSON.parse(key);
  } catch (cause) {
    throw new RangeError('not the key of a label set', { cause });
  }
  const isSet = typeof labels === 'object' && labels !== null && !Array.isArray(labels);
  const isSound = isSet && Object.values(labels as object).every((value) => typeof value === 'string');
  if (!isSound || labelsKey(labels as Labels) !== key) throw new RangeError('not the key of a label set');
  return labels as Labels;
}
