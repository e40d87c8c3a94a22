import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  countRuns,
  FETCH_PROTOCOL,
  serveFetch,
  intersectRuns,
  subtractRuns,
  unionRuns,
  type Run,
} from '../../src/gossip/repair/index.ts';
import { shortRuns } from '../../src/gossip/repair/debt.ts';
import {
  areWithin,
  goneSeqs,
  LIMITS,
  LogvineError,
  segmentName,
  withoutHeld,
} from '../../src/store/index.ts';
import { seededRandom } from '../helpers/sim-clock.ts';
import { below, forEachSeed, framesOf, linePack, pick, PROPERTY } from '../store/material.ts';
import { StoreMesh } from './store-mesh.ts';

/** A set of small seqs as runs: ascending, disjoint, not adjacent. */
const set = fc.uniqueArray(fc.integer({ min: 1, max: 40 }), { maxLength: 30 }).map((seqs) => new Set(seqs));

function runsOf(seqs: ReadonlySet<number>): [number, number][] {
  const runs: [number, number][] = [];
  for (const seq of [...seqs].sort((a, b) => a - b)) {
    const last = runs.at(-1);
    if (last && last[1] === seq - 1) last[1] = seq;
    else runs.push([seq, seq]);
  }
  return runs;
}

test('runs: union, difference, intersection and count are those of sets', () => {
  fc.assert(
    fc.property(set, set, (a, b) => {
      const [x, y] = [runsOf(a), runsOf(b)];
      const before = JSON.stringify([x, y]);
      assert.deepEqual(unionRuns(x, y), runsOf(a.union(b)));
      assert.deepEqual(subtractRuns(x, y), runsOf(a.difference(b)));
      assert.deepEqual(intersectRuns(x, y), runsOf(a.intersection(b)));
      assert.equal(areWithin(x, y), a.isSubsetOf(b));
      const gone = x.map(([from, to]) => ({ from, to, min: { ms: from, sub: 0 }, max: { ms: to, sub: 0 } }));
      const left = withoutHeld(gone, y);
      assert.deepEqual(goneSeqs(left), subtractRuns(x, y));
      assert.equal(left === gone, a.isDisjointFrom(b));
      assert.ok(areWithin(runsOf(a.intersection(b)), y));
      assert.equal(countRuns(x), a.size);
      assert.equal(JSON.stringify([x, y]), before, 'what is given stays as it is');
    }),
    { ...PROPERTY, numRuns: 2000 },
  );
});

test('runs of millions cost what few cost', () => {
  const all: Run[] = [[1, 2 ** 40]];
  assert.deepEqual(
    subtractRuns(all, [
      [5, 5],
      [2 ** 39, 2 ** 40],
    ]),
    [
      [1, 4],
      [6, 2 ** 39 - 1],
    ],
  );
  assert.equal(countRuns(all), 2 ** 40);
});

test('what is short of copies is what fewer than the needed have', () => {
  fc.assert(
    fc.property(
      set,
      fc.array(set, { maxLength: 5 }),
      fc.integer({ min: 0, max: 4 }),
      (own, copies, needed) => {
        const short = [...own].filter((seq) => copies.filter((copy) => copy.has(seq)).length < needed);
        assert.deepEqual(shortRuns(runsOf(own), copies.map(runsOf), needed), runsOf(new Set(short)));
      },
    ),
    { ...PROPERTY, numRuns: 2000 },
  );
});

const THREE = ['alice', 'bob', 'charlie'];
const FOUR = [...THREE, 'dave'];

async function meshWith(names: string[], batches: number, seed: number, options = {}): Promise<StoreMesh> {
  const mesh = await StoreMesh.of(names, seededRandom(seed), options);
  for (let at = 0; at < batches; at++) {
    mesh.seal(names[at % names.length], linePack(`line ${at}`));
    await mesh.clock.advance(100);
  }
  await settle(mesh);
  return mesh;
}

async function settle(mesh: StoreMesh): Promise<void> {
  const done = () =>
    mesh.sealed.every(({ acknowledged }) => acknowledged) && mesh.debts().every((debt) => debt === 0);
  assert.ok(await mesh.eventually(done, 120_000), `debts ${mesh.debts().join()}`);
}

const copiesOf = (mesh: StoreMesh, at: number): number =>
  mesh.up.filter((peer) => mesh.holds(peer, mesh.sealed[at], true)).length;

