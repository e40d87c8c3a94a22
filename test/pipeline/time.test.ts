import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { columnsOf } from '../../src/node/pipeline/lines.ts';
import { LogvineError } from '../../src/store/index.ts';

const READ_AT = Date.parse('2024-03-10T12:00:00Z');
const READ = '2024-03-10T12:00:00.000Z';

/** The time of one line as `…Z` with nine digits of fraction when they are not all zero beyond the third. */
function timeOf(line: string, timeZone = 'UTC', readAtMs = READ_AT): string {
  const bytes = Buffer.from(`${line}\n`);
  const columns = columnsOf([{ bytes, readAtMs }], { timeZone, discoverLevels: false, time: 'line' });
  assert.equal(columns.count, 1);
  const text = new Date(columns.ms[0]).toISOString();
  return columns.sub[0] === 0 ? text : text.replace('Z', `${String(columns.sub[0]).padStart(6, '0')}Z`);
}

const TABLE: [line: string, utc: string][] = [
  // RFC 3339 and ISO 8601.
  ['2015-10-18T18:01:47Z hello', '2015-10-18T18:01:47.000Z'],
  ['2015-10-18T18:01:47.978Z', '2015-10-18T18:01:47.978Z'],
  ['2015-10-18t18:01:47.978z', '2015-10-18T18:01:47.978Z'],
  ['2015-10-18T18:01:47.123456789Z stdout F x', '2015-10-18T18:01:47.123456789Z'],
  ['2015-10-18T18:01:47.1234567891234Z', '2015-10-18T18:01:47.123456789Z'],
  ['2015-10-18T18:01:47.5+02:00 x', '2015-10-18T16:01:47.500Z'],
  ['2015-10-18T18:01:47-0730 x', '2015-10-19T01:31:47.000Z'],
  ['2015-10-18T18:01:47+02', '2015-10-18T16:01:47.000Z'],
  ['2015-10-18 18:01:47,978 INFO [main] x', '2015-10-18T18:01:47.978Z'],
  ['2015-10-18 18:01:47.123 +0200 CEST x', '2015-10-18T16:01:47.123Z'],
  ['2015-10-18 18:01:47.123 UTC [77] LOG:  ready', '2015-10-18T18:01:47.123Z'],
  ['2015-07-29 17:41:44,747 - INFO  [x]', '2015-07-29T17:41:44.747Z'],
  ['2015-10-18T18:01 x', '2015-10-18T18:01:00.000Z'],
  ['[2015-10-18 18:01:47] local.INFO', '2015-10-18T18:01:47.000Z'],
  ['2016-12-31T23:59:60Z leap', '2017-01-01T00:00:00.000Z'],
  ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00.000Z'],
  // A time ahead of the reader's clock is believed when it has its year.
  ['2031-01-01T00:00:00Z', '2031-01-01T00:00:00.000Z'],
  // Windows CBS.
  ['2016-09-28 04:30:30, Info                  CBS    x', '2016-09-28T04:30:30.000Z'],
  // nginx errors, Go's log package.
  ['2024/01/02 15:04:05 [error] 31#31: x', '2024-01-02T15:04:05.000Z'],
  ['2024/01/02 15:04:05.123456 main.go:1: x', '2024-01-02T15:04:05.123456000Z'],
  // Syslog: RFC 3164 has no year.
  ['Jul  1 09:00:55 host kernel[0]: x', '2023-07-01T09:00:55.000Z'],
  ['Mar 10 09:00:55 host x', '2024-03-10T09:00:55.000Z'],
  ['Mar 11 11:59:59 host x', '2024-03-11T11:59:59.000Z'],
  ['Mar 11 12:00:01 host x', '2023-03-11T12:00:01.000Z'],
  ['Feb 29 12:00:01 host x', '2024-02-29T12:00:01.000Z'],
  ['<34>Oct 11 22:14:15 mymachine su: x', '2023-10-11T22:14:15.000Z'],
  ['<34>1 2003-10-11T22:14:15.003Z mymachine su - ID47 - x', '2003-10-11T22:14:15.003Z'],
  ['<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 x', '2003-08-24T12:14:15.000003000Z'],
  // Apache and nginx access and error.
  ['127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 1', '2000-10-10T20:55:36.000Z'],
  ['::1 - - [10/Oct/2000:13:55:36 +0000] "GET /"', '2000-10-10T13:55:36.000Z'],
  ['web.example.org - - [10/Oct/2000:13:55:36 +0530] "GET /"', '2000-10-10T08:25:36.000Z'],
  ['[Sun Dec 04 04:47:44 2005] [notice] x', '2005-12-04T04:47:44.000Z'],
  ['[Sun Dec 04 04:47:44.123456 2005] [core:notice] [pid 1] x', '2005-12-04T04:47:44.123456000Z'],
  ['Sun Dec  4 04:47:44 2005 x', '2005-12-04T04:47:44.000Z'],
  // Spark, HDFS, Android, klog, Tomcat.
  ['17/06/09 20:10:40 INFO x', '2017-06-09T20:10:40.000Z'],
  ['99/06/09 20:10:40 INFO x', '1999-06-09T20:10:40.000Z'],
  ['081109 203615 148 INFO x', '2008-11-09T20:36:15.000Z'],
  ['03-09 16:13:38.811  1702  2395 D Tag: x', '2024-03-09T16:13:38.811Z'],
  ['12-17 16:13:38.811  1702  2395 D Tag: x', '2023-12-17T16:13:38.811Z'],
  ['I0102 15:04:05.123456    1234 main.go:1] x', '2024-01-02T15:04:05.123456000Z'],
  ['03-Jan-2024 10:00:00.123 INFO [main] x', '2024-01-03T10:00:00.123Z'],
  // Since 1970.
  ['1700000000 x', '2023-11-14T22:13:20.000Z'],
  ['1700000000.25 x', '2023-11-14T22:13:20.250Z'],
  ['1700000000.123456789', '2023-11-14T22:13:20.123456789Z'],
  ['1700000000123 x', '2023-11-14T22:13:20.123Z'],
  ['1700000000123456 x', '2023-11-14T22:13:20.123456000Z'],
  ['1700000000123456789 x', '2023-11-14T22:13:20.123456789Z'],
  // JSON lines.
  ['{"time":"2024-01-02T15:04:05.5Z","msg":"x"}', '2024-01-02T15:04:05.500Z'],
  ['{"level":"info", "ts" : 1700000000.25, "msg":"x"}', '2023-11-14T22:13:20.250Z'],
  ['{"msg":"a \\"time\\":\\"2001-01-01T00:00:00Z\\"","timestamp":1700000000123}', '2023-11-14T22:13:20.123Z'],
  [
    '{"a":{"time":"2001-01-01T00:00:00Z"},"b":[{"time":1}],"@timestamp":"2024-01-02T15:04:05Z"}',
    '2024-01-02T15:04:05.000Z',
  ],
  [
    '{"log":"x\\n","stream":"stdout","time":"2024-01-02T15:04:05.000000001Z"}',
    '2024-01-02T15:04:05.000000001Z',
  ],
  // logfmt.
  ['ts=2024-01-02T15:04:05Z level=info msg=x', '2024-01-02T15:04:05.000Z'],
  ['time="2024-01-02T15:04:05+01:00" level=info msg="x y"', '2024-01-02T14:04:05.000Z'],
  ['level=info ts=1700000000.5 caller=x', '2023-11-14T22:13:20.500Z'],
  ['level=info msg="ts=2001-01-01T00:00:00Z" ts=2024-01-02T15:04:05Z', '2024-01-02T15:04:05.000Z'],
];

