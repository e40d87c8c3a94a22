import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RE2JS } from 're2js';
import { buildFilter, filterMayContain, readFilter } from '../../src/store/batch/filter.ts';
import type { Random } from '../../src/store/host/index.ts';
import { lineStart } from '../../src/store/index.ts';
import { compileRegex } from '../../src/store/logql/index.ts';
import { compileQuery } from '../../src/store/query/index.ts';
import { neededOf } from '../../src/store/query/prune.ts';
import { selectRows, type LineFilter, type LineTest } from '../../src/store/query/rows.ts';
import { below, columnsFrom, forEachSeed, pick, PROPERTY, randomEntries, randomLine } from './material.ts';

const PATTERNS = [
  'error',
  'e.*r',
  '^GET',
  'timeout$',
  '^$',
  '(?i)WARN',
  'user=\\d+',
  '[^a-z ]',
  '\\s',
  'a|b',
  'x*',
  '日.*',
  'err.r \\w+',
  '^a$',
  '\\bGET\\b',
  '(?i)größe',
  '.',
  'never there',
];

function randomTest(random: Random): LineTest {
  const kind = random.unit();
  if (kind < 0.45) {
    const line = randomLine(random);
    const from = below(random, line.length + 1);
    return { kind: 'literal', bytes: line.subarray(from, from + below(random, 8)) };
  }
  if (kind < 0.9) {
    const regex = compileRegex(pick(random, PATTERNS));
    const exact = regex.literals.filter((group) => group.length === 1 && !group[0].caseInsensitive);
    const required = exact.length > 0 && random.unit() < 0.7 ? Buffer.from(exact[0][0].text) : undefined;
    const block = random.unit() < 0.8 ? regex.block : undefined;
    const blockProves = regex.blockProves && random.unit() < 0.7;
    return {
      kind: 'regex',
      testLine: (line) => regex.testLine(line),
      block,
      blockProves,
      takesLineFeeds: blockProves && regex.isWithoutLineFeed,
      required,
    };
  }
  const remainder = below(random, 3);
  return { kind: 'line', test: (line) => line.length % 3 === remainder };
}

const holds = (line: Buffer, test: LineTest): boolean =>
  test.kind === 'literal'
    ? line.includes(test.bytes)
    : test.kind === 'regex'
      ? test.testLine(line)
      : test.test(line);

test('rows selected in blocks are the rows selected line by line', async () => {
  await forEachSeed(400, (random, seed) => {
    let given = randomEntries(random, below(random, seed % 20 === 0 ? 3_000 : 60));
    // Whole blocks of valid text without inner newlines take the fast way.
    if (seed % 2 === 0) {
      given = given.map((entry) => ({
        ...entry,
        line: Buffer.from(entry.line.toString().replaceAll('\n', ' ')),
      }));
    }
    const columns = columnsFrom(given);
    const filters: LineFilter[] = Array.from({ length: below(random, 4) }, () => ({
      negated: random.unit() < 0.35,
      anyOf: Array.from({ length: 1 + below(random, 3) }, () => randomTest(random)),
    }));
    const expected = given.flatMap(({ line }, row) =>
      filters.every(({ negated, anyOf }) => anyOf.some((test) => holds(line, test)) !== negated) ? [row] : [],
    );
    assert.deepEqual([...selectRows(columns, filters)], expected);
  });
});

test('any literal, in any lines: found where it is, and nowhere else', () => {
  const byte = fc.constantFrom(10, 97, 98, 0, 255);
  const bytes = (maxLength: number) => fc.array(byte, { maxLength }).map((value) => Buffer.from(value));
  fc.assert(
    fc.property(fc.array(bytes(6), { maxLength: 12 }), bytes(4), fc.boolean(), (lines, literal, negated) => {
      const columns = columnsFrom(lines.map((line) => ({ ms: 0, sub: 0, line, metadata: {} })));
      const rows = selectRows(columns, [{ negated, anyOf: [{ kind: 'literal', bytes: literal }] }]);
      const expected = lines.flatMap((line, row) => (line.includes(literal) !== negated ? [row] : []));
      assert.deepEqual([...rows], expected);
    }),
    { ...PROPERTY, numRuns: 2000 },
  );
});

test('any short expression, in any lines', () => {
  const atom = fc.constantFrom('a', 'b', '.', '[^a]', '^', '$', '\\s', '\\b', '(?:ab|b)', 'é');
  const part = fc
    .tuple(atom, fc.constantFrom('', '*', '?', '+', '{2}'))
    .map(([one, repeat]) => (/^[\^$]|\\b/.test(one) ? one : `${one}${repeat}`));
  const pattern = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(''));
  // Now and then a line feed within a line, or a byte that is no text.
  const piece = fc.oneof(
    {
      weight: 30,
      arbitrary: fc.constantFrom(...['a', 'b', ' ', 'é', 'c', '\r'].map((it) => Buffer.from(it))),
    },
    { weight: 1, arbitrary: fc.constantFrom(Buffer.from('\n'), Buffer.of(0xc3)) },
  );
  const lines = fc.array(
    fc.array(piece, { maxLength: 5 }).map((pieces) => Buffer.concat(pieces)),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(lines, pattern, (given, text) => {
      const { lineFilters } = compileQuery(`{app="a"} |~ ${JSON.stringify(text)}`, () => 0);
      const regex = compileRegex(text);
      const columns = columnsFrom(given.map((line) => ({ ms: 0, sub: 0, line, metadata: {} })));
      const expected = given.flatMap((line, row) => (regex.testLine(line) ? [row] : []));
      assert.deepEqual([...selectRows(columns, lineFilters)], expected);
    }),
    { ...PROPERTY, numRuns: 1500 },
  );
});

