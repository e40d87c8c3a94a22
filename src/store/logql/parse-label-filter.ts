/** Label filters. Above each function stands its grammar rule. */
import type { CompareOp, LabelFilter, MatchOp } from './ast.ts';
import { checkIp, checkMatcher } from './check.ts';
import type { Cursor } from './cursor.ts';
import { queryError } from './errors.ts';
import { parseFloatGo } from './numbers.ts';

/** How tightly the operator to the left binds; a comma or nothing at all lets everything that follows bind first. */
const LOOSE = 0;
const OR = 1;
const AND = 2;

/**
 * labelFilter = comparison
 *             | "(" labelFilter ")"
 *             | labelFilter ( "and" | "," | nothing | "or" ) labelFilter
 *
 * `and` binds tighter than `or`; after a comma or between filters side by side, what follows is one filter.
 */
export function parseLabelFilter(cursor: Cursor, binding = LOOSE): LabelFilter {
  let left = parseOperand(cursor);
  for (;;) {
    const at = cursor.token;
    let kind: 'and' | 'or' = 'and';
    let inner = LOOSE;
    if (cursor.is('or')) {
      if (binding >= OR) return left;
      kind = 'or';
      inner = OR;
    } else if (cursor.is('and')) {
      if (binding >= AND) return left;
      inner = AND;
    } else if (!cursor.is(',', 'IDENTIFIER', '(')) {
      return left;
    }
    if (cursor.is('or', 'and', ',')) cursor.take();
    cursor.countOperator(at);
    left = { kind, left, right: cursor.nested(at, () => parseLabelFilter(cursor, inner)) };
  }
}

/** operand = "(" labelFilter ")" | comparison */
function parseOperand(cursor: Cursor): LabelFilter {
  const at = cursor.token;
  if (!cursor.is('(', 'IDENTIFIER')) throw cursor.unexpected(['(', 'IDENTIFIER']);
  if (!cursor.accept('(')) return parseComparison(cursor);
  const filter = cursor.nested(at, () => parseLabelFilter(cursor));
  cursor.expect(')');
  return filter;
}

const COMPARE_OPS = ['==', '=', '!=', '>', '>=', '<', '<='];

/**
 * comparison = IDENTIFIER ( "=" | "!=" | "=~" | "!~" ) STRING
 *            | IDENTIFIER ( "=" | "!=" ) "ip" "(" STRING ")"
 *            | IDENTIFIER ( "==" | "=" | "!=" | ">" | ">=" | "<" | "<=" ) ( number | DURATION | BYTES )
 */
function parseComparison(cursor: Cursor): LabelFilter {
  const name = cursor.expect('IDENTIFIER').text;
  const isRegex = cursor.is('=~', '!~');
  if (!isRegex && !cursor.is(...COMPARE_OPS)) throw cursor.unexpected([]);
  const sign = cursor.take().type;
  const at = cursor.token;
  const takesText = isRegex || sign === '=' || sign === '!=';
  if (takesText && cursor.is('STRING')) {
    const matcher = { name, op: sign as MatchOp, value: cursor.take().text };
    checkMatcher(matcher, at);
    return { kind: 'string', matcher };
  }
  if (isRegex) throw cursor.unexpected(['STRING']);
  if ((sign === '=' || sign === '!=') && cursor.accept('ip')) {
    cursor.expect('(');
    const pattern = cursor.expect('STRING').text;
    checkIp(pattern, at);
    cursor.expect(')');
    return { kind: 'ip', name, op: sign, pattern };
  }
  const op = (sign === '=' ? '==' : sign) as CompareOp;
  if (cursor.is('DURATION')) return { kind: 'duration', name, op, valueNs: cursor.take().value };
  if (cursor.is('BYTES')) return { kind: 'bytes', name, op, valueBytes: cursor.take().value };
  if (!cursor.is('NUMBER', '+', '-'))
    throw cursor.unexpected(takesText ? [] : ['NUMBER', 'DURATION', 'BYTES']);
  return { kind: 'number', name, op, value: parseNumber(cursor) };
}

/** number = [ "+" | "-" ] NUMBER */
export function parseNumber(cursor: Cursor): number {
  const negative = cursor.is('-');
  if (cursor.is('+', '-')) cursor.take();
  const value = readNumber(cursor);
  return negative ? -value : value;
}

/** NUMBER */
export function readNumber(cursor: Cursor): number {
  const token = cursor.expect('NUMBER');
  try {
    return parseFloatGo(token.text);
  } catch (cause) {
    throw queryError(`unable to parse literal as a float: ${(cause as Error).message}`, token, cause);
  }
}
