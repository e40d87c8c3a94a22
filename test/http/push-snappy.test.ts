import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compress } from 'snappyjs';
import { SnappyError, snappyUncompress } from '../../src/node/http/push-snappy.ts';

const LENGTH_MAX = 1_000_000;

test('what another implementation compressed comes back', () => {
  const repetitive = fc
    .array(fc.constantFrom('abc', 'level=info ', '\n', 'é', 'x'.repeat(100)), { maxLength: 500 })
    .map((parts) => Buffer.from(parts.join('')));
  const random = fc.uint8Array({ maxLength: 200_000 }).map((bytes) => Buffer.from(bytes));
  fc.assert(
    fc.property(fc.oneof(repetitive, random), (bytes) => {
      assert.deepEqual(snappyUncompress(Buffer.from(compress(bytes)), LENGTH_MAX), bytes);
    }),
  );
});

test('a long literal and all kinds of copies', () => {
  const literal = Buffer.from('abcdefgh');
  const block = Buffer.concat([
    Buffer.from([8 + 4 + 3 + 5, (8 - 1) << 2]),
    literal,
    Buffer.from([((4 - 4) << 2) | 1, 8]),
    Buffer.from([((3 - 1) << 2) | 2, 1, 0]),
    Buffer.from([((5 - 1) << 2) | 3, 20 - 5, 0, 0, 0]),
  ]);
  assert.equal(snappyUncompress(block, LENGTH_MAX).toString(), 'abcdefghabcddddabcde');
});

test('a literal whose length is negative as an int32 ends at once', () => {
  const block = Buffer.from([10, 63 << 2, 0xf8, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.throws(() => snappyUncompress(block, LENGTH_MAX), SnappyError);
});

test('lies about the length are refused before they cost memory', () => {
  const huge = Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
  assert.throws(() => snappyUncompress(huge, LENGTH_MAX), /would decompress to 4294967295 bytes/);
  assert.throws(() => snappyUncompress(huge, 2 ** 33), /more bytes than it can hold/);
  assert.throws(() => snappyUncompress(Buffer.from([3, 0, 0x61]), LENGTH_MAX), /shorter than it declares/);
  assert.throws(() => snappyUncompress(Buffer.from([1, 4, 0x61, 0x62]), LENGTH_MAX), SnappyError);
  assert.throws(() => snappyUncompress(Buffer.alloc(0), LENGTH_MAX), /does not begin with a length/);
});

test('any bytes end in a result or a SnappyError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        snappyUncompress(bytes, 10_000);
      } catch (error) {
        assert.ok(error instanceof SnappyError, String(error));
      }
    }),
    { numRuns: 5000 },
  );
});
