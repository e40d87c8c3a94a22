/** Go's string literals. */
import { decodeText, encodeText } from './text.ts';

const SIMPLE_ESCAPES: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
  "'": "'",
  '"': '"',
};

/** What stands between the quotes of a `"…"` literal, or undefined when an escape is wrong. */
export function unescapeGo(body: string): string | undefined {
  if (!body.includes('\\')) return body;
  let out = '';
  let rawBytes = false;
  for (let i = 0; i < body.length; i++) {
    if (body[i] !== '\\') {
      out += body[i];
      continue;
    }
    i++;
    const letter = body[i] ?? '';
    const simple = SIMPLE_ESCAPES[letter];
    if (simple !== undefined) {
      out += simple;
      continue;
    }
    const numeric = numericEscape(body, i);
    if (numeric === undefined) return undefined;
    i += numeric.length - 1;
    if (numeric.isByte && numeric.code >= 0x80) {
      rawBytes = true;
      out += String.fromCharCode(0xdc00 + numeric.code);
    } else {
      out += String.fromCodePoint(numeric.code);
    }
  }
  // Bytes written one by one may add up to characters.
  return rawBytes ? decodeText(encodeText(out)) : out;
}

/** `\x41`, `\101`, `\u0041`, `\U00000041`; `length` counts from the letter after the backslash. */
function numericEscape(
  body: string,
  at: number,
): { code: number; length: number; isByte: boolean } | undefined {
  const letter = body[at] ?? '';
  if (letter >= '0' && letter <= '7') {
    const digits = body.slice(at, at + 3);
    const code = Number.parseInt(digits, 8);
    return /^[0-7]{3}$/.test(digits) && code <= 255 ? { code, length: 3, isByte: true } : undefined;
  }
  const count = letter === 'x' ? 2 : letter === 'u' ? 4 : letter === 'U' ? 8 : 0;
  const digits = body.slice(at + 1, at + 1 + count);
  if (count === 0 || digits.length !== count || !/^[0-9a-fA-F]+$/.test(digits)) return undefined;
  const code = Number.parseInt(digits, 16);
  if (code > 0x10ffff || (letter !== 'x' && code >= 0xd800 && code <= 0xdfff)) return undefined;
  return { code, length: count + 1, isByte: letter === 'x' };
}

const QUOTED: Readonly<Record<string, string>> = {
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '\\': '\\\\',
  '"': '\\"',
};

/** A `"…"` literal that reads back as `text`. */
export function quoteGo(text: string): string {
  // oxlint-disable-next-line no-control-regex
  if (/^[ !#-[\]-~]*$/.test(text)) return `"${text}"`;
  let out = '"';
  for (const char of text) {
    const code = char.codePointAt(0) as number;
    const known = QUOTED[char];
    if (known !== undefined) out += known;
    else if (code < 0x20 || code === 0x7f) out += `\\x${code.toString(16).padStart(2, '0')}`;
    else if (code >= 0xdc80 && code <= 0xdcff) out += `\\x${(code - 0xdc00).toString(16)}`;
    else if (/[\p{C}\p{Z}]/u.test(char) && code > 0x7f) {
      out +=
        code > 0xffff
          ? `\\U${code.toString(16).padStart(8, '0')}`
          : `\\u${code.toString(16).padStart(4, '0')}`;
    } else out += char;
  }
  return `${out}"`;
}
