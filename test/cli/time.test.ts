import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { localTime } from '../../src/node/cli/output.ts';
import { parseTimeNs } from '../../src/node/cli/time.ts';
import { visible, visibleJson } from '../../src/node/cli/visible.ts';

function ns(iso: string): bigint {
  return BigInt(Date.parse(iso)) * 1_000_000n;
}

test('times', () => {
  const good: [string, bigint][] = [
    ['now', 5_000_000n],
    ['2026-01-31T12:00:00Z', ns('2026-01-31T12:00:00Z')],
    ['2026-01-31T12:00:00.000000001+05:30', ns('2026-01-31T06:30:00Z') + 1n],
    ['2026-01-31 12:00:00,5-0800', ns('2026-01-31T20:00:00.500Z')],
    ['2026-01-31 12:00', ns('2026-01-31T12:00:00')],
    ['2026-01-31', ns('2026-01-31T00:00:00')],
    ['2024-02-29Z', ns('2024-02-29T00:00:00Z')],
    ['1700000000', 1_700_000_000_000_000_000n],
    ['1700000000123', 1_700_000_000_123_000_000n],
    ['1700000000123456789', 1_700_000_000_123_456_789n],
  ];
  for (const [text, expected] of good) assert.equal(parseTimeNs(text, 5), expected, text);
  for (const text of [
    '',
    'yesterday',
    '2026-02-30',
    '2026-13-01',
    '2026-01-01T24:00',
    '2026-01-01T00:60',
    '1.5',
    '-1',
  ]) {
    assert.equal(parseTimeNs(text, 5), undefined, text);
  }
});

test('a printed time reads back to the millisecond', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4_000_000_000_000 }), (ms) => {
      const text = localTime(BigInt(ms) * 1_000_000n);
      assert.match(text, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}$/);
      assert.equal(localTime(parseTimeNs(text, 0) ?? 0n), text);
    }),
  );
  assert.equal(localTime(-1n), localTime(-1_000_000n));
});

test('any bytes become text without controls, and plain text stays', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.doesNotMatch(visible(Buffer.from(bytes)), /(?![\u00ad\u200d])[\p{Cc}\p{Cf}\u2028\u2029\ufffd]/u);
    }),
  );
  assert.equal(visible(Buffer.from('größe 👩‍💻 \u65e5\u672c')), 'größe 👩‍💻 \u65e5\u672c');
  assert.equal(visible(Buffer.from([0x61, 0xf0, 0x9f, 0x98, 0x80, 0xf0, 0x9f])), 'a😀\\xf0\\x9f');
});

test('JSON for a terminal is the same JSON', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const json = visibleJson({ text });
      assert.deepEqual(JSON.parse(json), { text });
      assert.doesNotMatch(json, /(?![\u00ad\u200d])[\p{Cc}\p{Cf}\u2028\u2029]/u);
    }),
  );
});
