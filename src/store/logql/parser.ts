/** LogQL from text. Recursive descent over a lexer that keeps pace; the rules stand above the functions they name. */
import { isLog, type Expr, type LogExpr, type Matcher, type MetricExpr } from './ast.ts';
import { Cursor } from './cursor.ts';
import { queryError } from './errors.ts';
import { parseExpr } from './parse-metric.ts';
import { parseSelector } from './parse-log.ts';
import { REPEATED_MAX, repeatedSize } from './regex-size.ts';

/** Longest query, in bytes of UTF-8: Loki's own bound. */
export const QUERY_BYTES_MAX = 131_072;

function open(text: string): Cursor {
  const bytes = Buffer.byteLength(text, 'utf8');
  if (bytes >= QUERY_BYTES_MAX) throw queryError(`input size too long (${bytes} > ${QUERY_BYTES_MAX})`);
  if (!text.isWellFormed()) throw queryError('invalid UTF-8 rune');
  if (repeatedSize(text) > REPEATED_MAX)
    throw queryError('the repetitions in regular expressions are too many');
  return new Cursor(text);
}

/** A log or metric query, checked. Throws LogvineError LV_QUERY_INVALID that says where and why. */
export function parse(text: string): Expr {
  const cursor = open(text);
  const expr = parseExpr(cursor);
  if (!cursor.is('$end')) throw cursor.unexpected([]);
  return expr;
}

/** A log query. Throws as `parse`, also on a metric query. */
export function parseLogQuery(text: string): LogExpr {
  const expr = parse(text);
  if (!isLog(expr)) throw queryError('only log selector is supported');
  return expr;
}

/** A metric query. Throws as `parse`, also on a log query. */
export function parseMetricQuery(text: string): MetricExpr {
  const expr = parse(text);
  if (isLog(expr)) throw queryError('only sample expression supported');
  return expr;
}

/** A bare `{…}`; `{}` and matchers that match nothing are refused unless `allowEmpty`. Throws as `parse`. */
export function parseMatchers(text: string, allowEmpty = false): Matcher[] {
  const cursor = open(text);
  const matchers = parseSelector(cursor, allowEmpty);
  if (!cursor.is('$end')) throw queryError('only label matchers are supported', cursor.token);
  return matchers;
}

/** The labels of a pushed stream, `{name="value", …}`; empty values are left out. Throws as `parse`. */
export function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = Object.create(null);
  for (const { name, op, value } of parseMatchers(text, true)) {
    if (op !== '=') throw queryError(`a label needs =, not ${op}`);
    if (Object.hasOwn(labels, name)) throw queryError(`label ${name} stands twice`);
    if (value !== '') labels[name] = value;
  }
  return { ...labels };
}
