import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { labelsText, type Labels } from '../../src/store/batch/columns.ts';
import { matches } from '../../src/store/logql/matchers.ts';
import { evaluateMetric, planMetric, type MetricResult } from '../../src/store/logql/metric/evaluate.ts';
import type { EvalTimes } from '../../src/store/logql/metric/grid.ts';
import type { PartialSeries } from '../../src/store/logql/metric/partial.ts';
import { parseMetricQuery } from '../../src/store/logql/parser.ts';

interface Entry {
  readonly stream: Labels;
  readonly line: string;
  readonly ms: number;
  readonly sub?: number;
  readonly metadata?: Labels;
}

const LIMITS = { seriesMax: 500, numbersMax: 100_000 };

/** Evaluates as a mesh does: each holder makes a partial of its entries, which travels as JSON and is merged. */
function evaluate(
  query: string,
  entries: readonly Entry[],
  times: EvalTimes,
  holderOf: (index: number) => number = () => 0,
  limits = LIMITS,
): MetricResult {
  const plan = planMetric(parseMetricQuery(query), times);
  const partials = plan.leaves.map((leaf) => {
    const holders = new Map<number, ReturnType<typeof leaf.newPartial>>();
    const sampler = leaf.sampler({ nowMs: () => 0 });
    for (const [i, { stream, line, ms, sub = 0, metadata = {} }] of entries.entries()) {
      if (!matches(leaf.log.matchers, stream)) continue;
      const holder = holderOf(i);
      const partial = holders.get(holder) ?? leaf.newPartial(limits);
      holders.set(holder, partial);
      if (!sampler.process(Buffer.from(line), stream, metadata, ms, sub)) continue;
      partial.add(sampler.key, sampler.labels, ms, sub, sampler.value);
    }
    const merged = leaf.newPartial(limits);
    for (const partial of holders.values()) {
      merged.merge(JSON.parse(JSON.stringify([...partial.parts()])) as PartialSeries[], labelsText);
    }
    return merged;
  });
  return evaluateMetric(plan, partials);
}

const T = 1_700_000_000_000;
const ns = (ms: number) => BigInt(ms) * 1_000_000n;
const instant = (ms = T): EvalTimes => ({ startNs: ns(ms), endNs: ns(ms), stepNs: 0n });

/** Instant result as text: `{a="b"}=1`. */
function vectorOf(query: string, entries: readonly Entry[], times = instant()): string[] {
  const result = evaluate(query, entries, times, (i) => i % 3);
  if (result.kind !== 'vector') throw new assert.AssertionError({ message: `${query} is a ${result.kind}` });
  return result.series.map(({ labels, points }) => `${labelsText(labels)}=${points[0][1]}`);
}

const api = { app: 'api', host: 'h1' };
const web = { app: 'web', host: 'h2' };
const ENTRIES: Entry[] = [
  { stream: api, line: 'ms=10 size=1KB level=info', ms: T - 50_000 },
  { stream: api, line: 'ms=20 size=2KB level=error', ms: T - 40_000 },
  { stream: api, line: 'ms=60 size=3KB level=error took=1.5s', ms: T - 30_000 },
  { stream: web, line: 'ms=5 level=info', ms: T - 20_000 },
  { stream: web, line: 'ms=7 level=info', ms: T },
];

test('range aggregations without unwrap', () => {
  for (const [query, expected] of [
    ['count_over_time({app=~".+"}[1m])', ['{app="api", host="h1"}=3', '{app="web", host="h2"}=2']],
    ['rate({app="api"}[1m])', ['{app="api", host="h1"}=0.05']],
    ['bytes_over_time({app="web"}[1m])', ['{app="web", host="h2"}=30']],
    ['bytes_rate({app="web"}[30s])', ['{app="web", host="h2"}=1']],
    ['count_over_time({app="api"} |= "error" [1m])', ['{app="api", host="h1"}=2']],
    ['count_over_time({app="web"}[20s])', ['{app="web", host="h2"}=1']],
    ['count_over_time({app="web"}[20s] offset 1ms)', ['{app="web", host="h2"}=1']],
    ['count_over_time({app="api"}[10s] offset 30s)', ['{app="api", host="h1"}=1']],
    ['count_over_time({app="api"}[10s])', []],
    [`count_over_time({app="api"}[10s] @ ${(T - 40_000) / 1000})`, ['{app="api", host="h1"}=1']],
    ['absent_over_time({app="api", x=~".*"}[10s])', ['{app="api"}=1']],
    ['absent_over_time({app="api"}[1m])', []],
    [
      'sum by (level) (count_over_time({app=~".+"} | logfmt [1m]))',
      ['{level="error"}=2', '{level="info"}=3'],
    ],
    ['sum(count_over_time({app=~".+"} | json [1m]))', ['{}=5']],
    ['sum without (host) (rate({app="api"}[1m]))', ['{app="api"}=0.05']],
    ['vector(1)+vector(1)', ['{}=2']],
  ] as const) {
    assert.deepEqual(vectorOf(query, ENTRIES), expected, query);
  }
});

