import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkLabels, LabelsError, parseLabels, StreamKeys } from '../../src/node/http/push-labels.ts';
import { PUSH_LIMITS } from '../../src/node/http/push.ts';
import { withServiceName } from '../../src/node/pipeline/index.ts';
import { labelsKey, labelsText, type Labels } from '../../src/store/index.ts';

const good: [string, Record<string, string>][] = [
  ['{a="b"}', { a: 'b' }],
  [' { a = "b" , _c1 = "d" , } ', { a: 'b', _c1: 'd' }],
  ['{a="x,}=\\"y\\\\"}', { a: 'x,}="y\\' }],
  ['{a="\\t\\n\\r\\a"}', { a: '\t\n\r\x07' }],
  ['{a="\\u00e4\\U0001F600"}', { a: 'ä😀' }],
  ['{a="\\xc3\\xa4\\303\\244"}', { a: 'ää' }],
  ['{a=`raw \\n "x"`}', { a: 'raw \\n "x"' }],
  ['{a="b", gone=""}', { a: 'b' }],
];
for (const [text, labels] of good) {
  test(`reads ${text}`, () => assert.deepEqual(parseLabels(text, PUSH_LIMITS), labels));
}

const bad: [string, RegExp][] = [
  ['', /expected \{ at 0, found the end/],
  ['a="b"', /expected \{/],
  ['{}', /at least one label pair/],
  ['{a=""}', /at least one label pair/],
  ['{a="b"', /expected , at 6, found the end/],
  ['{a="b"} x', /expected the end/],
  ['{a=b}', /a quoted value at 3/],
  ['{a="b}', /a closing "/],
  ['{a="b\\"}', /a closing "/],
  ['{a=`b}', /a closing `/],
  ['{1a="b"}', /a label name/],
  ['{a!="b"}', /expected =/],
  ['{a="b" c="d"}', /expected ,/],
  ['{a="b",,c="d"}', /a label name/],
  ['{a="b", a="c"}', /label a is given twice/],
  ['{__proto__="b"}', /__proto__/],
  ['{a="\\q"}', /unknown escape \\q/],
  ['{a="\\ud800"}', /unknown escape/],
  ['{a="\\777"}', /unknown escape/],
  ['{a="\\x4"}', /unknown escape/],
];
for (const [text, message] of bad) {
  test(`refuses ${text}`, () => {
    assert.throws(
      () => parseLabels(text, PUSH_LIMITS),
      (error: unknown) => {
        assert.ok(error instanceof LabelsError, String(error));
        assert.match(error.message, message);
        return true;
      },
    );
  });
}

test('reads what labelsText prints, for any labels', () => {
  const name = fc.stringMatching(/^[a-zA-Z_][a-zA-Z0-9_]{0,9}$/).filter((name) => name !== '__proto__');
  // JSON and Go agree on every escape that JSON.stringify uses, save the lone surrogates that are not text.
  const value = fc.string({ unit: 'grapheme', minLength: 1 });
  fc.assert(
    fc.property(fc.dictionary(name, value, { minKeys: 1, maxKeys: 5, noNullPrototype: true }), (labels) => {
      assert.deepEqual(parseLabels(labelsText(labels), PUSH_LIMITS), labels);
    }),
  );
});

test('any text ends in labels or a LabelsError', () => {
  const text = fc
    .array(fc.constantFrom('{', '}', '"', '\\', ',', '=', 'a', 'x4', 'u', '`', ' '))
    .map((p) => p.join(''));
  fc.assert(
    fc.property(text, (text) => {
      try {
        parseLabels(text, PUSH_LIMITS);
      } catch (error) {
        assert.ok(error instanceof LabelsError, String(error));
      }
    }),
    { numRuns: 3000 },
  );
});

test('the key of pushed labels is that of the labels, checked and with their service, whatever they are', () => {
  const limits = { ...PUSH_LIMITS, labelsMax: 4, labelNameBytesMax: 12, labelValueBytesMax: 20 };
  const name = fc.oneof(
    fc.constantFrom('app', 'service', 'job', 'container', 'service_name', 'zone', '__proto__', 'a-b', ''),
    fc.string({ maxLength: 14 }),
  );
  const value = fc.oneof(
    fc.constantFrom('', 'plain', '"', '\\', '\u007f', '\ud800', 'ü€😀', 'x'.repeat(21)),
    fc.string({ unit: 'binary', maxLength: 9 }),
  );
  const keys = [true, false].map((discover) => new StreamKeys(limits, discover));
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 6 }), (pairs) => {
      // As JSON.parse makes it: its own property, whatever its name.
      const labels = JSON.parse(
        `{${pairs.map((pair) => pair.map((text) => JSON.stringify(text)).join(':')).join()}}`,
      );
      for (const [at, made] of keys.entries()) {
        const expected = outcome(() => {
          const checked = checkLabels(Object.entries(labels as Labels), limits);
          return labelsKey(at === 0 ? withServiceName(checked) : checked);
        });
        assert.deepEqual(
          outcome(() => made.ofJson(labels as Labels)),
          expected,
        );
      }
    }),
    { numRuns: 3000 },
  );
});

function outcome(work: () => string): string {
  try {
    return work();
  } catch (error) {
    assert.ok(error instanceof LabelsError);
    return error.message;
  }
}
