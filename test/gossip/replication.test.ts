import assert from 'node:assert/strict';
import { test } from 'node:test';
import { framesOf, below, forEachSeed, linePack, pick, quiet, shuffle } from '../store/material.ts';
import { seededRandom } from '../helpers/sim-clock.ts';
import type { Tear } from '../helpers/sim-disk.ts';
import { StoreMesh, type Peer, type Sealed } from './store-mesh.ts';

const THREE = ['alice', 'bob', 'charlie'];
const FIVE = [...THREE, 'dave', 'eve'];

/** Fsyncs of a peer's segments wait until the function that this gives is called. */
function holdSyncs(peer: Peer): () => void {
  const gate = Promise.withResolvers<void>();
  peer.disk.beforeSync = (path) => (path.endsWith('.seg') ? gate.promise : undefined);
  return () => {
    peer.disk.beforeSync = () => undefined;
    gate.resolve();
  };
}

test('an acknowledgement waits for the origin and for one owner more', async () => {
  await forEachSeed(20, async (random) => {
    const mesh = await StoreMesh.of(THREE, random);
    const [alice, bob, charlie] = THREE.map((name) => mesh.peer(name));
    // The first batch opens the segment, so that nobody times out on it.
    const first = mesh.seal('alice', linePack('first'));
    const everywhere = () => [alice, bob, charlie].every((peer) => mesh.holds(peer, first, true));
    assert.ok(await mesh.clock.until(() => first.acknowledged && everywhere(), 1_000));

    const [letAlice, letBob, letCharlie] = [alice, bob, charlie].map(holdSyncs);
    const second = mesh.seal('alice', linePack('second'));
    await mesh.clock.advance(5_000);
    assert.equal(second.acknowledged, false, 'nobody has it');
    assert.ok(![bob, charlie].some((peer) => mesh.holds(peer, second)), 'it is sent once the origin has it');
    letAlice();
    await mesh.clock.advance(5_000);
    assert.equal(second.acknowledged, false, 'the origin alone has it');
    assert.ok(mesh.holds(bob, second) && !mesh.holds(bob, second, true));
    letBob();
    assert.ok(await mesh.clock.until(() => second.acknowledged, 1_000));
    assert.ok(mesh.holds(bob, second, true));
    assert.ok(!mesh.holds(charlie, second, true));
    letCharlie();
    assert.ok(await mesh.clock.until(() => mesh.holds(charlie, second, true), 1_000));
  });
});

test('what is acknowledged is on W disks at that moment, whatever the disks do', async () => {
  await forEachSeed(25, async (random) => {
    const mesh = await StoreMesh.of(pick(random, [THREE, FIVE]), random, { segmentBytesMax: 3_000 });
    const { ackQuorum, replicas } = mesh.options;
    for (const { disk } of mesh.peers.values()) {
      const slow = below(random, 3) * 400;
      disk.beforeSync = () =>
        new Promise((resolve) => void mesh.clock.after(random.unit() * slow, () => resolve()));
    }
    const order: string[] = [];
    for (let at = 0; at < 40; at++) {
      const origin = pick(random, [...mesh.peers.keys()]);
      const sealed = mesh.seal(origin, linePack(`line ${at}`));
      sealed.tracked.acknowledged.then(() => {
        order.push(sealed.name);
        const { segment } = sealed.batch;
        const isClosed = mesh.peer(origin).store.openSegment !== segment;
        const counts = ({ id }: Peer): boolean =>
          segment.record.owners.includes(id) || (isClosed && id === mesh.peer(origin).id);
        const onDisk = [...mesh.peers.values()].filter((peer) => mesh.holds(peer, sealed, true));
        assert.ok(onDisk.includes(mesh.peer(origin)), 'on the disk of the origin');
        assert.ok(onDisk.filter(counts).length >= ackQuorum, 'on W disks');
      });
      await mesh.clock.advance(below(random, 300));
    }
    assert.ok(await mesh.clock.until(() => order.length === 40, 60_000), 'all are acknowledged');
    for (const { id } of mesh.peers.values()) {
      const seqs = order.filter((name) => name.startsWith(id)).map((name) => Number(name.split('/')[2]));
      assert.deepEqual(
        seqs,
        seqs.toSorted((a, b) => a - b),
        'in the order of the chain',
      );
    }
    assert.ok(await mesh.eventually(() => mesh.debts().every((debt) => debt === 0), 60_000));
    for (const sealed of mesh.sealed) {
      const copies = [...mesh.peers.values()].filter((peer) => mesh.holds(peer, sealed, true));
      assert.ok(copies.length >= replicas);
    }
  });
});