test('unwrapped range aggregations', () => {
  const over = (op: string, rest = '') =>
    vectorOf(`${op}({app="api"} | logfmt | unwrap ms [1m]) by (app)${rest}`, ENTRIES)[0];
  assert.equal(over('avg_over_time'), '{app="api"}=30');
  assert.equal(over('min_over_time'), '{app="api"}=10');
  assert.equal(over('max_over_time'), '{app="api"}=60');
  assert.equal(over('first_over_time'), '{app="api"}=10');
  assert.equal(over('last_over_time'), '{app="api"}=60');
  assert.match(over('stdvar_over_time'), /=466\.6666666666\d+$/);
  assert.match(over('stddev_over_time'), /=21\.60246899469\d+$/);
  assert.deepEqual(
    vectorOf('quantile_over_time(0.5, {app="api"} | logfmt | unwrap ms [1m]) by ()', ENTRIES),
    ['{}=20'],
  );
  assert.deepEqual(vectorOf('sum(sum_over_time({app="api"} | logfmt | unwrap ms [1m]))', ENTRIES), ['{}=90']);
  assert.deepEqual(vectorOf('sum(rate({app="api"} | logfmt | unwrap ms [1m]))', ENTRIES), ['{}=1.5']);
  assert.deepEqual(vectorOf('max_over_time({app="api"} | logfmt | unwrap bytes(size) [1m]) by ()', ENTRIES), [
    '{}=3000',
  ]);
  assert.deepEqual(
    vectorOf('sum_over_time({app="api"} | logfmt took | unwrap duration(took) [1m])', ENTRIES),
    ['{app="api", host="h1"}=1.5'],
  );
  assert.deepEqual(
    vectorOf('sum_over_time({app="api"} | logfmt | keep app, level, ms | unwrap ms [1m])', ENTRIES),
    ['{app="api", level="error"}=80', '{app="api", level="info"}=10'],
    'the unwrapped label goes',
  );
  // 10, 20, 60 after 10, 20 and 30 s: 50 in 20 s; 4 s before, where it would be 0, and half a gap after: 50 · 29/20 / 60.
  assert.deepEqual(vectorOf('rate_counter({app="api"} | logfmt | keep ms | unwrap ms [1m])', ENTRIES), [
    '{}=1.2083333333333333',
  ]);
});

test('a stage that failed fails the query, unless it is filtered', () => {
  const bad = [...ENTRIES, { stream: api, line: 'ms=x', ms: T - 1 }];
  assert.throws(
    () => vectorOf('sum_over_time({app="api"} | logfmt | unwrap ms [1m])', bad),
    /pipeline error: 'SampleExtractionErr' for series: '\{.*\}'\.\nUse a label filter to intentionally skip this error/,
  );
  assert.deepEqual(
    vectorOf('sum(sum_over_time({app="api"} | logfmt | unwrap ms | __error__="" [1m]))', bad),
    ['{}=90'],
  );
});

const ABC: Entry[] = ['a', 'a', 'a', 'b', 'b', 'c'].map((x, i) => ({
  stream: { x, y: 'same' },
  line: '',
  ms: T - i,
}));
const COUNT = 'count_over_time({y="same"}[1m])';

test('vector aggregations', () => {
  for (const [query, expected] of [
    [`sum(${COUNT})`, ['{}=6']],
    [`avg(${COUNT})`, ['{}=2']],
    [`min(${COUNT})`, ['{}=1']],
    [`max(${COUNT})`, ['{}=3']],
    [`count(${COUNT})`, ['{}=3']],
    [`stdvar(${COUNT})`, ['{}=0.6666666666666666']],
    [`count by (y) (${COUNT})`, ['{y="same"}=3']],
    [`max without (x) (${COUNT})`, ['{y="same"}=3']],
    [`topk(2, ${COUNT})`, ['{x="a", y="same"}=3', '{x="b", y="same"}=2']],
    [`bottomk(1, ${COUNT})`, ['{x="c", y="same"}=1']],
    [`approx_topk(1, ${COUNT})`, ['{x="a", y="same"}=3']],
    [`sort(sum by (x) (${COUNT}))`, ['{x="c"}=1', '{x="b"}=2', '{x="a"}=3']],
    [`sort_desc(sum by (x) (${COUNT}))`, ['{x="a"}=3', '{x="b"}=2', '{x="c"}=1']],
    [
      `label_replace(sum by (x) (${COUNT}), "z", "<$1>", "x", "([ab])")`,
      ['{x="a", z="<a>"}=3', '{x="b", z="<b>"}=2', '{x="c"}=1'],
    ],
  ] as const) {
    assert.deepEqual(vectorOf(query, ABC), expected, query);
  }
});

