/**
 * Regular expressions with RE2's syntax and meaning, run by V8: re2js says what is allowed, a translation runs on the
 * bytes of the line (as latin1 text), and what cannot be translated faithfully runs in re2js.
 */
import { isAscii, isUtf8 } from 'node:buffer';
import { RE2JS } from 're2js';
import { LIMITS } from '../limits.ts';
import { compileSteps } from './regex-cost.ts';
import { emitRegex, type EmitMode } from './regex-emit.ts';
import { includes } from './regex-class.ts';
import { requiredLiterals, type LiteralGroup } from './regex-literals.ts';
import { parseRegex, type Assertion, type RegexNode } from './regex-parse.ts';
import { REPEATED_MAX, repeatedSize } from './regex-size.ts';
import { childrenOf, holds, minimumLength } from './regex-tree.ts';
import { asValidUtf8, encodeText } from './text.ts';

export interface CompiledRegex {
  readonly pattern: string;
  /** Does any part of this line match? The line may be any bytes; those that are not UTF-8 count as U+FFFD each. */
  testLine(line: Buffer): boolean;
  /** Does any part of this text match? */
  testText(text: string): boolean;
  /** The groups of the first match (0 is all of it), `undefined` where a group took no part. */
  exec(text: string): (string | undefined)[] | undefined;
  /** Replaces every match; `$1`, `${name}` and `$$` in `replacement` as in Go, unless `literal`. */
  replaceAll(text: string, replacement: string, literal?: boolean): string;
  /** How often it matches, without overlap. */
  count(text: string): number;
  /** Names of the groups from 1 on; '' for a group without. */
  readonly groupNames: readonly string[];
  /** Every matching line contains one literal of each of these groups. */
  readonly literals: readonly LiteralGroup[];
  /**
   * For whole blocks: run it (flag g) over latin1 text that is valid UTF-8 and in which each line ends in `\n` and none
   * has one inside. It misses no line, but proves none: test each line from the one that a match starts in to the one
   * that it ends in, then go on from the line feed of the last. Undefined when lines are better tested one by one.
   *
   * Give it pieces of some 32 KiB, cut at line feeds: V8 counts backtracks per search, and beyond its limit goes on in
   * its linear engine, which is a hundred times slower. Where `literals` has a rare one, look for that first.
   */
  readonly block: RegExp | undefined;
  /** What `block` finds proves its line a match, if the match lies within it: the pattern has no ends of text or line. */
  readonly blockProves: boolean;
  /** No match holds a line feed, so that `block` takes lines with one inside, too, where it proves. */
  readonly isWithoutLineFeed: boolean;
}

/** The last ones: a query is parsed, checked and compiled, often again and again. */
const compiled = new Map<string, CompiledRegex>();

/** Throws SyntaxError with Go's text when RE2 does not allow the pattern. `dotAll`: `.` matches line feeds too. */
export function compileRegex(pattern: string, options: { dotAll?: boolean } = {}): CompiledRegex {
  const key = `${options.dotAll ? 's' : ''} ${pattern}`;
  let regex = compiled.get(key);
  if (regex) return regex;
  regex = compileAnew(pattern, options);
  if (compiled.size >= LIMITS.queriesCompiledMax) compiled.delete(compiled.keys().next().value!);
  compiled.set(key, regex);
  return regex;
}

function compileAnew(pattern: string, options: { dotAll?: boolean }): CompiledRegex {
  if (repeatedSize(pattern) > REPEATED_MAX) {
    throw new SyntaxError('error parsing regexp: expression too large: its repetitions are too many');
  }
  let re2: RE2JS;
  try {
    re2 = RE2JS.compile(pattern, options.dotAll ? RE2JS.DOTALL : 0);
  } catch (cause) {
    throw new SyntaxError((cause as Error).message, { cause });
  }
  return new Regex(pattern, re2, parseRegex(pattern, options.dotAll));
}

/** A pattern that the whole text must match, as label matchers do. Throws as `compileRegex`. */
export function compileAnchored(pattern: string, options: { dotAll?: boolean } = {}): CompiledRegex {
  compileRegex(pattern, options);
  return compileRegex(`^(?:${pattern})$`, options);
}

/** At most 0.1 s. Of more, the source goes to re2js, which compiles anything soon. */
const COMPILE_STEPS_MAX = 200_000;

