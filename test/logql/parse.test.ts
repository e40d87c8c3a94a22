import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Expr } from '../../src/store/logql/ast.ts';
import { parse, parseLabels, parseMatchers } from '../../src/store/logql/parser.ts';
import { print } from '../../src/store/logql/print.ts';
import { LogvineError } from '../../src/store/errors.ts';

const stagesOf = (query: string) => {
  const expr = parse(query);
  assert.equal(expr.kind, 'log');
  return expr.kind === 'log' ? expr.stages : [];
};

test('a log query, part by part', () => {
  assert.deepEqual(parse('{app="foo", env!="dev", host=~`a|b`, x!~"y"} |= "a" or ip("10.0.0.0/8") != "b"'), {
    kind: 'log',
    matchers: [
      { name: 'app', op: '=', value: 'foo' },
      { name: 'env', op: '!=', value: 'dev' },
      { name: 'host', op: '=~', value: 'a|b' },
      { name: 'x', op: '!~', value: 'y' },
    ],
    stages: [
      {
        kind: 'lineFilter',
        op: '|=',
        alternatives: [
          { kind: 'text', value: 'a' },
          { kind: 'ip', value: '10.0.0.0/8' },
        ],
      },
      { kind: 'lineFilter', op: '!=', alternatives: [{ kind: 'text', value: 'b' }] },
    ],
  } satisfies Expr);
});

test('parsers and their options', () => {
  assert.deepEqual(
    stagesOf('{a="b"} | json | json x="a.b[0]", y | logfmt --keep-empty --strict | logfmt z="q" | unpack'),
    [
      { kind: 'json', extractions: [] },
      {
        kind: 'json',
        extractions: [
          { label: 'x', expression: 'a.b[0]' },
          { label: 'y', expression: 'y' },
        ],
      },
      { kind: 'logfmt', strict: true, keepEmpty: true, extractions: [] },
      { kind: 'logfmt', strict: false, keepEmpty: false, extractions: [{ label: 'z', expression: 'q' }] },
      { kind: 'unpack' },
    ],
  );
});

test('label filters: and binds tighter than or; after a comma or side by side, all that follows is one', () => {
  const shape = (query: string): string => {
    const [stage] = stagesOf(`{a="b"} | ${query}`);
    return stage.kind === 'labelFilter' ? print({ kind: 'log', matchers: [], stages: [stage] }).slice(5) : '';
  };
  for (const [query, expected] of [
    ['a="1" or b="2" and c="3"', '( a="1" or ( b="2" , c="3" ) )'],
    ['a="1" and b="2" or c="3"', '( ( a="1" , b="2" ) or c="3" )'],
    ['a="1" , b="2" or c="3"', '( a="1" , ( b="2" or c="3" ) )'],
    ['a="1" b="2" or c="3"', '( a="1" , ( b="2" or c="3" ) )'],
    ['a="1" or b="2" c="3"', '( a="1" or ( b="2" , c="3" ) )'],
    ['(a="1" or b="2") c="3"', '( ( a="1" or b="2" ) , c="3" )'],
    ['a>5m and b<=1KB c==-2', '( a>5m , ( b<=1000B , c==-2 ) )'],
    ['d >= 1.5h', 'd>=1h30m'],
    ['d != 100us', 'd!=100000ns'],
    ['s > 1KiB', 's>1024B'],
    ['n = 0x10p0', 'n==16'],
    ['n = 0x1p-2', 'n==0.25'],
    ['n < +1e3', 'n<1000'],
    ['addr != ip("::1")', 'addr!=ip("::1")'],
  ]) {
    assert.equal(shape(query), `| ${expected}`.slice(2), query);
  }
});

