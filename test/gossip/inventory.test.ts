import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answerInventory, askForInventory, parseInventory } from '../../src/gossip/repair/inventory.ts';
import { keysFromSeed } from '../../src/gossip/transport/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import { linePack, openStore } from '../store/material.ts';

const AT_ONCE = { segments: 4, expired: 3 };
const NOTHING = { instance: '', version: 0, expiredVersion: 0 };

async function storeOfOneBatchSegments() {
  const store = await openStore({
    disk: new SimDisk(seededRandom(1)).boot(),
    clock: new SimClock(),
    keys: await keysFromSeed(Buffer.alloc(32, 1)),
    more: { segmentBytesMax: 1 },
  });
  return { store, seal: (text: string): Promise<void> => store.seal(linePack(text), []).written };
}

test('an inventory comes in as many answers as it takes, and as one; what changes meanwhile is in it', async () => {
  const { store, seal } = await storeOfOneBatchSegments();
  for (let at = 1; at <= 10; at++) await seal(`line ${at}`);
  let asked = 0;
  const ask = async (request: Buffer): Promise<Buffer> => {
    const answer = answerInventory(store, request, AT_ONCE);
    if (++asked === 2) {
      const [first, second] = [...store.segments()].filter(({ id }) => id.index <= 2);
      await store.drop([first], 'surplus');
      store.quarantine(second, [second.last!]);
      await seal('line 11');
    }
    return answer;
  };
  const { holdings, more, version } = await askForInventory(NOTHING, ask);
  assert.ok(asked >= 3, `${asked} answers`);
  assert.equal(more, false);
  assert.equal(version, store.health.version);
  const indexes = holdings.map(({ index }) => index).sort((a, b) => a - b);
  // Of the second nothing can be read any more.
  assert.deepEqual(indexes, [3, 4, 5, 6, 7, 8, 9, 10, 11]);
  const later = await askForInventory({ ...NOTHING, instance: store.instance, version }, ask);
  assert.deepEqual(later.holdings, []);
});

test('what expired is told once, however much there is of it, and to whoever knows nothing all of it', async () => {
  const { store, seal } = await storeOfOneBatchSegments();
  for (let at = 1; at <= 10; at++) await seal(`line ${at}`);
  store.rollSegment();
  const asked: number[] = [];
  const ask = async (request: Buffer): Promise<Buffer> => {
    const answer = answerInventory(store, request, AT_ONCE);
    asked.push(parseInventory(answer).expired.length);
    return answer;
  };
  const expire = (...indexes: number[]): Promise<void> =>
    store.drop(
      [...store.segments()].filter(({ id }) => indexes.includes(id.index)),
      'expired',
    );
  await expire(1, 2, 3, 4, 5, 6, 7);
  const first = await askForInventory(NOTHING, ask);
  assert.deepEqual(
    first.expired.map(({ from }) => from),
    [1, 2, 3, 4, 5, 6, 7],
  );
  assert.deepEqual(asked.splice(0), [3, 3, 1]);
  await expire(9);
  const second = await askForInventory(first, ask);
  assert.deepEqual(
    second.expired.map(({ from, to }) => [from, to]),
    [[9, 9]],
  );
  assert.deepEqual(second.removed, [{ origin: store.origin, epoch: store.epoch, index: 9 }]);
  assert.deepEqual((await askForInventory(second, ask)).expired, []);
  const restarted = { ...second, instance: 'another' };
  assert.equal(
    (await askForInventory(restarted, ask)).expired.length,
    8,
    'numbers of another process say nothing',
  );
});

test('one that never ends, or begins anew, is refused', async () => {
  const empty = { holdings: [], removed: [], expired: [], expiredVersion: 0 };
  const answers = (...all: object[]) => {
    let at = 0;
    return async (): Promise<Buffer> => Buffer.from(JSON.stringify({ ...empty, ...all[at++] }));
  };
  const since = NOTHING;
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

test('of a holding nothing is taken in but what belongs to it', () => {
  const sound = {
    origin: 'alice',
    epoch: 0,
    index: 1,
    runs: [[1, 2]],
    min: { ms: -1.5, sub: 0 },
    max: { ms: 8.64e15, sub: 999_999 },
    owners: ['alice'],
    bytes: 0,
    open: false,
  };
  const rest = { instance: 'i', version: 1, more: false, removed: [], expired: [], expiredVersion: 0 };
  const parse = (holding: unknown) =>
    parseInventory(Buffer.from(JSON.stringify({ ...rest, holdings: [holding] }))).holdings;
  assert.deepEqual(parse(sound), [sound]);
  const junk = 'x'.repeat(1_000);
  const more = { ...sound, junk, min: { ...sound.min, junk }, max: { ...sound.max, junk } };
  assert.deepEqual(parse(more), [sound]);
  const wrong: Record<keyof typeof sound, unknown[]> = {
    origin: [1, 'x'.repeat(129)],
    epoch: [-1, 0.5, 2 ** 53, '1'],
    index: [0, -1, 1.5],
    runs: [
      {},
      [[2, 1]],
      [[0, 1]],
      [[1, 2, 3]],
      [
        [1, 2],
        [2, 3],
      ],
      [[1, 1e9]],
      [[1.5, 2]],
    ],
    min: [null, [], { ms: '1', sub: 0 }, { ms: 8.65e15, sub: 0 }, { ms: 1 }],
    max: [
      { ms: 1, sub: -1 },
      { ms: 1, sub: 1_000_000 },
      { ms: 1, sub: 0.5 },
    ],
    owners: ['alice', [1], Array(17).fill('a'), ['x'.repeat(129)]],
    bytes: [-1, '1', null],
    open: [0, 'true', null],
  };
  for (const [field, values] of Object.entries(wrong))
    for (const value of [...values, undefined])
      assert.throws(() => parse({ ...sound, [field]: value }), { code: 'LV_PROTOCOL' }, `${field}: ${value}`);
});
