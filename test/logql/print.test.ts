import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LogvineError } from '../../src/store/errors.ts';
import { parse } from '../../src/store/logql/parser.ts';
import { pretty } from '../../src/store/logql/pretty.ts';
import { print } from '../../src/store/logql/print.ts';
import { anyExpr } from './arbitrary.ts';

test('print and parse are each other’s inverse', () => {
  fc.assert(
    fc.property(anyExpr, (expr) => {
      assert.deepEqual(parse(print(expr)), expr);
    }),
    { numRuns: 2000 },
  );
});

test('a query laid out over lines is the same query', () => {
  fc.assert(
    fc.property(anyExpr, (expr) => {
      assert.deepEqual(parse(pretty(expr)), expr);
    }),
    { numRuns: 1000 },
  );
});

test('what is longer than a line is laid out in its parts', () => {
  assert.equal(
    pretty(parse('sum(rate({app="api"}|="x"[5m]))by(app)')),
    'sum by (app)(rate({app="api"} |= "x"[5m]))',
  );
  const log =
    '{namespace="a-long-name-of-a-namespace", app="api"} |= "first" != "second" | json | status >= 500 | line_format "{{.msg}}"';
  assert.equal(
    pretty(parse(log)),
    [
      '{namespace="a-long-name-of-a-namespace", app="api"}',
      '  |= "first" != "second"',
      '  | json',
      '  | status>=500',
      '  | line_format "{{.msg}}"',
    ].join('\n'),
  );
  const metric = (label: string): string =>
    `quantile_over_time(0.5, {namespace="a-long-name-of-a-namespace", app="api"} | logfmt | unwrap ${label} | __error__="" [5m] offset 1h) by (app, host)`;
  assert.equal(
    pretty(parse(`topk by (a, b) (2, ${metric('x')}) / on (a, b) group_left (c) (1 + ${metric('y')})`)),
    [
      '  topk by (a, b)(',
      '    2,',
      '    quantile_over_time(',
      '      0.5,',
      '      {namespace="a-long-name-of-a-namespace", app="api"} | logfmt',
      '        | unwrap x',
      '        | __error__="" [5m] offset 1h',
      '    ) by (app, host)',
      '  )',
      '/ on (a, b) group_left (c)',
      '  (',
      '      1',
      '    +',
      '      quantile_over_time(',
      '        0.5,',
      '        {namespace="a-long-name-of-a-namespace", app="api"} | logfmt',
      '          | unwrap y',
      '          | __error__="" [5m] offset 1h',
      '      ) by (app, host)',
      '  )',
    ].join('\n'),
  );
  assert.equal(
    pretty(
      parse(
        `label_replace(rate({namespace="a-long-name-of-a-namespace", app="api"}[5m]), "target", "$1", "source", "(.*)")`,
      ),
    ),
    [
      'label_replace(',
      '  rate({namespace="a-long-name-of-a-namespace", app="api"}[5m]),',
      '  "target",',
      '  "$1",',
      '  "source",',
      '  "(.*)"',
      ')',
    ].join('\n'),
  );
});

test('a duration has no negative zero', () => {
  const expr = parse('{a="b"} | x < -0s');
  assert.deepEqual(parse(print(expr)), expr);
});

/** Throws anything but a LogvineError: fails. */
function parseOrRefuse(query: string): void {
  try {
    const expr = parse(query);
    assert.deepEqual(parse(print(expr)), expr);
  } catch (error) {
    if (!(error instanceof LogvineError)) throw error;
    assert.equal(error.code, 'LV_QUERY_INVALID');
  }
}

test('random text and damaged queries are parsed or refused, nothing else', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), parseOrRefuse), { numRuns: 2000 });
  const piece = fc.constantFrom(
    ...[
      '{',
      '}',
      '(',
      ')',
      '[5m]',
      '"',
      '`',
      '|',
      '|=',
      'or',
      'and',
      'sum',
      'rate',
      'by',
      'unwrap',
      'x',
      '=',
      '=~',
      '5m',
    ],
    ...[
      '1e',
      '0x',
      '-',
      '--strict',
      'json',
      'ip(',
      '{a="b"}',
      'offset',
      '@',
      ',',
      '#',
      '\n',
      'label_format',
      '{{',
      '\\',
    ],
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => parseOrRefuse(pieces.join(' '))),
    { numRuns: 3000 },
  );
  fc.assert(
    fc.property(
      anyExpr,
      fc.nat(),
      fc.nat(20),
      fc.oneof(piece, fc.string({ maxLength: 3 })),
      (expr, at, cut, insert) => {
        const query = print(expr);
        const from = at % (query.length + 1);
        parseOrRefuse(query.slice(0, from) + insert + query.slice(from + cut));
      },
    ),
    { numRuns: 2000 },
  );
});