test('a dead owner costs one new segment; what comes after is acknowledged; it catches up when it is back', async () => {
  await forEachSeed(10, async (random) => {
    const mesh = await StoreMesh.of(FIVE, random);
    const early = Array.from({ length: 5 }, (_, at) => mesh.seal('alice', linePack(`early ${at}`)));
    assert.ok(await mesh.clock.until(() => early.every(({ acknowledged }) => acknowledged), 5_000));
    const { owners } = early[0].batch.segment.record;
    const victim = [...mesh.peers.values()].find(({ id, name }) => owners.includes(id) && name !== 'alice')!;
    mesh.kill(victim.name, 'lose');
    const late: Sealed[] = [];
    for (let at = 0; at < 10; at++) {
      late.push(mesh.seal('alice', linePack(`late ${at}`)));
      await mesh.clock.advance(500);
    }
    assert.ok(await mesh.clock.until(() => late.every(({ acknowledged }) => acknowledged), 20_000));
    const last = late.at(-1)!.batch.segment;
    assert.notEqual(last, early[0].batch.segment);
    assert.ok(!last.record.owners.includes(victim.id));
    assert.equal(last.record.owners.length, 3);
    assert.ok(last.id.index <= 3, 'not a segment for every batch');

    await mesh.start(victim.name);
    const owed = mesh.sealed.filter(({ batch }) => batch.segment.record.owners.includes(victim.id));
    assert.ok(owed.length >= 5);
    assert.ok(await mesh.clock.until(() => owed.every((sealed) => mesh.holds(victim, sealed, true)), 60_000));
    assert.ok(await mesh.eventually(() => mesh.debts().every((debt) => debt === 0), 60_000));
  });
});

test('where as many copies count as there are owners, one that dies is made up for by the origin', async () => {
  const mesh = await StoreMesh.of(THREE, seededRandom(8), { replicas: 2, ackQuorum: 2, segmentBytesMax: 1 });
  const isElsewhere = ({ batch }: Sealed): boolean =>
    !batch.segment.record.owners.includes(mesh.peer('alice').id);
  const all = [mesh.seal('alice', linePack('first'))];
  while (!isElsewhere(all.at(-1)!)) all.push(mesh.seal('alice', linePack(`line ${all.length}`)));
  const sealed = all.at(-1)!;
  const victim = [...mesh.peers.values()].find(({ id }) => sealed.batch.segment.record.owners.includes(id))!;
  mesh.kill(victim.name);
  const late = mesh.seal('alice', linePack('late'));
  assert.ok(await mesh.clock.until(() => sealed.acknowledged && late.acknowledged, 30_000));
});

test('an owner that is alive and whose disk hangs is left behind after a timeout', async () => {
  const mesh = await StoreMesh.of(FIVE, seededRandom(3));
  const first = mesh.seal('alice', linePack('first'));
  assert.ok(await mesh.clock.until(() => first.acknowledged, 1_000));
  const { owners } = first.batch.segment.record;
  const others = [...mesh.peers.values()].filter(({ id, name }) => owners.includes(id) && name !== 'alice');
  const release = others.map(holdSyncs);
  const stuck = mesh.seal('alice', linePack('stuck'));
  await mesh.clock.advance(mesh.options.timing.ackTimeoutMs + 1_000);
  const next = mesh.seal('alice', linePack('next'));
  assert.notEqual(next.batch.segment, stuck.batch.segment);
  await mesh.clock.advance(2_000);
  if (!owners.includes(mesh.peer('alice').id)) assert.equal(stuck.acknowledged, false);
  for (const letGo of release) letGo();
  assert.ok(await mesh.clock.until(() => stuck.acknowledged && next.acknowledged, 60_000));
  assert.ok(await mesh.eventually(() => mesh.debts().every((debt) => debt === 0), 60_000));
});

test('one of three acknowledges nothing while the others are gone, and all of it when one is back', async () => {
  for (const way of ['dead', 'cut off'] as const) {
    const mesh = await StoreMesh.of(THREE, seededRandom(4));
    const first = mesh.seal('alice', linePack('first'));
    assert.ok(await mesh.clock.until(() => first.acknowledged, 1_000));
    if (way === 'dead') for (const name of ['bob', 'charlie']) mesh.kill(name);
    else mesh.partition(['alice'], ['bob', 'charlie']);
    const sealed: Sealed[] = [];
    for (let minute = 0; minute < 15; minute++) {
      sealed.push(mesh.seal('alice', linePack(`alone ${minute}`)));
      await mesh.clock.advance(60_000);
      assert.ok(!sealed.some(({ acknowledged }) => acknowledged), `${way}: minute ${minute}`);
    }
    assert.equal(mesh.peer('alice').running.replicator.durableSeq, first.batch.seq);
    // The other side goes on without it.
    const others = way === 'cut off' ? mesh.seal('bob', linePack('two of three')) : undefined;
    if (others) assert.ok(await mesh.clock.until(() => others.acknowledged, 60_000));
    if (way === 'dead') await mesh.start('bob');
    else mesh.heal();
    assert.ok(await mesh.clock.until(() => sealed.every(({ acknowledged }) => acknowledged), 120_000), way);
  }
});