test('binary operators', () => {
  const byX = `sum by (x) (${COUNT})`;
  const onlyA = 'sum by (x) (count_over_time({y="same", x="a"}[1m]))';
  for (const [query, expected] of [
    [`${byX} * 2`, ['{x="a"}=6', '{x="b"}=4', '{x="c"}=2']],
    [`10 - ${byX}`, ['{x="a"}=7', '{x="b"}=8', '{x="c"}=9']],
    [`${byX} / 0`, ['{x="a"}=NaN', '{x="b"}=NaN', '{x="c"}=NaN']],
    [`${byX} > 1`, ['{x="a"}=3', '{x="b"}=2']],
    [`2 < ${byX}`, ['{x="a"}=3']],
    [`${byX} >= bool 2`, ['{x="a"}=1', '{x="b"}=1', '{x="c"}=0']],
    [`${byX} / ${onlyA}`, ['{x="a"}=1']],
    [`${byX} and ${onlyA}`, ['{x="a"}=3']],
    [`${byX} unless ${onlyA}`, ['{x="b"}=2', '{x="c"}=1']],
    [`${onlyA} or ${byX}`, ['{x="a"}=3', '{x="b"}=2', '{x="c"}=1']],
    [
      `${byX} / on () group_left () sum(${COUNT})`,
      ['{x="a"}=0.5', '{x="b"}=0.3333333333333333', '{x="c"}=0.16666666666666666'],
    ],
    [`${onlyA} * on (x) group_right () ${COUNT}`, ['{x="a", y="same"}=9']],
    [
      `${byX} + on (x) group_left (y) ${COUNT}`,
      ['{x="a", y="same"}=6', '{x="b", y="same"}=4', '{x="c", y="same"}=2'],
    ],
    [`sum(${COUNT}) % 4 ^ 2`, ['{}=6']],
    [`${byX} == ${byX}`, ['{x="a"}=3', '{x="b"}=2', '{x="c"}=1']],
  ] as const) {
    assert.deepEqual(vectorOf(query, ABC), expected, query);
  }
  assert.throws(
    () => vectorOf(`sum(${COUNT}) + on () ${byX}`, ABC),
    /found duplicate series on the right hand-side/,
  );
  assert.throws(() => vectorOf(`${byX} + on () sum(${COUNT})`, ABC), /many-to-one matching must be explicit/);
  assert.deepEqual(evaluate('1 + 2 * 3', [], instant()), { kind: 'scalar', ms: T, value: 7 });
});

test('range queries: steps from the start, windows open at their start and closed at their end', () => {
  const times = { startNs: ns(T - 40_000), endNs: ns(T), stepNs: ns(20_000) };
  assert.deepEqual(evaluate('sum(count_over_time({app=~".+"}[20s]))', ENTRIES, times), {
    kind: 'matrix',
    series: [
      {
        labels: {},
        points: [
          [T - 40_000, 2],
          [T - 20_000, 2],
          [T, 1],
        ],
      },
    ],
  });
  assert.deepEqual(evaluate('vector(3)', [], times), {
    kind: 'matrix',
    series: [
      {
        labels: {},
        points: [
          [T - 40_000, 3],
          [T - 20_000, 3],
          [T, 3],
        ],
      },
    ],
  });
  const fixed = evaluate('count_over_time({app="web"}[20s] @ end())', ENTRIES, times);
  assert.deepEqual(fixed.kind === 'matrix' && fixed.series[0].points, [
    [T - 40_000, 1],
    [T - 20_000, 1],
    [T, 1],
  ]);
});

test('bounds: steps, series, numbers', () => {
  const long = { startNs: 0n, endNs: ns(12_000_000), stepNs: ns(1000) };
  assert.throws(
    () => planMetric(parseMetricQuery('vector(1)'), long),
    /exceeded maximum resolution of 11,000 points/,
  );
  const many = Array.from({ length: 20 }, (_, i) => ({
    stream: { y: 'same', i: String(i) },
    line: 'v=1',
    ms: T,
  }));
  assert.throws(
    () => evaluate(COUNT, many, instant(), () => 0, { seriesMax: 10, numbersMax: 1000 }),
    /maximum number of series \(10\)/,
  );
  const quantile = 'quantile_over_time(0.5, {y="same"} | logfmt | unwrap v [1m]) by ()';
  assert.throws(
    () => evaluate(quantile, many, instant(), () => 0, { seriesMax: 10, numbersMax: 10 }),
    /more than 10 numbers/,
  );
  const long4M =
    'sum by (x) (count_over_time({y="same"} | label_format x=`{{ .i }}{{ repeat 4000000 "x" }}` [1m]))';
  assert.throws(() => evaluate(long4M, many, instant()), /labels of the series weigh more than 64 MiB/);
});

