import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { BatchList, type BatchEntry, type BatchFields } from '../../src/store/segment/batch-list.ts';

const instant = fc
  .tuple(
    fc.integer({ min: -8_640_000_000_000_000, max: 8_640_000_000_000_000 }),
    fc.integer({ min: 0, max: 999_999 }),
  )
  .map(([ms, sub]) => ({ ms, sub }));
const word = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const streams = fc.oneof(
  fc.uniqueArray(fc.integer({ min: 0, max: 4 * 1024 * 1024 }), { maxLength: 4 }),
  fc.uniqueArray(fc.integer({ min: 0, max: 500 }), { minLength: 60, maxLength: 80 }),
);
const fields: fc.Arbitrary<BatchFields> = fc
  .record({
    seq: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })),
    offset: word,
    frameBytes: word,
    headerBytes: word,
    filterBytes: word,
    headerHash: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    entries: word,
    rawBytes: word,
    min: instant,
    max: instant,
    sealedAtMs: fc.maxSafeNat(),
    streams: streams.map((list) => list.sort((a, b) => a - b)),
  })
  .map((batch) => ({ ...batch }));

function fieldsOf(batch: BatchEntry): BatchFields {
  const { seq, offset, frameBytes, headerBytes, filterBytes, entries, rawBytes, min, max, sealedAtMs } =
    batch;
  const [streams, headerHash] = [[...batch.streams], Uint8Array.from(batch.headerHash)];
  assert.deepEqual([batch.minMs, batch.maxMs], [min.ms, max.ms]);
  return {
    seq,
    offset,
    frameBytes,
    headerBytes,
    filterBytes,
    headerHash,
    entries,
    rawBytes,
    min,
    max,
    sealedAtMs,
    streams,
  };
}

const step = fc.oneof(
  { weight: 4, arbitrary: fields.map((batch) => ({ do: 'add' as const, batch })) },
  { weight: 1, arbitrary: fc.array(fc.nat(), { maxLength: 5 }).map((at) => ({ do: 'remove' as const, at })) },
  { weight: 1, arbitrary: fc.nat(10).map((more) => ({ do: 'reserve' as const, more })) },
);

test('a list gives back what was added, by seq, whatever the order; views and entries stay as they were', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 0, max: 45 }), (steps, from) => {
      const list = new BatchList();
      let model: BatchFields[] = [];
      const kept: { is: Iterable<BatchEntry>; was: readonly BatchFields[] }[] = [];
      for (const one of steps) {
        if (one.do === 'reserve') list.reserve(one.more);
        else if (one.do === 'remove') {
          const going = new Set(one.at.filter((at) => at < model.length).map((at) => model[at].seq));
          list.remove(Array.from(going, (seq) => ({ seq })));
          model = model.filter(({ seq }) => !going.has(seq));
        } else if (!list.has(one.batch.seq)) {
          list.add(one.batch);
          model = [...model, one.batch].sort((a, b) => a.seq - b.seq);
        }
        assert.equal(list.length, model.length);
        kept.push({ is: list.between([[0, Infinity]]), was: model });
        kept.push({
          is: list.between([
            [0, from],
            [from + 2, from + 9],
          ]),
          was: model.filter(({ seq }) => seq <= from || (seq >= from + 2 && seq <= from + 9)),
        });
        kept.push({ is: [...list], was: model });
      }
      for (const { is, was } of kept) assert.deepEqual([...is].map(fieldsOf), was);
      for (const [at, batch] of model.entries()) {
        assert.equal(list.seqAt(at), batch.seq);
        assert.deepEqual(fieldsOf(list.at(at)!), batch);
        assert.deepEqual(fieldsOf(list.at(at - model.length)!), batch);
        assert.deepEqual(fieldsOf(list.find(batch.seq)!), batch);
        assert.equal(list.indexFrom(batch.seq), at);
      }
      assert.equal(list.at(model.length), undefined);
      assert.equal(list.at(-model.length - 1), undefined);
      for (let seq = 0; seq < 45; seq++) {
        const next = model.findIndex((batch) => batch.seq >= seq);
        assert.equal(list.indexFrom(seq), next < 0 ? model.length : next);
        assert.equal(list.has(seq), model[next]?.seq === seq);
        if (!list.has(seq)) assert.equal(list.find(seq), undefined);
      }
    }),
    { numRuns: 300 },
  );
});

test('which streams of a batch are plain is known, and of that batch alone', () => {
  fc.assert(
    fc.property(fields, fc.array(fc.nat(), { maxLength: 100 }), (batch, noted) => {
      const list = new BatchList();
      list.add({ ...batch, seq: 1 });
      list.add({ ...batch, seq: 2 });
      const [first, second] = list;
      assert.deepEqual(first.plainStreams, []);
      const asked = noted.map((at) => batch.streams[at % batch.streams.length] ?? 7);
      for (let at = 0; at < asked.length; at += 3) first.notePlain(asked.slice(at, at + 3));
      const known = [...batch.streams].filter((stream) => asked.includes(stream));
      assert.deepEqual(list.at(0)!.plainStreams, known);
      assert.deepEqual(second.plainStreams, []);
      assert.deepEqual(fieldsOf(first), { ...batch, seq: 1 });
    }),
    { numRuns: 300 },
  );
});
