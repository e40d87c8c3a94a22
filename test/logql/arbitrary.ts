/** Random syntax trees that are valid and as the parser would make them. */
import fc from 'fast-check';
import {
  BINARY_OPS,
  UNWRAP_CONVERSIONS,
  type Expr,
  type Grouping,
  type LabelFilter,
  type LogExpr,
  type LogRange,
  type Matcher,
  type MetricExpr,
  type Stage,
} from '../../src/store/logql/ast.ts';

/** `fc.record` also makes objects without a prototype, which are never equal to the parser's. */
const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<T>;

const name = fc.constantFrom(
  'a',
  'app',
  'level',
  'status_code',
  'rate',
  'sum',
  'ip',
  'bytes',
  '__error__',
  'Üñ',
);
const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 8 }),
  fc.constantFrom('', '"', '\\', '`', '\n', '\udcff', 'é\u0000', '\u200b', '😀', '\x7f'),
);
const regex = fc.constantFrom('.+', 'a|b', '(?i)x\\d', '^[^"]+$', '\\Q.\\E');
const ip = fc.constantFrom('10.0.0.1', '10.0.0.0/8', '::1', '10.0.0.1-10.0.0.9');

const matcher: fc.Arbitrary<Matcher> = fc.oneof(
  record({ name, op: fc.constantFrom('=' as const, '!=' as const), value: text }),
  record({ name, op: fc.constantFrom('=~' as const, '!~' as const), value: regex }),
);

const numeric = fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.integer());
const compareOp = fc.constantFrom(
  '==' as const,
  '!=' as const,
  '>' as const,
  '>=' as const,
  '<' as const,
  '<=' as const,
);

const labelFilter = fc.letrec<{ filter: LabelFilter; leaf: LabelFilter }>((tie) => ({
  leaf: fc.oneof(
    record({ kind: fc.constant('string' as const), matcher }),
    record({ kind: fc.constant('number' as const), name, op: compareOp, value: numeric }),
    record({
      kind: fc.constant('duration' as const),
      name,
      op: compareOp,
      valueNs: fc.oneof(fc.integer(), fc.constantFrom(0, 6e10, 1e6, 1.5e9, 86_400e9 * 400, -1)),
    }),
    record({ kind: fc.constant('bytes' as const), name, op: compareOp, valueBytes: fc.nat() }),
    record({
      kind: fc.constant('ip' as const),
      name,
      op: fc.constantFrom('=' as const, '!=' as const),
      pattern: ip,
    }),
  ),
  filter: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    tie('leaf'),
    record({
      kind: fc.constantFrom('and' as const, 'or' as const),
      left: tie('filter'),
      right: tie('filter'),
    }),
  ),
})).filter;

const some = <T>(item: fc.Arbitrary<T>) => fc.array(item, { minLength: 1, maxLength: 3 });
const choice = fc.oneof(
  record({ kind: fc.constant('name' as const), name }),
  record({ kind: fc.constant('matcher' as const), matcher }),
);
const fieldName = fc.constantFrom('x', 'msg', 'y_1');

