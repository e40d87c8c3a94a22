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

/**
 * Entries of several streams as one set of columns, stream by stream: the rows of stream `i` end before `rowEnds[i]`.
 * What is one line each of thousands of streams weighs and travels as thousands of lines of one do.
 */
export interface StreamRows {
  /** `labelsKey` of each stream. The same may stand several times: the stream has all of those rows. */
  readonly keys: readonly string[];
  readonly rowEnds: Uint32Array;
  readonly columns: Columns;
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

/** The rows `start … end` on their own, with the metadata sets that they use. `lines` stays where it is. */
export function sliceRows(columns: Columns, start: number, end: number): Columns {
  const from = lineStart(columns, start);
  const ids = new Map<number, number>();
  const metadataIds = columns.metadataIds.slice(start, end);
  const ends = columns.ends.slice(start, end);
  for (let row = 0; row < metadataIds.length; row++) {
    ends[row] -= from;
    const id = metadataIds[row];
    let own = ids.get(id);
    if (own === undefined) ids.set(id, (own = ids.size));
    metadataIds[row] = own;
  }
  return {
    count: end - start,
    ms: columns.ms.slice(start, end),
    sub: columns.sub.slice(start, end),
    ends,
    lines: columns.lines.subarray(from, lineStart(columns, end)),
    metadataIds,
    metadata: [...ids.keys()].map((id) => columns.metadata[id]),
  };
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
