/** The functions that Loki's templates have: its own, the chosen ones of sprig, and text/template's. */
import { formatTime, parseTime, timeOf, type GoTime } from './go-time.ts';
import { parseBytes, parseFloatGo, parseGoDurationNs } from './numbers.ts';
import { compileRegex, type CompiledRegex } from './regex.ts';
import {
  isList,
  isMap,
  isTime,
  isTruthy,
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
  const plain = value.replace(/\.0*$/, '');
  if (/^[+-]?0[0-7]+$/.test(plain)) return BigInt(Number.parseInt(plain, 8));
  const digits = /^([+-]?)(\d+|0[xX][0-9a-fA-F]+)$/.exec(plain);
  if (digits === null) return 0n;
  return digits[1] === '-' ? -BigInt(digits[2]) : BigInt(digits[2]);
}

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

/** Decimal arithmetic, near enough: without the binary noise of the last digits. */
function decimal(value: number): number {
  return Number(value.toPrecision(15));
}

function sums(combine: (a: bigint, b: bigint) => bigint): TemplateFunction {
  return (args) => BigInt.asIntN(64, args.map(toInt).reduce(combine));
}

function floats(combine: (a: number, b: number) => number): TemplateFunction {
  return (args) => decimal(args.map(toFloat).reduce(combine));
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
  if (value.length * count > OUTPUT_LENGTH_MAX) throw new TemplateError('the text is too long');
  return value.repeat(Math.max(0, count));
}

function trimSet(value: string, set: string, start: boolean, end: boolean): string {
  const chars = [...value];
  let from = 0;
  let to = chars.length;
  while (start && from < to && set.includes(chars[from])) from++;
  while (end && to > from && set.includes(chars[to - 1])) to--;
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

function truncate(count: number, value: string): string {
  const chars = [...value];
  if (count < 0 && chars.length + count > 0) return chars.slice(chars.length + count).join('');
  return count >= 0 && chars.length > count ? chars.slice(0, count).join('') : value;
}

function substring(start: number, end: number, value: string): string {
  const chars = [...value];
  if (start < 0) return chars.slice(0, Math.max(0, end)).join('');
  return chars.slice(start, end < 0 || end > chars.length ? chars.length : end).join('');
}

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

function decodeBase64(value: string): string {
  const rest = value.length % 4;
  const padded = rest > 1 ? value + '='.repeat(4 - rest) : value;
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(padded) || padded.length % 4 !== 0) {
    const at = /[^A-Za-z0-9+/=]/.exec(padded)?.index ?? padded.length;
    return `illegal base64 data at input byte ${at}`;
  }
  return decodeText(Buffer.from(padded, 'base64'));
}

function fromJson(value: string): Value {
  try {
    return fromParsed(JSON.parse(value));
  } catch {
    return '';
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
  if (isTime(value)) return formatTime(value, layout);
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
    if (isMap(inner)) inner = inner.get(text(key));
    else if (isList(inner) || typeof inner === 'string') {
      const at = whole(key);
      if (at < 0 || at >= inner.length)
        throw new TemplateError(`error calling index: index out of range: ${at}`);
      inner = typeof inner === 'string' ? BigInt(encodeText(inner)[at] ?? 0) : inner[at];
    } else throw new TemplateError(`error calling index: can't index item of type ${textOf(inner)}`);
  }
  return inner;
}

function slice(value: Value, bounds: readonly Value[]): Value {
  const [from, to] = bounds.map(whole);
  if (typeof value === 'string') return decodeText(encodeText(value).subarray(from ?? 0, to));
  if (isList(value)) return value.slice(from ?? 0, to);
  throw new TemplateError(`error calling slice: can't slice item of type ${textOf(value)}`);
}

function length(value: Value): bigint {
  if (typeof value === 'string') return BigInt(encodeText(value).length);
  if (isList(value)) return BigInt(value.length);
  if (isMap(value)) return BigInt(value.size);
  throw new TemplateError(`error calling len: len of type ${textOf(value)}`);
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
};

/** Name → fewest arguments, most arguments, function. */
const FUNCTIONS: Readonly<Record<string, readonly [number, number, TemplateFunction]>> = {
  ToLower: [1, 1, ([s]) => text(s).toLowerCase()],
  ToUpper: [1, 1, ([s]) => text(s).toUpperCase()],
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
  lower: [1, 1, ([s]) => text(s).toLowerCase()],
  upper: [1, 1, ([s]) => text(s).toUpperCase()],
  title: [1, 1, ([s]) => text(s).replace(/(?<![\p{L}\p{N}_'])\p{L}/gu, (letter) => letter.toUpperCase())],
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
  add: [1, 99, sums((a, b) => a + b)],
  sub: [2, 2, sums((a, b) => a - b)],
  mul: [1, 99, sums((a, b) => BigInt.asIntN(64, a * b))],
  div: [2, 2, sums((a, b) => a / divisor(b))],
  mod: [2, 2, sums((a, b) => a % divisor(b))],
  addf: [1, 99, floats((a, b) => a + b)],
  subf: [1, 99, floats((a, b) => a - b)],
  mulf: [1, 99, floats((a, b) => a * b)],
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
  html: [1, 99, (args) => print(args).replace(/[<>&"']/g, (char) => HTML[char])],
  js: [1, 99, (args) => JSON.stringify(print(args)).slice(1, -1).replaceAll("'", "\\'")],
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
  return a / b;
}

function floorTo(ns: bigint, unit: bigint): bigint {
  return (ns - (((ns % unit) + unit) % unit)) / unit;
}

/** strings.Replace: all of them when `count` is negative. */
function replaceUpTo(value: string, from: string, to: string, count: number): string {
  if (count < 0) return bounded(value.replaceAll(from, () => to));
  let out = value;
  let at = 0;
  for (let i = 0; i < count; i++) {
    const found = out.indexOf(from, at);
    if (found === -1 || from === '') break;
    out = out.slice(0, found) + to + out.slice(found + from.length);
    at = found + to.length;
  }
  return bounded(out);
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
