import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { columnsOf, type LineOptions } from '../../src/node/pipeline/lines.ts';
import { type Columns, lineStart } from '../../src/store/index.ts';

const OPTIONS: LineOptions = { timeZone: 'UTC', discoverLevels: true, time: 'line' };
const READ_AT = Date.parse('2024-03-10T12:00:00Z');

function linesOf(columns: Columns): string[] {
  return Array.from(columns.ends, (end, row) =>
    Buffer.from(columns.lines.subarray(lineStart(columns, row), end)).toString('latin1'),
  );
}

function timesOf(columns: Columns): string[] {
  return Array.from(columns.ms, (ms) => new Date(ms).toISOString().slice(11, 19));
}

function levelsOf(columns: Columns): string[] {
  return Array.from(columns.metadataIds, (id) => columns.metadata[id].detected_level);
}

test('one block is used as it is', () => {
  const bytes = Buffer.from('a\n\nb\r\n');
  const columns = columnsOf([{ bytes, readAtMs: READ_AT }], OPTIONS);
  assert.equal(columns.lines, bytes);
  assert.deepEqual(linesOf(columns), ['a', '', 'b\r']);
  assert.equal(columns.count, 3);
});

test('several blocks become one, each with its own time of reading and metadata', () => {
  const columns = columnsOf(
    [
      { bytes: Buffer.from('one error\n'), readAtMs: 1000 },
      { bytes: Buffer.from(''), readAtMs: 1500 },
      { bytes: Buffer.from('two\nthree\n'), readAtMs: 2000, metadata: { piece: '1', zebra: 'x' } },
      { bytes: Buffer.from('four\n'), readAtMs: 3000 },
    ],
    OPTIONS,
  );
  assert.deepEqual(linesOf(columns), ['one error', 'two', 'three', 'four']);
  assert.deepEqual([...columns.ms], [1000, 2000, 2000, 3000]);
  assert.deepEqual(
    Array.from(columns.metadataIds, (id) => columns.metadata[id]),
    [
      { detected_level: 'error' },
      { detected_level: 'unknown', piece: '1', zebra: 'x' },
      { detected_level: 'unknown', piece: '1', zebra: 'x' },
      { detected_level: 'unknown' },
    ],
  );
  assert.deepEqual(Object.keys(columns.metadata[1]), ['detected_level', 'piece', 'zebra']);
  assert.equal(columns.metadata.length, 3);
});

test('no blocks and empty blocks give no entries', () => {
  assert.equal(columnsOf([], OPTIONS).count, 0);
  assert.equal(columnsOf([{ bytes: Buffer.alloc(0), readAtMs: 0 }], OPTIONS).count, 0);
});

test('a last line without its newline gets one', () => {
  const columns = columnsOf(
    [
      { bytes: Buffer.from('a\nb'), readAtMs: 1 },
      { bytes: Buffer.from('c'), readAtMs: 2 },
    ],
    OPTIONS,
  );
  assert.deepEqual(linesOf(columns), ['a', 'b', 'c']);
  assert.equal(Buffer.from(columns.lines).toString(), 'a\nb\nc\n');
});

test('a stack trace stays beside its line; the first lines of a block have the time of the read', () => {
  const bytes = Buffer.from(
    [
      'left over from before',
      '2024-03-10 10:00:00,500 ERROR failed',
      'java.lang.IllegalStateException: no',
      '\tat x.Y(Y.java:3)',
      '',
      '2024-03-10 09:00:00,000 INFO out of order',
      '\tmore',
      '1970-01-01 00:00:01 a clock that was not set',
      'behind it',
      '',
    ].join('\n'),
  );
  const columns = columnsOf([{ bytes, readAtMs: READ_AT }], OPTIONS);
  assert.deepEqual(timesOf(columns), [
    '12:00:00',
    '10:00:00',
    '10:00:00',
    '10:00:00',
    '10:00:00',
    '09:00:00',
    '09:00:00',
    '12:00:00',
    '12:00:00',
  ]);
  assert.equal(columns.ms[3] % 1000, 500);
});

test('with time `read` the stamps of lines do not count', () => {
  const bytes = Buffer.from('2020-01-01 00:00:00.123456 x\ny\n');
  const columns = columnsOf([{ bytes, readAtMs: READ_AT }], { ...OPTIONS, time: 'read' });
  assert.deepEqual([...columns.ms], [READ_AT, READ_AT]);
  assert.deepEqual([...columns.sub], [0, 0]);
});

test('levels are left out when they are not wanted', () => {
  const columns = columnsOf([{ bytes: Buffer.from('an error\nx\n'), readAtMs: 0, metadata: { a: '1' } }], {
    ...OPTIONS,
    discoverLevels: false,
  });
  assert.deepEqual(columns.metadata, [{ a: '1' }]);
  assert.deepEqual([...columns.metadataIds], [0, 0]);
});

