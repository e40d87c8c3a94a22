import { isUtf8 } from 'node:buffer';
import { lineStart, type Lines } from '../batch/index.ts';

/** One thing that a line may contain or match. */
export type LineTest =
  | { readonly kind: 'literal'; readonly bytes: Buffer }
  | {
      readonly kind: 'regex';
      testLine(line: Buffer): boolean;
      /** Runs over a whole latin1 block and misses no line; unless `blockProves`, each hit is then tested alone. */
      readonly block: RegExp | undefined;
      readonly blockProves: boolean;
      /** `block` may also run over lines with line feeds inside. */
      readonly takesLineFeeds: boolean;
      /** A literal (exact case) that every match contains; a prefilter. */
      readonly required: Buffer | undefined;
    }
  | { readonly kind: 'line'; test(line: Buffer): boolean };

/** `|=` and its kin: a line passes when one of `anyOf` holds (none of them, if negated). */
export interface LineFilter {
  readonly negated: boolean;
  readonly anyOf: readonly LineTest[];
}

/**
 * Rows whose lines pass every filter, ascending. Whole-block searches find hits and then the line around each; only
 * negated or already narrowed filters go line by line.
 */
export function selectRows(columns: Lines, filters: readonly LineFilter[]): Uint32Array {
  const lines = Buffer.from(columns.lines.buffer, columns.lines.byteOffset, columns.lines.byteLength);
  // The cheapest positive filter first: a literal that hits nowhere ends the work.
  const ordered = filters.slice().sort((a, b) => cost(a) - cost(b));
  let rows: Uint32Array | undefined;
  for (const filter of ordered) {
    const selected: Uint32Array =
      rows === undefined || rows.length > columns.count / 4
        ? intersect(rows, searchBlock(columns, lines, filter), columns.count)
        : rows.filter((row) => passes(lines.subarray(lineStart(columns, row), columns.ends[row]), filter));
    rows = selected;
    if (rows.length === 0) break;
  }
  return rows ?? Uint32Array.from({ length: columns.count }, (_, row) => row);
}

/** False when a filter looks for literals and none of them stands anywhere: where lines end need not be known for that. */
export function mayHold(lines: Buffer, filters: readonly LineFilter[]): boolean {
  return filters.every(
    ({ negated, anyOf }) =>
      negated || anyOf.some((test) => test.kind !== 'literal' || lines.includes(test.bytes)),
  );
}

function cost(filter: LineFilter): number {
  const kinds = { literal: 0, regex: 10, line: 20 } as const;
  return Math.max(...filter.anyOf.map((test) => kinds[test.kind])) + (filter.negated ? 5 : 0);
}

function passes(line: Buffer, filter: LineFilter): boolean {
  return filter.anyOf.some((test) => lineMatches(line, test)) !== filter.negated;
}

function lineMatches(line: Buffer, test: LineTest): boolean {
  if (test.kind === 'literal') return line.includes(test.bytes);
  if (test.kind === 'line') return test.test(line);
  return (test.required === undefined || line.includes(test.required)) && test.testLine(line);
}

/** A mark for each row that the filter lets through. */
function searchBlock(columns: Lines, lines: Buffer, filter: LineFilter): Uint8Array {
  const marks = new Uint8Array(columns.count);
  for (const test of filter.anyOf) {
    if (test.kind === 'literal') markLiteral(columns, lines, test.bytes, marks);
    else if (test.kind === 'regex') markRegex(columns, lines, test, marks);
    else markEach(columns, lines, test, marks);
  }
  if (filter.negated) for (let row = 0; row < marks.length; row++) marks[row] ^= 1;
  return marks;
}

function intersect(rows: Uint32Array | undefined, marks: Uint8Array, count: number): Uint32Array {
  if (rows) return rows.filter((row) => marks[row] === 1);
  const selected = new Uint32Array(count);
  let length = 0;
  for (let row = 0; row < count; row++) if (marks[row] === 1) selected[length++] = row;
  return selected.subarray(0, length);
}

