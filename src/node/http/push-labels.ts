import { labelsKey, type Labels } from '../../store/index.ts';
import { SERVICE_NAME, serviceRank, UNKNOWN_SERVICE, withServiceName } from '../pipeline/index.ts';
import { quote, type Pairs, type PushLimits } from './push-limits.ts';

/** Why labels were refused; the caller adds which stream it was. */
export class LabelsError extends Error {}

const NAME = /[a-zA-Z_][a-zA-Z0-9_]*/y;
const SPACE = /[ \t\r\n]*/y;
const SIMPLE_ESCAPES: Readonly<Record<string, number>> = {
  a: 0x07,
  b: 0x08,
  f: 0x0c,
  n: 0x0a,
  r: 0x0d,
  t: 0x09,
  v: 0x0b,
  '\\': 0x5c,
  '"': 0x22,
};
const DIGITS: Readonly<Record<string, { count: number; base: number }>> = {
  x: { count: 2, base: 16 },
  u: { count: 4, base: 16 },
  U: { count: 8, base: 16 },
};

/**
 * Reads a label selector as clients print it, `{a="b", c="d"}` with Go-quoted or backquoted values, and checks it as
 * `checkLabels` does. Throws LabelsError.
 */
export function parseLabels(text: string, limits: PushLimits): Labels {
  const cursor = { text, at: 0 };
  const pairs: [string, string][] = [];
  expect(cursor, '{');
  while (!accept(cursor, '}')) {
    if (pairs.length > 0) {
      expect(cursor, ',');
      if (accept(cursor, '}')) break;
    }
    const name = match(cursor, NAME);
    if (name === '') throw wrong(cursor, 'a label name');
    expect(cursor, '=');
    pairs.push([name, readValue(cursor)]);
  }
  match(cursor, SPACE);
  if (cursor.at !== text.length) throw wrong(cursor, 'the end');
  return checkLabels(pairs, limits);
}

/**
 * The labels of one stream. As in Prometheus a label with an empty value is no label, and as in Loki at least one must
 * remain. Throws LabelsError on a bad name, a repeated one, or one beyond `limits`.
 */
export function checkLabels(pairs: Pairs, limits: PushLimits): Labels {
  let count = 0;
  for (const [, value] of pairs) if (value !== '') count++;
  if (count === 0) throw new LabelsError('at least one label pair is required per stream');
  if (count > limits.labelsMax) {
    throw new LabelsError(`${count} labels, allowed are ${limits.labelsMax}`);
  }
  const labels: Record<string, string> = {};
  for (const [name, value] of pairs) {
    // `__proto__` is a legal name that plain objects swallow: better refused than lost.
    if (!isLabelName(name) || name === '__proto__') {
      throw new LabelsError(`label name ${quote(name)} is not allowed; names match [a-zA-Z_][a-zA-Z0-9_]*`);
    }
    if (name.length > limits.labelNameBytesMax) {
      throw new LabelsError(`label name ${quote(name)} is longer than ${limits.labelNameBytesMax} bytes`);
    }
    if (Buffer.byteLength(value) > limits.labelValueBytesMax) {
      throw new LabelsError(`the value of label ${name} is longer than ${limits.labelValueBytesMax} bytes`);
    }
    if (value === '') continue;
    if (Object.hasOwn(labels, name)) throw new LabelsError(`label ${name} is given twice`);
    labels[name] = value.toWellFormed();
  }
  return labels;
}