test('on an idle mesh, what waits for one owner is acknowledged when that owner comes back', async () => {
  await forEachSeed(6, async (random) => {
    // Two peers: nobody else can bring it.
    const mesh = await StoreMesh.of(['alice', 'bob'], random);
    const first = mesh.seal('alice', linePack('first'));
    assert.ok(await mesh.clock.until(() => first.acknowledged, 1_000));
    mesh.kill('bob', 'lose');
    const waiting = Array.from({ length: 1 + below(random, 6) }, (_, at) =>
      mesh.seal('alice', linePack(`waiting ${at}`)),
    );
    await mesh.clock.advance(60_000);
    assert.ok(!waiting.some(({ acknowledged }) => acknowledged));
    await mesh.start('bob');
    // Nothing more is written, so that nothing but repair can bring it over.
    assert.ok(await mesh.clock.until(() => waiting.every(({ acknowledged }) => acknowledged), 60_000));
    assert.ok(await mesh.eventually(() => mesh.debts().every((debt) => debt === 0), 60_000));
  });
});

test('a cumulative confirmation counts for every batch that it covers', async () => {
  const mesh = await StoreMesh.of(['alice', 'bob'], seededRandom(9));
  mesh.kill('bob');
  const waiting = Array.from({ length: 7 }, (_, at) => mesh.seal('alice', linePack(`waiting ${at}`)));
  await mesh.clock.advance(1_000);
  mesh.peer('alice').running.replicator.confirm(mesh.peer('bob').id, 1, [[1, 7]]);
  await quiet();
  assert.deepEqual(
    waiting.map(({ acknowledged }) => acknowledged),
    waiting.map(() => true),
  );
});

test('alone in its mesh, a peer acknowledges by itself', async () => {
  const mesh = await StoreMesh.of(['alice'], seededRandom(5));
  const sealed = mesh.seal('alice', linePack('x'));
  assert.ok(await mesh.clock.until(() => sealed.acknowledged, 100));
});

test('after any accidents, what was acknowledged is everywhere that it should be, and every copy is the same', async () => {
  await forEachSeed(12, async (random) => {
    const names = pick(random, [THREE, FIVE.slice(0, 4), FIVE]);
    const mesh = await StoreMesh.of(names, random, {
      segmentBytesMax: pick(random, [1_500, 20_000]),
      faults: { lossShare: pick(random, [0, 0.02]), delayMsMax: 40 },
    });
    let count = 0;
    for (let round = 0; round < 30; round++) {
      const up = mesh.up.map(({ name }) => name);
      const luck = random.unit();
      if (luck < 0.15 && up.length > 1)
        mesh.kill(pick(random, up), pick<Tear | undefined>(random, ['lose', 'prefix', undefined]));
      else if (luck < 0.4) {
        const down = names.filter((name) => !up.includes(name));
        if (down.length > 0) await mesh.start(pick(random, down));
      } else if (luck < 0.5) {
        const mixed = shuffle(random, names);
        const cut = 1 + below(random, names.length - 1);
        mesh.partition(mixed.slice(0, cut), mixed.slice(cut));
      } else if (luck < 0.65) mesh.heal();
      for (const { name } of mesh.up) {
        for (let at = below(random, 4); at > 0; at--) {
          const line = `line ${count++} of ${name}`;
          mesh.seal(name, linePack(line, 1_700_000_000_000 + count), [line]);
        }
      }
      await mesh.clock.advance(below(random, 8_000));
    }
    mesh.heal();
    for (const name of names) if (!mesh.peer(name).process) await mesh.start(name);
    const settled = (): boolean =>
      mesh.debts().every((debt) => debt === 0) &&
      mesh.sealed.every(({ acknowledged, batch }) => acknowledged || !isRunning(mesh, batch.segment.id));
    assert.ok(await mesh.eventually(settled, 600_000), `debts ${mesh.debts().join()}`);
    await mesh.clock.advance(60_000);
    const wanted = Math.min(mesh.options.replicas, names.length);
    for (const sealed of mesh.sealed) {
      const copies = [...mesh.peers.values()].filter((peer) => mesh.holds(peer, sealed, true));
      if (sealed.acknowledged) assert.ok(copies.length >= wanted, `${sealed.name}: ${copies.length} copies`);
    }
    const all = new Map<string, Buffer>();
    for (const { store } of mesh.up) {
      assert.deepEqual(store.conflicts, []);
      assert.equal(store.health.failure, undefined);
      for (const [name, frame] of await mesh.clock.run(framesOf(store))) {
        if (all.has(name)) assert.deepEqual(frame, all.get(name), name);
        all.set(name, frame);
      }
    }
    const made = new Map(mesh.sealed.map(({ name, frame }) => [name, frame]));
    for (const [name, frame] of all) assert.deepEqual(frame, made.get(name), `${name} is as it was sealed`);
  });
});

/** Whether the process that sealed a segment still runs. */
function isRunning(mesh: StoreMesh, id: { origin: string; epoch: number }): boolean {
  return mesh.up.some(({ store }) => store.origin === id.origin && store.epoch === id.epoch);
}