const stage: fc.Arbitrary<Stage> = fc.oneof(
  record({
    kind: fc.constant('lineFilter' as const),
    op: fc.constantFrom('|=' as const, '!=' as const),
    alternatives: some(
      fc.oneof(
        record({ kind: fc.constant('text' as const), value: text }),
        record({ kind: fc.constant('ip' as const), value: ip }),
      ),
    ),
  }),
  record({
    kind: fc.constant('lineFilter' as const),
    op: fc.constantFrom('|~' as const, '!~' as const),
    alternatives: some(record({ kind: fc.constant('text' as const), value: regex })),
  }),
  record({
    kind: fc.constant('lineFilter' as const),
    op: fc.constantFrom('|>' as const, '!>' as const),
    alternatives: some(
      record({ kind: fc.constant('text' as const), value: fc.constantFrom('<_> a', 'x<_>', '', '<_>"\n') }),
    ),
  }),
  record({
    kind: fc.constant('json' as const),
    extractions: fc.array(record({ label: name, expression: fc.constantFrom('a', 'a.b[0]["c d"]') }), {
      maxLength: 2,
    }),
  }),
  record({
    kind: fc.constant('logfmt' as const),
    strict: fc.boolean(),
    keepEmpty: fc.boolean(),
    extractions: fc.array(record({ label: name, expression: fieldName }), { maxLength: 2 }),
  }),
  record({
    kind: fc.constant('regexp' as const),
    pattern: fc.constantFrom('(?P<x>.)', '(?P<a>\\d+) "(?P<b>`)'),
  }),
  record({ kind: fc.constant('pattern' as const), pattern: fc.constantFrom('<a> <_> <b>', '"<x>"') }),
  record({ kind: fc.constantFrom('unpack' as const, 'decolorize' as const) }),
  record({ kind: fc.constant('labelFilter' as const), filter: labelFilter }),
  record({
    kind: fc.constant('lineFormat' as const),
    template: fc.constantFrom('{{.a}} "x"', '', '{{ .a | upper }}'),
  }),
  record({
    kind: fc.constant('labelFormat' as const),
    formats: fc.uniqueArray(
      fc.oneof(
        record({ kind: fc.constant('rename' as const), name: fieldName, source: name }),
        record({
          kind: fc.constant('template' as const),
          name: fieldName,
          template: fc.constantFrom('{{.a}}', 'x'),
        }),
      ),
      { selector: (format) => format.name, minLength: 1, maxLength: 3 },
    ),
  }),
  record({ kind: fc.constantFrom('drop' as const, 'keep' as const), labels: some(choice) }),
);

const selective: fc.Arbitrary<Matcher> = record({
  name,
  op: fc.constant('=~' as const),
  value: fc.constant('.+'),
});

export const logExpr: fc.Arbitrary<LogExpr> = record({
  kind: fc.constant('log' as const),
  matchers: fc.tuple(selective, fc.array(matcher, { maxLength: 3 })).map(([first, rest]) => [first, ...rest]),
  stages: fc.array(stage, { maxLength: 4 }).filter((stages) => !stages.some(readsOn)),
});

/** `| drop a != "b"` is one stage, not two: the parser never makes a bare name before such a filter. */
function readsOn(stage: Stage, i: number, stages: readonly Stage[]): boolean {
  const next = stages[i + 1];
  if ((stage.kind !== 'drop' && stage.kind !== 'keep') || next?.kind !== 'lineFilter') return false;
  return stage.labels[stage.labels.length - 1].kind === 'name' && (next.op === '!=' || next.op === '!~');
}

const grouping: fc.Arbitrary<Grouping> = record({
  without: fc.boolean(),
  labels: fc.array(name, { maxLength: 3 }),
});

/** Leaves out the keys that are undefined, as the parser does. */
function compact<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, inner]) => inner !== undefined)) as T;
}
const maybe = <T>(item: fc.Arbitrary<T>) => fc.option(item, { nil: undefined });

const logRange = (unwrapped: boolean): fc.Arbitrary<LogRange> =>
  record({
    log: logExpr,
    unwrap: unwrapped
      ? record({
          label: name,
          conversion: maybe(fc.constantFrom(...UNWRAP_CONVERSIONS)),
          filters: fc.array(labelFilter, { maxLength: 2 }),
        }).map(compact)
      : fc.constant(undefined),
    rangeMs: fc.constantFrom(1, 1000, 300_000, 5_400_000, 86_400_000, 604_800_000),
    offsetNs: fc.constantFrom(0, 0, 3_600e9, -60e9, 1500, 1.5e9),
    at: maybe(
      fc.oneof(
        record({ kind: fc.constant('time' as const), seconds: fc.integer() }),
        record({ kind: fc.constantFrom('start' as const, 'end' as const) }),
      ),
    ),
  }).map(compact);

