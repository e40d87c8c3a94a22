/**
 * A regex tree to the source of a JavaScript RegExp that runs over latin1 text whose bytes are valid UTF-8. No flags,
 * no lookaround, no back-references and no counted repetition above 16: what V8's linear engine can run.
 *
 * A character that may be anything beyond ASCII is `[ascii\xc2-\xf4][\x80-\xbf]*`, and any number of them
 * `[ascii\x80-\xff]*`. That is exact: whatever follows starts with a byte that continues no character, so such a run
 * can never be cut inside one.
 */
import { CODE_POINT_MAX, intersect, pairsOf, type Ranges } from './regex-class.ts';
import type { RegexNode, RepeatNode } from './regex-parse.ts';
import { isNullable, minimumLength } from './regex-tree.ts';

export interface EmitMode {
  /** Keep the groups as groups; else they only bracket. */
  readonly captures: boolean;
  /** The text is ASCII: nothing beyond it needs to be expressed. */
  readonly ascii: boolean;
  /**
   * The text is many lines, each ended by `\n`, none with one inside: ends of text become ends of line (`anchored`) or
   * are left out (`loose`), so that more is found than matches.
   */
  readonly block: 'no' | 'anchored' | 'loose';
}

/** Longest source that is given to V8; beyond it re2js does the work. */
const SOURCE_LENGTH_MAX = 20_000;
const REPLICATION_MAX = 16;

/** Undefined when the source would be too long. */
export function emitRegex(node: RegexNode, mode: EmitMode): string | undefined {
  const source = emit(node, mode, 1);
  return source.length > SOURCE_LENGTH_MAX ? undefined : source;
}

function emit(node: RegexNode, mode: EmitMode, replication: number): string {
  switch (node.kind) {
    case 'empty':
      return '';
    case 'class':
      return emitClass(node.ranges, mode);
    case 'concat':
      return node.items.map((item) => bracketed(item, mode, replication)).join('');
    case 'alternate':
      return node.items.map((item) => emit(item, mode, replication)).join('|');
    case 'group':
      return `(${mode.captures ? '' : '?:'}${emit(node.item, mode, replication)})`;
    case 'repeat':
      return emitRepeat(node, mode, replication);
    case 'assertion':
      return emitAssertion(node.what, mode);
  }
}

/** With brackets around what would bind more loosely than its neighbours. */
function bracketed(node: RegexNode, mode: EmitMode, replication: number): string {
  const source = emit(node, mode, replication);
  return node.kind === 'alternate' ? `(?:${source})` : source;
}

function emitAssertion(what: string, mode: EmitMode): string {
  switch (what) {
    case 'textStart':
    case 'lineStart':
      if (mode.block === 'loose') return '';
      return mode.block === 'no' ? '^' : '(?:^|\\n)';
    case 'textEnd':
    case 'lineEnd':
      if (mode.block === 'loose') return '';
      return mode.block === 'no' ? '$' : '\\n';
    case 'wordBoundary':
      return '\\b';
    default:
      return '\\B';
  }
}

function emitRepeat(node: RepeatNode, mode: EmitMode, replication: number): string {
  const { max } = node;
  // One or more of what may be nothing is any number of it; V8's linear engine would rather not repeat that.
  const min = !mode.captures && max === Infinity && isNullable(node.item) ? 0 : node.min;
  const lazy = node.lazy ? '?' : '';
  const run = node.item.kind === 'class' ? emitRun(node.item.ranges, mode) : undefined;
  if (run !== undefined && max === Infinity && min <= 1) {
    return min === 0 ? `${run.any}*${lazy}` : `${run.first}${run.any}*${lazy}`;
  }
  // The linear engine counts a repetition of what may be nothing twice: it is written out instead.
  const writtenOut = minimumLength(node.item) === 0;
  if (max === Infinity && (min === 0 || (min === 1 && !writtenOut))) {
    return `${atom(node, mode, replication)}${min === 0 ? '*' : '+'}${lazy}`;
  }
  if (max === 1)
    return min === 1 ? atom(node, mode, replication) : `${atom(node, mode, replication)}?${lazy}`;
  if (max === 0) return '';
  const count = Math.max(min, max === Infinity ? 1 : max);
  const chunk = chunkOf(node, replication);
  const body = atom(node, mode, replication * Math.min(chunk, count));
  if (body.length * Math.ceil(count / chunk) > SOURCE_LENGTH_MAX) return '.'.repeat(SOURCE_LENGTH_MAX + 1);
  let out = '';
  for (let left = min; left > 0; left -= chunk)
    out += counted(body, Math.min(left, chunk), Math.min(left, chunk), '');
  if (max === Infinity) return `${out}${run === undefined ? body : run.any}*${lazy}`;
  for (let left = max - min; left > 0; left -= chunk) out += counted(body, 0, Math.min(left, chunk), lazy);
  return out;
}

/** How often a counted repetition counts at once, where those around it count to `replication`. */
export function chunkOf(node: RepeatNode, replication: number): number {
  return minimumLength(node.item) === 0
    ? 1
    : Math.max(1, Math.floor(REPLICATION_MAX / (replication * replicationOf(node.item))));
}

function counted(body: string, min: number, max: number, lazy: string): string {
  if (min === 1 && max === 1) return body;
  if (min === 0 && max === 1) return `${body}?${lazy}`;
  return min === max ? `${body}{${min}}` : `${body}{${min},${max}}${lazy}`;
}

/** The repeated part as one unit. */
function atom(node: RepeatNode, mode: EmitMode, replication: number): string {
  const source = emit(node.item, mode, replication);
  const isUnit = node.item.kind === 'group' || /^(?:[A-Za-z0-9]|\\x[0-9a-f]{2}|\[[^\]]*\])$/.test(source);
  return isUnit ? source : `(?:${source})`;
}

