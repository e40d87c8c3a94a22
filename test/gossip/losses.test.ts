import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LOSS_PROTOCOL, LossAcceptor, standingLosses } from '../../src/gossip/index.ts';
import type { MissingBatches } from '../../src/gossip/query/receipt.ts';
import { keysFromSeed, type PeerId, type Transport } from '../../src/gossip/transport/index.ts';
import { subtractRuns } from '../../src/store/index.ts';
import type { MeshMember } from '../../src/gossip/view.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import { SimNetwork } from '../helpers/sim-network.ts';
import { frameOf, linePack, openStore } from '../store/material.ts';

const keys = await keysFromSeed(Buffer.alloc(32, 1));
const gone = (await keysFromSeed(Buffer.alloc(32, 2))).peer;
const away = (await keysFromSeed(Buffer.alloc(32, 3))).peer;

/** Of one that is alone. */
const nobodyElse = { clock: new SimClock() } as Partial<Transport> as Transport;

const missing: MissingBatches = {
  origin: gone,
  epoch: 3,
  fromSeq: 5,
  toSeq: 9,
  fromTime: '2026-01-02T03:04:05.678Z',
  toTime: null,
  lastOwners: [],
  reason: 'unreachable',
};
const run = {
  origin: gone,
  epoch: 3,
  from: 5,
  to: 9,
  min: { ms: Date.parse('2026-01-02T03:04:05.678Z'), sub: 0 },
  max: { ms: 8.64e15, sub: 999_999 },
};

const member = (peer: PeerId, state: MeshMember['state'], [epoch, incarnation] = [3, 2]): MeshMember => ({
  peer,
  state,
  zone: '',
  weight: 1,
  leaving: false,
  stateSinceMs: 0,
  epoch,
  incarnation,
});

test('what a person accepts as lost is remembered over restarts, until a peer that was lost is back', async () => {
  const disk = new SimDisk(seededRandom(1));
  const open = () => openStore({ disk: disk.boot(), clock: new SimClock(), keys });
  const store = await open();
  let state: MeshMember['state'] = 'suspect';
  const losses = new LossAcceptor({
    transport: nobodyElse,
    view: {
      self: keys.peer,
      members: () => [member(keys.peer, 'alive'), member(gone, 'gone'), member(away, state)],
      isSearching: () => false,
      isIntroduced: () => true,
    },
    store,
    coverage: {
      losses: async () => ({ missing: [missing], outOfReach: [gone, away], answered: [keys.peer] }),
    },
    timeoutMs: 1_000,
  });
  const asked = await losses.losses(false, [gone]);
  assert.deepEqual(asked, { missing: [missing], omitted: 0, outOfReach: [away], remembering: 0, told: 0 });
  await assert.rejects(losses.losses(true, [gone]), { code: 'LV_PEER_UNREACHABLE' });
  // It has only been slow to answer.
  await assert.rejects(losses.losses(true, [gone, away]), { code: 'LV_QUERY_INVALID' });
  state = 'dead';
  await assert.rejects(losses.losses(true, [gone, away, keys.peer]), { code: 'LV_QUERY_INVALID' });
  await assert.rejects(losses.losses(true, [gone, away, 'nobody']), { code: 'LV_QUERY_INVALID' });
  disk.spaceBytes = 0;
  await assert.rejects(losses.losses(true, [gone, away]), { code: 'LV_DISK_FULL' });
  disk.spaceBytes = Infinity;
  assert.deepEqual(store.dropped.losses, [], 'what was refused does not count');
  const accepted = await losses.losses(true, [gone, away]);
  assert.deepEqual([accepted.remembering, accepted.told], [1, 1]);

  const peers = [gone, away].map((peer) => ({ peer, epoch: 3, incarnation: 2 }));
  let again = await open();
  assert.deepEqual(again.dropped.losses, [{ runs: [run], peers }]);
  await again.dropped.acceptLoss({ runs: [run], peers });
  assert.equal(again.dropped.losses.length, 1, 'once');
  await again.dropped.endLosses(({ peers: lost }) => lost.some(({ peer }) => peer === away));
  again = await open();
  assert.deepEqual(again.dropped.losses, []);
});

test('more runs than a message takes are accepted in as many rounds', async () => {
  const store = await openStore({ disk: new SimDisk(seededRandom(3)).boot(), clock: new SimClock(), keys });
  const all = Array.from({ length: 10_003 }, (_, at) => ({
    ...missing,
    fromSeq: 2 * at + 1,
    toSeq: 2 * at + 1,
  }));
  const losses = new LossAcceptor({
    transport: nobodyElse,
    view: {
      self: keys.peer,
      members: () => [member(keys.peer, 'alive')],
      isSearching: () => false,
      isIntroduced: () => true,
    },
    store,
    coverage: {
      losses: async () => {
        const accepted = new Set(store.dropped.losses.flatMap(({ runs }) => runs.map(({ from }) => from)));
        const left = all.filter(({ fromSeq }) => !accepted.has(fromSeq));
        return { missing: left, outOfReach: [], answered: [keys.peer] };
      },
    },
    timeoutMs: 1_000,
  });
  const told: [missing: number, omitted: number, remembering: number][] = [];
  for (let round = 0; round < 3; round++) {
    const { missing: named, omitted, remembering } = await losses.losses(true, []);
    told.push([named.length, omitted, remembering]);
  }
  assert.deepEqual(told, [
    [10_000, 3, 1],
    [3, 0, 1],
    [0, 0, 0],
  ]);
});