test('rot is healed from another peer, byte for byte', async () => {
  await forEachSeed(10, async (random, seed) => {
    const mesh = await meshWith(THREE, 12, seed);
    await mesh.clock.advance(5_000);
    const rotten = mesh.peer(pick(random, THREE));
    const whole = new Map(rotten.disk.files().map((path) => [path, rotten.disk.contentOf(path)]));
    for (const { id, record, path } of rotten.store.segments()) {
      for (const batch of record.batches) {
        if (random.unit() < 0.6) continue;
        rotten.disk.flipBit(path, (batch.offset + below(random, batch.frameBytes)) * 8 + below(random, 8));
        assert.equal(await rotten.store.readFrame(id, batch.seq), undefined);
      }
    }
    const healed = () => [...rotten.store.segments()].every(({ record }) => record.quarantined.length === 0);
    assert.ok(await mesh.eventually(healed, 60_000));
    for (const [path, content] of whole) {
      if (path.endsWith('.seg')) assert.deepEqual(rotten.disk.contentOf(path), content);
    }
    assert.equal((await framesOf(rotten.store)).size, 12);
  });
});

test('a peer whose segments are gone gets them back, its own of earlier epochs too', async () => {
  const mesh = await meshWith(THREE, 12, 1);
  mesh.kill('bob');
  mesh.peer('bob').disk.remove('/data/segments');
  mesh.peer('bob').catalog.values.clear();
  await mesh.start('bob');
  assert.ok(await mesh.eventually(() => mesh.sealed.every((_, at) => copiesOf(mesh, at) === 3), 60_000));
});

test('a new peer takes the place of one that is dead for longer than the delay, and not before', async () => {
  const mesh = await meshWith(FOUR, 16, 2, { timing: { repairDelayMs: 120_000 } });
  const victim = mesh.peer('dave');
  const held = mesh.sealed.filter(({ batch }) => batch.segment.record.owners.includes(victim.id));
  assert.ok(held.length > 0);
  const copies = () => held.map((sealed) => mesh.up.filter((peer) => mesh.holds(peer, sealed, true)).length);
  const before = copies();
  mesh.kill('dave');
  await mesh.clock.advance(100_000);
  assert.deepEqual(
    copies(),
    before.map((count) => count - 1),
    'a dead owner keeps its place for the delay',
  );
  assert.ok(await mesh.eventually(() => copies().every((count) => count === 3), 120_000));
});

test('one segment that cannot be taken does not keep the others away', async () => {
  const mesh = await meshWith(['alice', 'bob'], 2, 3, { segmentBytesMax: 1 });
  // Bob's copy of Alice's second batch is another one, as after a forged or a repeated epoch.
  mesh.kill('bob');
  await mesh.clock.advance(30_000);
  for (let at = 0; at < 4; at++) mesh.seal('alice', linePack(`while bob is away ${at}`));
  await mesh.clock.advance(1_000);
  const [first] = mesh.sealed.slice(2);
  const path = `/data/segments/${mesh.peer('alice').id}/${first.batch.segment.id.epoch}-${first.batch.segment.id.index}.seg`;
  await mesh.start('bob');
  const bob = mesh.peer('bob');
  const append = bob.store.appendReplica.bind(bob.store);
  bob.store.appendReplica = async (frame) => {
    if (frame.equals(first.frame))
      throw Object.assign(new Error('not this one'), { code: 'LV_BATCH_CONFLICT' });
    return append(frame);
  };
  const others = mesh.sealed.filter((sealed) => sealed !== first);
  assert.ok(await mesh.eventually(() => others.every((sealed) => mesh.holds(bob, sealed, true)), 60_000));
  assert.equal(bob.disk.node(path), undefined);
});

test('a peer that falls silent in the middle of a fetch does not stop the rounds with the others', async () => {
  const mesh = await meshWith(THREE, 3, 4);
  mesh.kill('bob');
  await mesh.clock.advance(6_000);
  const late = Array.from({ length: 4 }, (_, at) => mesh.seal('alice', linePack(`late ${at}`)));
  await mesh.clock.advance(20_000);
  await mesh.start('bob');
  const bob = mesh.peer('bob');
  // Bob may ask Alice only after Charlie, who takes the question and never answers it.
  let asked = 0;
  mesh.peer('charlie').running.transport.handle(FETCH_PROTOCOL, async (channel) => {
    await channel.receive();
    asked++;
    await new Promise(() => undefined);
  });
  const alice = mesh.peer('alice').running;
  alice.transport.handle(FETCH_PROTOCOL, async (channel) => {
    if (asked === 0) throw new Error('not yet');
    await serveFetch(channel, alice.store);
  });
  assert.ok(await mesh.eventually(() => late.every((sealed) => mesh.holds(bob, sealed, true)), 120_000));
  assert.ok(asked > 0);
});

