import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import {
  LEVELS,
  levelOfLabels,
  levelOfLine,
  withLevels,
  withLevelsOfStreams,
} from '../../src/node/pipeline/level.ts';
import { columnsOf } from '../../src/node/pipeline/lines.ts';
import {
  decodeColumns,
  encodeColumns,
  type Columns,
  type Labels,
  type Metadata,
} from '../../src/store/index.ts';
import { columnsFrom, entriesOf, PROPERTY, rowsFrom, streamsOf } from '../store/material.ts';

function levelOf(line: string): string {
  const bytes = Buffer.from(`before\n${line}\n`);
  return LEVELS[levelOfLine(bytes, 7, bytes.length - 1)];
}

const TABLE: [line: string, level: string][] = [
  // Words.
  ['foo', 'unknown'],
  ['', 'unknown'],
  ['this is a warning log', 'warn'],
  ['this is a debug message', 'debug'],
  ['DEBUG: something happened', 'debug'],
  ['[CRITICAL] this is a critical message', 'critical'],
  ['[info] this is an info message', 'info'],
  ['[ERR] oh', 'error'],
  ['err', 'error'],
  ['Error', 'error'],
  ['Fatal: no', 'fatal'],
  ['12:00:01 TRACE x', 'trace'],
  // The order is trace, debug, fatal, critical, error, warn, info, wherever they stand.
  ['INFO then a warning then an error', 'error'],
  ['error fatal', 'fatal'],
  ['fatal debug', 'debug'],
  // Only words that stand alone, where they are first met.
  ['productinformationservice', 'unknown'],
  ['terror', 'unknown'],
  ['errors', 'unknown'],
  ['errors and an error', 'unknown'],
  ['info_x', 'unknown'],
  ['info2', 'unknown'],
  ['info-x', 'info'],
  ['errors err', 'unknown'],
  ['an error, then errors', 'error'],
  ['warnings', 'unknown'],
  ['warnings: warn', 'unknown'],
  ['informational', 'unknown'],
  ['emerg alert notice', 'unknown'],
  ['\u00e9info', 'info'],
  // JSON: the field counts, not the words.
  ['{"foo":"bar","msg":"keyword error","level":"critical"}', 'critical'],
  ['{"FOO":"bar","MSG":"keyword error","LEVEL":"Critical"}', 'critical'],
  ['{"msg":"keyword warn","SEVERITY":"FATAL"}', 'fatal'],
  ['{"level":"ERR"}', 'error'],
  ['{"level":"information"}', 'info'],
  ['{"msg":"message with keyword INFO get picked up"}', 'info'],
  ['{"level":30,"msg":"an error"}', 'error'],
  ['{"level":"notice","msg":"an error"}', 'error'],
  ['{"level":"notice"}', 'unknown'],
  ['{"a":{"level":"warn"}}', 'warn'],
  ['{"a":{"b":{"level":"dbg"}}}', 'unknown'],
  ['{"a":["level","dbg"],"lvl":"trc"}', 'trace'],
  ['{"severity":"inf","level":"dbg"}', 'info'],
  ['  {"level":"wrn"}  ', 'warn'],
  ['{"level":"wrn"', 'unknown'],
  ['{"msg":"a \\"level\\":\\"dbg\\" b","log.level":"trc"}', 'trace'],
  // logfmt.
  ['foo=bar msg="message with keyword error" level=warn', 'warn'],
  ['FOO=bar MSG="message with keyword error" LEVEL=inFO', 'info'],
  ['FOO=bar LEVEL=Inf', 'info'],
  ['FOO=bar LEVEL=Information', 'info'],
  ['foo=bar msg="message" level=NA', 'unknown'],
  ['foo=bar severity=critical', 'critical'],
  ['severity_text=trc', 'trace'],
  ['SeverityText="dbg"', 'debug'],
  ['log.level=wrn', 'warn'],
  ['lvl=dbg severity=wrn level=trc', 'trace'],
  ['lvl=dbg severity=wrn', 'warn'],
  ['level=dbg level=wrn', 'debug'],
  ['foo=bar msg="with info and not level"', 'info'],
  // Parsing ends where the line is no longer logfmt.
  ['a="b level=dbg', 'unknown'],
  ['x = y level=dbg', 'unknown'],
  ['a=b=c level=dbg', 'unknown'],
  ['[level=dbg', 'unknown'],
  ['msg="x level=dbg" level=wrn', 'warn'],
  ['a level b level=dbg', 'unknown'],
  ['level= level=dbg', 'unknown'],
];

