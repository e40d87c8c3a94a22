/** The values of a template, and how Go's fmt prints them. An int is a bigint, a float64 a number. */
import { timeText, type GoTime } from './go-time.ts';
import { formatFloatGo, plainDecimal } from './numbers.ts';
import { quoteGo } from './strings.ts';
import { encodeText } from './text.ts';

export type Value =
  | string
  | bigint
  | number
  | boolean
  | null
  | undefined
  | GoTime
  | readonly Value[]
  | ReadonlyMap<string, Value>;

/** Thrown by functions; becomes __error_details__. */
export class TemplateError extends Error {}

/** Longest text that a template may make, in UTF-16 units. */
export const OUTPUT_LENGTH_MAX = 4 << 20;

/**
 * Characters that the templates of one line may go over, in what they call functions with, and what those give back: a step
 * can be work over a text of `OUTPUT_LENGTH_MAX`.
 */
export const WORK_MAX = 16 << 20;

/** What it costs to go over a value once. */
export function sizeOf(value: Value): number {
  if (typeof value === 'string' || isList(value)) return value.length;
  return isMap(value) ? value.size : 1;
}

export function isTime(value: Value): value is GoTime {
  return typeof value === 'object' && value !== null && 'kind' in value;
}

export function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value);
}

export function isMap(value: Value): value is ReadonlyMap<string, Value> {
  return value instanceof Map;
}

/** What `if`, `and`, `or`, `not` take for true. */
export function isTruthy(value: Value): boolean {
  if (isList(value)) return value.length > 0;
  if (isMap(value)) return value.size > 0;
  if (isTime(value)) return true;
  return Boolean(value);
}

/** %v */
export function textOf(value: Value): string {
  if (typeof value === 'string') return value;
  if (value === null || value === undefined) return '<nil>';
  if (typeof value === 'number') return formatFloatGo(value);
  if (typeof value === 'bigint' || typeof value === 'boolean') return String(value);
  if (isList(value)) return `[${value.map(textOf).join(' ')}]`;
  if (isMap(value)) {
    const keys = [...value.keys()].sort();
    return `map[${keys.map((key) => `${key}:${textOf(value.get(key))}`).join(' ')}]`;
  }
  return timeText(value as GoTime);
}

function typeName(value: Value): string {
  if (typeof value === 'string') return 'string';
  if (typeof value === 'bigint') return 'int';
  if (typeof value === 'number') return 'float64';
  if (typeof value === 'boolean') return 'bool';
  if (isList(value)) return '[]interface {}';
  if (isMap(value)) return 'map[string]interface {}';
  return isTime(value) ? 'time.Time' : '<nil>';
}

