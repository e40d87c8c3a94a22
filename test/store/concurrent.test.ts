import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keysFromSeed } from '../../src/gossip/transport/index.ts';
import type { Disk } from '../../src/store/host/index.ts';
import type { Store } from '../../src/store/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import { frameOf, framesOf, linePack, openStore } from './material.ts';

const alice = await keysFromSeed(Buffer.alloc(32, 1));
const bob = await keysFromSeed(Buffer.alloc(32, 2));

const open = (disk: Disk, keys = alice, clock = new SimClock()): Promise<Store> =>
  openStore({ disk, clock, keys });

/** Bob's batches, all in one segment. */
async function bobsFrames(count: number): Promise<Buffer[]> {
  const store = await open(new SimDisk(seededRandom(2)).boot(), bob);
  const sealed = Array.from({ length: count }, (_, at) => store.seal(linePack(`line ${at}`), []));
  await Promise.all(sealed.map(({ written }) => written));
  return sealed.map(frameOf);
}

test('a batch that two bring at once to fill a hole is stored once', async () => {
  const store = await open(new SimDisk(seededRandom(1)).boot());
  const frames = await bobsFrames(5);
  for (const at of [0, 1, 3, 4]) await store.appendReplica(frames[at], { isRepair: true });
  await Promise.all([0, 1, 2].map(() => store.appendReplica(frames[2], { isRepair: true })));
  const [segment] = store.segments();
  assert.deepEqual(segment.intervals(), [[1, 5]]);
  assert.equal(store.totals.batches, 5);
  assert.equal((await framesOf(store)).size, 5);
});

test('a segment that two want to drop is dropped once, and counted once', async () => {
  const store = await open(new SimDisk(seededRandom(1)).boot());
  for (const frame of await bobsFrames(3)) await store.appendReplica(frame);
  const [segment] = store.segments();
  await Promise.all([store.drop([segment], 'surplus'), store.drop([segment], 'expired')]);
  await store.drop([segment], 'expired');
  assert.deepEqual(store.totals, { segments: 0, batches: 0, entries: 0, rawBytes: 0, storedBytes: 0 });
  assert.deepEqual([...store.dropped.expired.all], [], 'others keep it');
});

test('what is refused leaves no empty segment behind', async () => {
  const disk = new SimDisk(seededRandom(1)).boot();
  const store = await openStore({
    disk,
    clock: new SimClock(),
    keys: alice,
    more: { whyNoReplicas: () => Object.assign(new Error('leaving'), { code: 'LV_CLOSED' }) as never },
  });
  const [first, second] = await bobsFrames(2);
  await assert.rejects(store.appendReplica(first), { code: 'LV_CLOSED' });
  await assert.rejects(store.appendReplica(second, { isRepair: true }), { code: 'LV_PROTOCOL' });
  assert.equal([...store.segments()].length, 0);
});

test('too few handles for a moment stop nothing: own batches wait, replicas are refused', async () => {
  const clock = new SimClock();
  const real = new SimDisk(seededRandom(1)).boot();
  let isShort = false;
  const scarce: Disk['open'] = (...given) =>
    isShort
      ? Promise.reject(Object.assign(new Error('too many open files'), { code: 'EMFILE' }))
      : real.open(...given);
  const disk = new Proxy(real, {
    get: (_, name) => {
      const own: unknown = Reflect.get(real, name, real);
      if (name === 'open') return scarce;
      return typeof own === 'function' ? own.bind(real) : own;
    },
  });
  const store = await open(disk, alice, clock);
  const [frame] = await bobsFrames(1);
  isShort = true;
  const sealed = store.seal(linePack('own'), []);
  await assert.rejects(store.appendReplica(frame), { code: 'LV_OVERLOADED' });
  await clock.advance(10_000);
  assert.equal(store.health.failure, undefined);
  assert.equal(store.diskFull?.code, 'LV_OVERLOADED');
  isShort = false;
  await clock.run(sealed.written);
  await store.appendReplica(frame);
  assert.equal((await framesOf(store)).size, 2);
});

test('what a peer has sealed itself, and lost, it takes back in the same run', async () => {
  const store = await open(new SimDisk(seededRandom(1)).boot());
  const sealed = ['a', 'b', 'c'].map((line) => store.seal(linePack(line), []));
  await Promise.all(sealed.map(({ written }) => written));
  const { segment } = sealed[0];
  // As after a write that went astray: the place of the first is taken by another copy of the last.
  segment.record.batches.remove([segment.entry(1)!]);
  segment.touch();
  await store.appendReplica(frameOf(sealed[0]), { isRepair: true });
  assert.deepEqual(segment.intervals(), [[1, 3]]);
  assert.equal((await framesOf(store)).size, 3);
});
