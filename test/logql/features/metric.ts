import assert from 'node:assert/strict';
import { alignTimes } from '../../../src/store/logql/metric/grid.ts';
import { at, over, refusal, T, type Entry, type Feature } from './rig.ts';

const api = { app: 'api', host: 'h1' };
const web = { app: 'web', host: 'h2' };
/** Three lines of api, 50, 40 and 30 s before T; two of web, 20 s before and at T. */
const LOG: Entry[] = [
  { stream: api, line: 'ms=10 size=1KB level=info', ms: T - 50_000, sub: 0 },
  { stream: api, line: 'ms=20 size=2KB level=error', ms: T - 40_000, sub: 0 },
  { stream: api, line: 'ms=60 size=3KiB level=error took=1.5s', ms: T - 30_000, sub: 0 },
  { stream: web, line: 'ms=5 level=info', ms: T - 20_000, sub: 0 },
  { stream: web, line: 'ms=7 level=info', ms: T, sub: 0 },
];
const now = (query: string, entries: readonly Entry[] = LOG): string[] => at(T, query, entries);

/** Six lines: three of x="a", two of "b", one of "c". */
const ABC: Entry[] = ['a', 'a', 'a', 'b', 'b', 'c'].map((x) => ({
  stream: { x, y: 'same' },
  line: '',
  sub: 0,
}));
const COUNT = 'count_over_time({y="same"}[1m])';
const BY_X = `sum by (x) (${COUNT})`;
const ONLY_A = 'sum by (x) (count_over_time({y="same", x="a"}[1m]))';
const abc = (query: string): string[] => at(T, query, ABC);

/** A query for each feature, with its answer at T. */
function answers(
  name: string,
  ask: (query: string) => string[],
  ...cases: readonly (readonly [query: string, expected: readonly string[]])[]
): Feature {
  return {
    name,
    run() {
      for (const [query, expected] of cases) assert.deepEqual(ask(query), expected, query);
    },
  };
}

export const ranges: Feature[] = [
  answers(
    'count_over_time',
    now,
    ['count_over_time({app=~".+"}[1m])', ['{app="api", host="h1"} 3', '{app="web", host="h2"} 2']],
    ['count_over_time({app="api"} |= "error" [1m])', ['{app="api", host="h1"} 2']],
    ['count_over_time({app="api"}[1m] |= "error")', ['{app="api", host="h1"} 2']],
    [
      'count_over_time({app="api"} | logfmt | level="error" | keep app, level [1m])',
      ['{app="api", level="error"} 2'],
    ],
  ),
  answers('rate', now, ['rate({app="api"}[1m])', ['{app="api", host="h1"} 0.05']]),
  answers('bytes_over_time', now, ['bytes_over_time({app="web"}[1m])', ['{app="web", host="h2"} 30']]),
  answers('bytes_rate', now, ['bytes_rate({app="web"}[30s])', ['{app="web", host="h2"} 1']]),
  answers(
    'absent_over_time',
    now,
    ['absent_over_time({app="api", x=~".*"}[10s])', ['{app="api"} 1']],
    ['absent_over_time({app="api"}[1m])', []],
  ),
  answers(
    'the window of a range',
    now,
    ['count_over_time({app="web"}[20s])', ['{app="web", host="h2"} 1']],
    ['count_over_time({app="web"}[20001ms])', ['{app="web", host="h2"} 2']],
    ['count_over_time({app="api"}[10s])', []],
    ['count_over_time({app="api"}[0s])', []],
  ),
  answers(
    'offset',
    now,
    ['count_over_time({app="web"}[20s] offset 1ms)', ['{app="web", host="h2"} 1']],
    ['count_over_time({app="api"}[10s] offset 30s)', ['{app="api", host="h1"} 1']],
    ['count_over_time({app="web"}[10s] offset -5s)', ['{app="web", host="h2"} 1']],
    ['count_over_time({app="api"}[10s] offset 30s |= "error")', ['{app="api", host="h1"} 1']],
  ),
  answers(
    '@',
    (query) => over([T, T + 60_000, 60_000], query, LOG),
    [`count_over_time({app="api"}[10s] @ ${(T - 40_000) / 1000})`, ['{app="api", host="h1"} 1@0 1@60']],
    ['count_over_time({app="web"}[20s] @ start())', ['{app="web", host="h2"} 1@0 1@60']],
    ['count_over_time({app="web"}[2m] @ end() offset 30s)', ['{app="web", host="h2"} 2@0 2@60']],
  ),
];