/** The product of the counted repetitions inside. */
function replicationOf(node: RegexNode): number {
  switch (node.kind) {
    case 'group':
      return replicationOf(node.item);
    case 'concat':
    case 'alternate':
      return node.items.reduce((most, item) => Math.max(most, replicationOf(item)), 1);
    case 'repeat': {
      const own = Math.max(node.min, node.max === Infinity ? 1 : node.max, 1);
      return Math.min(REPLICATION_MAX, own * replicationOf(node.item));
    }
    default:
      return 1;
  }
}

function byte(code: number): string {
  const char = String.fromCharCode(code);
  return /[A-Za-z0-9 _"'<>=:;,!@#%&~/`-]/.test(char) && char !== '-'
    ? char
    : `\\x${code.toString(16).padStart(2, '0')}`;
}

function byteSet(pairs: readonly (readonly [number, number])[]): string {
  if (pairs.length === 1 && pairs[0][0] === pairs[0][1]) return byte(pairs[0][0]);
  return `[${pairs.map(([from, to]) => (from === to ? byte(from) : `${byte(from)}-${byte(to)}`)).join('')}]`;
}

function asciiPart(ranges: Ranges, mode: EmitMode): [number, number][] {
  const pairs = pairsOf(intersect(ranges, 0, 0x7f));
  if (mode.block === 'no') return pairs;
  // Lines of a block hold no line feed: a class must not run across one.
  return pairs
    .flatMap(([from, to]): [number, number][] =>
      from <= 10 && to >= 10
        ? [
            [from, 9],
            [11, to],
          ]
        : [[from, to]],
    )
    .filter(([from, to]) => from <= to);
}

function holdsAllBeyondAscii(ranges: Ranges): boolean {
  return (
    ranges.length > 0 && ranges[ranges.length - 1] === CODE_POINT_MAX && ranges[ranges.length - 2] <= 0x80
  );
}

/** A class as the first byte of a run and any further byte of it, when it is such a class. */
function emitRun(ranges: Ranges, mode: EmitMode): { first: string; any: string } | undefined {
  const ascii = asciiPart(ranges, mode);
  if (mode.ascii || !holdsAllBeyondAscii(ranges)) {
    if (!mode.ascii && intersect(ranges, 0x80, CODE_POINT_MAX).length > 0) return undefined;
    const set = byteSet(ascii);
    return { first: set, any: set };
  }
  return { first: byteSet([...ascii, [0xc2, 0xf4]]), any: byteSet([...ascii, [0x80, 0xff]]) };
}

function emitClass(ranges: Ranges, mode: EmitMode): string {
  const ascii = asciiPart(ranges, mode);
  if (mode.ascii) return byteSet(ascii);
  if (holdsAllBeyondAscii(ranges)) return `${byteSet([...ascii, [0xc2, 0xf4]])}[\\x80-\\xbf]*`;
  const sequences = pairsOf(intersect(ranges, 0x80, CODE_POINT_MAX)).flatMap(([from, to]) =>
    utf8Sequences(from, to),
  );
  if (sequences.length === 0) return byteSet(ascii);
  const alternatives = sequences.map((sequence) => sequence.map((pair) => byteSet([pair])).join(''));
  if (ascii.length > 0) alternatives.unshift(byteSet(ascii));
  return alternatives.length === 1 && sequences[0].every(([from, to]) => from === to)
    ? `(?:${alternatives[0]})`
    : `(?:${alternatives.join('|')})`;
}

/** How many sequences of bytes a class becomes, by their length. */
export function byteLengths(ranges: Ranges, mode: EmitMode): number[] {
  const lengths = [0, asciiPart(ranges, mode).length > 0 ? 1 : 0, 0, 0, 0];
  if (mode.ascii) return lengths;
  if (holdsAllBeyondAscii(ranges)) return [0, 1];
  for (const [from, to] of pairsOf(intersect(ranges, 0x80, CODE_POINT_MAX))) {
    for (const sequence of utf8Sequences(from, to)) lengths[sequence.length]++;
  }
  return lengths;
}

const LENGTH_LIMITS = [0x7f, 0x7ff, 0xffff, CODE_POINT_MAX];

/** The byte sequences of a range of code points, each byte a range of its own. */
function utf8Sequences(from: number, to: number): [number, number][][] {
  if (from > to) return [];
  // Surrogates have no UTF-8.
  if (from < 0xd800 && to >= 0xd800) return [...utf8Sequences(from, 0xd7ff), ...utf8Sequences(0xd800, to)];
  if (from >= 0xd800 && from <= 0xdfff) return utf8Sequences(0xe000, to);
  for (const limit of LENGTH_LIMITS) {
    if (from <= limit && to > limit) return [...utf8Sequences(from, limit), ...utf8Sequences(limit + 1, to)];
  }
  for (const mask of [0x3f, 0xfff, 0x3ffff]) {
    if (to <= mask) break;
    if ((from & ~mask) === (to & ~mask)) continue;
    if ((from & mask) !== 0)
      return [...utf8Sequences(from, from | mask), ...utf8Sequences((from | mask) + 1, to)];
    if ((to & mask) !== mask)
      return [...utf8Sequences(from, (to & ~mask) - 1), ...utf8Sequences(to & ~mask, to)];
  }
  const low = Buffer.from(String.fromCodePoint(from), 'utf8');
  const high = Buffer.from(String.fromCodePoint(to), 'utf8');
  return [Array.from(low, (value, i): [number, number] => [value, high[i]])];
}