test('a level label of the stream, or in the metadata, is the level of its lines', () => {
  const bytes = Buffer.from('an error\n');
  const labelled = columnsOf([{ bytes, readAtMs: 0 }], { ...OPTIONS, labels: { level: 'Warning' } });
  assert.deepEqual(levelsOf(labelled), ['warn']);
  const told = columnsOf([{ bytes, readAtMs: 0, metadata: { severity: 'dbg' } }], OPTIONS);
  assert.deepEqual(levelsOf(told), ['debug']);
});

test('the letters of klog and Android stand in where no word tells the level', () => {
  const bytes = Buffer.from(
    [
      'I0102 15:04:05.123456    1234 main.go:1] started',
      'E0102 15:04:05.123456    1234 main.go:1] gone',
      'I0102 15:04:05.123456    1234 main.go:1] an error',
      '03-09 16:13:38.811  1702  2395 D Tag: x',
      '03-09 16:13:38.811 V/Tag( 17): x',
      '03-09 16:13:38.811  1702  2395 Dull: x',
      '',
    ].join('\n'),
  );
  const columns = columnsOf([{ bytes, readAtMs: READ_AT }], OPTIONS);
  assert.deepEqual(levelsOf(columns), ['info', 'error', 'error', 'debug', 'trace', 'unknown']);
});

test('the stamp at the start of a line hides no word, and a word before a later stamp counts', () => {
  const bytes = Buffer.from(
    [
      '2024-01-02T15:04:05Z error',
      '2024-01-02 15:04:05 info x',
      'error - - [10/Oct/2000:13:55:36 -0700] "GET"',
      '',
    ].join('\n'),
  );
  assert.deepEqual(levelsOf(columnsOf([{ bytes, readAtMs: READ_AT }], OPTIONS)), ['error', 'info', 'error']);
});

const STAMP_PIECES = [
  '2024-01-02',
  'T',
  ' ',
  '15:04:05',
  '.123',
  ',',
  'Z',
  '+02:00',
  '-0700',
  '[',
  ']',
  '<34>',
  '1 ',
  'Jan  2',
  'Sun ',
  '10/Oct/2000:',
  '24/01/02',
  '240102',
  ' 150405',
  '03-17',
  'I0102',
  '1700000000',
  '{',
  '}',
  '"',
  ':',
  ',',
  '"time":',
  '"level":',
  '"error"',
  'ts=',
  'level=',
  'warn',
  'severity',
  '\\',
  '\n',
  '\t',
  '=',
  'x',
];

test('never throws, and counts exactly the lines', () => {
  const noise = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes));
  const pieces = fc
    .array(fc.constantFrom(...STAMP_PIECES), { maxLength: 25 })
    .map((parts) => Buffer.from(parts.join('')));
  const block = fc.record({
    bytes: fc.oneof(noise, pieces).map((bytes) => Buffer.concat([bytes, Buffer.from('\n')])),
    readAtMs: fc.integer({ min: 0, max: 4e12 }),
  });
  const zone = fc.constantFrom('UTC', 'local', 'America/St_Johns');
  fc.assert(
    fc.property(fc.array(block, { maxLength: 4 }), zone, (blocks, timeZone) => {
      const columns = columnsOf(blocks, { ...OPTIONS, timeZone });
      const all = Buffer.concat(blocks.map(({ bytes }) => bytes));
      assert.ok(all.equals(columns.lines));
      assert.deepEqual(
        linesOf(columns)
          .map((line) => `${line}\n`)
          .join(''),
        all.toString('latin1'),
      );
      assert.equal(columns.count, all.filter((byte) => byte === 10).length);
      for (const column of [columns.ms, columns.sub, columns.ends, columns.metadataIds]) {
        assert.equal(column.length, columns.count);
      }
      for (let row = 0; row < columns.count; row++) {
        assert.ok(Number.isInteger(columns.ms[row]));
        assert.ok(columns.sub[row] < 1_000_000);
        assert.ok(LEVEL_NAMES.has(columns.metadata[columns.metadataIds[row]].detected_level));
      }
    }),
    { numRuns: 5000 },
  );
});

const LEVEL_NAMES = new Set(['unknown', 'trace', 'debug', 'info', 'warn', 'error', 'critical', 'fatal']);

test('grows past its first guess at the number of lines', () => {
  const columns = columnsOf([{ bytes: Buffer.alloc(10_000, '\n'), readAtMs: 7 }], OPTIONS);
  assert.equal(columns.count, 10_000);
  assert.equal(columns.ends[9999], 9999);
  assert.equal(columns.ms[9999], 7);
  assert.equal(columns.metadata.length, 1);
});