const VERB = /%([-+# 0]*)(\*|\d+)?(?:\.(\*|\d+)?)?(?:\[(\d+)\])?([^])/gu;
const PADDING_MAX = 100_000;

/** fmt.Sprintf */
export function sprintf(format: string, args: readonly Value[]): string {
  let used = 0;
  let isInOrder = true;
  let made = 0;
  const take = (): Value => args[used++];
  const count = (text: string | undefined): number | undefined => {
    if (text === undefined) return undefined;
    const number = text === '*' ? Number(take()) : Number(text);
    if (number > PADDING_MAX) throw new TemplateError(`width or precision above ${PADDING_MAX}`);
    return number;
  };
  const out = format.replace(
    VERB,
    (all: string, flags: string, widthText?: string, precisionText?: string, at?: string, verb = '') => {
      if (verb === '%') return '%';
      const width = count(widthText);
      const hasPoint = all.includes('.');
      const given = hasPoint ? (count(precisionText) ?? 0) : undefined;
      const isBad = given !== undefined && !(given >= 0);
      const precision = isBad ? undefined : given;
      if (at !== undefined) {
        isInOrder = false;
        used = Number(at) - 1;
        if (used < 0 || used >= args.length) return `%!${verb}(BADINDEX)`;
      }
      if (used >= args.length) return `%!${verb}(MISSING)`;
      const text = padded(formatVerb(verb, flags, precision, take()), flags, width);
      // One argument may be asked for again and again.
      made += text.length;
      if (made > OUTPUT_LENGTH_MAX) throw new TemplateError('the text is too long');
      return (isBad ? '%!(BADPREC)' : '') + text;
    },
  );
  if (!isInOrder) return out;
  const extra = args.slice(used).map((value) => `${typeName(value)}=${textOf(value)}`);
  return extra.length === 0 ? out : `${out}%!(EXTRA ${extra.join(', ')})`;
}

function padded(text: string, flags: string, width: number | undefined): string {
  if (width === undefined || [...text].length >= Math.abs(width)) return text;
  const missing = Math.abs(width) - [...text].length;
  if (flags.includes('-') || width < 0) return text + ' '.repeat(missing);
  if (!flags.includes('0') || !/^[+ -]?[\d.]/.test(text)) return ' '.repeat(missing) + text;
  const sign = /^[+ -]/.exec(text)?.[0] ?? '';
  return sign + '0'.repeat(missing) + text.slice(sign.length);
}

function formatVerb(verb: string, flags: string, precision: number | undefined, value: Value): string {
  const bad = () => `%!${verb}(${typeName(value)}=${textOf(value)})`;
  const plus = flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '';
  const signed = (text: string) => (text.startsWith('-') ? text : plus + text);
  switch (verb) {
    case 'v':
      return typeof value === 'number' || typeof value === 'bigint' ? signed(textOf(value)) : textOf(value);
    case 's':
      if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') return bad();
      return precision === undefined ? textOf(value) : [...textOf(value)].slice(0, precision).join('');
    case 'q':
      return typeof value === 'bigint' ? `'${characterOf(value)}'` : quoteGo(textOf(value));
    case 'd':
      return typeof value === 'bigint' ? signed(String(value)) : bad();
    case 't':
      return typeof value === 'boolean' ? String(value) : bad();
    case 'T':
      return typeName(value);
    case 'x':
    case 'X': {
      if (typeof value !== 'bigint' && typeof value !== 'string') return bad();
      const prefix = flags.includes('#') ? '0x' : '';
      let hex = typeof value === 'bigint' ? value.toString(16) : encodeText(value).toString('hex');
      if (typeof value === 'string' && flags.includes(' '))
        hex = hex.replaceAll(/..(?=.)/g, (byte) => `${byte} ${prefix}`);
      if (hex !== '') hex = hex.startsWith('-') ? `-${prefix}${hex.slice(1)}` : prefix + hex;
      return verb === 'x' ? hex : hex.toUpperCase();
    }
    case 'b':
    case 'o':
      return typeof value === 'bigint' ? value.toString(verb === 'b' ? 2 : 8) : bad();
    case 'c':
    case 'U':
      if (typeof value !== 'bigint' || value < 0n || value > 0x10ffffn) return bad();
      return verb === 'c'
        ? String.fromCodePoint(Number(value))
        : `U+${value.toString(16).toUpperCase().padStart(4, '0')}`;
    case 'e':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
      return typeof value === 'number' ? signed(formatFloat(verb.toLowerCase(), precision, value)) : bad();
    default:
      return bad();
  }
}

/** As Go prints it: what is no character is U+FFFD. */
function characterOf(value: bigint): string {
  return String.fromCodePoint(value < 0n || value > 0x10ffffn ? 0xfffd : Number(value));
}

function formatFloat(verb: string, precision: number | undefined, value: number): string {
  if (!Number.isFinite(value)) return formatFloatGo(value);
  if (verb === 'f') return fixed(value, precision ?? 6);
  if (verb === 'e') {
    const [mantissa, exponent] = value.toExponential(Math.min(precision ?? 6, 100)).split('e');
    return `${mantissa}e${exponent[0]}${exponent.slice(1).padStart(2, '0')}`;
  }
  if (precision === undefined) return formatFloatGo(value);
  return formatFloatGo(Number(value.toPrecision(Math.min(Math.max(precision, 1), 100))));
}

function fixed(value: number, digits: number): string {
  return Math.abs(value) < 1e21 ? value.toFixed(Math.min(digits, 100)) : plainDecimal(value);
}