const unwrapped = (op: string): string => `${op}({app="api"} | logfmt | unwrap ms [1m]) by (app)`;

export const unwraps: Feature[] = [
  answers(
    'unwrap',
    now,
    ['sum_over_time({app="api"} | logfmt ms | unwrap ms [1m])', ['{app="api", host="h1"} 90']],
    [
      'sum_over_time({app="api"} | logfmt | keep app, level, ms | unwrap ms [1m])',
      ['{app="api", level="error"} 80', '{app="api", level="info"} 10'],
    ],
    ['sum(sum_over_time({app=~".+"} | logfmt | unwrap gone [1m]))', []],
  ),
  answers('unwrap bytes()', now, [
    'max_over_time({app="api"} | logfmt | unwrap bytes(size) [1m]) by ()',
    ['{} 3072'],
  ]),
  answers('unwrap duration()', now, [
    'sum_over_time({app="api"} | logfmt took | unwrap duration(took) [1m])',
    ['{app="api", host="h1"} 1.5'],
  ]),
  answers('unwrap duration_seconds()', now, [
    'sum_over_time({app="api"} | logfmt took | unwrap duration_seconds(took) [1m])',
    ['{app="api", host="h1"} 1.5'],
  ]),
  answers('sum_over_time', now, ['sum(sum_over_time({app="api"} | logfmt | unwrap ms [1m]))', ['{} 90']]),
  answers('avg_over_time', now, [unwrapped('avg_over_time'), ['{app="api"} 30']]),
  answers('min_over_time', now, [unwrapped('min_over_time'), ['{app="api"} 10']]),
  answers('max_over_time', now, [unwrapped('max_over_time'), ['{app="api"} 60']]),
  answers('first_over_time', now, [unwrapped('first_over_time'), ['{app="api"} 10']]),
  answers('last_over_time', now, [unwrapped('last_over_time'), ['{app="api"} 60']]),
  // Of 10 and 20: 5 around 15.
  answers('stdvar_over_time', now, [
    'stdvar_over_time({app="api"} | logfmt | unwrap ms [20s] offset 40s) by (app)',
    ['{app="api"} 25'],
  ]),
  answers('stddev_over_time', now, [
    'stddev_over_time({app="api"} | logfmt | unwrap ms [20s] offset 40s) by (app)',
    ['{app="api"} 5'],
  ]),
  answers(
    'quantile_over_time',
    now,
    ['quantile_over_time(0.5, {app="api"} | logfmt | unwrap ms [1m]) by ()', ['{} 20']],
    [
      'quantile_over_time(0.75, {app="api"} | logfmt | unwrap ms [1m]) without (host, level, size, took)',
      ['{app="api"} 40'],
    ],
  ),
  // 60 − 10 in 20 s; 4 s before, where it would be 0, and half a gap after: 50 · 29/20 in 60 s.
  answers('rate_counter', now, [
    'rate_counter({app="api"} | logfmt | keep ms | unwrap ms [1m])',
    ['{} 1.2083333333333333'],
  ]),
  answers('rate of unwrapped values', now, ['sum(rate({app="api"} | logfmt | unwrap ms [1m]))', ['{} 1.5']]),
  answers('absent_over_time of unwrapped values', now, [
    'absent_over_time({app="api"} | logfmt | unwrap gone [1m])',
    ['{app="api"} 1'],
  ]),
  {
    name: 'errors in metric queries',
    run() {
      const bad = [...LOG, { stream: api, line: 'ms=x', ms: T - 1 }];
      assert.throws(
        () => now('sum_over_time({app="api"} | logfmt | unwrap ms [1m])', bad),
        /^LogvineError: pipeline error: 'SampleExtractionErr' for series: '\{.*\}'\.\nUse a label filter to intentionally skip this error\. \(e\.g \| __error__!="SampleExtractionErr"\)\./,
      );
      assert.deepEqual(now('sum(sum_over_time({app="api"} | logfmt | unwrap ms | __error__="" [1m]))', bad), [
        '{} 90',
      ]);
      assert.throws(() => now('count_over_time({app="api"} | json [1m])'), /pipeline error: 'JSONParserErr'/);
      assert.throws(
        () => now('sum by (x) (rate({app="api"} | json [1m]))'),
        /pipeline error: 'JSONParserErr'/,
      );
      assert.deepEqual(
        now('sum(count_over_time({app="api"} | json [1m]))'),
        ['{} 3'],
        'nobody asked for a label',
      );
    },
  },
  {
    name: 'which aggregation takes what',
    run() {
      for (const [query, message] of [
        ['sum_over_time({a="b"}[1m])', /invalid aggregation sum_over_time without unwrap/],
        ['count_over_time({a="b"} | unwrap x [1m])', /invalid aggregation count_over_time with unwrap/],
        ['rate({a="b"}[1m]) by (x)', /grouping not allowed for rate aggregation/],
        [
          'quantile_over_time({a="b"} | unwrap x [1m])',
          /parameter required for operation quantile_over_time/,
        ],
        ['rate(2, {a="b"}[1m])', /parameter 2 not supported for operation rate/],
        ['topk({a="b"}[1m])', /syntax error/],
        ['topk(rate({a="b"}[1m]))', /parameter required for operation topk/],
        ['topk(0, rate({a="b"}[1m]))', /invalid parameter \(must be greater than 0\) topk\(0/],
        ['sum(2, rate({a="b"}[1m]))', /unsupported parameter for operation sum\(2,/],
        ['count_over_time({a="b"})', /syntax error: unexpected \)/],
        ['count_over_time({a="b"}[1x])', /unknown unit "x" in duration "1x"/],
      ] as const) {
        assert.match(refusal(query), message, query);
      }
    },
  },
];

export const vectors: Feature[] = [
  answers('sum', abc, [`sum(${COUNT})`, ['{} 6']]),
  answers('avg', abc, [`avg(${COUNT})`, ['{} 2']]),
  answers('min', abc, [`min(${COUNT})`, ['{} 1']]),
  answers('max', abc, [`max(${COUNT})`, ['{} 3']]),
  answers(
    'count (of series)',
    abc,
    [`count(${COUNT})`, ['{} 3']],
    [`count by (y) (${COUNT})`, ['{y="same"} 3']],
  ),
  // Of 3 and 1: 1 around 2.
  answers('stddev', abc, [`stddev(${BY_X} != 2)`, ['{} 1']]),
  answers('stdvar', abc, [`stdvar(${BY_X} > 1)`, ['{} 0.25']]),
  answers(
    'topk',
    abc,
    [`topk(2, ${COUNT})`, ['{x="a", y="same"} 3', '{x="b", y="same"} 2']],
    [`topk(1, ${COUNT}) by (y)`, ['{x="a", y="same"} 3']],
  ),
  answers('bottomk', abc, [`bottomk(1, ${COUNT})`, ['{x="c", y="same"} 1']]),
  answers('approx_topk', abc, [`approx_topk(1, ${BY_X})`, ['{x="a"} 3']]),
  answers('sort', abc, [`sort(${BY_X})`, ['{x="c"} 1', '{x="b"} 2', '{x="a"} 3']]),
  answers('sort_desc', abc, [`sort_desc(${BY_X})`, ['{x="a"} 3', '{x="b"} 2', '{x="c"} 1']]),
  answers(
    'by and without',
    abc,
    [`sum by (x) (${COUNT})`, ['{x="a"} 3', '{x="b"} 2', '{x="c"} 1']],
    [`sum(${COUNT}) by (x)`, ['{x="a"} 3', '{x="b"} 2', '{x="c"} 1']],
    [`sum without (x) (${COUNT})`, ['{y="same"} 6']],
    [`sum by (gone) (${COUNT})`, ['{} 6']],
  ),
  answers(
    'vector()',
    abc,
    ['vector(1)', ['{} 1']],
    ['sum(count_over_time({y="other"}[5m])) or vector(0)', ['{} 0']],
    ['vector(0x1p4)', ['{} 16']],
  ),
  answers(
    'label_replace()',
    abc,
    [
      `label_replace(${BY_X}, "z", "<$1>", "x", "([ab])")`,
      ['{x="a", z="<a>"} 3', '{x="b", z="<b>"} 2', '{x="c"} 1'],
    ],
    [`label_replace(${ONLY_A}, "x", "", "x", ".*")`, ['{} 3']],
  ),
];

export const binaries: Feature[] = [
  answers(
    'arithmetic operators',
    abc,
    [`${ONLY_A} + 2`, ['{x="a"} 5']],
    [`10 - ${ONLY_A}`, ['{x="a"} 7']],
    [`${ONLY_A} * 2`, ['{x="a"} 6']],
    [`${ONLY_A} / 2`, ['{x="a"} 1.5']],
    [`${ONLY_A} % 2`, ['{x="a"} 1']],
    [`${ONLY_A} ^ 2`, ['{x="a"} 9']],
    [`${ONLY_A} / 0`, ['{x="a"} NaN']],
    [`${BY_X} / ${ONLY_A}`, ['{x="a"} 1']],
    ['1 + 1', ['2']],
    ['-2 + 1.5e1', ['13']],
  ),
  answers(
    'comparison operators',
    abc,
    [`${BY_X} > 1`, ['{x="a"} 3', '{x="b"} 2']],
    [`${BY_X} >= 2`, ['{x="a"} 3', '{x="b"} 2']],
    [`${BY_X} < 2`, ['{x="c"} 1']],
    [`${BY_X} <= 1`, ['{x="c"} 1']],
    [`${BY_X} == 2`, ['{x="b"} 2']],
    [`${BY_X} != 2`, ['{x="a"} 3', '{x="c"} 1']],
    [`2 < ${BY_X}`, ['{x="a"} 3']],
    [`${BY_X} == ${ONLY_A}`, ['{x="a"} 3']],
    ['1 >= 1', ['1']],
  ),
  answers(
    'bool',
    abc,
    [`${BY_X} >= bool 2`, ['{x="a"} 1', '{x="b"} 1', '{x="c"} 0']],
    [`${ONLY_A} > bool ${BY_X}`, ['{x="a"} 0']],
  ),
  answers(
    'and, or, unless',
    abc,
    [`${BY_X} and ${ONLY_A}`, ['{x="a"} 3']],
    [`${ONLY_A} or ${BY_X}`, ['{x="a"} 3', '{x="b"} 2', '{x="c"} 1']],
    [`${BY_X} unless ${ONLY_A}`, ['{x="b"} 2', '{x="c"} 1']],
  ),
  answers(
    'on and ignoring',
    abc,
    [`${ONLY_A} / on () sum(${COUNT})`, ['{} 0.5']],
    [`${ONLY_A} + on (x) ${COUNT}`, ['{x="a"} 6']],
    [`${COUNT} - ignoring (y) ${ONLY_A}`, ['{x="a"} 0']],
    [`${BY_X} and on () ${ONLY_A}`, ['{x="a"} 3', '{x="b"} 2', '{x="c"} 1']],
  ),
  answers(
    'group_left and group_right',
    abc,
    [
      `${BY_X} / on () group_left sum(${COUNT})`,
      ['{x="a"} 0.5', '{x="b"} 0.3333333333333333', '{x="c"} 0.16666666666666666'],
    ],
    [`${ONLY_A} * on (x) group_right () ${COUNT}`, ['{x="a", y="same"} 9']],
    [`${ONLY_A} + on (x) group_left (y) ${COUNT}`, ['{x="a", y="same"} 6']],
  ),
  {
    name: 'matches must be unique',
    run() {
      assert.throws(
        () => abc(`sum(${COUNT}) + on () ${BY_X}`),
        /found duplicate series on the right hand-side;many-to-many matching not allowed: matching labels must be unique on one side/,
      );
      assert.throws(
        () => abc(`${BY_X} + on () sum(${COUNT})`),
        /multiple matches for labels: many-to-one matching must be explicit \(group_left\/group_right\)/,
      );
    },
  },
  answers(
    'order of operations',
    abc,
    ['1 + 2 / 4', ['1.5']],
    ['2 * 3 % 4', ['2']],
    ['2 ^ 3 ^ 2', ['512']],
    ['(1 + 2) * 3', ['9']],
    ['7 - 2 - 1', ['4']],
    ['1 + 1 == 2', ['1']],
    [`${ONLY_A} or ${BY_X} and ${ONLY_A}`, ['{x="a"} 3']],
  ),
  {
    name: 'operators need values',
    run() {
      assert.match(refusal(`{a="b"} + 1`), /unexpected type for left leg of binary operation \(\+\)/);
      assert.match(
        refusal('1 or 2'),
        /unexpected literal for left leg of logical\/set binary operation \(or\): 1\.000000/,
      );
    },
  },
];

export const times: Feature[] = [
  answers(
    'numbers',
    (query) => at(T, query),
    ['0x1Fp0', ['31']],
    ['0x1p4', ['16']],
    ['0x1.8p1', ['3']],
    ['.5 + 1.', ['1.5']],
    ['1e3', ['1000']],
    ['1_000', ['1000']],
    ['-5', ['-5']],
  ),
  answers(
    'durations',
    now,
    ['count_over_time({app="api"}[1m30s])', ['{app="api", host="h1"} 3']],
    ['count_over_time({app="api"}[1y2w3d4h5m6s7ms])', ['{app="api", host="h1"} 3']],
    ['count_over_time({app="api"}[10s] offset 0.5m)', ['{app="api", host="h1"} 1']],
  ),
  {
    name: 'instant queries',
    run() {
      assert.deepEqual(now('sum(count_over_time({app=~".+"}[20s]))'), ['{} 1']);
      assert.deepEqual(at(T - 1, 'sum(count_over_time({app=~".+"}[20s]))', LOG), ['{} 1']);
      assert.deepEqual(at(T - 60_000, 'sum(count_over_time({app=~".+"}[20s]))', LOG), []);
    },
  },
  {
    name: 'range queries',
    run() {
      const range = [T - 40_000, T, 20_000] as const;
      assert.deepEqual(over(range, 'sum(count_over_time({app=~".+"}[20s]))', LOG), ['{} 2@0 2@20 1@40']);
      assert.deepEqual(over(range, 'sum by (app) (count_over_time({app=~".+"}[20s]))', LOG), [
        '{app="api"} 2@0 1@20',
        '{app="web"} 1@20 1@40',
      ]);
      assert.deepEqual(over(range, 'vector(3)'), ['{} 3@0 3@20 3@40']);
      assert.deepEqual(over([T, T, 20_000], 'vector(3)'), ['{} 3@0'], 'of one step, too');
      assert.deepEqual(over(range, '1 + 1'), ['{} 2@0 2@20 2@40']);
      // The plan's last step is the last that is not after the end; a query's start and end are aligned before.
      assert.deepEqual(over([T - 40_000, T, 30_000], 'vector(1)'), ['{} 1@0 1@30']);
      assert.deepEqual(alignTimes({ startNs: 13n, endNs: 41n, stepNs: 10n }), {
        startNs: 10n,
        endNs: 50n,
        stepNs: 10n,
      });
      assert.deepEqual(alignTimes({ startNs: -3n, endNs: 20n, stepNs: 10n }), {
        startNs: -10n,
        endNs: 20n,
        stepNs: 10n,
      });
    },
  },
  {
    name: 'too many steps',
    run() {
      assert.throws(
        () => alignTimes({ startNs: 0n, endNs: 11_001n, stepNs: 1n }),
        /exceeded maximum resolution of 11,000 points per time series\. Try increasing the value of the step parameter/,
      );
    },
  },
];
