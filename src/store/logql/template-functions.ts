/** The functions that Loki's templates have: its own, the chosen ones of sprig, and text/template's. */
import { addDecimal, divideDecimal, multiplyDecimal } from './decimal.ts';
import { formatTime, parseTime, timeOf, type GoTime } from './go-time.ts';
import { parseBytes, parseFloatGo, parseGoDurationNs } from './numbers.ts';
import { compileRegex, type CompiledRegex } from './regex.ts';
import {
  isList,
  isMap,
  isTime,
  isTruthy,
  sizeOf,
  OUTPUT_LENGTH_MAX,
  sprintf,
  TemplateError,
  textOf,
  type Value,
} from './template-values.ts';
import { decodeText, encodeText } from './text.ts';

export type TemplateFunction = (args: readonly Value[], now: () => bigint) => Value;

function text(value: Value): string {
  if (typeof value === 'string') return value;
  throw new TemplateError(
    `wrong type for value; expected string; got ${value === undefined ? 'nothing' : textOf(value)}`,
  );
}

function whole(value: Value): number {
  if (typeof value === 'bigint') return Number(value);
  if (typeof value === 'number' && Number.isInteger(value)) return value;
  throw new TemplateError(`expected integer; found ${textOf(value)}`);
}

function time(value: Value): GoTime {
  if (isTime(value)) return value;
  throw new TemplateError(`wrong type for value; expected time.Time; got ${textOf(value)}`);
}

/** cast.ToInt64: what is no number is 0. */
function toInt(value: Value): bigint {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'boolean') return value ? 1n : 0n;
  if (typeof value === 'number') return Number.isFinite(value) ? BigInt(Math.trunc(value)) : 0n;
  if (typeof value !== 'string') return 0n;
  // It would be out of range, and take a second to find out.
  if (value.length > DIGITS_MAX) return 0n;
  const digits = INTEGER.exec(value.replace(FRACTION, '$1'));
  if (digits === null) return 0n;
  const [, sign, octal, plain] = digits;
  const size = BigInt((octal === undefined ? plain : `0o${octal}`).replaceAll('_', '') || '0');
  const whole = sign === '-' ? -size : size;
  return BigInt.asIntN(64, whole) === whole ? whole : 0n;
}

const DIGITS_MAX = 10_000;
/** A decimal number's whole part. */
const FRACTION = /^([+-]?\d*)\.\d*$/;
/** strconv.ParseInt with base 0: underscores stand between digits, a leading zero means octal. */
const INTEGER =
  /^([+-]?)(?:0[oO]?_?([0-7]+(?:_[0-7]+)*)|(0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|[1-9]\d*(?:_\d+)*|0|))$/;

function toFloat(value: Value): number {
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint' || typeof value === 'boolean') return Number(value);
  if (typeof value !== 'string') return 0;
  try {
    return parseFloatGo(value);
  } catch {
    return 0;
  }
}

function sums(combine: (a: bigint, b: bigint) => bigint): TemplateFunction {
  return (args) => BigInt.asIntN(64, args.map(toInt).reduce(combine));
}

function floats(combine: (a: number, b: number) => number): TemplateFunction {
  return (args) => args.map(finite).reduce(combine);
}

function finite(value: Value): number {
  const number = toFloat(value);
  if (Number.isFinite(number)) return number;
  throw new TemplateError(`Cannot create a Decimal from ${textOf(number)}`);
}

function divisor(value: bigint): bigint {
  if (value === 0n) throw new TemplateError('runtime error: integer divide by zero');
  return value;
}

const REGEXES_MAX = 200;
const regexes = new Map<string, CompiledRegex>();

function regex(value: Value): CompiledRegex {
  const pattern = text(value);
  let made = regexes.get(pattern);
  if (made === undefined) {
    try {
      made = compileRegex(pattern);
    } catch (cause) {
      throw new TemplateError((cause as Error).message);
    }
    if (regexes.size >= REGEXES_MAX) regexes.clear();
    regexes.set(pattern, made);
  }
  return made;
}

