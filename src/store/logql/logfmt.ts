/** logfmt: `key=value key="quoted value" key`, as go-logfmt reads it. */
import { unescapeGo } from './strings.ts';

const KEY = /[^\0-\x20="]*/y;
const VALUE = /[^\0-\x20="]*/y;
const QUOTED = /"[^"\\]*(?:\\[^][^"\\]*)*"/y;
const REST = /[^\0-\x20]*/y;
const GAP = /[\0-\x20]*/y;

function match(pattern: RegExp, text: string, at: number): string {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? '';
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
  let at = match(GAP, text, 0).length;
  while (at < text.length) {
    const key = match(KEY, text, at);
    let next = at + key.length;
    let value = '';
    let problem = '';
    let problemAt = next;
    if (text[next] === '"' || (text[next] === '=' && key === '')) {
      problem = `unexpected '${text[next]}'`;
    } else if (!isReadable(key)) {
      problem = 'invalid key';
    } else if (text[next] === '=') {
      const read = readValue(text, next + 1);
      ({ value, problem, next } = read);
      problemAt = next;
    }
    if (problem !== '') {
      if (strict) return `logfmt syntax error at pos ${problemAt + 1} : ${problem}`;
      next += match(REST, text, next).length;
    } else if (!visit(key, value)) {
      return undefined;
    }
    at = next + match(GAP, text, next).length;
  }
  return undefined;
}

function readValue(text: string, at: number): { value: string; problem: string; next: number } {
  if (text[at] !== '"') {
    const value = match(VALUE, text, at);
    const next = at + value.length;
    const stop = text[next];
    return { value, next, problem: stop === '=' || stop === '"' ? `unexpected '${stop}'` : '' };
  }
  const quoted = match(QUOTED, text, at);
  if (quoted === '') return { value: '', next: text.length, problem: 'unterminated quoted value' };
  const value = unescapeQuoted(quoted.slice(1, -1));
  const next = at + quoted.length;
  return { value: value ?? '', next, problem: value === undefined ? 'invalid quoted value' : '' };
}

/** Go's escapes, and JSON's `\/`. */
function unescapeQuoted(body: string): string | undefined {
  return unescapeGo(body.replace(/\\([^])/g, (escape, char: string) => (char === '/' ? '/' : escape)));
}

function isReadable(key: string): boolean {
  return key.isWellFormed() && !key.includes('\ufffd');
}
