/** RE2 syntax to a tree. The pattern has been accepted by re2js, so what cannot be read here is left to it. */
import {
  CODE_POINT_MAX,
  negate,
  normalize,
  pairsOf,
  PERL,
  POSIX,
  unicodeTable,
  withFolds,
  type Ranges,
} from './regex-class.ts';

export type RegexNode =
  | { readonly kind: 'empty' }
  | { readonly kind: 'class'; readonly ranges: Ranges }
  | { readonly kind: 'concat' | 'alternate'; readonly items: readonly RegexNode[] }
  | { readonly kind: 'group'; readonly item: RegexNode; readonly name: string }
  | RepeatNode
  | { readonly kind: 'assertion'; readonly what: Assertion };

export interface RepeatNode {
  readonly kind: 'repeat';
  readonly item: RegexNode;
  readonly min: number;
  readonly max: number;
  readonly lazy: boolean;
}

export type Assertion = 'textStart' | 'textEnd' | 'lineStart' | 'lineEnd' | 'wordBoundary' | 'noWordBoundary';

interface Flags {
  readonly fold: boolean;
  readonly multiLine: boolean;
  readonly dotAll: boolean;
  readonly ungreedy: boolean;
}

/** Thrown, and caught by `parseRegex`, at anything that this reader does not know. */
class Unreadable extends Error {}

/** The tree, or undefined for syntax that only re2js knows. */
export function parseRegex(pattern: string, dotAll = false): RegexNode | undefined {
  try {
    return new RegexReader(pattern, dotAll).read();
  } catch (error) {
    if (error instanceof Unreadable) return undefined;
    throw error;
  }
}

const ESCAPES: Readonly<Record<string, number>> = { a: 7, f: 12, t: 9, n: 10, r: 13, v: 11 };
const ASSERTIONS: Readonly<Record<string, Assertion>> = {
  A: 'textStart',
  z: 'textEnd',
  b: 'wordBoundary',
  B: 'noWordBoundary',
};
const NEW_LINE: Ranges = [0x0a, 0x0a];

class RegexReader {
  readonly #pattern: string;
  #at = 0;
  #flags: Flags;

  constructor(pattern: string, dotAll: boolean) {
    this.#pattern = pattern;
    this.#flags = { fold: false, multiLine: false, dotAll, ungreedy: false };
  }

