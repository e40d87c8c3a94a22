import { isUtf8 } from 'node:buffer';

/**
 * Characters that could move the cursor, speak to the terminal, or make text look like other text: all controls and
 * format characters, save the soft hyphen and the joiner that emoji are put together with.
 */
const UNSAFE = /(?![\u00ad\u200d])[\p{Cc}\p{Cf}\u2028\u2029]/gu;

const NAMED: Readonly<Record<string, string>> = { '\t': '\\t', '\n': '\\n', '\r': '\\r' };

/** Bytes as text that a terminal can only show: unsafe characters escaped, bytes that are not UTF-8 as `\xNN`. */
export function visible(bytes: Buffer): string {
  return isUtf8(bytes) ? visibleText(bytes.toString()) : visiblePieces(bytes);
}

export function visibleText(text: string): string {
  return text.replace(UNSAFE, (character) => NAMED[character] ?? escaped(character));
}

/** JSON for a terminal: `JSON.stringify` leaves DEL, the C1 controls and the format characters as they are. */
export function visibleJson(value: unknown): string {
  return JSON.stringify(value).replace(UNSAFE, (character) =>
    Array.from({ length: character.length }, (_, unit) => `\\u${hex(character.charCodeAt(unit), 4)}`).join(
      '',
    ),
  );
}

function escaped(character: string): string {
  const point = character.codePointAt(0) ?? 0;
  return point < 0x80 ? `\\x${hex(point, 2)}` : `\\u{${hex(point, 0)}}`;
}

function hex(number: number, width: number): string {
  return number.toString(16).padStart(width, '0');
}

function visiblePieces(bytes: Buffer): string {
  let text = '';
  let goodFrom = 0;
  let at = 0;
  while (at < bytes.length) {
    const byte = bytes[at];
    const length = byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    const end = at + length;
    if (length === 1 || (end <= bytes.length && isUtf8(bytes.subarray(at, end)))) {
      at = end;
      continue;
    }
    text += `${visibleText(bytes.toString('utf8', goodFrom, at))}\\x${hex(byte, 2)}`;
    goodFrom = ++at;
  }
  return text + visibleText(bytes.toString('utf8', goodFrom));
}