/** As Go reads it: each byte that is no UTF-8 is U+FFFD. The bytes in these tests are those or whole characters. */
function textOf(pieces: readonly Buffer[]): string {
  return pieces.map((piece) => piece.toString('utf8')).join('');
}

test('an expression with U+FFFD finds bytes that are no UTF-8, past every filter; a literal means its bytes', () => {
  const replacement = [
    '\\x{FFFD}',
    '\ufffd',
    '[\ufffd]',
    '(?i:\\x{fffd})',
    '[\\x{FFFD}-\\x{FFFE}]',
    '\\x{FFFD}{4}',
  ];
  const others = ['a', 'error', '.', '[^a]', '(?:\ufffd|time)', '(?i:TIME)', '\\b', '日本'];
  const pattern = fc
    .array(fc.constantFrom(...replacement, ...others), { minLength: 1, maxLength: 4 })
    .map((parts) => parts.join(''));
  const piece = fc.oneof(
    fc.constantFrom(...['a', 'b', 'error', 'time', 'TIME', '日本', '\ufffd'].map((it) => Buffer.from(it))),
    // None of these two begins or goes on with a character.
    fc.constantFrom(Buffer.of(0xff), Buffer.of(0xc0)),
  );
  const lines = fc.array(fc.array(piece, { maxLength: 8 }), { minLength: 1, maxLength: 8 });
  const check = (given: Buffer[], query: string, expected: number[]): void => {
    const compiled = compileQuery(`{app="a"} ${query}`, () => 0);
    const columns = columnsFrom(given.map((line) => ({ ms: 0, sub: 0, line, metadata: {} })));
    assert.deepEqual([...selectRows(columns, compiled.lineFilters)], expected, query);
    const filter = readFilter(buildFilter([columns.lines]))!;
    const mayContain = neededOf(compiled).every((group) => group.some((it) => filterMayContain(filter, it)));
    assert.ok(mayContain || expected.length === 0, `${query} is not pruned`);
  };
  fc.assert(
    fc.property(lines, pattern, fc.nat(8), (pieces, expression, literalPieces) => {
      const given = pieces.map((line) => Buffer.concat(line));
      const plain = RE2JS.compile(expression);
      const matching = pieces.flatMap((line, row) => (plain.test(textOf(line)) ? [row] : []));
      check(given, `|~ ${JSON.stringify(expression)}`, matching);
      const literal = textOf(pieces[0].slice(0, literalPieces));
      const holding = given.flatMap((line, row) => (line.includes(literal) ? [row] : []));
      check(given, `|= ${JSON.stringify(literal)}`, holding);
    }),
    { ...PROPERTY, numRuns: 1500 },
  );
});

test('a literal that nearly every line holds, and an expression around it that few lines match', () => {
  const given = Array.from({ length: 1_000 }, (_, i) => Buffer.from(`id=${i} id=${i % 7}\r`));
  const columns = columnsFrom(given.map((line) => ({ ms: 0, sub: 0, line, metadata: {} })));
  for (const text of ['id=[0-9]*99 ', 'id=[0-9]+[^0-9]+3', 'id=9[0-9]$', 'id=6\\s$', '(?i)ID=6.id']) {
    const { lineFilters } = compileQuery(`{app="a"} |~ ${JSON.stringify(text)}`, () => 0);
    const regex = compileRegex(text);
    const expected = given.flatMap((line, row) => (regex.testLine(line) ? [row] : []));
    assert.deepEqual([...selectRows(columns, lineFilters)], expected, text);
  }
});

test('a line that a filter passes holds a literal of every needed group', async () => {
  await forEachSeed(100, (random) => {
    const pattern = pick(random, PATTERNS);
    const literal = randomLine(random).toString('utf8').slice(0, 6);
    const filters = [
      `|~ ${JSON.stringify(pattern)}`,
      `|= ${JSON.stringify(literal)}`,
      `|= ${JSON.stringify(literal)} or "timeout"`,
      `|~ "error|timeout" |= "user"`,
    ];
    const query = compileQuery(`{app="a"} ${pick(random, filters)}`, () => 0);
    const columns = columnsFrom(randomEntries(random, 100));
    const fold = (bytes: Uint8Array): string =>
      Buffer.from(bytes)
        .toString('latin1')
        .replace(/[A-Z]/g, (c) => c.toLowerCase());
    for (const row of selectRows(columns, query.lineFilters)) {
      const line = fold(columns.lines.subarray(lineStart(columns, row), columns.ends[row]));
      for (const group of query.neededLiterals)
        assert.ok(
          group.some((bytes) => line.includes(fold(bytes))),
          line,
        );
    }
  });
});
