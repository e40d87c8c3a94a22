/** What people and programs write by hand: configuration, secrets, times, log lines. */
import assert from 'node:assert/strict';
import { loadConfig, parseDuration, parseSecret, parseSize } from '../../src/node/config/index.ts';
import { parseInstant, parseRange } from '../../src/node/http/time-range.ts';
import { columnsOf } from '../../src/node/pipeline/index.ts';
import { fuzz, growsLinearly, isLong } from './fuzz.ts';

const KiB = 1024;
const load = (bytes: Buffer): Promise<unknown> =>
  loadConfig({
    configFile: 'logvine.yaml',
    flags: {},
    env: {},
    workingDirectory: '/tmp',
    disk: { readFile: async () => Buffer.from(bytes) },
  });

fuzz('a configuration file', {
  samples: [
    'data: ./d\nlisten: 127.0.0.1:7421\nlabels:\n  a: b\ninputs:\n  tail:\n    - paths: [/var/log/*.log]\n      labels: {x: "y"}\n',
    'batch: {targetBytes: 1MiB, linger: 1s}\nweight: 1.5\nreplicas: 3\njoin: [a.example:7421]\n# nothing\n',
  ].map((text) => Buffer.from(text)),
  refusals: ['LV_CONFIG_INVALID'],
  parse: load,
  found: [
    `a: &a [x, x]\n${Array.from({ length: 30 }, (_, at) => `k${at}: &k${at} [*${at ? `k${at - 1}` : 'a'}, *${at ? `k${at - 1}` : 'a'}]`).join('\n')}\n`,
    '__proto__: {a: b}\n',
    'labels: {__proto__: b}\n',
    '? {a: b}\n: c\n',
  ].map((text) => Buffer.from(text)),
});

for (const [what, piece] of [
  ['lists in lists', '['],
  ['maps in maps', '{a: '],
  ['keys', 'k: 1\n'],
  ['unknown keys', '"\\u0041": 1\n'],
  ['anchors', '&a '],
  ['dashes', '- '],
] as const) {
  growsLinearly(`a configuration of nothing but ${what}`, {
    bytes: (isLong ? 32 : 4) * KiB,
    msMax: 8_000,
    make: (bytes) => Buffer.from(piece.repeat(Math.ceil(bytes / piece.length))),
    parse: load,
  });
}

fuzz('a duration, a size, a secret', {
  samples: ['1h30m', '64MiB', 'a'.repeat(64), '1.5 KB'].map((text) => Buffer.from(text)),
  refusals: [],
  parse(bytes) {
    const text = bytes.toString();
    for (const number of [parseDuration(text), parseSize(text)])
      assert.ok(number === undefined || number >= 0);
    assert.ok([undefined, 32].includes(parseSecret(text)?.length));
  },
});

fuzz('times of a request', {
  samples: [
    '1700000000',
    '1700000000.5',
    '-1.5',
    '2026-01-31T23:59:59.123456789Z',
    '1700000000000000000',
  ].map((text) => Buffer.from(text)),
  refusals: ['LV_QUERY_INVALID'],
  parse(bytes) {
    const text = bytes.toString();
    const { ms, sub } = parseInstant(text, 'start');
    assert.ok(Math.abs(ms) <= 8.64e15 && sub >= 0 && sub <= 999_999);
    parseRange({ start: text, end: text }, 5);
  },
  found: [
    Buffer.from('-0.5'),
    Buffer.from(`${'9'.repeat(100_000)}.1`),
    Buffer.from('99999999999999999999999.0'),
  ],
});

fuzz('how far back a request goes', {
  samples: ['1h', '1w2d', '5s'].map((text) => Buffer.from(text)),
  refusals: ['LV_QUERY_INVALID'],
  parse: (bytes) => parseRange({ since: bytes.toString() }, 5),
  check: ({ from }) => assert.ok(Math.abs(from.ms) <= 8.64e15),
});

const LINES = [
  '2026-01-31T23:59:59.123456789Z stdout F level=error msg="x"',
  '2026-01-31T23:59:59.1+02:00 stderr P partial',
  '<34>1 2026-10-11T22:14:15.003Z host app 1234 ID47 [a b="c\\"]"] BOM',
  'Oct 11 22:14:15 host su[1]: failed',
  '10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 5',
  '{"level":"warn","time":1700000000123,"ts":"2026-01-31T23:59:59Z","a":{"level":"x"}}',
  'I0131 23:59:59.123456 1 file.go:1] klog',
  '2026-01-31T23:59:59.123456789+05:30 stdout F ',
  '2026-01-31T23:59:59.123456789Z stdout P:x {"level":"debug","msg":"cut',
  '2026-01-31T23:59:59.123456789Z stderr F E0131 23:59:59.123456       1 reflector.go:138] x',
  '{"log":"level=warn x\\n","stream":"stderr","time":"2026-01-31T23:59:59.123456789Z"}',
  '<191>Feb 29 23:59:59 host-1 app[99999999999]: <34>nested',
  '<0>1 - - - - - - \ufeffnothing is known',
  '<165>1 2026-01-31T23:59:59.000003-07:00 192.0.2.1 proc - - [ex@1 a="]\\]" b=""][ey@2] text',
  '<13>Jan  1 00:00:00 host kernel: [    0.000000] Linux',
  '<999>2 2026-13-32T25:61:61Z',
  '2026-01-31T23:59:59.123456+00:00 host CRON[1]: (root) CMD (x)',
  '01-31 23:59:59.123  1  2 E Tag: logcat',
  '[Wed Oct 11 14:32:52.123456 2000] [core:error] x',
];
const readAtMs = 1_800_000_000_000;
const columns = (bytes: Buffer): ReturnType<typeof columnsOf> =>
  columnsOf([{ bytes, readAtMs }], { timeZone: 'Europe/Berlin', discoverLevels: true, time: 'line' });

fuzz('log lines', {
  samples: [...LINES, `${LINES.join('\n')}\n`].map((text) => Buffer.from(text)),
  refusals: [],
  parse: columns,
  check(found, bytes) {
    const whole = bytes.length === 0 || bytes.at(-1) === 10 ? bytes : Buffer.concat([bytes, Buffer.of(10)]);
    assert.ok(whole.equals(found.lines), 'what came in comes out');
    assert.equal(found.ends.at(-1) ?? -1, found.lines.length - 1);
    for (let row = 0; row < found.count; row++) {
      assert.ok(Number.isSafeInteger(found.ms[row]) && Math.abs(found.ms[row]) < 8.64e15);
      assert.ok(found.sub[row] <= 999_999);
      assert.ok(found.metadata[found.metadataIds[row]] !== undefined);
    }
  },
});

for (const piece of [
  '\u0000',
  '{"a":',
  '[',
  '"',
  '\\"',
  'a=',
  'level=',
  '2026-01-31T',
  '\u001b[2J',
  ' ',
  '<34>',
  '\n',
  '{"level":',
]) {
  growsLinearly(`nothing but ${JSON.stringify(piece)} as log lines`, {
    bytes: (isLong ? 1024 : 128) * KiB,
    msMax: 3_000,
    make: (bytes) => Buffer.from(piece.repeat(Math.ceil(bytes / piece.length))),
    parse: columns,
  });
}
