import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  compileMetric,
  compileQuery,
  decodeParts,
  decodeRun,
  encodeParts,
  encodeRun,
  LIMITS,
  lineOf,
  LogvineError,
  PatternTree,
  RunBuilder,
  scanColumns,
} from '../../src/store/index.ts';
import type { PartialSeries } from '../../src/store/logql/index.ts';
import { columnsFrom, PROPERTY } from './material.ts';

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

test('a line with more fields than labels may be: it is told as its error, and the answer can be read', () => {
  const keys = Array.from({ length: 20_001 }, (_, at) => `k${at}`);
  const json = JSON.stringify({ ...Object.fromEntries(keys.map((key) => [key, 'v'])), _entry: 'e' });
  const logfmt = keys.map((key) => `${key}=v`).join(' ');
  const range = { from: { ms: 0, sub: 0 }, to: { ms: 10, sub: 0 } };
  const times = { startNs: 10_000_000n, endNs: 10_000_000n, stepNs: 0n };
  for (const [parser, line] of [
    ['json', json],
    ['unpack', json],
    ['logfmt', logfmt],
  ]) {
    const query = `{app="a"} | ${parser}`;
    const lines = [line, '{"a":"b"}'].map((text) => ({
      ms: 5,
      sub: 0,
      line: Buffer.from(text),
      metadata: { m: 'n' },
    }));
    const columns = columnsFrom(lines);
    const builder = new RunBuilder();
    const wanted = { range, descending: false, limit: Infinity };
    scanColumns(
      columns,
      { app: 'a' },
      builder.rank('a'),
      wanted,
      compileQuery(query, () => 0),
      builder,
    );
    const run = decodeRun(encodeRun(builder.finish()));
    assert.equal(run.count, 2);
    const { __error__, ...labels } = run.streams[run.streamIds[0]];
    assert.equal(__error__, 'LabelLimitErr');
    const parsed = Object.keys(labels).filter((name) => /^k\d+$/.test(name));
    assert.equal(parsed.length, LIMITS.parsedLabelsMax);
    assert.equal(Buffer.from(lineOf(run, 0)).toString(), parser === 'unpack' ? 'e' : line);
    assert.equal(run.streams[run.streamIds[1]].__error__, undefined, 'the next line has room again');

    const metric = compileMetric(`count_over_time(${query} [1m])`, times, () => 0);
    const [partial] = metric.newPartials();
    const { sampler } = metric.leaves[0];
    assert.ok(sampler.process(Buffer.from(line), { app: 'a' }, {}, 5, 0));
    partial.add(sampler.key, sampler.labels, 5, 0, 1);
    const found = [...encodeParts([partial.parts()])].flatMap((bytes) => decodeParts(bytes, 1));
    assert.equal(found[0].series.labels.__error__, 'LabelLimitErr');
  }
  // What nobody asks for does not count.
  const sum = compileMetric(`sum by (k20000) (count_over_time({app="a"} | json [1m]))`, times, () => 0);
  assert.ok(sum.leaves[0].sampler.process(Buffer.from(json), { app: 'a' }, {}, 5, 0));
  assert.deepEqual({ ...sum.leaves[0].sampler.labels }, { k20000: 'v' });
});

test('a query that writes as many labels as it has room for: its answer can be read', () => {
  const formats = Array.from({ length: 12_000 }, (_, at) => `q${at.toString(36)}="v"`);
  const query = `{a="b"} | json | label_format ${formats.join()}`;
  assert.ok(query.length <= LIMITS.queryLengthMax);
  const fields = Array.from({ length: 9_000 }, (_, at) => [`field_${at}`, 'v'] as const);
  const line = Buffer.from(JSON.stringify(Object.fromEntries(fields)));
  const builder = new RunBuilder();
  const wanted = {
    range: { from: { ms: 0, sub: 0 }, to: { ms: 10, sub: 0 } },
    descending: false,
    limit: Infinity,
  };
  const columns = columnsFrom([{ ms: 5, sub: 0, line, metadata: {} }]);
  scanColumns(
    columns,
    { a: 'b' },
    builder.rank('a'),
    wanted,
    compileQuery(query, () => 0),
    builder,
  );
  const run = decodeRun(encodeRun(builder.finish()));
  assert.ok(Object.keys(run.streams[0]).length > 20_000);
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
