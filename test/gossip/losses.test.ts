import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LossAcceptor } from '../../src/gossip/index.ts';
import type { MissingBatches } from '../../src/gossip/query/receipt.ts';
import { keysFromSeed, type PeerId, type Transport } from '../../src/gossip/transport/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import { openStore } from '../store/material.ts';

const keys = await keysFromSeed(Buffer.alloc(32, 1));
const gone = (await keysFromSeed(Buffer.alloc(32, 2))).peer;
const away = (await keysFromSeed(Buffer.alloc(32, 3))).peer;

const run: MissingBatches = {
  origin: gone,
  epoch: 3,
  fromSeq: 5,
  toSeq: 9,
  fromTime: '2026-01-02T03:04:05.678Z',
  toTime: null,
  lastOwners: [],
  reason: 'unreachable',
};

test('what a person accepts as lost is remembered over restarts; who is back is counted again', async () => {
  const disk = new SimDisk(seededRandom(1));
  const open = () => openStore({ disk: disk.boot(), clock: new SimClock(), keys });
  const store = await open();
  const found = { missing: [run], outOfReach: [gone, away] as PeerId[] };
  const known = { lostPeers: new Set<string>([gone]) };
  const losses = new LossAcceptor({
    transport: {} as Transport,
    view: { self: keys.peer, members: () => [], isSearching: () => false, isIntroduced: () => true },
    store,
    known,
    coordinator: { losses: async () => found },
    timeoutMs: 1_000,
    log: (_level, message) => assert.fail(message),
  });
  const asked = await losses.losses(false, [gone]);
  assert.deepEqual(asked, { missing: [run], outOfReach: [away], told: 0 });
  await assert.rejects(losses.losses(true, [gone]), { code: 'LV_PEER_UNREACHABLE' });
  await assert.rejects(losses.losses(true, [gone, away, keys.peer]), { code: 'LV_QUERY_INVALID' });
  assert.equal([...store.lost.all].length, 0);
  assert.equal((await losses.losses(true, [gone, away])).told, 1);

  assert.deepEqual([...store.lostPeers].sort(), [gone, away].sort());

  losses.isBack(gone);
  assert.deepEqual([...known.lostPeers], []);
  // Written behind what came before.
  await store.acceptLoss([], []);
  const again = await open();
  assert.deepEqual([...again.lostPeers], [away]);
  const [min, max] = [
    { ms: Date.parse(run.fromTime!), sub: 0 },
    { ms: 8.64e15, sub: 999_999 },
  ];
  assert.deepEqual([...again.lost.all], [{ origin: gone, epoch: 3, from: 5, to: 9, min, max }]);
});
