import assert from 'node:assert/strict';
import { test } from 'node:test';
import v8 from 'node:v8';
import fc from 'fast-check';
import { RE2JS } from 're2js';
import { compileAnchored, compileRegex } from '../../src/store/logql/regex.ts';

// As a node does at start: a pattern that backtracks too much goes on in V8's linear engine.
v8.setFlagsFromString('--enable-experimental-regexp-engine-on-excessive-backtracks');

const line = (text: string) => Buffer.from(text, 'utf8');

test('RE2 syntax that JavaScript does not have', () => {
  const table: [pattern: string, text: string, matches: boolean][] = [
    ['\\Afoo\\z', 'foo', true],
    ['\\Afoo\\z', 'xfoo', false],
    ['(?P<name>a+)b', 'aab', true],
    ['(?i)ERROR', 'an error', true],
    ['(?i:e)RROR', 'eRROR', true],
    ['(?i:e)RROR', 'error', false],
    ['a(?i)b|c', 'C', true],
    ['(a(?i)b)c', 'aBC', false],
    ['[[:alpha:]]+[[:^digit:]]', 'ab-', true],
    ['\\pL\\p{Greek}', 'aα', true],
    ['\\PL', 'a', false],
    ['\\Qa.b\\E', 'a.b', true],
    ['\\Qa.b\\E+', 'axb', false],
    ['(?s)a.b', 'a\nb', true],
    ['a.b', 'a\nb', false],
    ['(?U)a+b', 'aab', true],
    ['\\x{1F600}', '😀', true],
    ['^.$', '😀', true],
    ['^..$', 'é', false],
    ['[^a]', 'é', true],
    ['\\d{2,3}', '1', false],
    ['^\\w{20,40}$', 'a'.repeat(30), true],
    ['^\\w{20,40}$', 'a'.repeat(41), false],
    ['(?i)straße', 'STRAẞE', true],
    ['(?i)k', '\u212a', true],
    ['\\bfoo\\b', 'a foo.', true],
    ['x*', '', true],
  ];
  for (const [pattern, text, expected] of table) {
    assert.equal(compileRegex(pattern).testLine(line(text)), expected, `${pattern} on ${text}`);
    assert.equal(compileRegex(pattern).testText(text), expected, `${pattern} on ${text}`);
  }
});

test('what RE2 forbids is refused with its words', () => {
  for (const [pattern, message] of [
    ['(?=a)', /invalid or unsupported Perl syntax/],
    ['(a)\\1', /invalid escape sequence/],
    ['[', /missing closing \]/],
    ['a**', /invalid nested repetition operator/],
    ['a{1001}', /invalid repeat count/],
  ] as const) {
    assert.throws(
      () => compileRegex(pattern),
      (error: Error) => error instanceof SyntaxError && message.test(error.message),
    );
  }
  assert.throws(() => compileAnchored(')('), SyntaxError);
});

test('bytes that are not UTF-8 count as one U+FFFD each', () => {
  const bad = Buffer.from([0x61, 0xff, 0xc3, 0x62]);
  assert.equal(compileRegex('^a..b$').testLine(bad), true);
  assert.equal(compileRegex('^a.b$').testLine(bad), false);
  assert.equal(compileRegex('\ufffd').testLine(bad), true);
});

test('groups, replacements and counts', () => {
  const regex = compileRegex('(?P<key>\\w+)=(\\d+)?');
  assert.deepEqual(regex.groupNames, ['key', '']);
  assert.deepEqual(regex.exec('x a=1'), ['a=1', 'a', '1']);
  assert.deepEqual(regex.exec('a='), ['a=', 'a', undefined]);
  assert.equal(regex.exec('none'), undefined);
  assert.equal(regex.replaceAll('a=1 b=2', '${key}:$2'), 'a:1 b:2');
  assert.equal(regex.replaceAll('a=1', '$1x'), '', 'the longest name is taken, and there is none such');
  assert.equal(regex.replaceAll('a=1', '$1x', true), '$1x');
  assert.equal(compileRegex('a|b').count('abab'), 4);
  assert.deepEqual(compileRegex('(?:(a)|b)*').exec('ab'), ['ab', 'a'], 'a group keeps what it last held');
  assert.equal(compileRegex('é').replaceAll('aéb', 'e'), 'aeb');
});

test('literals that every match holds', () => {
  const of = (pattern: string) =>
    compileRegex(pattern).literals.map((group) =>
      group.map((l) => (l.caseInsensitive ? `i:${l.text}` : l.text)),
    );
  assert.deepEqual(of('error'), [['error']]);
  assert.deepEqual(of('foo.*bar\\d'), [['foo'], ['bar']]);
  assert.deepEqual(of('(timeout|refused): x'), [['timeout', 'refused'], [': x']]);
  assert.deepEqual(of('(?i)error: 5'), [['i:error: 5']]);
  assert.deepEqual(of('(?i)task'), [['i:ta']], 's and k have other cases beyond ASCII');
  assert.deepEqual(of('(foo)?bar|baz'), [['bar', 'baz']]);
  assert.deepEqual(of('a*'), []);
  assert.deepEqual(of('(a|b*)c'), [['c']]);
  assert.deepEqual(of('a{3}b'), [['aaab']]);
});

