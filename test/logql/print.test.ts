import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LogvineError } from '../../src/store/errors.ts';
import { parse } from '../../src/store/logql/parser.ts';
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