function bounded(value: string): string {
  if (value.length > OUTPUT_LENGTH_MAX) throw new TemplateError('the text is too long');
  return value;
}

function repeat(value: string, count: number): string {
  if (count < 0) throw new TemplateError('strings: negative Repeat count');
  if (value.length * count > OUTPUT_LENGTH_MAX) throw new TemplateError('the text is too long');
  return value.repeat(count);
}

function trimSet(value: string, set: string, start: boolean, end: boolean): string {
  const chars = [...value];
  const members = new Set(set);
  let from = 0;
  let to = chars.length;
  while (start && from < to && members.has(chars[from])) from++;
  while (end && to > from && members.has(chars[to - 1])) to--;
  return chars.slice(from, to).join('');
}

function withoutPrefix(value: string, prefix: string): string {
  return value.startsWith(prefix) ? value.slice(prefix.length) : value;
}

function withoutSuffix(value: string, suffix: string): string {
  return suffix !== '' && value.endsWith(suffix) ? value.slice(0, -suffix.length) : value;
}

function indent(spaces: number, value: string): string {
  const pad = repeat(' ', spaces);
  return bounded(pad + value.replaceAll('\n', `\n${pad}`));
}

function align(args: readonly Value[], left: boolean): string {
  const count = whole(args[0]);
  const chars = [...text(args[1])];
  if (count < 0 || count === chars.length) return chars.join('');
  if (count < chars.length)
    return (left ? chars.slice(0, count) : chars.slice(chars.length - count)).join('');
  const pad = repeat(' ', count - chars.length);
  return left ? chars.join('') + pad : pad + chars.join('');
}

/** sprig counts bytes, and so may cut a character in two. */
function truncate(count: number, value: string): string {
  const bytes = encodeText(value);
  if (count < 0 && bytes.length + count > 0) return decodeText(bytes.subarray(bytes.length + count));
  return count >= 0 && bytes.length > count ? decodeText(bytes.subarray(0, count)) : value;
}

function substring(start: number, end: number, value: string): string {
  const bytes = encodeText(value);
  const from = Math.max(0, start);
  const to = (start >= 0 && end < 0) || end > bytes.length ? bytes.length : end;
  if (to < from) throw new TemplateError(`runtime error: slice bounds out of range [${from}:${to}]`);
  return decodeText(bytes.subarray(from, to));
}

/** unicode.ToUpper: a character stays one, unlike in String.toUpperCase. */
function upperCase(value: string): string {
  const upper = value.toUpperCase();
  return upper.length === value.length ? upper : Array.from(value, upperOf).join('');
}

function upperOf(char: string): string {
  const upper = char.toUpperCase();
  return [...upper].length === 1 ? upper : char;
}

/** unicode.ToLower, which knows no final sigma. */
function lowerCase(value: string): string {
  const lower = value.toLowerCase();
  if (lower.length === value.length && !value.includes('\u03a3')) return lower;
  return Array.from(value, (char) => (char === '\u0130' ? 'i' : char.toLowerCase())).join('');
}

/** strings.Title: after a letter, a digit or an underscore no word begins; beyond ASCII, only white space ends one. */
const WORD_START = /(?<![\p{L}\p{N}_]|[^\x00-\x7f\s])\p{L}/gu;

function decodeUrl(value: string): string {
  const bad = /%(?![0-9a-fA-F]{2})/.exec(value);
  if (bad !== null) {
    throw new TemplateError(`invalid URL escape ${JSON.stringify(value.slice(bad.index, bad.index + 3))}`);
  }
  const parts = value.replaceAll('+', ' ').split(/((?:%[0-9a-fA-F]{2})+)/);
  return parts
    .map((part, i) => (i % 2 === 0 ? part : decodeText(Buffer.from(part.replaceAll('%', ''), 'hex'))))
    .join('');
}