const PLAIN_RANGE_OPS = [
  'count_over_time',
  'rate',
  'bytes_over_time',
  'bytes_rate',
  'absent_over_time',
] as const;
const GROUPED_RANGE_OPS = [
  'avg_over_time',
  'min_over_time',
  'max_over_time',
  'stdvar_over_time',
  'stddev_over_time',
  'first_over_time',
  'last_over_time',
] as const;
const UNGROUPED_RANGE_OPS = ['rate', 'rate_counter', 'sum_over_time', 'absent_over_time'] as const;
const REDUCING_OPS = ['sum', 'avg', 'min', 'max', 'count', 'stddev', 'stdvar'] as const;
const VALUE_OPS = BINARY_OPS.filter((op) => op !== 'or' && op !== 'and' && op !== 'unless');
const number = record({ kind: fc.constant('number' as const), value: numeric });

export const metricExpr = fc.letrec<{ metric: MetricExpr }>((tie) => ({
  metric: fc.oneof(
    { maxDepth: 4, depthSize: 'small', withCrossShrink: true },
    record({ kind: fc.constant('vector' as const), value: numeric.map(Math.abs) }),
    record({
      kind: fc.constant('rangeAggregation' as const),
      op: fc.constantFrom(...PLAIN_RANGE_OPS),
      range: logRange(false),
    }),
    record({
      kind: fc.constant('rangeAggregation' as const),
      op: fc.constantFrom(...GROUPED_RANGE_OPS),
      range: logRange(true),
      grouping: maybe(grouping),
    }).map(compact),
    record({
      kind: fc.constant('rangeAggregation' as const),
      op: fc.constantFrom(...UNGROUPED_RANGE_OPS),
      range: logRange(true),
    }),
    record({
      kind: fc.constant('rangeAggregation' as const),
      op: fc.constant('quantile_over_time' as const),
      param: fc.double({ min: 0, max: 1, noNaN: true }).map(Math.abs),
      range: logRange(true),
      grouping: maybe(grouping),
    }).map(compact),
    record({
      kind: fc.constant('vectorAggregation' as const),
      op: fc.constantFrom(...REDUCING_OPS),
      grouping: maybe(grouping),
      inner: tie('metric'),
    }).map(compact),
    record({
      kind: fc.constant('vectorAggregation' as const),
      op: fc.constantFrom('topk' as const, 'bottomk' as const),
      param: fc.integer({ min: 1, max: 100 }),
      grouping: maybe(grouping),
      inner: tie('metric'),
    }).map(compact),
    record({
      kind: fc.constant('vectorAggregation' as const),
      op: fc.constant('approx_topk' as const),
      param: fc.integer({ min: 1, max: 999_999_999 }),
      inner: tie('metric'),
    }),
    record({
      kind: fc.constant('vectorAggregation' as const),
      op: fc.constantFrom('sort' as const, 'sort_desc' as const),
      inner: tie('metric'),
    }),
    record({
      kind: fc.constant('binary' as const),
      op: fc.constantFrom(...BINARY_OPS),
      left: tie('metric'),
      right: tie('metric'),
      bool: fc.boolean(),
      matching: maybe(
        record({
          on: fc.boolean(),
          labels: fc.array(name, { maxLength: 2 }),
          group: maybe(fc.constantFrom('left' as const, 'right' as const)),
          include: fc.array(name, { maxLength: 2 }),
        }).map((matching) => compact(matching.group === undefined ? { ...matching, include: [] } : matching)),
      ),
    }).map(compact),
    record({
      kind: fc.constant('binary' as const),
      op: fc.constantFrom(...VALUE_OPS),
      left: number,
      right: fc.oneof(tie('metric'), number),
      bool: fc.boolean(),
    }),
    record({
      kind: fc.constant('binary' as const),
      op: fc.constantFrom(...VALUE_OPS),
      left: tie('metric'),
      right: number,
      bool: fc.boolean(),
    }),
    record({
      kind: fc.constant('labelReplace' as const),
      inner: tie('metric'),
      target: text,
      replacement: text,
      source: text,
      regex,
    }),
  ),
})).metric;

export const anyExpr: fc.Arbitrary<Expr> = fc.oneof(
  { arbitrary: logExpr, weight: 4 },
  { arbitrary: metricExpr, weight: 8 },
  { arbitrary: number, weight: 1 },
);