/** The same, entry by entry and window by window, with no buckets, no partials and no merging. */
function naive(
  op: string,
  entries: readonly Entry[],
  times: EvalTimes,
  rangeMs: number,
): Map<string, [number, number][]> {
  const out = new Map<string, [number, number][]>();
  for (let t = times.startNs; t <= times.endNs; t += times.stepNs) {
    const groups = new Map<string, number[]>();
    const sorted = [...entries].sort(
      (a, b) =>
        a.ms - b.ms || (a.sub ?? 0) - (b.sub ?? 0) || Number(a.line.slice(2)) - Number(b.line.slice(2)),
    );
    for (const { stream, line, ms, sub = 0 } of sorted) {
      const at = ns(ms) + BigInt(sub);
      if (at <= t - ns(rangeMs) || at > t) continue;
      const key = labelsText(stream);
      groups.set(key, [...(groups.get(key) ?? []), Number(line.slice(2))]);
    }
    for (const [key, values] of groups) {
      const total = values.reduce((a, b) => a + b, 0);
      const value: Record<string, number> = {
        count: values.length,
        sum: total,
        avg: total / values.length,
        min: Math.min(...values),
        max: Math.max(...values),
        last: values[values.length - 1],
        rate: total / (rangeMs / 1000),
        stdvar: values.reduce((a, b) => a + (b - total / values.length) ** 2, 0) / values.length,
      };
      out.set(key, [...(out.get(key) ?? []), [Number(t / 1_000_000n), value[op]]]);
    }
  }
  return out;
}

test('buckets, partials and merging give what a naive evaluation gives, however entries are spread', () => {
  const entry = fc.record({
    stream: fc.constantFrom<Labels>({ s: 'a' }, { s: 'b' }),
    line: fc.integer({ min: -50, max: 50 }).map((value) => `v=${value}`),
    ms: fc.integer({ min: T - 3000, max: T + 1000 }),
    sub: fc.constantFrom(0, 0, 1, 999_999),
  });
  fc.assert(
    fc.property(
      fc.array(entry, { maxLength: 40 }),
      fc.constantFrom('count', 'sum', 'avg', 'min', 'max', 'last', 'rate', 'stdvar'),
      fc.integer({ min: 1, max: 1500 }),
      fc.integer({ min: 1, max: 900 }),
      fc.constantFrom(0n, 0n, 1n, 500_000n),
      fc.infiniteStream(fc.nat(3)),
      (entries, op, rangeMs, stepMs, shift, holders) => {
        const times = { startNs: ns(T - 1500) + shift, endNs: ns(T) + shift, stepNs: ns(stepMs) };
        const inner = `{s=~".+"} | logfmt v | keep s, v`;
        const query =
          op === 'count'
            ? `sum by (s) (count_over_time({s=~".+"}[${rangeMs}ms]))`
            : op === 'rate'
              ? `sum by (s) (rate(${inner} | unwrap v [${rangeMs}ms]))`
              : `${op}_over_time(${inner} | unwrap v [${rangeMs}ms])`;
        const spread = [...holders.take(entries.length + 1)];
        const result = evaluate(query, entries, times, (i) => spread[i] ?? 0);
        assert.notEqual(result.kind, 'scalar');
        const ours = new Map(
          result.kind === 'scalar'
            ? []
            : result.series.map(({ labels, points }) => [labelsText(labels), points]),
        );
        const expected = naive(op, entries, times, rangeMs);
        assert.deepEqual([...ours.keys()].sort(), [...expected.keys()].sort());
        for (const [key, points] of expected) {
          const got = ours.get(key) ?? [];
          assert.deepEqual(
            got.map(([ms]) => ms),
            points.map(([ms]) => ms),
            query,
          );
          for (const [i, [, value]] of points.entries()) {
            assert.ok(
              Math.abs(got[i][1] - value) <= 1e-6 * Math.max(1, Math.abs(value)),
              `${query}: ${got[i][1]} for ${value}`,
            );
          }
        }
      },
    ),
    { numRuns: 800 },
  );
});