  read(): RegexNode {
    const node = this.#alternate();
    if (this.#at < this.#pattern.length) throw new Unreadable();
    return node;
  }

  /** alternate = concat { "|" concat }; flags set inside end with it. */
  #alternate(): RegexNode {
    const flags = this.#flags;
    const items = [this.#concat()];
    while (this.#accept('|')) items.push(this.#concat());
    this.#flags = flags;
    return items.length === 1 ? items[0] : { kind: 'alternate', items };
  }

  /** concat = { atom { repetition } } */
  #concat(): RegexNode {
    const items: RegexNode[] = [];
    while (this.#at < this.#pattern.length && !this.#looking('|') && !this.#looking(')')) {
      if (this.#accept('\\Q')) {
        const end = this.#pattern.indexOf('\\E', this.#at);
        const literal = this.#pattern.slice(this.#at, end === -1 ? undefined : end);
        this.#at = end === -1 ? this.#pattern.length : end + 2;
        for (const char of literal) items.push(this.#literal(char.codePointAt(0) as number));
        const last = items.pop();
        if (last !== undefined) items.push(this.#repetitions(last));
        continue;
      }
      if (this.#accept('\\E')) continue;
      const atom = this.#atom();
      if (atom !== undefined) items.push(this.#repetitions(atom));
    }
    if (items.length === 0) return { kind: 'empty' };
    return items.length === 1 ? items[0] : { kind: 'concat', items };
  }

  /** repetition = ( "*" | "+" | "?" | "{n}" | "{n,}" | "{n,m}" ) [ "?" ] */
  #repetitions(atom: RegexNode): RegexNode {
    let node = atom;
    for (;;) {
      const bounds = this.#bounds();
      if (bounds === undefined) return node;
      const lazy = this.#accept('?') !== this.#flags.ungreedy;
      node = { kind: 'repeat', item: node, min: bounds[0], max: bounds[1], lazy };
    }
  }

  #bounds(): [number, number] | undefined {
    if (this.#accept('*')) return [0, Infinity];
    if (this.#accept('+')) return [1, Infinity];
    if (this.#accept('?')) return [0, 1];
    const counted = /^\{(\d+)(?:(,)(\d*))?\}/.exec(this.#pattern.slice(this.#at, this.#at + 20));
    if (counted === null) return undefined;
    this.#at += counted[0].length;
    const min = Number(counted[1]);
    if (counted[2] === undefined) return [min, min];
    return [min, counted[3] === '' ? Infinity : Number(counted[3])];
  }

  #atom(): RegexNode | undefined {
    if (this.#accept('(')) return this.#group();
    if (this.#accept('.')) {
      return { kind: 'class', ranges: this.#flags.dotAll ? [0, CODE_POINT_MAX] : negate(NEW_LINE) };
    }
    if (this.#accept('^'))
      return { kind: 'assertion', what: this.#flags.multiLine ? 'lineStart' : 'textStart' };
    if (this.#accept('$')) return { kind: 'assertion', what: this.#flags.multiLine ? 'lineEnd' : 'textEnd' };
    if (this.#accept('[')) return { kind: 'class', ranges: this.#bracket() };
    if (!this.#looking('\\')) return this.#literal(this.#codePoint());
    const letter = this.#pattern[this.#at + 1] ?? '';
    const assertion = ASSERTIONS[letter];
    if (assertion !== undefined) {
      this.#at += 2;
      return { kind: 'assertion', what: assertion };
    }
    const ranges = this.#classEscape();
    return ranges === undefined ? this.#literal(this.#escape()) : { kind: 'class', ranges };
  }

  /** After "(": a group, or flags for the rest of this one (then nothing is matched). */
  #group(): RegexNode | undefined {
    const flags = this.#flags;
    let name: string | undefined = '';
    if (this.#accept('?')) {
      const named = /^P?<(\w+)>/.exec(this.#pattern.slice(this.#at, this.#at + 300));
      if (named !== null) {
        name = named[1];
        this.#at += named[0].length;
      } else {
        name = undefined;
        if (this.#setFlags() === ')') return undefined;
      }
    }
    const item = this.#alternate();
    if (!this.#accept(')')) throw new Unreadable();
    this.#flags = flags;
    return name === undefined ? item : { kind: 'group', item, name };
  }

  /** Reads `i-s:` or `i-s)`; answers the sign that ended it. */
  #setFlags(): string {
    const found = /^([imsU]*)(-?)([imsU]*)([:)])/.exec(this.#pattern.slice(this.#at, this.#at + 20));
    if (found === null) throw new Unreadable();
    this.#at += found[0].length;
    const value = (letter: string, before: boolean) =>
      found[3].includes(letter) ? false : found[1].includes(letter) ? true : before;
    this.#flags = {
      fold: value('i', this.#flags.fold),
      multiLine: value('m', this.#flags.multiLine),
      dotAll: value('s', this.#flags.dotAll),
      ungreedy: value('U', this.#flags.ungreedy),
    };
    return found[4];
  }

  /** After "[". */
  #bracket(): Ranges {
    const negated = this.#accept('^');
    const pairs: [number, number][] = [];
    for (let first = true; first || !this.#looking(']'); first = false) {
      if (this.#at >= this.#pattern.length) throw new Unreadable();
      const set = this.#posix() ?? this.#classEscape();
      if (set !== undefined) {
        pairs.push(...pairsOf(set));
        continue;
      }
      const from = this.#bracketChar();
      let to = from;
      if (this.#looking('-') && this.#pattern[this.#at + 1] !== ']') {
        this.#at++;
        to = this.#bracketChar();
      }
      pairs.push(...pairsOf(this.#folded([from, to])));
    }
    this.#at++;
    const ranges = normalize(pairs);
    return negated ? negate(ranges) : ranges;
  }

  #bracketChar(): number {
    return this.#looking('\\') ? this.#escape() : this.#codePoint();
  }

  /** `[:alpha:]`, `[:^alpha:]` */
  #posix(): Ranges | undefined {
    const found = /^\[:(\^?)(\w+):\]/.exec(this.#pattern.slice(this.#at, this.#at + 20));
    if (found === null) return undefined;
    const ranges = POSIX[found[2]];
    if (ranges === undefined) throw new Unreadable();
    this.#at += found[0].length;
    return found[1] === '^' ? negate(this.#folded(ranges)) : this.#folded(ranges);
  }

  /** `\d`, `\pL`, `\P{Greek}`, …; undefined, and nothing read, when it is another escape. */
  #classEscape(): Ranges | undefined {
    if (!this.#looking('\\')) return undefined;
    const letter = this.#pattern[this.#at + 1] ?? '';
    const perl = PERL[letter.toLowerCase()];
    if (perl !== undefined) {
      this.#at += 2;
      const ranges = this.#folded(perl);
      return letter === letter.toLowerCase() ? ranges : negate(ranges);
    }
    if (letter !== 'p' && letter !== 'P') return undefined;
    const found = /^\\[pP](?:\{(\^?)([^}]*)\}|(.))/su.exec(this.#pattern.slice(this.#at, this.#at + 80));
    const table = found === null ? undefined : unicodeTable(found[3] ?? found[2]);
    if (found === null || table === undefined) throw new Unreadable();
    this.#at += found[0].length;
    const ranges = this.#folded(table);
    return (letter === 'P') !== (found[1] === '^') ? negate(ranges) : ranges;
  }

  /** After nothing: a backslash and what it escapes. */
  #escape(): number {
    const rest = this.#pattern.slice(this.#at, this.#at + 16);
    const hex = /^\\x(?:\{([0-9a-fA-F]+)\}|([0-9a-fA-F]{2}))/.exec(rest);
    const octal = /^\\(0[0-7]{0,2}|[1-7][0-7]{1,2})/.exec(rest);
    const numeric = hex ?? octal;
    if (numeric !== null) {
      this.#at += numeric[0].length;
      return hex === null ? Number.parseInt(numeric[1], 8) : Number.parseInt(hex[1] ?? hex[2], 16);
    }
    const letter = rest[1] ?? '';
    if (ESCAPES[letter] !== undefined) {
      this.#at += 2;
      return ESCAPES[letter];
    }
    if (letter === '' || /[A-Za-z0-9]/.test(letter) || letter.charCodeAt(0) > 0x7f) throw new Unreadable();
    this.#at += 2;
    return letter.charCodeAt(0);
  }

  #literal(code: number): RegexNode {
    return { kind: 'class', ranges: this.#folded([code, code]) };
  }

  #folded(ranges: Ranges): Ranges {
    return this.#flags.fold ? withFolds(ranges) : ranges;
  }

  #codePoint(): number {
    const code = this.#pattern.codePointAt(this.#at) as number;
    this.#at += code > 0xffff ? 2 : 1;
    return code;
  }

  #looking(text: string): boolean {
    return this.#pattern.startsWith(text, this.#at);
  }

  #accept(text: string): boolean {
    if (!this.#looking(text)) return false;
    this.#at += text.length;
    return true;
  }
}