function translate(tree: RegexNode, mode: EmitMode): string | undefined {
  return compileSteps(tree, mode) > COMPILE_STEPS_MAX ? undefined : emitRegex(tree, mode);
}

/** A RegExp of the translation, made when first needed; undefined when there is none. */
type Runner = RegExp | undefined;

class Regex implements CompiledRegex {
  readonly pattern: string;
  readonly groupNames: readonly string[];
  readonly literals: readonly LiteralGroup[];
  readonly blockProves: boolean;
  readonly isWithoutLineFeed: boolean;
  readonly #re2: RE2JS;
  readonly #tree: RegexNode | undefined;
  /** Ends of line inside the text mean something else to RE2 than to a RegExp without lookaround. */
  readonly #lineAnchors: boolean;
  readonly #capturesFaithful: boolean;
  readonly #runners = new Map<string, Runner>();

  constructor(pattern: string, re2: RE2JS, tree: RegexNode | undefined) {
    this.pattern = pattern;
    this.#re2 = re2;
    // At a byte inside a character \B holds, where RE2 does not look.
    const runsInV8 = tree !== undefined && !holds(tree, isNoWordBoundary);
    this.#tree = runsInV8 ? tree : undefined;
    this.#lineAnchors = tree !== undefined && holds(tree, isLineAnchor);
    this.#capturesFaithful = tree !== undefined && !holds(tree, repeatsUnfaithfully);
    this.blockProves = tree !== undefined && !holds(tree, isTextEnd);
    this.isWithoutLineFeed = tree !== undefined && !holds(tree, matchesLineFeed);
    this.groupNames = tree === undefined ? namesFromRe2(re2) : groupNames(tree);
    this.literals = tree === undefined ? [] : requiredLiterals(tree);
  }

  get block(): Runner {
    const tree = this.#tree;
    if (tree === undefined || minimumLength(tree) === 0) return undefined;
    return this.#runner(
      'block',
      () =>
        translate(trimmed(tree), {
          captures: false,
          ascii: false,
          block: hasPlainAnchors(tree) ? 'anchored' : 'loose',
        }),
      'g',
    );
  }

  testLine(line: Buffer): boolean {
    const ascii = isAscii(line);
    const valid = ascii || isUtf8(line) ? line : asValidUtf8(line);
    return this.#test(valid.toString('latin1', 0, valid.length), ascii, () =>
      valid.toString('utf8', 0, valid.length),
    );
  }

  testText(text: string): boolean {
    // oxlint-disable-next-line no-control-regex
    if (/^[\0-\x7f]*$/.test(text)) return this.#test(text, true, () => text);
    const valid = asValidUtf8(encodeText(text));
    return this.#test(valid.toString('latin1', 0, valid.length), false, () =>
      valid.toString('utf8', 0, valid.length),
    );
  }

  #test(latin1: string, ascii: boolean, decode: () => string): boolean {
    const runner =
      this.#lineAnchors && latin1.includes('\n')
        ? undefined
        : this.#runner(
            ascii ? 'ascii' : 'utf8',
            () => this.#tree && translate(trimmed(this.#tree), { captures: false, ascii, block: 'no' }),
          );
    return runner === undefined ? this.#re2.test(decode()) : runner.test(latin1);
  }

  exec(text: string): (string | undefined)[] | undefined {
    const { done, value } = this.#matches(text).next();
    return done ? undefined : value.groups;
  }

  count(text: string): number {
    let count = 0;
    for (const _ of this.#matches(text)) count++;
    return count;
  }

  replaceAll(text: string, replacement: string, literal = false): string {
    let out = '';
    let from = 0;
    for (const match of this.#matches(text)) {
      out += text.slice(from, match.index);
      out += literal ? replacement : expand(replacement, match.groups, this.groupNames);
      from = match.index + (match.groups[0] as string).length;
    }
    return out + text.slice(from);
  }

  /** Matches from left to right; positions are those of `text`. An empty match right after another does not count. */
  *#matches(text: string): Generator<{ index: number; groups: (string | undefined)[] }> {
    // oxlint-disable-next-line no-control-regex
    const ascii = /^[\0-\x7f]*$/.test(text);
    const runner =
      !ascii || !this.#capturesFaithful || (this.#lineAnchors && text.includes('\n'))
        ? undefined
        : this.#runner(
            'captures',
            () => this.#tree && translate(this.#tree, { captures: true, ascii: true, block: 'no' }),
            'g',
          );
    const all = runner === undefined ? this.#re2.matchAll(text) : text.matchAll(runner);
    let lastEnd = -1;
    for (const match of all) {
      const index = match.index ?? 0;
      if (match[0] === '' && index === lastEnd) continue;
      lastEnd = index + match[0].length;
      yield { index, groups: [...match] };
    }
  }

  #runner(key: string, source: () => string | undefined, flags = ''): Runner {
    if (this.#runners.has(key)) return this.#runners.get(key);
    const text = source();
    const runner = text === undefined ? undefined : new RegExp(text, flags);
    this.#runners.set(key, runner);
    return runner;
  }
}

