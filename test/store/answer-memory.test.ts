import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AnswerMemory, labelsText } from '../../src/store/index.ts';
import { parseMetricQuery, planMetric, type RangePartial } from '../../src/store/logql/index.ts';
import { seededRandom } from '../helpers/sim-clock.ts';
import { batchesOfOneList, below } from './material.ts';

function newPartials(): RangePartial[] {
  const times = { startNs: 60_000_000_000n, endNs: 60_000_000_000n, stepNs: 0n };
  const { leaves } = planMetric(parseMetricQuery('count_over_time({app="a"}[1m])'), times);
  return leaves.map((leaf) => leaf.newPartial({ seriesMax: 1_000, numbersMax: 1e6 }));
}

const answer = (app: string, count: number) => [
  { leaf: 0, series: { labels: { app }, buckets: [0], states: [[count]] } },
];

test('what is remembered stays within its bound, the oldest question goes first, and answers are what was found', () => {
  const random = seededRandom(7);
  const bytesMax = 600_000;
  const memory = new AnswerMemory(bytesMax);
  const batches = batchesOfOneList(2_000);
  let known = 0;
  for (let round = 0; round < 20_000; round++) {
    const question = below(random, 8);
    const record = memory.recordOf(`question ${question}`);
    const batch = batches[below(random, batches.length)];
    const partials = newPartials();
    if (record.take(batch, partials, [0])) {
      known++;
      const [part] = partials[0].parts();
      assert.deepEqual(part, {
        labels: { app: `a${batch.seq % 5}` },
        buckets: [0],
        states: [[question * 10_000 + batch.seq]],
      });
    } else memory.keep(record, batch, answer(`a${batch.seq % 5}`, question * 10_000 + batch.seq), labelsText);
    assert.ok(memory.bytes <= bytesMax, `${memory.bytes} bytes`);
    assert.ok(record.isKept);
  }
  assert.ok(known > 1_000, `${known} of 20,000 looked up were there`);
});

test('a question alone fills the memory up to its bound, and no further', () => {
  const memory = new AnswerMemory(400_000);
  const record = memory.recordOf('one');
  const batches = batchesOfOneList(5_000);
  for (const batch of batches) memory.keep(record, batch, answer(`app ${batch.seq}`, 1), labelsText);
  assert.ok(!memory.hasRoomIn(record));
  assert.ok(memory.bytes > 200_000 && memory.bytes <= 400_000, `${memory.bytes} bytes`);
  memory.recordOf('two');
  assert.ok(
    memory.hasRoomIn(memory.recordOf('two')),
    'the other one gives way when there is something to keep',
  );
  memory.keep(memory.recordOf('two'), batches[1], answer('a', 1), labelsText);
  assert.ok(!record.isKept);
});