/** The first row at or after `from` whose line ends at or after `at`. Galloping, since hits come in order. */
function rowAt(ends: Uint32Array, at: number, from: number): number {
  let step = 1;
  let low = from;
  while (low + step < ends.length && ends[low + step] < at) {
    low += step;
    step *= 2;
  }
  let high = Math.min(low + step, ends.length - 1);
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ends[middle] < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

function markLiteral(columns: Lines, lines: Buffer, literal: Buffer, marks: Uint8Array): void {
  const { ends } = columns;
  if (literal.length === 0) {
    marks.fill(1);
    return;
  }
  let row = 0;
  for (let hit = lines.indexOf(literal); hit !== -1;) {
    row = rowAt(ends, hit, row);
    // A literal with a newline in it can run over the end of a line.
    if (hit + literal.length <= ends[row]) {
      marks[row] = 1;
      if (++row >= ends.length) break;
      hit = lines.indexOf(literal, ends[row - 1] + 1);
    } else hit = lines.indexOf(literal, hit + 1);
  }
}

type RegexTest = Extract<LineTest, { kind: 'regex' }>;

function markRegex(columns: Lines, lines: Buffer, test: RegexTest, marks: Uint8Array): void {
  const { ends } = columns;
  const line = (row: number): Buffer => lines.subarray(lineStart(columns, row), ends[row]);
  // A literal that every match needs is faster to look for than the expression, unless it is everywhere.
  if (test.required && !(test.block && isFrequent(columns, lines, test.required))) {
    const candidates = new Uint8Array(columns.count);
    markLiteral(columns, lines, test.required, candidates);
    for (let row = 0; row < candidates.length; row++) {
      if (candidates[row] === 1 && marks[row] === 0 && test.testLine(line(row))) marks[row] = 1;
    }
    return;
  }
  if (!test.block || !isUtf8(lines) || (!test.takesLineFeeds && hasInnerNewline(columns, lines))) {
    for (let row = 0; row < columns.count; row++) {
      if (marks[row] === 0 && test.testLine(line(row))) marks[row] = 1;
    }
    return;
  }
  for (let first = 0; first < columns.count;) {
    const start = lineStart(columns, first);
    const after = Math.min(columns.count, rowAt(ends, start + REGEX_PIECE_BYTES, first) + 1);
    markPiece(columns, lines, test, test.block, marks, first, after);
    first = after;
  }
}

const SAMPLE_ROWS = 256;

/** Is the literal in a quarter of the lines, to judge by some? */
function isFrequent({ ends, lines: bytes }: Lines, lines: Buffer, literal: Buffer): boolean {
  const count = Math.min(ends.length, SAMPLE_ROWS);
  const sample = { count, ends: ends.subarray(0, count), lines: bytes };
  const marks = new Uint8Array(count);
  markLiteral(sample, lines.subarray(0, ends[count - 1]), literal, marks);
  let hits = 0;
  for (let row = 0; row < count; row++) hits += marks[row];
  return hits >= count / 4;
}

/** V8 counts backtracks by search and leaves its fast engine after too many: pieces keep a long block in it. */
const REGEX_PIECE_BYTES = 64 * 1024;

/** Rows `first` to `after`, as one text. */
function markPiece(
  columns: Lines,
  lines: Buffer,
  test: RegexTest,
  block: RegExp,
  marks: Uint8Array,
  first: number,
  after: number,
): void {
  const { ends } = columns;
  const start = lineStart(columns, first);
  const text = lines.toString('latin1', start, ends[after - 1] + 1);
  block.lastIndex = 0;
  const line = (row: number): Buffer => lines.subarray(lineStart(columns, row), ends[row]);
  let row = first;
  for (let hit = block.exec(text); hit; hit = block.exec(text)) {
    const hitStart = start + hit.index;
    const hitEnd = hitStart + hit[0].length;
    const isProof = (at: number): boolean =>
      test.blockProves && hitStart >= lineStart(columns, at) && hitEnd <= ends[at];
    // A match may run over line ends: every line it touches is a candidate.
    for (row = rowAt(ends, hitStart, row); ; row++) {
      if (marks[row] === 0 && (isProof(row) || test.testLine(line(row)))) marks[row] = 1;
      if (row + 1 >= after || ends[row] >= hitEnd) break;
    }
    if (row + 1 >= after) break;
    block.lastIndex = Math.max(ends[row] - start, hit.index + 1);
  }
}

/** Only pushed lines may hold newlines; then there are more of them than rows. */
function hasInnerNewline(columns: Lines, lines: Buffer): boolean {
  let row = 0;
  for (let at = lines.indexOf(10); at !== -1; at = lines.indexOf(10, at + 1)) {
    if (at !== columns.ends[row++]) return true;
  }
  return false;
}

function markEach(columns: Lines, lines: Buffer, test: LineTest, marks: Uint8Array): void {
  for (let row = 0; row < columns.count; row++) {
    if (lineMatches(lines.subarray(lineStart(columns, row), columns.ends[row]), test)) marks[row] = 1;
  }
}