/** Patterns from a grammar, so that most are valid and many match. */
const pattern = fc.letrec<{ atom: string; piece: string; concat: string; alternate: string }>((tie) => ({
  atom: fc.oneof(
    {
      weight: 4,
      arbitrary: fc.constantFrom(
        'a',
        'b',
        'k',
        'é',
        '.',
        '\\d',
        '\\w',
        '\\s',
        '[ab]',
        '[^a]',
        '[^é]',
        '[à-ü]',
        '1',
        ' ',
      ),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        '^',
        '$',
        '\\b',
        '\\B',
        '(?i)',
        '(?s)',
        '(?m)',
        '\\pL',
        '[[:upper:]]',
        '\\x{1F600}',
      ),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.constantFrom('(', '(?:', '(?i:'), tie('alternate'))
        .map(([open, inner]) => `${open}${inner})`),
    },
  ),
  piece: fc
    .tuple(
      tie('atom'),
      fc.constantFrom('', '', '', '*', '+', '?', '*?', '+?', '{2}', '{1,3}', '{0,20}', '{18}', '{2,}'),
    )
    .map(([atom, repeat]) => (/^(?:\^|\$|\\b|\\B|\(\?[ism]\))$/.test(atom) ? atom : atom + repeat)),
  concat: fc.array(tie('piece'), { minLength: 0, maxLength: 4 }).map((pieces) => pieces.join('')),
  alternate: fc.array(tie('concat'), { minLength: 1, maxLength: 3 }).map((branches) => branches.join('|')),
})).alternate;
const text = fc.string({
  unit: fc.constantFrom('a', 'b', 'A', 'K', 'k', 'é', 'É', 'ü', '1', ' ', '😀', '\u212a', '-'),
  maxLength: 24,
});

test('the translation agrees with re2js on any pattern and text', () => {
  fc.assert(
    fc.property(pattern, fc.array(text, { maxLength: 8 }), (source, texts) => {
      let re2: RE2JS;
      try {
        re2 = RE2JS.compile(source);
      } catch {
        assert.throws(() => compileRegex(source), SyntaxError);
        return;
      }
      const ours = compileRegex(source);
      for (const given of texts) {
        assert.equal(ours.testLine(line(given)), re2.test(given), `${source} on ${JSON.stringify(given)}`);
        const theirs = re2.exec(given);
        assert.deepEqual(
          ours.exec(given),
          theirs === null ? undefined : [...theirs],
          `${source} on ${JSON.stringify(given)}`,
        );
        if (theirs !== null) {
          for (const group of ours.literals) {
            const lower = given.toLowerCase();
            assert.ok(
              group.some((l) => (l.caseInsensitive ? lower.includes(l.text) : given.includes(l.text))),
              `${source} matches ${JSON.stringify(given)} without ${JSON.stringify(group)}`,
            );
          }
        }
      }
    }),
    { numRuns: 1000 },
  );
});

/** Patterns that cost a compiler much: parts side by side that may match nothing, again and again. */
const costly = fc.letrec<{ atom: string; piece: string; concat: string; alternate: string }>((tie) => ({
  atom: fc.oneof(
    {
      weight: 5,
      arbitrary: fc.constantFrom(
        ...['a', 'a?', 'a*', '(?:)', '(?:|a)', '[^a]', 'é', '.', '[à-ü]', '\\pL', '\\x{1F600}'],
        ...['\\b', '^', '$', '(?:\\b|^)', '(?m:^)', '(?m:$)', '\\A', '\\z'],
      ),
    },
    { weight: 2, arbitrary: tie('alternate').map((inner) => `(${inner})`) },
  ),
  piece: fc
    .tuple(
      tie('atom'),
      fc.constantFrom('', '*', '+', '?', '*?', '{2}', '{8}', '{18}', '{60}', '{0,30}', '{5,}'),
    )
    .map(([atom, repeat]) => `(?:${atom})${repeat}`),
  concat: fc.array(tie('piece'), { minLength: 1, maxLength: 4 }).map((pieces) => pieces.join('')),
  alternate: fc.array(tie('concat'), { minLength: 1, maxLength: 3 }).map((branches) => branches.join('|')),
})).alternate;

