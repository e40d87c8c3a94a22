/**
 * JSON as Loki's parser reads it: numbers stay as they are written, the first of two equal keys counts, what follows
 * the object is not looked at, and what was read before an error stays.
 */
import { NAME_LENGTH_MAX, sanitizeName, type LabelState } from './labels.ts';
import type { JsonPath } from './json-path.ts';
import { withoutInvalid } from './text.ts';

/** Objects inside objects. */
const NESTING_MAX = 300;

const UNCLOSED_OBJECT = "Value looks like object, but can't find closing '}' symbol";
const UNCLOSED_ARRAY = "Value is array, but can't find closing ']' symbol";
const UNCLOSED_STRING = "Value is string, but can't find closing '\"' symbol";
const UNCLOSED_VALUE = "Value looks like Number/Boolean/None, but can't find its end: ',' or '}' symbol";
const MALFORMED = 'Malformed JSON error';
const UNKNOWN_TYPE = 'Unknown value type';

/** No Error: that would take a stack for every line that is not JSON, which costs more than all the rest of the stage. */
class JsonError {
  readonly message: string;

  constructor(message: string) {
    this.message = message;
  }
}

function fail(message: string): never {
  // oxlint-disable-next-line typescript/only-throw-error
  throw new JsonError(message);
}

type ValueKind = 'string' | 'number' | 'boolean' | 'null' | 'array' | 'object';

interface RawValue {
  readonly kind: ValueKind;
  /** Between the quotes of a string; else all of it. */
  readonly from: number;
  readonly to: number;
  /** After the value. */
  readonly next: number;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const COMMA = 0x2c;
const COLON = 0x3a;

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

function skipSpace(text: string, at: number): number {
  let end = at;
  while (isSpace(text.charCodeAt(end))) end++;
  return end;
}

/** The closing quote of the string whose body starts at `at`. */
function stringEnd(text: string, at: number): number {
  for (let end = at; end < text.length; end++) {
    const code = text.charCodeAt(end);
    if (code === QUOTE) return end;
    if (code === BACKSLASH) end++;
  }
  return fail(UNCLOSED_STRING);
}

/** After the bracket that closes the one at `at`. */
function blockEnd(text: string, at: number, message: string): number {
  let depth = 0;
  for (let end = at; end < text.length; end++) {
    const code = text.charCodeAt(end);
    if (code === QUOTE) end = stringEnd(text, end + 1);
    else if (code === OPEN_LIST || code === OPEN_OBJECT) depth++;
    else if ((code === CLOSE_LIST || code === CLOSE_OBJECT) && --depth === 0) return end + 1;
  }
  return fail(message);
}

/** After the number, `true`, `false` or `null` at `at`. */
function scalarEnd(text: string, at: number): number {
  for (let end = at; end < text.length; end++) {
    const code = text.charCodeAt(end);
    if (isSpace(code) || code === COMMA || code === CLOSE_OBJECT || code === CLOSE_LIST) return end;
  }
  return fail(UNCLOSED_VALUE);
}

/** The value at `at`; of an object, only that it begins here (`to` and `next` are its start). */
function readValue(text: string, at: number): RawValue {
  if (at >= text.length) fail(MALFORMED);
  const first = text.charCodeAt(at);
  if (first === QUOTE) {
    const end = stringEnd(text, at + 1);
    return { kind: 'string', from: at + 1, to: end, next: end + 1 };
  }
  if (first === OPEN_OBJECT) return { kind: 'object', from: at, to: at, next: at };
  if (first === OPEN_LIST) {
    const end = blockEnd(text, at, UNCLOSED_ARRAY);
    return { kind: 'array', from: at, to: end, next: end };
  }
  const to = scalarEnd(text, at);
  return { kind: scalarKind(text, at, to), from: at, to, next: to };
}

function scalarKind(text: string, from: number, to: number): ValueKind {
  const first = text.charCodeAt(from);
  if ((first >= 0x30 && first <= 0x39) || first === 0x2d) return 'number';
  const word = text.slice(from, to);
  if (word === 'true' || word === 'false') return 'boolean';
  if (word === 'null') return 'null';
  fail(UNKNOWN_TYPE);
}

/**
 * Calls `visit` for each member of the object that starts at `start`, and answers where the object ends. `visit`
 * answers where to go on for an object value (or undefined to have it skipped), and `true` to stop. `guess` says which
 * key may come next, without quotes and backslashes: one that does is not cut out of the text.
 */
function eachMember(
  text: string,
  start: number,
  visit: (key: string, value: RawValue) => number | boolean | undefined,
  guess?: () => string | undefined,
): number {
  let at = skipSpace(text, start);
  if (text.charCodeAt(at) !== OPEN_OBJECT) fail(UNCLOSED_OBJECT);
  at = skipSpace(text, at + 1);
  if (text.charCodeAt(at) === CLOSE_OBJECT) return at + 1;
  while (at < text.length) {
    const first = text.charCodeAt(at);
    if (first === CLOSE_OBJECT) return at + 1;
    if (first !== QUOTE) fail(UNCLOSED_OBJECT);
    const guessed = guess?.();
    let key: string | undefined;
    let keyEnd: number;
    if (guessed !== undefined && isKeyAt(text, at + 1, guessed)) {
      key = guessed;
      keyEnd = at + 1 + guessed.length;
    } else {
      keyEnd = stringEnd(text, at + 1);
      key = unescapeJson(text.slice(at + 1, keyEnd));
      if (key === undefined) fail('Encountered an invalid escape sequence in a string');
    }
    at = skipSpace(text, keyEnd + 1);
    if (text.charCodeAt(at) !== COLON) fail(MALFORMED);
    const value = readValue(text, skipSpace(text, at + 1));
    const next = visit(key, value);
    if (next === true) return value.next;
    if (value.kind !== 'object') at = value.next;
    else at = typeof next === 'number' ? next : blockEnd(text, value.from, UNCLOSED_OBJECT);
    at = skipSpace(text, at);
    const after = text.charCodeAt(at);
    if (after === CLOSE_OBJECT) return at + 1;
    if (after !== COMMA) fail(UNCLOSED_OBJECT);
    at = skipSpace(text, at + 1);
  }
  fail(UNCLOSED_OBJECT);
}

function isKeyAt(text: string, at: number, key: string): boolean {
  return text.charCodeAt(at + key.length) === QUOTE && text.startsWith(key, at);
}

const ESCAPES: Readonly<Record<string, string>> = {
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  '"': '"',
  '\\': '\\',
  '/': '/',
};

/** Surrogates come in pairs; half a pair is no escape. */
const ESCAPE =
  /\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u(?![dD][89a-fA-F])([0-9a-fA-F]{4})|([^]?))/g;