test('what an owner refused while it watched the segment, it fetches when the segment is closed', async () => {
  for (const segmentBytesMax of [1, 1_000_000]) {
    const mesh = await meshWith(['alice', 'bob'], 2, 7, { segmentBytesMax });
    const bob = mesh.peer('bob');
    const append = bob.store.appendReplica.bind(bob.store);
    let refused = 0;
    bob.store.appendReplica = async (frame) => {
      if (refused > 0) return append(frame);
      refused++;
      // Long enough to hear from Alice that the segment is open.
      await new Promise<void>((resolve) => void mesh.clock.after(3_000, resolve));
      throw new LogvineError('LV_DISK_FULL', 'no space left');
    };
    const sealed = [mesh.seal('alice', linePack('refused'))];
    await mesh.clock.advance(2_500);
    if (segmentBytesMax === 1) sealed.push(mesh.seal('alice', linePack('in the next segment')));
    // Nothing more is written, so that nothing but the closing itself can tell Bob.
    const done = () => sealed.every((one) => one.acknowledged && mesh.holds(bob, one, true));
    assert.ok(await mesh.eventually(done, 60_000), `segments of ${segmentBytesMax}`);
    assert.equal(refused, 1);
  }
});

test('a segment that closed while its owner was away is fetched from its origin', async () => {
  await forEachSeed(5, async (random) => {
    const mesh = await StoreMesh.of(['alice', 'bob'], random, { segmentBytesMax: 800 });
    for (let at = 0; at < 10; at++) {
      mesh.seal('alice', linePack(`line ${at}`));
      await mesh.clock.advance(below(random, 1_500));
      if (at === 3) mesh.kill('bob', 'lose');
      if (at === 7) await mesh.start('bob');
    }
    await settle(mesh);
    assert.ok(mesh.sealed.every((_, at) => copiesOf(mesh, at) === 2));
  });
});

test('the debt counts what is on fewer than k disks, and shows until it is repaid', async () => {
  const mesh = await meshWith(THREE, 3, 5);
  mesh.kill('charlie');
  const late = Array.from({ length: 5 }, (_, at) => mesh.seal('alice', linePack(`late ${at}`)));
  await mesh.clock.advance(30_000);
  assert.ok(late.every(({ acknowledged }) => acknowledged));
  const debt = mesh.peer('alice').running.repairer.debt();
  assert.ok(debt.batchesBelowK >= 5, `${debt.batchesBelowK}`);
  assert.ok(debt.bytesBelowK >= late.reduce((sum, { frame }) => sum + frame.length, 0));
  await mesh.start('charlie');
  await settle(mesh);
  assert.equal(mesh.peer('alice').running.repairer.debt().bytesBelowK, 0);
});

test('what a leaving peer has to hand over is what the others do not have k times', async () => {
  // An origin that is no owner of its own segment keeps a third copy for a while.
  const mesh = await meshWith(FOUR, 40, 6, {
    replicas: 2,
    surplusDelayMs: 3_600_000,
    segmentBytesMax: 1,
  });
  const dave = mesh.peer('dave');
  const segmentsToHandOver = async () => (await mesh.clock.run(dave.running.handover.remaining())).segments;
  const expected = [...dave.store.segments()].filter(({ id }) => {
    const sealed = mesh.sealed.filter(
      ({ batch }) => batch.segment.id.origin === id.origin && batch.segment.id.index === id.index,
    );
    return sealed.some(
      (one) => mesh.up.filter((peer) => peer !== dave && mesh.holds(peer, one, true)).length < 2,
    );
  });
  assert.ok(expected.length > 0);
  assert.equal(await segmentsToHandOver(), expected.length);

  // A copy that its holder believes in and can't read any more is none.
  const handedOver = [...dave.store.segments()].find(({ id }) => !expected.some((one) => one.id === id))!;
  const other = mesh.up.find((peer) => peer !== dave && peer.store.segment(handedOver.id))!;
  other.disk.flipBit(`/data/segments/${segmentName(handedOver.id)}.seg`, 999);
  handedOver.touch();
  assert.equal(await segmentsToHandOver(), expected.length + 1);
});

test('what a peer need not fetch grows over what others dropped, and not over what anybody holds', async () => {
  const mesh = await meshWith(THREE, 9, 1);
  await mesh.clock.advance(5_000);
  const { store, repairer } = mesh.peer('alice').running;
  const [origin, { epoch }] = [mesh.peer('bob').id, mesh.peer('bob').store];
  const last = 2 * (LIMITS.expiredRunsMax + 1);
  const run = (from: number, to = from) => ({ origin, epoch, from, to, min: at(from), max: at(to) });
  const at = (ms: number) => ({ ms, sub: 0 });
  repairer.known.expired.add([run(1, last)]);
  for (let seq = 2; seq <= last; seq += 2) store.dropped.expired.add([run(seq)]);
  assert.deepEqual(store.dropped.expired.runs(origin, epoch).slice(0, 3), [
    [2, 2],
    // Of bob's own batches 1 to 3 are held.
    [4, last],
  ]);
});

