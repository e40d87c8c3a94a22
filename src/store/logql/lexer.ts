/** Characters to tokens, one at a time: the parser may go back to a place it has marked. */
import { RANGE_OPS, UNWRAP_CONVERSIONS, VECTOR_OPS } from './ast.ts';
import { queryError, type Position } from './errors.ts';
import { parseBytes, parseDurationNs, parsePrometheusDurationMs } from './numbers.ts';
import { unescapeGo } from './strings.ts';

export interface Token extends Position {
  /** IDENTIFIER, STRING, NUMBER, DURATION, BYTES, RANGE, FUNCTION_FLAG, $end, or the word or sign itself in lower case. */
  readonly type: string;
  /** As written; of a STRING, what it says. */
  readonly text: string;
  /** Nanoseconds of a DURATION, milliseconds of a RANGE, bytes of BYTES. */
  readonly value: number;
}

export interface Mark extends Position {
  readonly offset: number;
}

const SIGNS = [
  ...['!=', '=~', '!~', '!>', '|=', '|~', '|>', '==', '>=', '<='],
  ...['{', '}', '(', ')', ',', '.', '=', '|', '>', '<', '+', '-', '*', '/', '%', '^', '@'],
];

/** Words that are never names. */
const KEYWORDS: ReadonlySet<string> = new Set([
  ...['by', 'without', 'bool', 'on', 'ignoring', 'group_left', 'group_right', 'offset'],
  ...['or', 'and', 'unless'],
  ...['json', 'regexp', 'logfmt', 'unpack', 'pattern', 'unwrap'],
  ...['label_format', 'line_format', 'decolorize', 'drop', 'keep'],
]);

/** Words that are names unless a parenthesis or a grouping follows. */
const FUNCTIONS: ReadonlySet<string> = new Set([
  ...RANGE_OPS,
  ...VECTOR_OPS,
  ...UNWRAP_CONVERSIONS,
  'vector',
  'label_replace',
  'ip',
]);

const SPACE = /[ \t\r\n]+|#[^\n]*|\/\/[^\n]*|\/\*[^]*?\*\//y;
const WORD = /[\p{L}_][\p{L}\p{Nd}_]*/uy;
const NUMBER =
  /0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?\d+)?|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?/y;
const DURATION_REST = /[\d.nuµmshdwy]+/y;
const BYTES_REST = /[\d.BikKMGTP]+/y;
const FLAG = /--(?:strict|keep-empty)(?![\p{L}-])/uy;
const CALL_FOLLOWS = /[ \t\r\n]*(?:\(|(?:by|without)[ \t\r\n]*\()/iy;
const QUOTED = /"(?:[^"\\\n]|\\[^\n])*"/y;
const RAW = /`[^`]*`/y;
const RANGE = /\[([^\]]*)\]/y;

export class Lexer {
  readonly #source: string;
  #offset = 0;
  #line = 1;
  #column = 1;

  constructor(source: string) {
    this.#source = source;
  }

  mark(): Mark {
    return { offset: this.#offset, line: this.#line, column: this.#column };
  }

  reset(mark: Mark): void {
    this.#offset = mark.offset;
    this.#line = mark.line;
    this.#column = mark.column;
  }

  next(): Token {
    for (let space = this.#match(SPACE); space !== ''; space = this.#match(SPACE)) this.#advance(space);
    const at: Position = { line: this.#line, column: this.#column };
    const char = this.#source[this.#offset];
    if (char === undefined) return { ...at, type: '$end', text: '', value: 0 };
    if (char === '"' || char === '`') return this.#string(char, at);
    if (char === '[') return this.#range(at);
    if ((char >= '0' && char <= '9') || char === '.') {
      const number = this.#match(NUMBER);
      if (number !== '') return this.#number(number, at);
    }
    if (char === '-') {
      const flag = this.#match(FLAG);
      if (flag !== '') return this.#take('FUNCTION_FLAG', flag, at);
      const duration = this.#duration('-');
      if (duration !== undefined) return this.#take('DURATION', duration.text, at, duration.ns);
    }
    const word = this.#match(WORD);
    if (word !== '') return this.#word(word, at);
    const sign = SIGNS.find((text) => this.#source.startsWith(text, this.#offset));
    if (sign !== undefined) return this.#take(sign, sign, at);
    const shown = String.fromCodePoint(this.#source.codePointAt(this.#offset) as number);
    const hint = shown === "'" ? '; strings stand in " or `' : '';
    throw queryError(`syntax error: unexpected character ${JSON.stringify(shown)}${hint}`, at);
  }

  #match(pattern: RegExp, offset = this.#offset): string {
    pattern.lastIndex = offset;
    return pattern.exec(this.#source)?.[0] ?? '';
  }

  #advance(text: string): void {
    this.#offset += text.length;
    const lastBreak = text.lastIndexOf('\n');
    if (lastBreak === -1) {
      this.#column += characters(text);
    } else {
      this.#line += text.split('\n').length - 1;
      this.#column = 1 + characters(text.slice(lastBreak + 1));
    }
  }

  #take(type: string, text: string, at: Position, value = 0, content = text): Token {
    this.#advance(text);
    return { ...at, type, text: content, value };
  }

  #word(word: string, at: Position): Token {
    const lower = word.toLowerCase();
    if (FUNCTIONS.has(lower)) {
      const isCall = this.#match(CALL_FOLLOWS, this.#offset + word.length) !== '';
      return this.#take(isCall ? lower : 'IDENTIFIER', word, at);
    }
    return this.#take(KEYWORDS.has(lower) ? lower : 'IDENTIFIER', word, at);
  }

  #number(number: string, at: Position): Token {
    const duration = this.#duration(number);
    if (duration !== undefined) return this.#take('DURATION', duration.text, at, duration.ns);
    const rest = this.#match(BYTES_REST, this.#offset + number.length);
    if (rest !== '') {
      try {
        return this.#take('BYTES', number + rest, at, parseBytes(number + rest));
      } catch {
        // Not a size: a number, and what follows is for the parser to judge.
      }
    }
    return this.#take('NUMBER', number, at);
  }

  #duration(start: string): { text: string; ns: number } | undefined {
    const rest = this.#match(DURATION_REST, this.#offset + start.length);
    // A number alone is none, though Go reads `-0` as one.
    if (!/[a-zµ]/.test(rest)) return undefined;
    try {
      return { text: start + rest, ns: parseDurationNs(start + rest) };
    } catch {
      return undefined;
    }
  }

  #string(quote: string, at: Position): Token {
    const literal = this.#match(quote === '"' ? QUOTED : RAW);
    if (literal === '') throw queryError('literal not terminated', at);
    const body = literal.slice(1, -1);
    const content = quote === '"' ? unescapeGo(body) : body;
    if (content === undefined) throw queryError('invalid char escape', at);
    return this.#take('STRING', literal, at, 0, content);
  }

  #range(at: Position): Token {
    const literal = this.#match(RANGE);
    if (literal === '') throw queryError("missing closing ']' in duration", at);
    try {
      return this.#take('RANGE', literal, at, parsePrometheusDurationMs(literal.slice(1, -1)));
    } catch (cause) {
      throw queryError((cause as Error).message, at, cause);
    }
  }
}

function characters(text: string): number {
  let count = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0xdc00 || unit > 0xdfff) count++;
  }
  return count;
}
