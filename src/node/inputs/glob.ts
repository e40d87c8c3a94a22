import { resolve } from 'node:path';
import { LogvineError } from '../../store/index.ts';

/*
 * Shell patterns for files:
 *   *  any run of characters but "/"        ?  one character        [a-z] [!a-z]  one of (not of) a set
 *   {a,b}  either text, may be nested       **  as a whole segment: any number of directories, none included
 *   \x  the character x itself
 * As in a shell, a wildcard doesn't match a leading dot.
 */

const EXPANSIONS_MAX = 1_000;
const PATTERN_LENGTH_MAX = 4_096;

type Token =
  | { readonly kind: 'star' }
  | { readonly kind: 'any' }
  | { readonly kind: 'char'; readonly char: string }
  | {
      readonly kind: 'set';
      readonly negated: boolean;
      readonly ranges: ReadonlyArray<readonly [string, string]>;
    };

/** One part of a path between slashes. */
export type GlobSegment =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'match'; readonly tokens: readonly Token[] }
  | { readonly kind: 'deep' };

export interface Glob {
  /** The segments of an absolute path. */
  readonly segments: readonly GlobSegment[];
  /** The path, when the pattern has no wildcard and so names one file. */
  readonly plainPath?: string;
}

function invalid(pattern: string, why: string): LogvineError {
  return new LogvineError(
    'LV_CONFIG_INVALID',
    `The file pattern ${JSON.stringify(pattern)} is not valid: ${why}`,
  );
}

/**
 * Reads a pattern; relative ones start at the working directory. One glob for each combination of its braces.
 * Throws LV_CONFIG_INVALID when it is malformed.
 */
export function parseGlob(pattern: string): Glob[] {
  if (pattern === '') throw invalid(pattern, 'it is empty');
  if (pattern.length > PATTERN_LENGTH_MAX) throw invalid('…', `longer than ${PATTERN_LENGTH_MAX} characters`);
  if (pattern.includes('\0')) throw invalid(pattern, 'it contains a NUL character');
  return expandBraces(pattern).map((text) => {
    const segments = resolve(text)
      .split('/')
      .filter((segment) => segment !== '')
      .map((segment) => parseSegment(segment, pattern));
    if (!segments.every((segment) => segment.kind === 'name')) return { segments };
    return { segments, plainPath: `/${segments.map((segment) => segment.name).join('/')}` };
  });
}

/** `a{b,c{d,e}}` → `ab`, `acd`, `ace`; in the order of writing. */
function expandBraces(pattern: string): string[] {
  const done: string[] = [];
  const todo = [pattern];
  while (todo.length > 0) {
    const text = todo.pop()!;
    const brace = firstBrace(text, pattern);
    if (brace === undefined) {
      done.push(text);
    } else {
      const rest = text.slice(brace.end + 1);
      const before = text.slice(0, brace.start);
      for (const choice of brace.choices.toReversed()) todo.push(before + choice + rest);
    }
    if (done.length + todo.length > EXPANSIONS_MAX)
      throw invalid(pattern, `more than ${EXPANSIONS_MAX} combinations`);
  }
  return done;
}

interface Brace {
  readonly start: number;
  readonly end: number;
  readonly choices: string[];
}

function firstBrace(text: string, pattern: string): Brace | undefined {
  let depth = 0;
  let start = -1;
  let choiceStart = 0;
  const choices: string[] = [];
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '\\') at++;
    else if (char === '[') at = Math.max(at, setEnd(text, at));
    else if (char === '{') {
      if (depth++ === 0) {
        start = at;
        choiceStart = at + 1;
      }
    } else if (char === ',' && depth === 1) {
      choices.push(text.slice(choiceStart, at));
      choiceStart = at + 1;
    } else if (char === '}') {
      if (depth === 0) throw invalid(pattern, '"}" without "{"');
      if (--depth === 0) return { start, end: at, choices: [...choices, text.slice(choiceStart, at)] };
    }
  }
  if (depth > 0) throw invalid(pattern, '"{" is never closed');
  return undefined;
}

