import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answerInventory, askForInventory } from '../../src/gossip/repair/inventory.ts';
import { keysFromSeed } from '../../src/gossip/transport/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import { linePack, openStore } from '../store/material.ts';

const AT_ONCE = 4;

test('an inventory comes in as many answers as it takes, and as one; what changes meanwhile is in it', async () => {
  const store = await openStore({
    disk: new SimDisk(seededRandom(1)).boot(),
    clock: new SimClock(),
    keys: await keysFromSeed(Buffer.alloc(32, 1)),
    more: { segmentBytesMax: 1 },
  });
  const seal = (text: string): Promise<void> => store.seal(linePack(text), []).written;
  for (let at = 1; at <= 10; at++) await seal(`line ${at}`);
  let asked = 0;
  const ask = async (request: Buffer): Promise<Buffer> => {
    const answer = answerInventory(store, request, AT_ONCE);
    if (++asked === 2) {
      const [first, second] = [...store.segments()].filter(({ id }) => id.index <= 2);
      await store.drop([first], 'surplus');
      store.quarantine(second, second.last!);
      await seal('line 11');
    }
    return answer;
  };
  const { holdings, more, version } = await askForInventory({ instance: '', version: 0 }, ask);
  assert.ok(asked >= 3, `${asked} answers`);
  assert.equal(more, false);
  assert.equal(version, store.health.version);
  const indexes = holdings.map(({ index }) => index).sort((a, b) => a - b);
  // Of the second nothing can be read any more.
  assert.deepEqual(indexes, [3, 4, 5, 6, 7, 8, 9, 10, 11]);
  const later = await askForInventory({ instance: store.instance, version }, ask);
  assert.deepEqual(later.holdings, []);
});

test('one that never ends, or begins anew, is refused', async () => {
  const empty = { holdings: [], removed: [], expired: [] };
  const answers = (...all: object[]) => {
    let at = 0;
    return async (): Promise<Buffer> => Buffer.from(JSON.stringify({ ...empty, ...all[at++] }));
  };
  const since = { instance: '', version: 0 };
  const stands = answers(
    { instance: 'a', version: 5, more: true },
    { instance: 'a', version: 5, more: true },
  );
  await assert.rejects(askForInventory(since, stands), { code: 'LV_PROTOCOL' });
  const another = answers(
    { instance: 'a', version: 5, more: true },
    { instance: 'b', version: 9, more: false },
  );
  await assert.rejects(askForInventory(since, another), { code: 'LV_PROTOCOL' });
});