test('metric queries: precedence, modifiers, groupings before and after', () => {
  for (const [query, expected] of [
    ['1 + 2 * 3 ^ 2 ^ 2', '(1 + (2 * (3 ^ (2 ^ 2))))'],
    ['vector(1) - vector(2) - vector(3)', '((vector(1) - vector(2)) - vector(3))'],
    ['vector(1) > bool 2 and vector(3) or vector(4)', '(((vector(1) > bool 2) and vector(3)) or vector(4))'],
    ['-2 ^ 2', '(-2 ^ 2)'],
    ['sum(rate({a="b"}[1m])) by (x, y)', 'sum by (x,y)(rate({a="b"}[1m]))'],
    ['SUM WITHOUT (x) (rate({a="b"}[1m]))', 'sum without (x)(rate({a="b"}[1m]))'],
    [
      'rate({a="b"}[1m]) / on (x) group_left (y) rate({a="c"}[1m])',
      '(rate({a="b"}[1m]) / on (x) group_left (y) rate({a="c"}[1m]))',
    ],
    [
      'rate({a="b"}[1m]) * ignoring (x) group_right (vector(1))',
      '(rate({a="b"}[1m]) * ignoring (x) group_right () vector(1))',
    ],
    ['rate({a="b"} | json [5m] offset 1h)', 'rate({a="b"} | json[5m] offset 1h)'],
    ['rate({a="b"}[5m] offset 1h | json)', 'rate({a="b"} | json[5m] offset 1h)'],
    ['rate(({a="b"} |= "x")[5m])', 'rate({a="b"} |= "x"[5m])'],
    ['rate({a="b"}[5m] @ 1609746000)', 'rate({a="b"}[5m] @ 1609746000)'],
    ['rate({a="b"}[5m] @ end() offset -5m)', 'rate({a="b"}[5m] offset -300s @ end())'],
    ['sum_over_time({a="b"} | unwrap x [5m] offset 5m)', 'sum_over_time({a="b"} | unwrap x[5m] offset 5m)'],
    ['sum_over_time({a="b"} [5m] offset 5m | unwrap x)', 'sum_over_time({a="b"} | unwrap x[5m] offset 5m)'],
    [
      'max_over_time({a="b"} | unwrap duration_seconds(x) | __error__="" [5m]) by (y)',
      'max_over_time({a="b"} | unwrap duration_seconds(x) | __error__=""[5m]) by (y)',
    ],
    [
      'quantile_over_time(0.9, {a="b"} | unwrap bytes(x) [1h30m])',
      'quantile_over_time(0.9,{a="b"} | unwrap bytes(x)[1h30m])',
    ],
    [
      'label_replace(rate({a="b"}[1m]), "d", "$1", "s", "(.*)")',
      'label_replace(rate({a="b"}[1m]),"d","$1","s","(.*)")',
    ],
    ['count(rate({rate="x", sum="y"}[1m])) # a comment\n', 'count(rate({rate="x", sum="y"}[1m]))'],
    ['topk(5, rate({a="b"}[1d12h]))', 'topk(5,rate({a="b"}[1d12h]))'],
    ['bytes_rate({a="b"}[1w])', 'bytes_rate({a="b"}[1w])'],
  ]) {
    assert.equal(print(parse(query)), expected, query);
  }
});

test('strings: escapes, raw text, bytes that are not UTF-8', () => {
  const value = (query: string) => {
    const [stage] = stagesOf(query);
    return stage.kind === 'lineFilter' ? stage.alternatives[0].value : '';
  };
  assert.equal(value('{a="b"} |= "\\x41\\101\\u00e9\\U0001F600\\n\\\\"'), 'AAé😀\n\\');
  assert.equal(value('{a="b"} |= `a\\n"b`'), 'a\\n"b');
  assert.equal(value('{a="b"} |= "\\xc3\\xa9"'), 'é');
  assert.equal(value('{a="b"} |= "\\xff"'), '\udcff');
  assert.equal(print(parse('{a="b"} |= "\\xff\\a"')), '{a="b"} |= "\\xff\\a"');
});

const SELECTOR_ERROR =
  'queries require at least one regexp or equality matcher that does not have an empty-compatible value. ' +
  'For instance, app=~".*" does not meet this requirement, but app=~".+" will';

