/** logfmt: `key=value key="quoted value" key`, as go-logfmt reads it. */
import { unescapeGo } from './strings.ts';

const QUOTED = /"[^"\\]*(?:\\[^][^"\\]*)*"/y;
const SPACE = 0x20;
const QUOTE = 0x22;
const EQUALS = 0x3d;

/** After the blanks at `at`. */
function skipGap(text: string, at: number): number {
  let end = at;
  while (end < text.length && text.charCodeAt(end) <= SPACE) end++;
  return end;
}

/** After the characters at `at` that a key or a bare value may have. */
function skipWord(text: string, at: number): number {
  let end = at;
  for (; end < text.length; end++) {
    const code = text.charCodeAt(end);
    if (code <= SPACE || code === EQUALS || code === QUOTE) break;
  }
  return end;
}

/** The next blank, or the end. */
function skipRest(text: string, at: number): number {
  let end = at;
  while (end < text.length && text.charCodeAt(end) > SPACE) end++;
  return end;
}

/**
 * Calls `visit` for each pair until it answers false. A pair that is malformed is left out, or with `strict` ends it
 * all: then the answer is the error's text.
 */
export function eachPair(
  text: string,
  strict: boolean,
  visit: (key: string, value: string) => boolean,
): string | undefined {
  let at = skipGap(text, 0);
  while (at < text.length) {
    let next = skipWord(text, at);
    const key = text.slice(at, next);
    const stop = text.charCodeAt(next);
    let value = '';
    let problem = '';
    let problemAt = next;
    if (stop === QUOTE || (stop === EQUALS && key === '')) {
      problem = `unexpected '${text[next]}'`;
    } else if (!isReadable(key)) {
      problem = 'invalid key';
    } else if (stop === EQUALS && text.charCodeAt(next + 1) === QUOTE) {
      ({ value, problem, next } = readQuoted(text, next + 1));
      problemAt = next;
    } else if (stop === EQUALS) {
      const from = next + 1;
      next = skipWord(text, from);
      value = text.slice(from, next);
      problemAt = next;
      if (next < text.length && text.charCodeAt(next) > SPACE) problem = `unexpected '${text[next]}'`;
    }
    if (problem !== '') {
      if (strict) return `logfmt syntax error at pos ${problemAt + 1} : ${problem}`;
      next = skipRest(text, next);
    } else if (!visit(key, value)) {
      return undefined;
    }
    at = skipGap(text, next);
  }
  return undefined;
}

/** The quoted value at `at`. */
function readQuoted(text: string, at: number): { value: string; problem: string; next: number } {
  const end = text.indexOf('"', at + 1);
  // Mostly there is no escape up to the next quote.
  if (end !== -1 && !text.slice(at + 1, end).includes('\\')) {
    return { value: text.slice(at + 1, end), problem: '', next: end + 1 };
  }
  QUOTED.lastIndex = at;
  const quoted = QUOTED.exec(text)?.[0];
  if (quoted === undefined) return { value: '', next: text.length, problem: 'unterminated quoted value' };
  const value = unescapeQuoted(quoted.slice(1, -1));
  return {
    value: value ?? '',
    next: at + quoted.length,
    problem: value === undefined ? 'invalid quoted value' : '',
  };
}

/** Go's escapes, and JSON's `\/`. */
function unescapeQuoted(body: string): string | undefined {
  return unescapeGo(body.replace(/\\([^])/g, (escape, char: string) => (char === '/' ? '/' : escape)));
}

function isReadable(key: string): boolean {
  return key.isWellFormed() && !key.includes('\ufffd');
}