test('reads the stamps that log lines have', () => {
  for (const [line, utc] of TABLE) assert.equal(timeOf(line), utc, line);
});

const WITHOUT_TIME = [
  '',
  'x',
  'hello world, this is text',
  '2024-13-02T15:04:05Z month',
  '2024-00-02T15:04:05Z month',
  '2023-02-29T15:04:05Z not a leap year',
  '2024-04-31 15:04:05 day',
  '2024-01-02 24:04:05 hour',
  '2024-01-02 15:60:05 minute',
  '2024-01-02 15:04:61 second',
  '2024-01-02 only a date',
  '2024-01-0x 15:04:05 digits',
  'Foo 10 09:00:55 month',
  'Feb 31 09:00:55 day',
  'I1302 15:04:05.123456 month',
  '1969-12-31 23:59:59 before 1971',
  '1970-01-01T00:00:07Z a clock that was not set',
  '0999999999 too small',
  '4102444801 too large',
  '17000000001 eleven digits',
  '1700000000abc an id',
  '170000000012345678901234567890',
  '134681 node-246 unix.hw state_change.unavailable 1077804742 1 Component',
  '{"a":{"time":"2024-01-02T15:04:05Z"}}',
  '{"time":null,"x":1}',
  '{"time',
  'see [10/Oct/2000] for details',
  '<34>',
  '<34567>Oct 11 22:14:15 priority of five digits',
  '    at x.y.Z(2024-01-02 15:04:05)',
];