test('errors say where and what', () => {
  const table: [query: string, message: string][] = [
    ['', 'parse error at line 1, col 1: syntax error: unexpected $end'],
    ['{}', `parse error at line 1, col 1: ${SELECTOR_ERROR}`],
    ['sum(rate({a=~".*", b!="x"}[1m]))', `parse error at line 1, col 10: ${SELECTOR_ERROR}`],
    ['{a="b"', 'parse error at line 1, col 7: syntax error: unexpected $end, expecting } or ,'],
    ['{a}', 'parse error at line 1, col 3: syntax error: unexpected }, expecting = or =~ or !~ or !='],
    ['{a="b"}\n  | json\n  | foo', 'parse error at line 3, col 8: syntax error: unexpected $end'],
    ['{é="b"} |= ', 'parse error at line 1, col 12: syntax error: unexpected $end, expecting STRING or ip'],
    ['{a="b"} |~ "["', 'parse error at line 1, col 9: error parsing regexp: missing closing ]: `[`'],
    ['{a=~"["}', 'parse error at line 1, col 5: error parsing regexp: missing closing ]: `[`'],
    ['rate({a="b"})', 'parse error at line 1, col 13: syntax error: unexpected ), expecting RANGE'],
    [
      'rate({a="b"}[5minutes])',
      'parse error at line 1, col 13: unknown unit "minutes" in duration "5minutes"',
    ],
    ['rate({a="b"}[5m]', 'parse error at line 1, col 17: syntax error: unexpected $end, expecting )'],
    ['sum(5, rate({a="b"}[5m]))', 'parse error at line 1, col 1: unsupported parameter for operation sum(5,'],
    ['topk(rate({a="b"}[5m]))', 'parse error at line 1, col 1: parameter required for operation topk'],
    [
      'topk(0, rate({a="b"}[5m]))',
      'parse error at line 1, col 1: invalid parameter (must be greater than 0) topk(0',
    ],
    [
      'sum_over_time({a="b"}[5m])',
      'parse error at line 1, col 1: invalid aggregation sum_over_time without unwrap',
    ],
    [
      'count_over_time({a="b"} | unwrap x [5m])',
      'parse error at line 1, col 1: invalid aggregation count_over_time with unwrap',
    ],
    ['rate({a="b"}[5m]) by (x)', 'parse error at line 1, col 1: grouping not allowed for rate aggregation'],
    [
      'quantile_over_time({a="b"} | unwrap x [5m])',
      'parse error at line 1, col 1: parameter required for operation quantile_over_time',
    ],
    ['rate(5, {a="b"}[5m])', 'parse error at line 1, col 1: parameter 5 not supported for operation rate'],
    [
      'sort by (x) (rate({a="b"}[5m]))',
      "parse error at line 1, col 1: sort and sort_desc doesn't allow grouping by ",
    ],
    [
      'approx_topk by (x) (3, rate({a="b"}[5m]))',
      'parse error at line 1, col 1: grouping not allowed for approx_topk aggregation',
    ],
    [
      '1 or vector(1)',
      'parse error at line 1, col 3: unexpected literal for left leg of logical/set binary operation (or): 1.000000',
    ],
    [
      '{a="b"} | regexp "x"',
      'parse error at line 1, col 9: invalid regexp parser: at least one named capture must be supplied',
    ],
    [
      '{a="b"} | pattern "<a><b>"',
      "parse error at line 1, col 9: invalid pattern parser: found consecutive capture '<a><b>': invalid expression",
    ],
    [
      '{a="b"} | line_format "{{.x"',
      'parse error at line 1, col 9: invalid line template: template: line:1: unclosed action',
    ],
    [
      '{a="b"} | label_format a=b, a=c',
      "parse error at line 1, col 9: multiple label name 'a' not allowed in a single format operation",
    ],
    ['{a="b"} |= ip("x")', 'parse error at line 1, col 9: ip: invalid pattern: "x"'],
    ['{a="b"} |~ ip("::1")', 'parse error at line 1, col 9: ip: invalid operation'],
    ['{a="\\q"}', 'parse error at line 1, col 4: invalid char escape'],
    ['{a="b', 'parse error at line 1, col 4: literal not terminated'],
    [
      '1e999',
      'parse error at line 1, col 1: unable to parse literal as a float: strconv.ParseFloat: parsing "1e999": value out of range',
    ],
    ['vector(1) vector(2)', 'parse error at line 1, col 11: syntax error: unexpected VECTOR'],
    [
      'sum by (json) (rate({a="b"}[1m]))',
      'parse error at line 1, col 9: syntax error: unexpected json, expecting IDENTIFIER or )',
    ],
  ];
  for (const [query, message] of table) {
    assert.throws(
      () => parse(query),
      (error) => {
        assert.ok(error instanceof LogvineError, String(error));
        assert.equal(error.code, 'LV_QUERY_INVALID');
        assert.equal(error.message, message, query);
        return true;
      },
    );
  }
});

test('what is too long or too deep is refused, and a long chain is not', () => {
  const deep = (open: string, close: string, count: number) =>
    open.repeat(count) + 'vector(1)' + close.repeat(count);
  assert.throws(() => parse(deep('(', ')', 40_000)), /nested deeper than/);
  assert.throws(() => parse(`{a="b"} | ${'('.repeat(60_000)}`), /nested deeper than/);
  assert.throws(() => parse(`vector(1)${'^vector(1)'.repeat(5000)}`), /nested deeper than/);
  assert.throws(() => parse(`vector(1)${'+vector(1)'.repeat(5000)}`), /more than 1500 operators/);
  assert.throws(() => parse(`{a="b"} |= "${'x'.repeat(131_072)}"`), /input size too long/);
  const chain = parse(`vector(1)${'+vector(1)'.repeat(1000)}`);
  assert.deepEqual(parse(print(parse(deep('(', ')', 100)))), { kind: 'vector', value: 1 });
  assert.ok(print(chain).length > 1000);
  assert.equal(stagesOf(`{a="b"}${' |= "x"'.repeat(10_000)}`).length, 10_000);
});

test('bare selectors and pushed labels', () => {
  assert.deepEqual(parseMatchers('{a="b"}'), [{ name: 'a', op: '=', value: 'b' }]);
  assert.throws(() => parseMatchers('{}'), /queries require/);
  assert.deepEqual(parseMatchers('{}', true), []);
  assert.throws(() => parseMatchers('{a="b"} |= "x"'), /only label matchers/);
  assert.deepEqual(
    parseLabels('{a="b", c="", __proto__="x"}'),
    Object.fromEntries([
      ['a', 'b'],
      ['__proto__', 'x'],
    ]),
  );
  assert.throws(() => parseLabels('{a=~"b"}'), /needs =/);
  assert.throws(() => parseLabels('{a="b", a="c"}'), /twice/);
});