test('the translation agrees with re2js on patterns that cost much', () => {
  fc.assert(
    fc.property(costly, fc.array(text, { maxLength: 4 }), (source, texts) => {
      let re2: RE2JS;
      let ours;
      try {
        re2 = RE2JS.compile(source);
        ours = compileRegex(source);
      } catch {
        return;
      }
      ours.block?.test('aé b\n');
      // Twice: V8 interprets a pattern first, and makes code of it when it is used again.
      for (const given of [...texts, ...texts])
        assert.equal(ours.testLine(line(given)), re2.test(given), `${source} on ${JSON.stringify(given)}`);
    }),
    { numRuns: 300 },
  );
});

test('a block search misses no line that matches', () => {
  fc.assert(
    fc.property(pattern, fc.array(text, { minLength: 1, maxLength: 8 }), (source, lines) => {
      let ours;
      try {
        ours = compileRegex(source);
      } catch {
        return;
      }
      const { block } = ours;
      if (block === undefined) return;
      const bytes = line(lines.map((one) => `${one}\n`).join(''));
      const whole = bytes.toString('latin1');
      const ends: number[] = [];
      for (let at = whole.indexOf('\n'); at !== -1; at = whole.indexOf('\n', at + 1)) ends.push(at);
      const found = new Set<number>();
      block.lastIndex = 0;
      for (let hit = block.exec(whole); hit !== null; hit = block.exec(whole)) {
        const last = hit.index + hit[0].length - 1;
        const from = ends.findIndex((end) => end >= hit.index);
        const to = ends.findIndex((end) => end >= last);
        if (ours.blockProves && hit.index + hit[0].length <= ends[from])
          assert.ok(
            ours.testLine(line(lines[from])),
            `${source} is proven for ${JSON.stringify(lines[from])}`,
          );
        for (let row = from; row <= to; row++) if (ours.testLine(line(lines[row]))) found.add(row);
        block.lastIndex = ends[to];
        if (to === ends.length - 1) break;
      }
      const expected = lines.flatMap((one, row) => (ours.testLine(line(one)) ? [row] : []));
      assert.deepEqual(
        [...found].sort((a, b) => a - b),
        expected,
        source,
      );
    }),
    { numRuns: 1000 },
  );
});

test('what V8 would compile for minutes, or die of, runs elsewhere', () => {
  for (const source of [
    '(\\b){21}',
    '(?:a|(?:\\A)(?:\\b){12}){18}',
    '(?:\\b[é]*){60}$',
    '(?:é+|(?:\\b){8}){18}',
    '\\pL?(?:\\b){8}(?:\\b|^){8}',
    '(?:a?||b){30}cccc',
    '(?:a?){200}bbbb',
    '(?:|a){60}(?:é){60}',
    '(?:||){40}$',
    '(?:é){8}(?:\\b|^){60}',
    '[^a]{0,30}(?:\\b|^){60}',
    '(?:(?:a{60}|b{60})*?)(?:\\b|^){60}',
  ]) {
    const ours = compileRegex(source);
    const re2 = RE2JS.compile(source);
    assert.equal(ours.block, undefined, source);
    for (const given of ['', 'a', 'a cccc', 'aabbbb', 'é', 'é'.repeat(60)]) {
      assert.equal(ours.testLine(line(given)), re2.test(given), `${source} on ${given}`);
      assert.equal(ours.testText(given), re2.test(given), `${source} on ${given}`);
    }
  }
});

test('what people search for runs in V8', () => {
  for (const source of [
    '(?i)\\b(error|fail(ed|ure)?|fatal|panic)\\b',
    '\\bGET\\b.*\\b200\\b.*\\bfoo\\b.*\\bbar\\b.*\\bbaz\\b',
    '^(\\S+) \\S+ \\S+ \\[([^\\]]+)\\] "(\\w+) ([^"]*)" (\\d{3}) (\\d+|-)$',
    '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}',
    '(?:(?:25[0-5]|2[0-4]\\d|[01]?\\d\\d?)\\.){3}(?:25[0-5]|2[0-4]\\d|[01]?\\d\\d?)',
    '[\\w.+-]+@(?:[\\w-]+\\.)+[a-z]{2,}',
    '.{0,100}error.{0,100}timeout',
    '(?:\\w+\\s+){0,20}\\w+',
    'user=\\pL+',
    '(?i)(straße|maße)\\s+\\pL+',
  ]) {
    assert.notEqual(compileRegex(source).block, undefined, source);
  }
});

test("V8's linear engine can run every translation, and a regex made to blow up ends", () => {
  v8.setFlagsFromString('--enable-experimental-regexp-engine');
  fc.assert(
    fc.property(pattern, (source) => {
      let block: RegExp | undefined;
      try {
        ({ block } = compileRegex(source));
      } catch {
        return;
      }
      if (block !== undefined) new RegExp(block.source, 'l').test('aab é');
    }),
    { numRuns: 1000 },
  );
  assert.equal(compileRegex('(a+)+$').testLine(line(`${'a'.repeat(40)}b`)), false);
  assert.equal(compileRegex('(a|aa){10,30}c').testLine(line('a'.repeat(60))), false);
});