/** Where the set that opens at `start` closes, or −1. A "]" right after the opening is a member. */
function setEnd(text: string, start: number): number {
  let at = start + 1;
  if (text[at] === '!' || text[at] === '^') at++;
  if (text[at] === ']') at++;
  for (; at < text.length; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === ']') return at;
    else if (text[at] === '/') return -1;
  }
  return -1;
}

function parseSegment(segment: string, pattern: string): GlobSegment {
  if (segment === '**') return { kind: 'deep' };
  const tokens: Token[] = [];
  for (let at = 0; at < segment.length; at++) {
    const char = segment[at];
    if (char === '\\') {
      if (++at === segment.length) throw invalid(pattern, 'nothing follows "\\"');
      tokens.push({ kind: 'char', char: segment[at] });
    } else if (char === '*') {
      if (segment[at + 1] === '*') throw invalid(pattern, '"**" must stand alone between slashes');
      tokens.push({ kind: 'star' });
    } else if (char === '?') {
      tokens.push({ kind: 'any' });
    } else if (char === '[') {
      const end = setEnd(segment, at);
      if (end < 0) throw invalid(pattern, '"[" is never closed');
      tokens.push(parseSet(segment.slice(at + 1, end), pattern));
      at = end;
    } else {
      tokens.push({ kind: 'char', char });
    }
  }
  if (tokens.every((token) => token.kind === 'char')) {
    return { kind: 'name', name: tokens.map((token) => token.char).join('') };
  }
  return { kind: 'match', tokens };
}

function parseSet(body: string, pattern: string): Token {
  const negated = body[0] === '!' || body[0] === '^';
  const members: Array<{ char: string; isEscaped: boolean }> = [];
  for (let at = negated ? 1 : 0; at < body.length; at++) {
    const isEscaped = body[at] === '\\' && at + 1 < body.length;
    if (isEscaped) at++;
    members.push({ char: body[at], isEscaped });
  }
  const ranges: Array<readonly [string, string]> = [];
  for (let at = 0; at < members.length; at++) {
    const first = members[at].char;
    const dash = members[at + 1];
    const last = members[at + 2]?.char;
    if (dash?.char === '-' && !dash.isEscaped && last !== undefined) {
      if (last < first) throw invalid(pattern, `the range ${first}-${last} is the wrong way round`);
      ranges.push([first, last]);
      at += 2;
    } else {
      ranges.push([first, first]);
    }
  }
  return { kind: 'set', negated, ranges };
}

/**
 * Whether a name fits. Goes back to the last star only, so it takes at most name × tokens steps, whatever the
 * pattern is.
 */
export function matchesName(tokens: readonly Token[], name: string): boolean {
  if (name.startsWith('.') && tokens[0]?.kind !== 'char') return false;
  let tokenAt = 0;
  let charAt = 0;
  let starAt = -1;
  let starChar = 0;
  while (charAt < name.length) {
    const token = tokens[tokenAt];
    if (token?.kind === 'star') {
      starAt = tokenAt++;
      starChar = charAt;
    } else if (token !== undefined && matchesChar(token, name[charAt])) {
      tokenAt++;
      charAt++;
    } else if (starAt >= 0) {
      tokenAt = starAt + 1;
      charAt = ++starChar;
    } else {
      return false;
    }
  }
  while (tokens[tokenAt]?.kind === 'star') tokenAt++;
  return tokenAt === tokens.length;
}

function matchesChar(token: Token, char: string): boolean {
  if (token.kind === 'char') return token.char === char;
  if (token.kind === 'set') {
    return token.ranges.some(([first, last]) => first <= char && char <= last) !== token.negated;
  }
  return token.kind === 'any';
}

/** Whether an absolute path fits. */
export function matchesPath(glob: Glob, path: string): boolean {
  const names = path.split('/').filter((name) => name !== '');
  const fits = (segment: number, name: number): boolean => {
    if (segment === glob.segments.length) return name === names.length;
    const wanted = glob.segments[segment];
    if (wanted.kind === 'deep') {
      return fits(segment + 1, name) || (name < names.length && fits(segment, name + 1));
    }
    if (name === names.length) return false;
    const one =
      wanted.kind === 'name' ? wanted.name === names[name] : matchesName(wanted.tokens, names[name]);
    return one && fits(segment + 1, name + 1);
  };
  return fits(0, 0);
}