function encodeUrl(value: string): string {
  let out = '';
  for (const byte of encodeText(value)) {
    const char = String.fromCharCode(byte);
    if (/[A-Za-z0-9_.~-]/.test(char)) out += char;
    else out += char === ' ' ? '+' : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return out;
}

const BASE64 = /^[A-Za-z0-9+/]*/;

/** base64.StdEncoding: padded, line breaks aside. An error is text, too, as sprig has it. */
function decodeBase64(value: string): string {
  const plain = value.replaceAll(/[\r\n]/g, '');
  const digits = BASE64.exec(plain)?.[0].length ?? 0;
  const rest = digits % 4;
  const padding = rest < 2 ? 0 : 4 - rest;
  const end = digits + padding;
  if (rest !== 1 && plain.length === end && plain.endsWith('='.repeat(padding)))
    return decodeText(Buffer.from(plain, 'base64'));
  // What is too short is reported where its last group begins.
  const at = digits === plain.length ? digits - rest : digits;
  return `illegal base64 data at input byte ${at}`;
}

/** What is no JSON is nil. */
function fromJson(value: string): Value {
  try {
    return fromParsed(JSON.parse(value));
  } catch {
    return null;
  }
}

function fromParsed(value: unknown): Value {
  if (Array.isArray(value)) return value.map(fromParsed);
  if (typeof value === 'object' && value !== null) {
    return new Map(Object.entries(value).map(([key, inner]) => [key, fromParsed(inner)]));
  }
  return value as string | number | boolean | null;
}

/** Times written as days, seconds, milli-, micro- or nanoseconds, told apart by their length. */
function unixToTime(epoch: string): GoTime {
  const nsPerUnit: Readonly<Record<number, bigint>> = {
    5: 86_400_000_000_000n,
    10: 1_000_000_000n,
    13: 1_000_000n,
    16: 1000n,
    19: 1n,
  };
  const unit = nsPerUnit[epoch.length];
  if (!/^[+-]?\d+$/.test(epoch) || unit === undefined)
    throw new TemplateError(`unable to parse time '${epoch}'`);
  return timeOf(BigInt(epoch) * unit);
}

function date(layout: string, value: Value, now: () => bigint): string {
  if (isTime(value)) return formatTime(timeOf(value.ns), layout);
  return formatTime(timeOf(typeof value === 'bigint' ? value * 1_000_000_000n : now()), layout);
}

function durationSeconds(value: Value): number {
  try {
    return parseGoDurationNs(text(value)) / 1e9;
  } catch (cause) {
    throw new TemplateError((cause as Error).message);
  }
}

function sizeBytes(value: Value): number {
  try {
    return parseBytes(text(value));
  } catch (cause) {
    throw new TemplateError((cause as Error).message);
  }
}

function round(value: Value, places: Value, roundOn: Value): number {
  const power = 10 ** toFloat(places);
  const scaled = toFloat(value) * power;
  const up = scaled - Math.trunc(scaled) >= (roundOn === undefined ? 0.5 : toFloat(roundOn));
  return (up ? Math.ceil(scaled) : Math.floor(scaled)) / power;
}

function compare(a: Value, b: Value): number {
  if (typeof a === 'string' && typeof b === 'string') return Buffer.compare(encodeText(a), encodeText(b));
  const numeric = (value: Value) => typeof value === 'bigint' || typeof value === 'number';
  if (typeof a === typeof b && numeric(a)) return Number(a as number) - Number(b as number);
  throw new TemplateError('incompatible types for comparison');
}

function equal(a: Value, b: Value): boolean {
  if (isTime(a) && isTime(b)) return a.ns === b.ns;
  if (a === null || b === null || a === undefined || b === undefined) return (a ?? null) === (b ?? null);
  if (typeof a !== typeof b || isList(a) || isMap(a))
    throw new TemplateError('incompatible types for comparison');
  return a === b;
}

function index(value: Value, keys: readonly Value[]): Value {
  let inner = value;
  for (const key of keys) {
    if (inner === null || inner === undefined) throw new TemplateError('index of untyped nil');
    if (isMap(inner)) inner = inner.get(text(key));
    else if (isList(inner) || typeof inner === 'string') {
      const at = whole(key);
      if (at < 0 || at >= inner.length) throw new TemplateError(`index out of range: ${at}`);
      inner = typeof inner === 'string' ? BigInt(encodeText(inner)[at] ?? 0) : inner[at];
    } else throw new TemplateError(`can't index item of type ${textOf(inner)}`);
  }
  return inner;
}

function slice(value: Value, bounds: readonly Value[]): Value {
  const [from, to] = bounds.map(whole);
  const end = typeof value === 'string' ? encodeText(value).length : isList(value) ? value.length : Infinity;
  for (const bound of [from, to]) {
    if (bound !== undefined && (bound < 0 || bound > end))
      throw new TemplateError(`index out of range: ${bound}`);
  }
  if (from > to) throw new TemplateError(`invalid slice index: ${from} > ${to}`);
  if (typeof value === 'string') return decodeText(encodeText(value).subarray(from ?? 0, to));
  if (isList(value)) return value.slice(from ?? 0, to);
  throw new TemplateError(`can't slice item of type ${textOf(value)}`);
}

function length(value: Value): bigint {
  if (typeof value === 'string') return BigInt(encodeText(value).length);
  if (isList(value)) return BigInt(value.length);
  if (isMap(value)) return BigInt(value.size);
  throw new TemplateError(`len of type ${textOf(value)}`);
}

/** fmt.Sprint puts a space between two operands when neither is a string. */
function print(args: readonly Value[]): string {
  let out = '';
  for (const [i, value] of args.entries()) {
    if (i > 0 && typeof value !== 'string' && typeof args[i - 1] !== 'string') out += ' ';
    out += textOf(value);
  }
  return out;
}

const HTML: Readonly<Record<string, string>> = {
  '<': '&lt;',
  '>': '&gt;',
  '&': '&amp;',
  '"': '&#34;',
  "'": '&#39;',
  '\0': '\ufffd',
};

// oxlint-disable-next-line no-control-regex
const HTML_SPECIAL = /[<>&"'\x00]/g;
// oxlint-disable-next-line no-control-regex
const JS_SPECIAL = /["'\\<>&=\x00-\x1f]/g;

function escapeJs(char: string): string {
  if (`"'\\`.includes(char)) return `\\${char}`;
  return `\\u${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`;
}

/** Name → fewest arguments, most arguments, function. */
const FUNCTIONS: Readonly<Record<string, readonly [number, number, TemplateFunction]>> = {
  ToLower: [1, 1, ([s]) => lowerCase(text(s))],
  ToUpper: [1, 1, ([s]) => upperCase(text(s))],
  Replace: [4, 4, ([s, from, to, n]) => replaceUpTo(text(s), text(from), text(to), whole(n))],
  Trim: [2, 2, ([s, set]) => trimSet(text(s), text(set), true, true)],
  TrimLeft: [2, 2, ([s, set]) => trimSet(text(s), text(set), true, false)],
  TrimRight: [2, 2, ([s, set]) => trimSet(text(s), text(set), false, true)],
  TrimPrefix: [2, 2, ([s, prefix]) => withoutPrefix(text(s), text(prefix))],
  TrimSuffix: [2, 2, ([s, suffix]) => withoutSuffix(text(s), text(suffix))],
  TrimSpace: [1, 1, ([s]) => text(s).trim()],
  regexReplaceAll: [3, 3, ([r, s, to]) => bounded(regex(r).replaceAll(text(s), text(to)))],
  regexReplaceAllLiteral: [3, 3, ([r, s, to]) => bounded(regex(r).replaceAll(text(s), text(to), true))],
  count: [2, 2, ([r, s]) => BigInt(regex(r).count(text(s)))],
  urldecode: [1, 1, ([s]) => decodeUrl(text(s))],
  urlencode: [1, 1, ([s]) => encodeUrl(text(s))],
  bytes: [1, 1, ([s]) => sizeBytes(s)],
  duration: [1, 1, ([s]) => durationSeconds(s)],
  duration_seconds: [1, 1, ([s]) => durationSeconds(s)],
  unixEpoch: [1, 1, ([t]) => String(floorTo(time(t).ns, 1_000_000_000n))],
  unixEpochMillis: [1, 1, ([t]) => String(floorTo(time(t).ns, 1_000_000n))],
  unixEpochNanos: [1, 1, ([t]) => String(time(t).ns)],
  toDateInZone: [3, 3, ([layout, zone, s]) => parseTime(text(layout), text(s), text(zone)) ?? ZERO_TIME],
  toDate: [2, 2, ([layout, s]) => parseTime(text(layout), text(s), 'UTC') ?? ZERO_TIME],
  unixToTime: [1, 1, ([s]) => unixToTime(text(s))],
  alignLeft: [2, 2, (args) => align(args, true)],
  alignRight: [2, 2, (args) => align(args, false)],
  b64enc: [1, 1, ([s]) => encodeText(text(s)).toString('base64')],
  b64dec: [1, 1, ([s]) => decodeBase64(text(s))],
  lower: [1, 1, ([s]) => lowerCase(text(s))],
  upper: [1, 1, ([s]) => upperCase(text(s))],
  title: [1, 1, ([s]) => text(s).replace(WORD_START, upperOf)],
  trunc: [2, 2, ([n, s]) => truncate(whole(n), text(s))],
  substr: [3, 3, ([from, to, s]) => substring(whole(from), whole(to), text(s))],
  contains: [2, 2, ([part, s]) => text(s).includes(text(part))],
  hasPrefix: [2, 2, ([part, s]) => text(s).startsWith(text(part))],
  hasSuffix: [2, 2, ([part, s]) => text(s).endsWith(text(part))],
  indent: [2, 2, ([n, s]) => indent(whole(n), text(s))],
  nindent: [2, 2, ([n, s]) => `\n${indent(whole(n), text(s))}`],
  replace: [3, 3, ([from, to, s]) => replaceUpTo(text(s), text(from), text(to), -1)],
  repeat: [2, 2, ([n, s]) => repeat(text(s), whole(n))],
  trim: [1, 1, ([s]) => text(s).trim()],
  trimAll: [2, 2, ([set, s]) => trimSet(text(s), text(set), true, true)],
  trimSuffix: [2, 2, ([suffix, s]) => withoutSuffix(text(s), text(suffix))],
  trimPrefix: [2, 2, ([prefix, s]) => withoutPrefix(text(s), text(prefix))],
  int: [1, 1, ([v]) => toInt(v)],
  float64: [1, 1, ([v]) => toFloat(v)],
  add: [
    0,
    99,
    ([...args]) =>
      BigInt.asIntN(
        64,
        args.map(toInt).reduce((a, b) => a + b, 0n),
      ),
  ],
  sub: [2, 2, sums((a, b) => a - b)],
  mul: [1, 99, sums((a, b) => BigInt.asIntN(64, a * b))],
  div: [2, 2, sums((a, b) => a / divisor(b))],
  mod: [2, 2, sums((a, b) => a % divisor(b))],
  addf: [0, 99, (args) => args.map(finite).reduce(addDecimal, 0)],
  subf: [1, 99, floats((a, b) => addDecimal(a, -b))],
  mulf: [1, 99, floats(multiplyDecimal)],
  divf: [1, 99, floats(divideFloat)],
  max: [1, 99, sums((a, b) => (b > a ? b : a))],
  min: [1, 99, sums((a, b) => (b < a ? b : a))],
  maxf: [1, 99, (args) => Math.max(...args.map(toFloat))],
  minf: [1, 99, (args) => Math.min(...args.map(toFloat))],
  ceil: [1, 1, ([v]) => Math.ceil(toFloat(v))],
  floor: [1, 1, ([v]) => Math.floor(toFloat(v))],
  round: [2, 3, ([v, places, on]) => round(v, places, on)],
  fromJson: [1, 1, ([s]) => fromJson(text(s))],
  date: [2, 2, ([layout, t], now) => date(text(layout), t, now)],
  now: [0, 0, (_, now) => timeOf(now())],
  default: [1, 2, ([fallback, value]) => (isTruthy(value) ? value : fallback)],
  // text/template's own; `and` and `or` are evaluated where they stand, since they stop early.
  not: [1, 1, ([v]) => !isTruthy(v)],
  len: [1, 1, ([v]) => length(v)],
  index: [1, 99, ([v, ...keys]) => index(v, keys)],
  slice: [1, 3, ([v, ...bounds]) => slice(v, bounds)],
  print: [0, 99, print],
  println: [0, 99, (args) => `${args.map(textOf).join(' ')}\n`],
  printf: [1, 99, ([format, ...args]) => bounded(sprintf(text(format), args))],
  html: [1, 99, (args) => print(args).replace(HTML_SPECIAL, (char) => HTML[char])],
  js: [1, 99, (args) => print(args).replace(JS_SPECIAL, escapeJs)],
  urlquery: [1, 99, (args) => encodeUrl(print(args))],
  eq: [2, 99, ([a, ...others]) => others.some((b) => equal(a, b))],
  ne: [2, 2, ([a, b]) => !equal(a, b)],
  lt: [2, 2, ([a, b]) => compare(a, b) < 0],
  le: [2, 2, ([a, b]) => compare(a, b) <= 0],
  gt: [2, 2, ([a, b]) => compare(a, b) > 0],
  ge: [2, 2, ([a, b]) => compare(a, b) >= 0],
};

const ZERO_TIME = timeOf(-62_135_596_800_000_000_000n);

function divideFloat(a: number, b: number): number {
  if (b === 0) throw new TemplateError('decimal division by 0');
  return divideDecimal(a, b);
}

function floorTo(ns: bigint, unit: bigint): bigint {
  return (ns - (((ns % unit) + unit) % unit)) / unit;
}

/** strings.Replace: all of them when `count` is negative. */
function replaceUpTo(value: string, from: string, to: string, count: number): string {
  if (count < 0) return bounded(value.replaceAll(from, () => to));
  let out = '';
  let at = 0;
  for (let i = 0; i < count; i++) {
    const found = value.indexOf(from, at);
    if (found === -1 || from === '') break;
    out = bounded(out + value.slice(at, found) + to);
    at = found + from.length;
  }
  return bounded(out + value.slice(at));
}

/** Texts in which another is looked for: [the text, the other]. */
const SEARCHES: Readonly<Record<string, readonly [number, number]>> = {
  Replace: [0, 1],
  replace: [2, 0],
  contains: [1, 0],
};
/** V8 may look again at all of what it looks for at each place: so much of it at a time costs as much as the text. */
const SEARCHED_PIECE = 256;
const REGEXES: readonly string[] = ['regexReplaceAll', 'regexReplaceAllLiteral', 'count'];
/** How much longer than others a regex takes for a character, where RE2's own machine has to run it. */
const REGEX_COST = 8;

/** About how many characters a call goes over, apart from what it gives back. */
export function workOf(name: string, args: readonly Value[]): number {
  let work = 0;
  for (const value of args) work += sizeOf(value);
  if (REGEXES.includes(name)) return work * REGEX_COST;
  const search = SEARCHES[name];
  if (search === undefined || args.length <= Math.max(...search)) return work;
  return work + sizeOf(args[search[0]]) * Math.floor(sizeOf(args[search[1]]) / SEARCHED_PIECE);
}

export function isTemplateFunction(name: string): boolean {
  return Object.hasOwn(FUNCTIONS, name) || ['and', 'or', '__line__', '__timestamp__'].includes(name);
}

/** Throws TemplateError. */
export function callTemplateFunction(name: string, args: readonly Value[], now: () => bigint): Value {
  const [least, most, run] = FUNCTIONS[name];
  if (args.length < least || args.length > most) {
    const wanted = least === most ? String(least) : `at least ${least}`;
    throw new TemplateError(`wrong number of args for ${name}: want ${wanted} got ${args.length}`);
  }
  try {
    return run(args, now);
  } catch (cause) {
    if (!(cause instanceof TemplateError)) throw cause;
    throw new TemplateError(`error calling ${name}: ${cause.message}`);
  }
}