test('before anything is called lost, each peer looks for it in what is damaged on its disk', async () => {
  const clock = new SimClock();
  const random = seededRandom(4);
  const network = new SimNetwork(clock, random);
  const carol = await keysFromSeed(Buffer.alloc(32, 4));
  const carols = await openStore({ disk: new SimDisk(random).boot(), clock, keys: carol });
  const frames: Buffer[] = [];
  for (const line of ['one', 'two', 'three']) {
    const sealed = carols.seal(linePack(line), []);
    await sealed.written;
    frames.push(frameOf(sealed));
  }
  const peers = await Promise.all(
    ['alice', 'bob'].map(async (name, at) => {
      const seed = Buffer.alloc(32, 10 + at);
      const [disk, own] = [new SimDisk(random), await keysFromSeed(seed)];
      const store = await openStore({ disk: disk.boot(), clock, keys: own });
      for (const frame of frames) await store.appendReplica(frame);
      // Its second batch was written where the first one begins, and the third is gone.
      const [{ path, id }] = store.segments();
      const content = Buffer.alloc(frames[0].length + frames[1].length + frames[2].length);
      frames[1].copy(content, at === 0 ? 20 : 0);
      disk.overwrite(path, content);
      for (const seq of [1, 2, 3]) assert.equal(await store.readFrame(id, seq), undefined);
      return { name, peer: own.peer, store, transport: await network.start(name, seed), id };
    }),
  );
  const [alice, bob] = peers;
  const missingNow = (): MissingBatches[] => {
    const held = peers.flatMap(({ store, id }) => store.segment(id)?.intervals() ?? []);
    const gaps = subtractRuns([[1, 3]], held);
    return gaps.map(([fromSeq, toSeq]) => ({ ...missing, ...frameId, fromSeq, toSeq }));
  };
  const frameId = { origin: carol.peer, epoch: carols.epoch };
  const acceptorOf = ({ peer, store, transport }: (typeof peers)[number]): LossAcceptor =>
    new LossAcceptor({
      transport,
      view: {
        self: peer,
        members: () => peers.map((one) => member(one.peer, 'alive')),
        isSearching: () => false,
        isIntroduced: () => true,
      },
      store,
      coverage: {
        losses: async () => ({
          missing: missingNow(),
          outOfReach: [],
          answered: peers.map((one) => one.peer),
        }),
      },
      timeoutMs: 1_000,
    });
  const bobs = acceptorOf(bob);
  bob.transport.handle(LOSS_PROTOCOL, (channel) => bobs.serve(channel));
  for (const { transport } of peers) for (const { name, peer } of peers) transport.learn(peer, [`${name}:1`]);
  const told = await clock.run(acceptorOf(alice).losses(true, []));
  assert.deepEqual(
    told.missing.map(({ fromSeq, toSeq }) => [fromSeq, toSeq]),
    [
      [1, 1],
      [3, 3],
    ],
  );
  assert.deepEqual([told.remembering, told.told], [2, 2]);
  for (const { store, id } of peers) assert.deepEqual(await store.readFrame(id, 2), frames[1]);
});

test('a later loss holds only as long as those stay away that were lost before', async () => {
  const store = await openStore({ disk: new SimDisk(seededRandom(2)).boot(), clock: new SimClock(), keys });
  const members = [member(keys.peer, 'alive'), member(gone, 'gone'), member(away, 'dead')];
  const losses = new LossAcceptor({
    transport: nobodyElse,
    view: {
      self: keys.peer,
      members: () => members,
      isSearching: () => false,
      isIntroduced: () => true,
    },
    store,
    coverage: { losses: async () => ({ missing: [missing], outOfReach: [], answered: [keys.peer] }) },
    timeoutMs: 1_000,
  });
  await losses.losses(true, [gone]);
  await losses.losses(true, [away]);
  assert.deepEqual(
    store.dropped.losses.map(({ peers }) => peers.map(({ peer }) => peer)),
    [[gone], [gone, away]],
  );
  members[1] = member(gone, 'alive', [4, 1]);
  assert.deepEqual(standingLosses(store.dropped.losses, members).runs, []);
});

test('a loss holds as long as none of its peers is known to have come back', () => {
  const loss = { runs: [run], peers: [{ peer: gone, epoch: 3, incarnation: 2 }] };
  const stands = (...members: MeshMember[]): boolean => {
    const { runs, peers } = standingLosses([loss], members);
    assert.equal(runs.length, peers.size);
    return peers.has(gone);
  };
  assert.ok(stands(member(gone, 'dead')));
  assert.ok(stands(member(gone, 'gone', [3, 1])));
  assert.ok(stands(member(away, 'alive')), 'nobody knows it any more');
  assert.ok(!stands(member(gone, 'alive')));
  assert.ok(!stands(member(gone, 'suspect')));
  assert.ok(!stands(member(gone, 'dead', [3, 3])));
  assert.ok(!stands(member(gone, 'gone', [4, 1])));
});