/** The text of a string's body; undefined when an escape is wrong. */
function unescapeJson(body: string): string | undefined {
  if (!body.includes('\\')) return body;
  let valid = true;
  const text = body.replace(ESCAPE, (_all, high?: string, low?: string, hex?: string, letter?: string) => {
    if (high !== undefined)
      return String.fromCharCode(Number.parseInt(high, 16), Number.parseInt(low ?? '', 16));
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
    const char = ESCAPES[letter ?? ''];
    if (char === undefined) valid = false;
    return char ?? '';
  });
  return valid ? text.toWellFormed() : undefined;
}

function valueText(text: string, value: RawValue): string {
  const raw = text.slice(value.from, value.to);
  return value.kind === 'string' ? withoutInvalid(unescapeJson(raw) ?? '') : raw;
}

/** Which labels a query needs; undefined when all. */
export type Wanted = ReadonlySet<string> | undefined;

/** The label of a path of keys, and what is below it: made once, not for each line. */
interface PathNode {
  readonly key: string;
  /** The key, if that is how it stands between its quotes. */
  readonly guess: string | undefined;
  readonly label: string;
  readonly below: Map<string, PathNode>;
  /** Lines are often alike: the member that came first in this one, and after it in the same object, the last time. */
  first: PathNode | undefined;
  next: PathNode | undefined;
}

