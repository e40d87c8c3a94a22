import assert from 'node:assert/strict';
import { test } from 'node:test';
import { recoverOwn } from '../../src/gossip/repair/own-recovery.ts';
import { fetchBatches } from '../../src/gossip/repair/fetch.ts';
import type { HoldingsKnown } from '../../src/gossip/repair/knowledge.ts';
import type { Holding } from '../../src/gossip/repair/inventory.ts';
import type { PeerId } from '../../src/gossip/transport/index.ts';
import type { MeshView } from '../../src/gossip/view.ts';
import { Pace, type LogvineError, type Store } from '../../src/store/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { linePack } from '../store/material.ts';
import { StoreMesh } from './store-mesh.ts';

const [self, bob, carol] = ['alice', 'bob', 'carol'] as PeerId[];
const time = { min: { ms: 1, sub: 0 }, max: { ms: 2, sub: 0 } };

function holding(epoch: number, index: number, origin = self): Holding {
  const runs: [number, number][] = [[index * 10, index * 10 + 9]];
  return { origin, epoch, index, runs, ...time, owners: [], bytes: 1, open: false };
}

/** Alice, who has lost everything that the others hold; `fetch` is what she asks them for it with. */
function recovery(
  held: ReadonlyMap<PeerId, readonly Holding[]>,
  fetch: (asked: string, signal: AbortSignal) => Promise<void>,
) {
  const clock = new SimClock();
  const members = [self, ...held.keys()].map((peer) => ({ peer, state: 'alive' }));
  const recovered = recoverOwn({
    clock,
    view: { self, members: () => members } as unknown as MeshView,
    store: { epoch: 9, isReleased: () => false, segment: () => undefined } as unknown as Store,
    known: { of: (peer: PeerId) => held.get(peer)! } as unknown as HoldingsKnown,
    findMs: 1_000,
    totalMs: 10_000,
    isClosed: () => false,
    poll: async () => undefined,
    fetch: (peer, { epoch, index }, _, signal) => fetch(`${epoch}-${index} of ${peer}`, signal),
    log: () => undefined,
  });
  return { clock, recovered };
}

const HELD = new Map([
  [bob, [holding(1, 1), holding(1, 2), holding(2, 1), holding(2, 7, bob)]],
  [carol, [holding(1, 2), holding(2, 10), holding(2, 9), holding(9, 1)]],
]);

test('own batches that were lost come back the newest first, whoever has them', async () => {
  const asked: string[] = [];
  const { clock, recovered } = recovery(HELD, async (what) => void asked.push(what));
  await clock.run(recovered);
  // Of its own epoch, too: it has sealed nothing, so another run had it.
  assert.deepEqual(asked, [
    '9-1 of carol',
    '2-10 of carol',
    '2-9 of carol',
    '2-1 of bob',
    '1-2 of bob',
    '1-2 of carol',
    '1-1 of bob',
  ]);
});

test('what has not come when the time is over is not fetched any more', async () => {
  const asked: string[] = [];
  const { clock, recovered } = recovery(HELD, async (what, signal) => {
    asked.push(what);
    if (asked.length < 2) return;
    await new Promise((_, reject) =>
      signal.addEventListener('abort', () => reject(signal.reason as LogvineError)),
    );
  });
  await clock.run(recovered);
  assert.ok(clock.monotonicMs() <= 10_100, `${clock.monotonicMs()} ms`);
  await clock.advance(60_000);
  assert.deepEqual(asked, ['9-1 of carol', '2-10 of carol']);
});

test('a fetch that is called off ends at once, and nothing more of it is stored', async () => {
  const mesh = await StoreMesh.of(['alice', 'bob'], seededRandom(1), { replicas: 1, ackQuorum: 1 });
  const [alice, bob] = [mesh.peer('alice'), mesh.peer('bob')];
  const batches = Array.from({ length: 20 }, (_, at) => mesh.seal('bob', linePack(`line ${at}`)));
  await mesh.clock.advance(1_000);
  const { transport, store } = alice.running;
  const off = new AbortController();
  const { clock } = mesh;
  const { id } = batches[0].batch.segment;
  const options = { transport, clock, store, pace: new Pace(clock, 1_000), timeoutMs: 60_000 };
  const fetched = fetchBatches(bob.id, id, [[1, 20]], { ...options, signal: off.signal });
  const rejected = assert.rejects(fetched, /enough/);
  await clock.until(() => store.totals.batches > 2, 60_000);
  off.abort(new Error('enough'));
  await clock.run(rejected);
  const before = store.totals.batches;
  await clock.advance(60_000);
  assert.equal(store.totals.batches, before);
  assert.ok(before < 20);
  await clock.run(
    assert.rejects(fetchBatches(bob.id, id, [[1, 20]], { ...options, signal: off.signal }), /enough/),
  );
});