test('derives levels as Loki does', () => {
  for (const [line, level] of TABLE) {
    assert.equal(levelOf(line), level, line);
  }
});

test('JSON names are case-sensitive, but a word of the line still counts', () => {
  assert.equal(levelOf('{"lEvel":"wrn"}'), 'unknown');
  assert.equal(levelOf('{"lEvel":"warn"}'), 'warn');
});

function isWord(char: string): boolean {
  return /[\p{L}\p{Nd}_]/u.test(char);
}

/** The word rule, plainly. */
function levelByWords(line: string): string {
  const lower = line.toLowerCase();
  const words = 'trace debug fatal critical error err warning warn info'.split(' ');
  for (const word of words) {
    const at = lower.indexOf(word);
    if (at < 0 || (at > 0 && isWord(lower[at - 1]))) continue;
    const end = at + word.length;
    if (end === lower.length || !isWord(lower[end])) return { err: 'error', warning: 'warn' }[word] ?? word;
  }
  return 'unknown';
}

const WORD_PIECES = [
  'trace',
  'debug',
  'fatal',
  'critical',
  'error',
  'err',
  'warning',
  'warn',
  'info',
  'inf',
  'or',
  's',
  'er',
  'rr',
  ' ',
  ': ',
  '[',
  ']',
  '-',
  '_',
  'x',
  '7',
  'ab',
  'level',
  'lvl',
  'severity',
  'v',
  'ev',
  'ty',
];

test('finds words wherever they lie, at any distance', () => {
  const piece = fc.tuple(fc.constantFrom(...WORD_PIECES), fc.boolean());
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const line = pieces.map(([text, isUpper]) => (isUpper ? text.toUpperCase() : text)).join('');
      assert.equal(levelOf(line), levelByWords(line), line);
    }),
    { numRuns: 20_000 },
  );
});

test('finds the ranking logfmt field wherever it lies', () => {
  const keys = ['level', 'log.level', 'severity', 'severitytext', 'lvl', 'severity_text'];
  const key = fc.constantFrom(...keys, 'a', 'msg', 'caller', 'every', 'lvel', 'elevel');
  const value = fc.constantFrom('trc', 'dbg', 'inf', 'wrn', 'na');
  const levels: Record<string, string> = {
    trc: 'trace',
    dbg: 'debug',
    inf: 'info',
    wrn: 'warn',
    na: 'unknown',
  };
  const pair = fc.tuple(key, value, fc.boolean(), fc.boolean());
  fc.assert(
    fc.property(fc.array(pair, { maxLength: 8 }), (pairs) => {
      const line = pairs
        .map(([name, text, isUpper, isQuoted]) => {
          return `${isUpper ? name.toUpperCase() : name}=${isQuoted ? `"${text}"` : text}`;
        })
        .join(' ');
      const ranked = keys.flatMap((name) => pairs.find(([other]) => other === name) ?? []);
      const expected = ranked.length === 0 ? 'unknown' : levels[String(ranked[1])];
      assert.equal(levelOf(line), expected, line);
    }),
    { numRuns: 5000 },
  );
});

test('reads a level from labels by the first name in order', () => {
  assert.equal(levelOfLabels({}), undefined);
  assert.equal(levelOfLabels({ app: 'x', level: 'WARNING' }), 'warn');
  assert.equal(levelOfLabels({ severity: 'INF', lvl: 'dbg' }), 'info');
  assert.equal(levelOfLabels({ level: 'notice' }), 'notice');
  assert.equal(levelOfLabels({ level: '' }), undefined);
  for (const name of [
    'LEVEL',
    'Level',
    'log.level',
    'SEVERITY',
    'SeverityText',
    'LVL',
    'Lvl',
    'severity_text',
  ]) {
    assert.equal(levelOfLabels({ [name]: 'Err' }), 'error', name);
  }
});

function columnsWith(entries: [line: string, metadata: number][], metadata: Metadata[]): Columns {
  const bytes = Buffer.from(entries.map(([line]) => `${line}\n`).join(''));
  const columns = columnsOf([{ bytes, readAtMs: 0 }], {
    timeZone: 'UTC',
    discoverLevels: false,
    time: 'read',
  });
  return { ...columns, metadata, metadataIds: Uint32Array.from(entries, ([, id]) => id) };
}

