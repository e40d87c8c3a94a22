import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { IndexMemory } from '../../src/store/index.ts';
import { seededRandom } from '../helpers/sim-clock.ts';
import { batchesOfOneList, below, quiet } from './material.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const filterFor = (seq: number, bytes: number): Uint8Array => new Uint8Array(bytes).fill(seq);

test('what is remembered stays within its bound, and is what was found', () => {
  const random = seededRandom(5);
  const bytesMax = 300_000;
  const memory = new IndexMemory(bytesMax);
  const batches = batchesOfOneList(100);
  let known = 0;
  for (let round = 0; round < 3_000; round++) {
    const batch = batches[below(random, batches.length)];
    const filter = memory.filterOf(batch);
    if (filter) {
      known++;
      assert.ok(filter.length > 0 && filter.every((byte) => byte === batch.seq));
    }
    memory.keepFilter(batch, filterFor(batch.seq, 8 << below(random, 13)));
    assert.ok(memory.filterOf(batch), 'what is new is there');
    memory.keepParts(batch, []);
    assert.ok(memory.bytes <= bytesMax, `${memory.bytes} bytes`);
  }
  assert.ok(known > 300, `${known} of 3,000 looked up were there`);
});

test('what is larger than the whole memory is not kept, and drives nothing out', () => {
  const memory = new IndexMemory(20_000);
  const [small, large] = batchesOfOneList(2);
  memory.keepFilter(small, filterFor(1, 1_024));
  const { bytes } = memory;
  memory.keepFilter(large, filterFor(2, 32_768));
  assert.equal(memory.filterOf(large), undefined);
  assert.ok(memory.filterOf(small));
  assert.equal(memory.bytes, bytes);
});

test('a sweep over more batches than there is room for finds its share of them again', () => {
  const memory = new IndexMemory(1_000_000);
  const batches = batchesOfOneList(120);
  let found = 0;
  let brought = 0;
  for (let sweep = 0; sweep < 40; sweep++) {
    for (const batch of batches) {
      if (memory.filterOf(batch)) found += sweep < 20 ? 0 : 1;
      else if (memory.claim(batch)) {
        memory.settle(batch);
        brought += sweep < 20 ? 0 : 1;
        memory.keepFilter(batch, filterFor(batch.seq, 16_384));
      }
    }
  }
  // Some 59 of 120 fit. The least recently used one would have been asked for next, each time.
  assert.ok(found / 20 > 50, `${found / 20} a sweep`);
  assert.ok(brought / 20 < 12, `${brought / 20} brought a sweep`);
});

test('of a batch, one task at a time is asked to tell', () => {
  const memory = new IndexMemory();
  const [one, other] = batchesOfOneList(2);
  assert.ok(memory.claim(one));
  assert.ok(!memory.claim(one));
  assert.ok(memory.claim(other));
  memory.settle(one);
  assert.ok(memory.claim(one), 'it told nothing: another may');
});

test('a segment that is no more gives its memory back', async () => {
  const memory = new IndexMemory();
  const [kept] = batchesOfOneList(1);
  memory.keepFilter(kept, filterFor(1, 1_024));
  const { bytes } = memory;
  // In a function of its own, so that nothing here holds them.
  const fill = (): void => {
    for (const batch of [...batchesOfOneList(100), ...batchesOfOneList(100)]) {
      memory.keepFilter(batch, filterFor(batch.seq, 1_024));
      memory.keepParts(batch, []);
    }
  };
  fill();
  assert.ok(memory.bytes > bytes * 200);
  for (let round = 0; round < 20 && memory.bytes > bytes; round++) {
    await quiet(1);
    collect();
  }
  assert.equal(memory.bytes, bytes);
  assert.ok(memory.filterOf(kept));
});