test('takes the time of the read when a line has none, or one that cannot be', () => {
  for (const line of WITHOUT_TIME) assert.equal(timeOf(line), READ, line);
});

test('reads zoneless stamps in the zone, over its clock changes', () => {
  const berlin = (line: string): string => timeOf(line, 'Europe/Berlin');
  assert.equal(berlin('2024-01-15 12:00:00 winter'), '2024-01-15T11:00:00.000Z');
  assert.equal(berlin('2024-07-15 12:00:00 summer'), '2024-07-15T10:00:00.000Z');
  assert.equal(berlin('2024-07-15 12:00:00Z has a zone'), '2024-07-15T12:00:00.000Z');
  assert.equal(berlin('2024-03-31 01:59:59 last before'), '2024-03-31T00:59:59.000Z');
  assert.equal(berlin('2024-03-31 03:00:00 first after'), '2024-03-31T01:00:00.000Z');
  assert.equal(berlin('2024-10-27 02:30:00 twice: the first'), '2024-10-27T00:30:00.000Z');
  assert.equal(berlin('2024-10-27 03:00:00 again once'), '2024-10-27T02:00:00.000Z');
  assert.equal(timeOf('2024-01-15 12:00:00', 'Australia/Lord_Howe'), '2024-01-15T01:00:00.000Z');
  assert.equal(timeOf('2024-01-15 12:00:00', 'Asia/Kathmandu'), '2024-01-15T06:15:00.000Z');
  assert.equal(berlin('Mar 10 12:30:00 host x'), '2024-03-10T11:30:00.000Z');
  assert.equal(timeOf('1700000000 x', 'Europe/Berlin'), '2023-11-14T22:13:20.000Z');
});

test('the zone `local` is the one of the machine', () => {
  const local = new Date(2024, 6, 15, 12, 0, 0).toISOString();
  assert.equal(timeOf('2024-07-15 12:00:00 x', 'local'), local);
});

test('an unknown zone is a configuration error', () => {
  assert.throws(
    () => timeOf('x', 'Mars/Olympus'),
    (error) =>
      error instanceof LogvineError &&
      error.code === 'LV_CONFIG_INVALID' &&
      /Mars\/Olympus/.test(error.message),
  );
});

const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');
const WEEKDAYS = 'Sun Mon Tue Wed Thu Fri Sat'.split(' ');
const two = (value: number): string => String(value).padStart(2, '0');

interface Fields {
  date: Date;
  iso: string;
  clock: string;
  ns: string;
}

