import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { matchesName, parseGlob } from '../../src/node/inputs/glob.ts';

function matches(pattern: string, name: string): boolean {
  const segment = parseGlob(`/${pattern}`)[0].segments[0];
  if (segment.kind === 'name') return segment.name === name;
  assert(segment.kind === 'match');
  return matchesName(segment.tokens, name);
}

test('names fit as in a shell', () => {
  const cases: Array<[string, string, boolean]> = [
    ['*.log', 'a.log', true],
    ['*.log', '.log', false],
    ['.*', '.log', true],
    ['*.log', 'a.log.1', false],
    ['a?c', 'abc', true],
    ['a?c', 'ac', false],
    ['[a-c]x', 'bx', true],
    ['[!a-c]x', 'bx', false],
    ['[^a-c]x', 'dx', true],
    ['[]x]', ']', true],
    ['[a-]', '-', true],
    ['[a\\-c]', 'b', false],
    ['[[]', '[', true],
    ['a\\*', 'a*', true],
    ['a\\*', 'ab', false],
    ['a*b*c', 'aXbYbZc', true],
    ['a*b*c', 'aXbYbZ', false],
    ['*', 'zeile\n', true],
  ];
  for (const [pattern, name, expected] of cases)
    assert.equal(matches(pattern, name), expected, `${pattern} ${name}`);
});

test('braces give one glob each', () => {
  const paths = parseGlob('/x/{a,b{c,d},}.log').map((glob) => glob.plainPath);
  assert.deepEqual(paths, ['/x/a.log', '/x/bc.log', '/x/bd.log', '/x/.log']);
  assert.throws(() => parseGlob(`/${'{a,b}'.repeat(12)}`), /more than 1000 combinations/);
});

test('a hostile pattern takes no time', () => {
  assert.equal(matches(`${'*a'.repeat(60)}b`, 'a'.repeat(255)), false);
});

test('stars agree with a regular expression', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '*', '?'), maxLength: 8 });
  fc.assert(
    fc.property(text, fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 8 }), (pattern, name) => {
      fc.pre(pattern !== '' && !pattern.includes('**'));
      const expected = new RegExp(`^${pattern.replaceAll('*', '.*').replaceAll('?', '.')}$`).test(name);
      assert.equal(matches(pattern, name), expected);
    }),
  );
});
