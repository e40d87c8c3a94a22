import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { bytesOfCut, cutLines, cutUnfinished, toLineFeeds } from '../../src/node/inputs/lines.ts';
import { withServiceName } from '../../src/node/pipeline/index.ts';
import { decodePosition } from '../../src/node/inputs/identity.ts';

const text = fc.string({ unit: fc.constantFrom('a', 'b', '\r', '\n', '\u00ff'), maxLength: 60 });

test('every \\r\\n loses its \\r, and nothing else changes', () => {
  fc.assert(
    fc.property(text, (value) => {
      const actual = toLineFeeds(Buffer.from(value, 'latin1')).toString('latin1');
      assert.equal(actual, value.replaceAll('\r\n', '\n'));
    }),
  );
});

test('cuts put together again are the text, wherever it is cut', () => {
  fc.assert(
    fc.property(text, fc.integer({ min: 1, max: 9 }), (raw, lineBytesMax) => {
      const value = raw.replaceAll('\r', 'c');
      let rest = Buffer.from(value, 'latin1');
      let piece = 0;
      let together = '';
      while (rest.length > 0) {
        const chunk = Buffer.from(rest.subarray(0, lineBytesMax + 1));
        const cut = cutLines(chunk, piece, lineBytesMax) ?? cutUnfinished(chunk, piece);
        const bytes = bytesOfCut(chunk, cut).toString('latin1');
        for (const line of bytes.split('\n')) assert(line.length <= lineBytesMax);
        const isOpen = cut.piece > 0;
        together += isOpen ? bytes.slice(0, -1) : bytes === '' ? '\n' : bytes;
        piece = cut.piece;
        rest = rest.subarray(cut.consumed);
      }
      assert.equal(together, value);
    }),
  );
});

test("service_name follows Loki's order", () => {
  assert.equal(withServiceName({ job: 'j', app: 'a' }).service_name, 'a');
  assert.equal(withServiceName({ job: 'j', service_name: 'mine' }).service_name, 'mine');
  assert.equal(withServiceName({ host: 'h' }).service_name, 'unknown_service');
});

test('a position that is none is not taken for one', () => {
  for (const bad of ['', '{', 'null', '7', '{"version":1}', '{"version":2,"offset":0}']) {
    assert.equal(decodePosition(bad), undefined);
  }
});