function pathNode(key: string, label: string): PathNode {
  const guess = /["\\]/.test(key) ? undefined : key;
  return { key, guess, label, below: new Map(), first: undefined, next: undefined };
}

const PATHS_MAX = 4096;
let paths = pathNode('', '');
let pathCount = 0;

function pathBelow(parent: PathNode, key: string): PathNode {
  let node = parent.below.get(key);
  if (node === undefined) {
    const clean = sanitizeName(key);
    const prefix = parent.label;
    const label = clean === '' ? prefix : prefix === '' ? clean : `${prefix}_${partName(key)}`;
    // Keys are pieces of lines, which the table must not keep alive.
    const own = Buffer.from(key, 'utf16le').toString('utf16le');
    parent.below.set(own, (node = pathNode(own, label)));
    pathCount++;
  }
  return node;
}

/** All scalar fields as labels, nested ones with their path joined by `_`. Returns an error's text, or undefined. */
export function extractJson(text: string, labels: LabelState, wanted: Wanted): string | undefined {
  let missing = wanted?.size ?? Infinity;
  let complete = false;
  if (pathCount > PATHS_MAX) {
    paths = pathNode('', '');
    pathCount = 0;
  }
  const walk = (start: number, parent: PathNode, depth: number): number => {
    if (depth > NESTING_MAX) fail(`nested deeper than ${NESTING_MAX} objects`);
    let previous: PathNode | undefined;
    let likely = parent.first;
    const visit = (key: string, value: RawValue): number | boolean | undefined => {
      if (key.length > NAME_LENGTH_MAX) return undefined;
      const node = key === likely?.key ? likely : pathBelow(parent, key);
      if (previous === undefined) parent.first = node;
      else previous.next = node;
      previous = node;
      likely = node.next;
      if (node.label.length > NAME_LENGTH_MAX) return undefined;
      if (value.kind === 'object') {
        // Of an object that is never closed, nothing is kept.
        if (depth === 0) blockEnd(text, value.from, UNCLOSED_OBJECT);
        const end = walk(value.from, node, depth + 1);
        return complete ? true : end;
      }
      if (value.kind === 'array' || value.kind === 'null' || node.label === '') return undefined;
      const slot = labels.slotForParsed(node.label, wanted);
      if (slot === undefined) return undefined;
      labels.fill(slot, valueText(text, value));
      complete = --missing === 0;
      return complete ? true : undefined;
    };
    return eachMember(text, start, visit, () => likely?.guess);
  };
  return messageOfJsonError(() => walk(0, paths, 0));
}

function messageOfJsonError(run: () => void): string | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    if (error instanceof JsonError) return error.message;
    throw error;
  }
}

/** A part of a path after the first: a digit may begin it. */
function partName(key: string): string {
  return key.trim().replace(/[^a-zA-Z0-9_]/gu, '_');
}

/** The value at a path: a string's text, '' for null, anything else as it is written. Undefined when there is none. */
export function findJson(text: string, path: JsonPath): string | undefined {
  try {
    let value = readValue(text, skipSpace(text, 0));
    for (const part of path) {
      const inner: RawValue | undefined =
        typeof part === 'number' ? elementOf(text, value, part) : memberOf(text, value, part);
      if (inner === undefined) return undefined;
      value = inner;
    }
    if (value.kind === 'null') return '';
    if (value.kind === 'object') return text.slice(value.from, blockEnd(text, value.from, UNCLOSED_OBJECT));
    return valueText(text, value);
  } catch (error) {
    if (error instanceof JsonError) return undefined;
    throw error;
  }
}

function memberOf(text: string, object: RawValue, name: string): RawValue | undefined {
  if (object.kind !== 'object') return undefined;
  let found: RawValue | undefined;
  eachMember(text, object.from, (key, value) => {
    if (key !== name) return undefined;
    found = value;
    return true;
  });
  return found;
}

function elementOf(text: string, array: RawValue, index: number): RawValue | undefined {
  if (array.kind !== 'array') return undefined;
  let at = skipSpace(text, array.from + 1);
  for (let i = 0; at < array.to && text[at] !== ']'; i++) {
    const value = readValue(text, at);
    if (i === index) return value;
    at = skipSpace(text, value.kind === 'object' ? blockEnd(text, at, UNCLOSED_OBJECT) : value.next);
    if (text[at] !== ',') return undefined;
    at = skipSpace(text, at + 1);
  }
  return undefined;
}

/** The string members of an object, with their text. Returns an error's text, or undefined. */
export function eachStringMember(
  text: string,
  visit: (key: string, value: string) => void,
): string | undefined {
  return messageOfJsonError(() =>
    eachMember(text, 0, (key, value) => {
      if (value.kind === 'string') visit(key, valueText(text, value));
      return undefined;
    }),
  );
}