test('what rots at its origin before it is acknowledged is written again, and nobody counts who does not have it', async () => {
  const mesh = await StoreMesh.of(['alice', 'bob'], seededRandom(1), { replicas: 2, ackQuorum: 2 });
  const { clock } = mesh;
  const [alice, bob] = [mesh.peer('alice'), mesh.peer('bob')];
  await clock.advance(3_000);
  const seal = (n: number) => mesh.seal('alice', linePack(`line ${n}`, 1.7e12 + n));
  const first = seal(1);
  assert.ok(await clock.until(() => first.acknowledged, 10_000));
  const { id } = first.batch.segment;
  const path = `/data/segments/${segmentName(id)}.seg`;
  mesh.network.partition([alice.id], [bob.id]);
  const [second] = [seal(2), seal(3)];
  await clock.advance(300);
  // The disk is slow with the last one, and the link fails meanwhile: the others come to bob by repair.
  const gate = Promise.withResolvers<void>();
  alice.disk.beforeSync = (file) => (file === path ? gate.promise : undefined);
  const last = seal(4);
  await clock.advance(100);
  alice.disk.flipBit(path, 8 * (first.frame.length + 200));
  assert.equal(await alice.store.readFrame(id, 2), undefined);
  await clock.advance(20_000);
  mesh.heal();
  await clock.advance(10_000);
  assert.deepEqual(bob.store.segment(id)!.intervals(), [
    [1, 1],
    [3, 3],
  ]);
  gate.resolve();
  alice.disk.beforeSync = () => undefined;
  assert.ok(await clock.until(() => last.acknowledged, 30_000));
  for (const { store } of [alice, bob]) assert.deepEqual(store.segment(id)!.intervals(), [[1, 4]]);
  assert.deepEqual(second!.tracked.holders, new Set([alice.id, bob.id]));
});

for (const isElsewhere of [true, false]) {
  test(`before a peer leaves, what is sound on its disk waits for the names of its streams, ${isElsewhere ? 'and gets them' : 'and not for ever'}`, async () => {
    const mesh = await StoreMesh.of(['alice', 'bob', 'charlie'], seededRandom(3), {
      replicas: 3,
      ackQuorum: 2,
    });
    const { clock } = mesh;
    await clock.advance(3_000);
    const seal = (n: number) => mesh.seal('alice', linePack(`line ${n}`, 1.7e12 + n));
    const first = seal(1);
    await clock.advance(2_000);
    const { id } = first.batch.segment;
    // Not noticed yet, so that the segment stays open.
    mesh.network.partition([mesh.peer('alice').id, mesh.peer('bob').id], [mesh.peer('charlie').id]);
    const rest = [2, 3, 4].map(seal);
    await clock.advance(3_000);
    assert.ok(rest.every(({ acknowledged }) => acknowledged));
    for (const name of ['alice', 'bob']) mesh.kill(name);
    mesh.peer('bob').disk.flipBit(`/data/segments/${segmentName(id)}.seg`, 8 * 200);
    mesh.peer('bob').catalog.values.clear();
    mesh.heal();
    await mesh.start('bob');
    mesh.notice();
    const bob = mesh.peer('bob');
    assert.deepEqual(bob.store.segment(id)!.intervals(), []);
    if (!isElsewhere) mesh.kill('charlie');
    const startedMs = clock.monotonicMs();
    const waiting: number[] = [];
    const mended = (): Promise<void> =>
      bob.running.handover.mended(
        () => false,
        (segments) => waiting.push(segments),
      );
    await clock.run(mended());
    assert.equal(waiting[0], 1);
    assert.equal(waiting.at(-1), isElsewhere ? 0 : 1);
    const tookMs = clock.monotonicMs() - startedMs;
    if (!isElsewhere) {
      assert.deepEqual(bob.store.segment(id)!.intervals(), []);
      assert.ok(tookMs >= 60_000 && tookMs < 63_000, `${tookMs} ms`);
      return;
    }
    assert.deepEqual(bob.store.segment(id)!.intervals(), [[1, 4]]);
    assert.equal((await clock.run(bob.running.handover.remaining())).segments, 1);
    // Where nothing waits, it is over at once.
    const mendedMs = clock.monotonicMs();
    await clock.run(mended());
    assert.equal(clock.monotonicMs(), mendedMs);
  });
}
