/** Stream matchers as Prometheus means them: a missing label is an empty one, and a regex matches the whole value. */
import type { Labels } from '../batch/columns.ts';
import type { Matcher } from './ast.ts';
import { compileAnchored } from './regex.ts';

const COMPILED_MAX = 1000;
const compiled = new Map<string, (value: string) => boolean>();

/** A test of one value. Throws SyntaxError when its regex is not allowed. */
export function compileMatcher(matcher: Matcher): (value: string) => boolean {
  const { op, value } = matcher;
  if (op === '=') return (given) => given === value;
  if (op === '!=') return (given) => given !== value;
  const key = op + value;
  let test = compiled.get(key);
  if (test === undefined) {
    const regex = compileAnchored(value, { dotAll: true });
    test = op === '=~' ? (given) => regex.testText(given) : (given) => !regex.testText(given);
    if (compiled.size >= COMPILED_MAX) compiled.clear();
    compiled.set(key, test);
  }
  return test;
}

/** One test of a label set by all matchers, for use on many. */
export function compileMatchers(matchers: readonly Matcher[]): (labels: Labels) => boolean {
  const tests = matchers.map((matcher) => ({ name: matcher.name, test: compileMatcher(matcher) }));
  return (labels) => tests.every(({ name, test }) => test(Object.hasOwn(labels, name) ? labels[name] : ''));
}

export function matches(matchers: readonly Matcher[], labels: Labels): boolean {
  return compileMatchers(matchers)(labels);
}