/** Names that are remembered; there are more only where somebody makes them up. */
const NAMES_MAX = 1_000;
/** Printable ASCII that JSON escapes nothing of. */
const PLAIN = /^[ !#-[\]-~]*$/;

interface KnownName {
  /** `"name":` */
  readonly text: string;
  readonly serviceRank: number | undefined;
}

/**
 * Makes the `labelsKey` of streams, with their `service_name` if that is wanted. A push may have thousands of streams, so
 * those whose labels are as usual are not looked at more than once.
 */
export class StreamKeys {
  readonly #limits: PushLimits;
  readonly #discoverServiceName: boolean;
  readonly #known = new Map<string, KnownName>();
  readonly #names: string[] = [];
  readonly #texts: string[] = [];

  constructor(limits: PushLimits, discoverServiceName: boolean) {
    this.#limits = limits;
    this.#discoverServiceName = discoverServiceName;
  }

  /** The key of labels that were checked. */
  ofLabels(labels: Labels): string {
    return labelsKey(this.#discoverServiceName ? withServiceName(labels) : labels);
  }

  /** The key of what `JSON.parse` made. Throws LabelsError as `checkLabels` does. */
  ofJson(labels: Readonly<Record<string, unknown>>): string {
    return this.#ofUsual(labels) ?? this.ofLabels(checkLabels(pairsOf(labels), this.#limits));
  }

  /** Undefined for labels that need a closer look. */
  #ofUsual(labels: Readonly<Record<string, unknown>>): string | undefined {
    const { labelsMax, labelValueBytesMax } = this.#limits;
    this.#names.length = 0;
    this.#texts.length = 0;
    let rank = Infinity;
    let service = UNKNOWN_SERVICE;
    for (const name in labels) {
      const given = labels[name];
      if (typeof given !== 'string' || given === '' || given.length * 3 > labelValueBytesMax)
        return undefined;
      // As it is stored: half a character becomes U+FFFD.
      const value = given.toWellFormed();
      const known = this.#nameOf(name);
      // Putting them in order takes as many steps as there are names, each.
      if (!known || this.#names.length === labelsMax) return undefined;
      const quoted = PLAIN.test(value) ? `"${value}"` : JSON.stringify(value);
      this.#insert(name, known.text + quoted);
      if (known.serviceRank === undefined || known.serviceRank >= rank) continue;
      rank = known.serviceRank;
      service = value;
    }
    if (this.#names.length === 0) return undefined;
    if (this.#discoverServiceName && rank >= 0)
      this.#insert(SERVICE_NAME, `"${SERVICE_NAME}":${JSON.stringify(service)}`);
    return `{${this.#texts.join()}}`;
  }

  /** Undefined when it is no name for a label. */
  #nameOf(name: string): KnownName | undefined {
    const found = this.#known.get(name);
    if (found) return found;
    if (!isLabelName(name) || name === '__proto__' || name.length > this.#limits.labelNameBytesMax)
      return undefined;
    if (this.#known.size >= NAMES_MAX) this.#known.clear();
    const known = { text: `"${name}":`, serviceRank: serviceRank(name) };
    this.#known.set(name, known);
    return known;
  }

  /** Into its place by the names. */
  #insert(name: string, text: string): void {
    const [names, texts] = [this.#names, this.#texts];
    let at = names.length;
    for (; at > 0 && names[at - 1] > name; at--) {
      names[at] = names[at - 1];
      texts[at] = texts[at - 1];
    }
    names[at] = name;
    texts[at] = text;
  }
}

function pairsOf(labels: Readonly<Record<string, unknown>>): [string, string][] {
  return Object.entries(labels).map(([name, value]) => {
    if (typeof value !== 'string') throw new LabelsError(`the value of label ${quote(name)} is not a string`);
    return [name, value];
  });
}

export function isLabelName(name: string): boolean {
  NAME.lastIndex = 0;
  return NAME.test(name) && NAME.lastIndex === name.length;
}

interface Cursor {
  readonly text: string;
  at: number;
}

function match(cursor: Cursor, pattern: RegExp): string {
  pattern.lastIndex = cursor.at;
  const found = pattern.exec(cursor.text)?.[0] ?? '';
  cursor.at += found.length;
  return found;
}

function accept(cursor: Cursor, mark: string): boolean {
  match(cursor, SPACE);
  const found = cursor.text[cursor.at] === mark;
  if (found) {
    cursor.at++;
    match(cursor, SPACE);
  }
  return found;
}

function expect(cursor: Cursor, mark: string): void {
  if (!accept(cursor, mark)) throw wrong(cursor, mark);
}

function readValue(cursor: Cursor): string {
  const { text } = cursor;
  if (text[cursor.at] === '`') {
    const end = text.indexOf('`', cursor.at + 1);
    if (end === -1) throw wrong(cursor, 'a closing `');
    const value = text.slice(cursor.at + 1, end);
    cursor.at = end + 1;
    return value;
  }
  if (text[cursor.at] !== '"') throw wrong(cursor, 'a quoted value');
  const start = ++cursor.at;
  while (cursor.at < text.length && text[cursor.at] !== '"') {
    if (text[cursor.at] === '\n') throw wrong(cursor, 'a closing "');
    cursor.at += text[cursor.at] === '\\' ? 2 : 1;
  }
  if (cursor.at >= text.length) throw wrong(cursor, 'a closing "');
  const quoted = text.slice(start, cursor.at++);
  return quoted.includes('\\') ? unquote(quoted) : quoted;
}

/** Resolves Go's escapes. `\xNN` and `\NNN` are bytes of UTF-8, so the value is put together as bytes. */
function unquote(quoted: string): string {
  const parts: Buffer[] = [];
  let plainFrom = 0;
  let at = quoted.indexOf('\\');
  while (at !== -1) {
    parts.push(Buffer.from(quoted.slice(plainFrom, at)));
    const mark = quoted[at + 1];
    const simple = SIMPLE_ESCAPES[mark];
    if (simple !== undefined) {
      parts.push(Buffer.from([simple]));
      plainFrom = at + 2;
    } else {
      const isOctal = mark >= '0' && mark <= '7';
      const form = isOctal ? { count: 3, base: 8 } : DIGITS[mark];
      const digitsAt = isOctal ? at + 1 : at + 2;
      const digits = quoted.slice(digitsAt, digitsAt + (form?.count ?? 0));
      parts.push(escapedBytes(mark, digits, form));
      plainFrom = digitsAt + digits.length;
    }
    at = quoted.indexOf('\\', plainFrom);
  }
  parts.push(Buffer.from(quoted.slice(plainFrom)));
  return Buffer.concat(parts).toString();
}

function escapedBytes(
  mark: string,
  digits: string,
  form: { count: number; base: number } | undefined,
): Buffer {
  const isWhole = form !== undefined && digits.length === form.count && /^[0-9a-fA-F]+$/.test(digits);
  const number = isWhole ? Number.parseInt(digits, form.base) : Number.NaN;
  const isText = mark === 'u' || mark === 'U';
  const isSurrogate = number >= 0xd800 && number <= 0xdfff;
  if (Number.isNaN(number) || number > (isText ? 0x10ffff : 0xff) || (isText && isSurrogate)) {
    throw new LabelsError(`a label value has the unknown escape \\${mark}${digits}`);
  }
  return isText ? Buffer.from(String.fromCodePoint(number)) : Buffer.from([number]);
}

function wrong(cursor: Cursor, wanted: string): LabelsError {
  const found = cursor.at < cursor.text.length ? quote(cursor.text[cursor.at]) : 'the end';
  return new LabelsError(`labels ${quote(cursor.text)}: expected ${wanted} at ${cursor.at}, found ${found}`);
}
