import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeParts, encodeParts, LIMITS, LogvineError, PatternTree } from '../../src/store/index.ts';
import type { PartialSeries } from '../../src/store/logql/index.ts';
import { PROPERTY } from './material.ts';

const number = fc.oneof(
  fc.nat(),
  fc.double({ noNaN: true }),
  fc.constantFrom(NaN, Infinity, -0, -1, 2 ** 53),
);
const series: fc.Arbitrary<PartialSeries> = fc
  .record({
    labels: fc.dictionary(fc.string({ maxLength: 5 }), fc.string({ maxLength: 5 })),
    states: fc.array(fc.array(number, { maxLength: 4 }), { maxLength: 5 }),
    first: fc.nat(1_000_000),
  })
  .map(({ labels, states, first }) => ({ labels, states, buckets: states.map((_, at) => first + at) }));

const plain = ({ labels, buckets, states }: PartialSeries) => ({
  labels: Object.entries(labels),
  buckets: [...buckets],
  states: states.map((state) => [...state]),
});

test('partial results: what is encoded is decoded', () => {
  fc.assert(
    fc.property(fc.array(fc.array(series, { maxLength: 4 }), { minLength: 1, maxLength: 3 }), (leaves) => {
      const decoded = [...encodeParts(leaves)].flatMap((bytes) => decodeParts(bytes, leaves.length));
      assert.deepEqual(
        decoded.map((one) => [one.leaf, plain(one.series)]),
        leaves.flatMap((parts, leaf) => parts.map((part) => [leaf, plain(part)])),
      );
    }),
    PROPERTY,
  );
});

test('partial results: cut or garbled bytes are LV_PROTOCOL or other results, never anything else', () => {
  fc.assert(
    fc.property(
      fc.array(series, { minLength: 1, maxLength: 4 }),
      fc.nat(),
      fc.nat(255),
      (parts, at, value) => {
        const [bytes] = encodeParts([parts]);
        const garbled = Buffer.from(bytes);
        garbled[at % garbled.length] = value;
        for (const given of [garbled, bytes.subarray(0, at % bytes.length)]) {
          try {
            decodeParts(given, 1);
          } catch (error) {
            assert.ok(error instanceof LogvineError && error.code === 'LV_PROTOCOL', String(error));
          }
        }
      },
    ),
    PROPERTY,
  );
});

test('partial results: many series come in pieces that fit a message', () => {
  const labels = { a: 'x'.repeat(1000) };
  const many = Array.from({ length: 5000 }, () => ({ labels, buckets: [1], states: [[1]] }));
  const pieces = [...encodeParts([many])];
  assert.ok(pieces.length > 1);
  assert.ok(pieces.every(({ length }) => length < 2 * LIMITS.queryChunkBytes));
});

test('patterns: words that differ are variable, in any order of lines and holders', () => {
  const lines = [
    'user=17 logged in from 10.0.0.1',
    'user=4 logged in from 10.0.0.27',
    'user=4 logged out',
    'disk sda is full',
    'disk sdb is full',
    'disk sdc is full',
  ];
  const trees = [new PatternTree(), new PatternTree()];
  for (const [at, line] of lines.entries()) trees[at % 2].add(line, 'info', [[1000, 1]]);
  trees[0].add('disk sda is full', 'error', [[2000, 3]]);
  const merged = new PatternTree();
  for (const tree of trees) {
    for (const { pattern, level, samples } of tree.patterns()) merged.add(pattern, level, samples);
  }
  assert.deepEqual(merged.patterns(), [
    { pattern: 'disk <_> is full', level: 'info', samples: [[1000, 3]] },
    { pattern: 'disk sda is full', level: 'error', samples: [[2000, 3]] },
    { pattern: 'user=<_> logged in from <_>', level: 'info', samples: [[1000, 2]] },
    { pattern: 'user=<_> logged out', level: 'info', samples: [[1000, 1]] },
  ]);
});

test('patterns are bounded', () => {
  const tree = new PatternTree();
  const word = (n: number): string =>
    n.toString(26).replaceAll(/\d/g, (digit) => 'qrstuvwxyz'[Number(digit)]);
  for (let n = 0; n < LIMITS.patternsMax * 3; n++)
    tree.add(`${word(n)} ${'y '.repeat(n % 7)}z`, '', [[0, 1]]);
  assert.equal(tree.patterns().length, LIMITS.patternsMax);
  tree.add('x'.repeat(1_000_000), '', [[0, 1]]);
});