function metadataOf(columns: Columns): Metadata[] {
  return Array.from(columns.metadataIds, (id) => columns.metadata[id]);
}

test('withLevels adds detected_level to each entry, the first source that tells', () => {
  const metadata: Metadata[] = [
    {},
    { severity: 'Critical', zebra: '1', a: '2' },
    { severity_number: '13' },
    { detected_level: 'WaRn', severity: 'info' },
    { severity_number: 'many' },
    { severity_number: '0' },
    { severity_number: '24' },
  ];
  const columns = columnsWith(
    [
      ['an error', 0],
      ['an error', 1],
      ['an error', 2],
      ['an error', 3],
      ['an error', 4],
      ['an error', 5],
      ['an error', 6],
      ['all well', 0],
      ['another error', 0],
    ],
    metadata,
  );
  const levelled = withLevels(columns, { app: 'x' });
  assert.deepEqual(metadataOf(levelled), [
    { detected_level: 'error' },
    { a: '2', detected_level: 'critical', severity: 'Critical', zebra: '1' },
    { detected_level: 'warn', severity_number: '13' },
    { detected_level: 'warn', severity: 'info' },
    { detected_level: 'info', severity_number: 'many' },
    { detected_level: 'unknown', severity_number: '0' },
    { detected_level: 'fatal', severity_number: '24' },
    { detected_level: 'unknown' },
    { detected_level: 'error' },
  ]);
  assert.deepEqual(Object.keys(levelled.metadata[1]), ['a', 'detected_level', 'severity', 'zebra']);
  assert.equal(levelled.metadata.length, 8);
  assert.equal(levelled.lines, columns.lines);

  const labelled = withLevels(columns, { level: 'DEBUG' });
  assert.deepEqual(
    metadataOf(labelled).map((set) => set.detected_level),
    ['debug', 'debug', 'debug', 'warn', 'debug', 'debug', 'debug', 'debug', 'debug'],
  );
});

test('sets that become equal with their level are one set, so that the columns can be read again', () => {
  const columns = columnsWith(
    [
      ['level=info a', 0],
      ['level=info b', 1],
    ],
    [{ detected_level: 'info' }, {}],
  );
  const levelled = withLevels(columns, { app: 'x' });
  assert.deepEqual(levelled.metadata, [{ detected_level: 'info' }]);
  assert.deepEqual(decodeColumns(encodeColumns(levelled), levelled.lines).count, 2);
});

test('levels of many streams at once are those of each stream', () => {
  const labels = fc.constantFrom<Labels>(
    { app: 'a' },
    { app: 'a', level: 'DEBUG' },
    { severity: 'odd', x: '1' },
    { a: '"level":"warn"' },
    { SeverityText: 'err' },
  );
  const entry = fc.record({
    line: fc.constantFrom('an error', 'level=info x', 'nothing', '').map((text) => Buffer.from(text)),
    metadata: fc.constantFrom<Metadata>(
      {},
      { detected_level: 'info' },
      { level: 'warn' },
      { severity_number: '13' },
    ),
    ms: fc.nat(),
    sub: fc.nat({ max: 9 }),
  });
  const streams = fc.array(fc.record({ labels, entries: fc.array(entry, { maxLength: 4 }) }));
  fc.assert(
    fc.property(streams, (given) => {
      const together = streamsOf(withLevelsOfStreams(rowsFrom(given)));
      const apart = given.map(({ labels: own, entries }) => entriesOf(withLevels(columnsFrom(entries), own)));
      assert.deepEqual(
        together.map(({ columns }) => entriesOf(columns)),
        apart,
      );
    }),
    { ...PROPERTY, numRuns: 300 },
  );
});

test('never throws, whatever the bytes, and stays within the line', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.uint8Array({ maxLength: 20 }), (line, around) => {
      const alone = levelOfLine(line, 0, line.length);
      const framed = Buffer.concat([around, Buffer.from('\n'), line, Buffer.from('\n'), around]);
      const start = around.length + 1;
      assert.equal(levelOfLine(framed, start, start + line.length), alone);
      assert.ok(LEVELS[alone] !== undefined);
    }),
    { numRuns: 5000 },
  );
});