const isNoWordBoundary = (node: RegexNode) => node.kind === 'assertion' && node.what === 'noWordBoundary';
const isLineAnchor = (node: RegexNode) =>
  node.kind === 'assertion' && (node.what === 'lineStart' || node.what === 'lineEnd');
const isTextEnd = (node: RegexNode) =>
  node.kind === 'assertion' && node.what !== 'wordBoundary' && node.what !== 'noWordBoundary';
const matchesLineFeed = (node: RegexNode) => node.kind === 'class' && includes(node.ranges, 10);

/**
 * An end of line becomes a line feed that is matched. That is right only where nothing else looks at the same place:
 * one start and one end, in no repetition, and no word boundaries.
 */
function hasPlainAnchors(tree: RegexNode): boolean {
  const count = (whats: readonly Assertion[]): number => {
    const within = (node: RegexNode): number =>
      childrenOf(node).reduce(
        (sum, child) => sum + within(child),
        node.kind === 'assertion' && whats.includes(node.what) ? 1 : 0,
      );
    return within(tree);
  };
  return (
    count(['textStart', 'lineStart']) <= 1 &&
    count(['textEnd', 'lineEnd']) <= 1 &&
    count(['wordBoundary']) === 0 &&
    !holds(tree, (node) => node.kind === 'repeat' && holds(node.item, (inner) => inner.kind === 'assertion'))
  );
}

/** Repetitions whose groups, or whose empty rounds, JavaScript treats in its own way. */
function repeatsUnfaithfully(node: RegexNode): boolean {
  if (node.kind !== 'repeat') return false;
  const hasGroup = holds(node.item, (inner) => inner.kind === 'group');
  return (hasGroup && node.max !== 1) || minimumLength(node.item) === 0;
}

/** Without what may match nothing at either end: it cannot decide whether there is a match, and costs time. */
function trimmed(node: RegexNode): RegexNode {
  if (node.kind !== 'concat') return node;
  let items = node.items;
  while (items.length > 1 && isOptionalRun(items[0])) items = items.slice(1);
  while (items.length > 1 && isOptionalRun(items[items.length - 1])) items = items.slice(0, -1);
  return items.length === 1 ? items[0] : { kind: 'concat', items };
}

function isOptionalRun(node: RegexNode): boolean {
  return node.kind === 'repeat' && node.min === 0 && node.item.kind === 'class';
}

function groupNames(node: RegexNode): string[] {
  const inner = childrenOf(node).flatMap(groupNames);
  return node.kind === 'group' ? [node.name, ...inner] : inner;
}

function namesFromRe2(re2: RE2JS): string[] {
  const names = Array.from({ length: re2.groupCount() }, () => '');
  for (const [name, index] of Object.entries(re2.namedGroups())) names[Number(index) - 1] = name;
  return names;
}

/** Go's Regexp.Expand: `$name` takes the longest name of letters, digits and underscores. */
function expand(template: string, groups: readonly (string | undefined)[], names: readonly string[]): string {
  return template.replace(/\$(?:\$|\{(\w+)\}|(\w+))/g, (_all, braced?: string, bare?: string) => {
    const name = braced ?? bare;
    if (name === undefined) return '$';
    const index = /^\d+$/.test(name) ? Number(name) : names.indexOf(name) + 1;
    return index === 0 && name !== '0' ? '' : (groups[index] ?? '');
  });
}
