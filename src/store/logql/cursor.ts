/** What every parse function works on: one token of lookahead, marks to go back to, and a bound on nesting. */
import { queryError, type Position } from './errors.ts';
import { Lexer, type Mark, type Token } from './lexer.ts';

/** Parentheses, calls and right-hand sides inside each other. */
const NESTING_MAX = 150;
/** Operators in one query: a chain of them is a tree as deep as it is long. */
const OPERATORS_MAX = 1500;

export class Cursor {
  readonly #lexer: Lexer;
  #token: Token;
  /** Where the lexer stood before the current token. */
  #before: Mark;
  #nesting = 0;
  #operators = 0;

  constructor(source: string) {
    this.#lexer = new Lexer(source);
    this.#before = this.#lexer.mark();
    this.#token = this.#lexer.next();
  }

  get token(): Token {
    return this.#token;
  }

  is(...types: readonly string[]): boolean {
    return types.includes(this.#token.type);
  }

  /** The current token; moves on. */
  take(): Token {
    const token = this.#token;
    this.#before = this.#lexer.mark();
    this.#token = this.#lexer.next();
    return token;
  }

  /** Moves on and answers true if the token is of this type. */
  accept(type: string): boolean {
    if (this.#token.type !== type) return false;
    this.take();
    return true;
  }

  expect(type: string): Token {
    if (this.#token.type !== type) throw this.unexpected([type]);
    return this.take();
  }

  /** The type of the token after the current one. */
  peekType(): string {
    const mark = this.#before;
    const token = this.#token;
    this.take();
    const type = this.#token.type;
    this.#lexer.reset(mark);
    this.#token = token;
    this.#before = mark;
    this.#lexer.next();
    return type;
  }

  /** The error for a token that does not fit here. */
  unexpected(expected: readonly string[]): Error {
    const shown =
      expected.length > 0 && expected.length <= 4
        ? `, expecting ${expected.map(shownType).join(' or ')}`
        : '';
    return queryError(`syntax error: unexpected ${shownType(this.#token.type)}${shown}`, this.#token);
  }

  /** Runs `parse` one level deeper. */
  nested<T>(at: Position, parse: () => T): T {
    if (++this.#nesting > NESTING_MAX) throw queryError(`nested deeper than ${NESTING_MAX} levels`, at);
    const result = parse();
    this.#nesting--;
    return result;
  }

  countOperator(at: Position): void {
    if (++this.#operators > OPERATORS_MAX) throw queryError(`more than ${OPERATORS_MAX} operators`, at);
  }
}

/** Loki shows functions in capitals; signs, keywords and kinds of token as they are. */
function shownType(type: string): string {
  return /^[a-z_]+_over_time$|^(?:rate|rate_counter|bytes_rate|sum|avg|min|max|count|stddev|stdvar|topk|bottomk|approx_topk|sort_desc|sort|vector)$/.test(
    type,
  )
    ? type.toUpperCase()
    : type;
}