/** Each format: how it writes a moment, and how many of the nine digits of its fraction it keeps. */
const FORMATS: [name: string, digits: number, write: (f: Fields) => string][] = [
  ['RFC 3339', 9, ({ iso, clock, ns }) => `${iso}T${clock}.${ns}Z`],
  ['RFC 3339 with an offset', 6, ({ date, ns }) => `${shifted(date, 330)}.${ns.slice(0, 6)}+05:30`],
  ['log4j', 3, ({ iso, clock, ns }) => `${iso} ${clock},${ns.slice(0, 3)} INFO`],
  ['nginx error', 0, ({ iso, clock }) => `${iso.replaceAll('-', '/')} ${clock} [error]`],
  ['RFC 5424', 3, ({ iso, clock, ns }) => `<13>1 ${iso}T${clock}.${ns.slice(0, 3)}Z host`],
  [
    'access log',
    0,
    ({ date, clock }) =>
      `10.0.0.1 - - [${two(date.getUTCDate())}/${MONTHS[date.getUTCMonth()]}/${date.getUTCFullYear()}:${clock} +0000] "GET"`,
  ],
  [
    'Apache error',
    6,
    ({ date, clock, ns }) =>
      `[${WEEKDAYS[date.getUTCDay()]} ${MONTHS[date.getUTCMonth()]} ${two(date.getUTCDate())} ${clock}.${ns.slice(0, 6)} ${date.getUTCFullYear()}] [x]`,
  ],
  ['seconds', 9, ({ date, ns }) => `${Math.floor(date.getTime() / 1000)}.${ns} x`],
  ['milliseconds', 3, ({ date, ns }) => `${Math.floor(date.getTime() / 1000)}${ns.slice(0, 3)} x`],
  ['nanoseconds', 9, ({ date, ns }) => `${Math.floor(date.getTime() / 1000)}${ns} x`],
  ['JSON', 9, ({ iso, clock, ns }) => `{"level":"info","time":"${iso}T${clock}.${ns}Z"}`],
  ['logfmt', 9, ({ iso, clock, ns }) => `level=info ts=${iso}T${clock}.${ns}Z msg=x`],
  ['Spark', 0, ({ iso, clock }) => `${iso.slice(2).replaceAll('-', '/')} ${clock} INFO`],
  ['HDFS', 0, ({ iso, clock }) => `${iso.slice(2).replaceAll('-', '')} ${clock.replaceAll(':', '')} 1`],
];

function shifted(date: Date, minutes: number): string {
  return new Date(date.getTime() + minutes * 60_000).toISOString().slice(0, 19);
}

test('a moment written in any format with a year reads back', () => {
  const moment = fc.integer({ min: Date.parse('2001-09-10T00:00:00Z') / 1000, max: READ_AT / 1000 });
  const fraction = fc.integer({ min: 0, max: 999_999_999 });
  fc.assert(
    fc.property(
      moment,
      fraction,
      fc.constantFrom(...FORMATS),
      (seconds, nanoseconds, [name, digits, write]) => {
        const date = new Date(seconds * 1000);
        const text = date.toISOString();
        const ns = String(nanoseconds).padStart(9, '0');
        const line = write({ date, iso: text.slice(0, 10), clock: text.slice(11, 19), ns });
        const kept = ns.slice(0, digits).padEnd(9, '0');
        const expected = `${text.slice(0, 19)}.${kept.slice(0, 3)}${kept.slice(3) === '000000' ? '' : kept.slice(3)}Z`;
        assert.equal(timeOf(line), expected, name);
      },
    ),
    { numRuns: 2000 },
  );
});

test('a moment of the last year written without its year reads back', () => {
  const yearMs = 365 * 86_400_000;
  // Within a year and a day before the latest moment there is just one such date.
  const moment = fc.integer({
    min: Math.ceil((READ_AT + 2 * 86_400_000 - yearMs) / 1000),
    max: READ_AT / 1000 + 86_400,
  });
  const form = fc.constantFrom('syslog', 'android', 'klog');
  fc.assert(
    fc.property(moment, form, (seconds, name) => {
      const date = new Date(seconds * 1000);
      const clock = date.toISOString().slice(11, 19);
      const [month, day] = [date.getUTCMonth(), date.getUTCDate()];
      const line = {
        syslog: `${MONTHS[month]} ${String(day).padStart(2)} ${clock} host x`,
        android: `${two(month + 1)}-${two(day)} ${clock}.000  1  2 D x`,
        klog: `I${two(month + 1)}${two(day)} ${clock}.000000 1 x`,
      }[name];
      assert.equal(timeOf(line), date.toISOString());
    }),
    { numRuns: 1000 },
  );
});
