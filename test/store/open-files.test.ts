import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keysFromSeed } from '../../src/gossip/transport/index.ts';
import { LIMITS } from '../../src/store/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import { frameOf, framesOf, linePack, openStore } from './material.ts';

const [alice, bob] = await Promise.all([1, 2].map((byte) => keysFromSeed(Buffer.alloc(32, byte))));

test('a peer that writes to many segments keeps few files open, and goes on with each', async () => {
  const clock = new SimClock();
  const disk = new SimDisk(seededRandom(1)).boot();
  const openFile = disk.open.bind(disk);
  let open = 0;
  let openMax = 0;
  disk.open = async (path, mode) => {
    const file = await openFile(path, mode);
    if (mode === 'read' || !path.endsWith('.seg')) return file;
    openMax = Math.max(openMax, ++open);
    return { ...file, close: () => (open--, file.close()) };
  };
  const origin = await openStore({
    disk: new SimDisk(seededRandom(2)).boot(),
    clock,
    keys: bob,
    more: { segmentBytesMax: 800 },
  });
  const count = 6 * LIMITS.openSegmentsMax;
  const sealed = Array.from({ length: count }, (_, at) => origin.seal(linePack(`line ${at}`), []));
  await Promise.all(sealed.map(({ written }) => written));
  const store = await openStore({ disk, clock, keys: alice });
  const isFirst = (at: number): boolean => sealed[at - 1]?.segment !== sealed[at].segment;
  const order = [...sealed.keys()];
  // The first batch of each segment, then the others: each file is opened, closed, and opened again.
  for (const at of [...order.filter(isFirst), ...order.filter((one) => !isFirst(one))])
    await store.appendReplica(frameOf(sealed[at]));
  assert.ok(store.totals.segments > LIMITS.openSegmentsMax, `${store.totals.segments} segments`);
  assert.ok(openMax <= LIMITS.openSegmentsMax + 2, `${openMax} files open`);
  assert.equal((await framesOf(store)).size, count);
  await store.close();
  assert.equal(open, 0);
});
