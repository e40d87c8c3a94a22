import { isAscii } from 'node:buffer';
import { lineStart, type Columns } from '../batch/index.ts';

/** One thing that a line may contain or match. */
export type LineTest =
  | { readonly kind: 'literal'; readonly bytes: Buffer }
  | {
      readonly kind: 'regex';
      /** Over one whole decoded line. */
      test(line: string): boolean;
      /** The same in multi-line form for a whole ASCII block, when there is one. */
      readonly block: RegExp | undefined;
      /** Literals (ASCII, exact case) of which every match contains all; for a prefilter. */
      readonly required: readonly Buffer[];
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
export function selectRows(columns: Columns, filters: readonly LineFilter[]): Uint32Array {
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
  return test.required.every((literal) => line.includes(literal)) && test.test(line.toString('utf8'));
}

/** A mark for each row that the filter lets through. */
function searchBlock(columns: Columns, lines: Buffer, filter: LineFilter): Uint8Array {
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

function markLiteral(columns: Columns, lines: Buffer, literal: Buffer, marks: Uint8Array): void {
  const { ends } = columns;
  if (literal.length === 0) {
    marks.fill(1);
    return;
  }
  let row = 0;
  for (let hit = lines.indexOf(literal); hit !== -1; ) {
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

function markRegex(columns: Columns, lines: Buffer, test: RegexTest, marks: Uint8Array): void {
  const { ends } = columns;
  if (test.required.length > 0) {
    // A literal that every match needs is faster to look for than the expression.
    const longest = test.required.reduce((a, b) => (b.length > a.length ? b : a));
    const candidates = new Uint8Array(columns.count);
    markLiteral(columns, lines, longest, candidates);
    let hits = 0;
    for (let row = 0; row < candidates.length; row++) hits += candidates[row];
    if (hits === 0) return;
    if (hits < columns.count / 8 || !test.block) {
      for (let row = 0; row < candidates.length; row++) {
        if (candidates[row] === 1 && test.test(lines.toString('utf8', lineStart(columns, row), ends[row]))) {
          marks[row] = 1;
        }
      }
      return;
    }
  }
  if (!test.block || !isAscii(lines)) {
    for (let row = 0; row < columns.count; row++) {
      if (marks[row] === 0 && test.test(lines.toString('utf8', lineStart(columns, row), ends[row]))) marks[row] = 1;
    }
    return;
  }
  markBlockRegex(columns, lines.toString('latin1'), test, test.block, marks);
}

/** Over the whole of a pure ASCII block, where one-byte and UTF-8 decoding are the same. */
function markBlockRegex(columns: Columns, text: string, test: RegexTest, block: RegExp, marks: Uint8Array): void {
  const { ends } = columns;
  block.lastIndex = 0;
  let row = 0;
  for (let hit = block.exec(text); hit; hit = block.exec(text)) {
    row = rowAt(ends, hit.index, row);
    const start = lineStart(columns, row);
    const end = ends[row];
    // A class like [^a] or \s may match the newline and run on, and in a line that itself holds newlines ^ and $ match
    // too often: there the line alone decides.
    const plain = hit.index + hit[0].length <= end && text.indexOf('\n', start) === end;
    if (plain || test.test(text.slice(start, end))) marks[row] = 1;
    if (row + 1 >= columns.count) break;
    block.lastIndex = end + 1;
  }
}

function markEach(columns: Columns, lines: Buffer, test: LineTest, marks: Uint8Array): void {
  for (let row = 0; row < columns.count; row++) {
    if (lineMatches(lines.subarray(lineStart(columns, row), columns.ends[row]), test)) marks[row] = 1;
  }
}
