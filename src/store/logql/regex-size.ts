/** How large `x{n}` makes a regular expression: every repetition is a copy of what it repeats. */

/** Copies that one pattern, or all patterns of a query, may ask for. Go stops at three million, but is faster. */
export const REPEATED_MAX = 50_000;

const COUNT = /\{(\d{1,6})(?:,(\d{0,6}))?\}/y;
const CLASS = /\[\^?\]?(?:\\[^]|\[:\^?\w{1,10}:\]|[^\]\\])*\]/y;
const BRACED_ESCAPE = /\\[xpP]\{\^?\w{0,40}\}/y;

/**
 * The atoms that counted repetitions add, copies of copies included; estimated from the text alone, before anything is
 * made of it. It never says less than there are in a valid pattern, or in all the patterns of a query's text.
 */
export function repeatedSize(text: string): number {
  const outer: number[] = [];
  let size = 0;
  let last = 0;
  let added = 0;
  const endless = new Set<RegExp>();
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '(') {
      outer.push(size);
      size = 0;
      last = 0;
      continue;
    }
    if (char === ')') {
      last = size;
      size += outer.pop() ?? 0;
      continue;
    }
    const count = char === '{' ? matchAt(COUNT, text, at) : null;
    if (count !== null) {
      const copies = Math.max(Number(count[1]), Number(count[2] ?? 0), 1) - 1;
      added += last * copies;
      size += last * copies;
      last += last * copies;
      at += count[0].length - 1;
      continue;
    }
    const mark = char === '[' ? CLASS : char === '\\' ? BRACED_ESCAPE : undefined;
    const atom = mark === undefined || endless.has(mark) ? null : matchAt(mark, text, at);
    if (atom !== null) at += atom[0].length - 1;
    else if (char === '\\') at++;
    // One that nothing closes: the next one would look as far in vain.
    if (atom === null && mark === CLASS) endless.add(mark);
    // `+` and its like repeat without copies: what they end stays the last atom.
    if (char === '*' || char === '+' || char === '?') continue;
    last = 1;
    size++;
  }
  return added;
}

function matchAt(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}
