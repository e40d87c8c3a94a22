import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keysFromSeed } from '../../src/gossip/transport/index.ts';
import {
  DroppedLog,
  ExpiredRuns,
  LIMITS,
  type LogvineError,
  type Segment,
  type Store,
} from '../../src/store/index.ts';
import type { Random } from '../../src/store/host/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk, type Tear } from '../helpers/sim-disk.ts';
import {
  below,
  DATA,
  forEachSeed,
  frameOf,
  linePack,
  MemoryKeyValue,
  openStore,
  pick,
  quiet,
} from './material.ts';

const alice = await keysFromSeed(Buffer.alloc(32, 1));
const bob = await keysFromSeed(Buffer.alloc(32, 2));

function newWorld(random: Random = seededRandom(1)) {
  return {
    disk: new SimDisk(random),
    clock: new SimClock(),
    catalog: new MemoryKeyValue(),
    said: [] as string[],
  };
}

const start = (world: ReturnType<typeof newWorld>, more = {}): Promise<Store> =>
  openStore({ ...world, disk: world.disk.boot(), keys: alice, more: { segmentBytesMax: 1, ...more } });

/** Batches of one line, a segment each; the nth leaves source `f` at position n. */
async function seal(store: Store, count: number): Promise<Segment[]> {
  const sealed = Array.from({ length: count }, () => {
    const seq = store.sealedSeq + 1;
    return store.seal(linePack(`line ${store.epoch} ${seq}`, 1_700_000_000_000 + seq), [
      { source: 'f', position: `${store.epoch}/${seq}` },
    ]);
  });
  await Promise.all(sealed.map(({ written }) => written));
  return sealed.map(({ segment }) => segment);
}

/** Batches of another peer; in one segment, unless `more` says otherwise. */
async function bobsFrames(count: number, more = {}): Promise<Buffer[]> {
  const disk = new SimDisk(seededRandom(7)).boot();
  const store = await openStore({ disk, clock: new SimClock(), keys: bob, more });
  const sealed = Array.from({ length: count }, (_, at) => store.seal(linePack(`line ${at}`), []));
  await Promise.all(sealed.map(({ written }) => written));
  return sealed.map(frameOf);
}

test('positions, the end of the chain and the epoch outlive the segments that carried them', async () => {
  const world = newWorld();
  const first = await start(world);
  assert.ok(!first.hasEarlierRuns);
  const segments = await seal(first, 3);
  first.rollSegment();
  // The newest goes first: what older segments say must not come back into force.
  await first.drop([segments[2]], 'surplus');
  assert.equal(first.position('f'), `${first.epoch}/3`);
  await first.close();
  const second = await start(world);
  assert.equal(second.position('f'), `${first.epoch}/3`);
  await second.drop([...second.segments()], 'expired');
  assert.deepEqual(second.totals, { segments: 0, batches: 0, entries: 0, rawBytes: 0, storedBytes: 0 });
  await second.close();
  const third = await start(world);
  assert.equal(third.position('f'), `${first.epoch}/3`);
  assert.ok(third.hasEarlierRuns);
  assert.ok(third.isReleased({ origin: alice.peer, epoch: first.epoch, index: 1 }));
  const [next] = await seal(third, 1);
  const frame = await third.readFrame(next.id, 1);
  const { verifyFrame } = await import('../../src/store/index.ts');
  assert.deepEqual(verifyFrame(frame!).header.previousEpoch, {
    epoch: first.epoch,
    lastSeq: 3,
    headerHash: segments[2].last!.headerHash,
  });
  assert.deepEqual(third.dropped.expired.runs(alice.peer, first.epoch), [[1, 2]]);
  await third.close();
});

test('a power cut at any moment of dropping loses no position, and what is gone is accounted for', async () => {
  await forEachSeed(60, async (random) => {
    const world = newWorld(random);
    const store = await start(world);
    const segments = await seal(store, 6);
    store.rollSegment();
    const from = below(random, 3);
    const some = segments.slice(from, from + 1 + below(random, 3));
    const why = pick(random, ['surplus', 'expired'] as const);
    const dropping = store.drop(some, why).catch(() => undefined);
    for (let turns = below(random, 12); turns > 0; turns--)
      await new Promise((resolve) => setImmediate(resolve));
    world.disk.crash(pick<Tear>(random, ['lose', 'prefix', 'sectors']));
    await Promise.race([dropping, new Promise((resolve) => setImmediate(resolve))]);
    const again = await start(world);
    assert.equal(again.position('f'), `${store.epoch}/6`);
    for (const { id, record } of segments) {
      if (again.segment(id)?.record.batches.length === record.batches.length) continue;
      assert.ok(again.isReleased(id), 'gone on purpose');
      if (why === 'expired')
        assert.ok(
          again.dropped.expired.runs(id.origin, id.epoch).some(([a, b]) => a <= id.index && b >= id.index),
        );
    }
    await again.close();
  });
});

test('on a full disk others’ segments can be dropped, and that makes the room to drop own ones', async () => {
  const world = newWorld();
  const store = await start(world);
  const own = await seal(store, 2);
  store.rollSegment();
  const other = await openStore({ disk: new SimDisk(seededRandom(3)).boot(), clock: world.clock, keys: bob });
  const sealed = other.seal(linePack(seededRandom(9).bytes(4_000).toString('hex')), []);
  await sealed.written;
  const { id } = await store.appendReplica(frameOf(sealed));
  world.disk.spaceBytes = world.disk.usedBytes;
  await assert.rejects(store.drop(own, 'surplus'), { code: 'LV_DISK_FULL' });
  assert.equal([...store.segments()].length, 3, 'nothing is gone');
  await store.drop([...own, store.segment(id)!], 'expired');
  assert.equal([...store.segments()].length, 0);
  await store.close();
  const again = await start(world);
  assert.equal(again.position('f'), `${store.epoch}/2`);
  assert.deepEqual(again.dropped.expired.runs(bob.peer, id.epoch), [[1, 1]]);
  await again.close();
});

test('what retention drops while it cannot be written is known after any crash, and written once there is room', async () => {
  await forEachSeed(60, async (random) => {
    const world = newWorld(random);
    const store = await start(world);
    const frames = await bobsFrames(5, { segmentBytesMax: 1 });
    for (const frame of frames) await store.appendReplica(frame, { isRepair: true });
    const all = [...store.segments()];
    const bounds = all.map((segment) => segment.bounds());
    // Another program takes all that is freed.
    world.disk.spaceBytes = 1;
    world.disk.changesLeft = random.unit() < 0.5 ? Infinity : 1 + below(random, 20);
    const dropping = store.drop(all, 'expired').catch((error: LogvineError) => error.code);
    const ended = await Promise.race([dropping, quiet(50)]);
    if (!world.disk.dead) assert.equal(ended, 'LV_DISK_FULL');
    if (random.unit() < 0.5) world.disk.crash(pick(random, ['prefix', 'sectors', 'lose']));
    else world.disk.kill();
    world.disk.spaceBytes = Infinity;
    const again = await start(world);
    const { origin, epoch } = all[0].id;
    const isGone = (seq: number): boolean =>
      again.dropped.expired.runs(origin, epoch).some(([from, to]) => seq >= from && seq <= to);
    const isHeld = (seq: number): boolean => [...again.segments()].some((one) => one.entry(seq));
    for (const seq of [1, 2, 3, 4, 5]) assert.ok(isGone(seq) || isHeld(seq), `${seq}`);
    for (const run of again.dropped.expired.all) {
      assert.ok(bounds.some(({ min, max }) => run.min.ms <= min.ms && run.max.ms >= max.ms));
    }
    const before = [...again.dropped.expired.runs(origin, epoch)];
    await again.dropped.changes.run(() => again.dropped.save());
    assert.deepEqual(
      world.disk.files().filter((name) => name.includes('.gone')),
      [],
    );
    await again.close();
    world.disk.crash('lose');
    assert.deepEqual((await start(world)).dropped.expired.runs(origin, epoch), before);
  });
});

test('a batch of a segment that is just being dropped is refused, and taken after that', async () => {
  const world = newWorld();
  const store = await start(world);
  const other = await openStore({ disk: new SimDisk(seededRandom(3)).boot(), clock: world.clock, keys: bob });
  const frames = [other.seal(linePack('one'), []), other.seal(linePack('two'), [])].map(frameOf);
  const { id } = await store.appendReplica(frames[0]);
  const dropping = store.drop([store.segment(id)!], 'surplus');
  await assert.rejects(store.appendReplica(frames[1]), { code: 'LV_PROTOCOL' });
  await dropping;
  assert.equal(store.segment(id), undefined);
  assert.deepEqual(store.removedSince(0), [id]);
  for (const frame of frames) await store.appendReplica(frame);
  assert.equal(store.segment(id)!.record.batches.length, 2);
  assert.deepEqual(store.removedSince(0), []);
  await store.close();
  const again = await start(world);
  assert.equal(again.segment(id)!.record.batches.length, 2);
  await again.close();
});

test('what a run may still write to is not finished', async () => {
  const store = await start(newWorld(), { segmentBytesMax: 1_000_000 });
  const [open] = await seal(store, 2);
  assert.equal(store.isFinished(open), false);
  store.rollSegment();
  assert.equal(store.isFinished(open), true);
  await store.close();
});

test('a garbled log of what was dropped says so, and nothing else; so does one on a bad sector', async () => {
  const world = newWorld();
  const store = await start(world);
  const segments = await seal(store, 2);
  store.rollSegment();
  await store.drop([segments[0]], 'expired');
  await store.close();
  const good = world.disk.contentOf(`${DATA}/dropped.json`);
  DroppedLog.decode(good);
  for (let bit = 0; bit < good.length * 8; bit++) {
    const bad = Buffer.from(good);
    bad[bit >> 3] ^= 1 << (bit & 7);
    assert.throws(() => DroppedLog.decode(bad));
  }
  world.disk.overwrite(`${DATA}/dropped.json`, Buffer.from('nonsense'));
  const again = await start(world);
  assert.ok(world.said.some((line) => line.includes('dropped.json cannot be used')));
  assert.equal(again.position('f'), `${store.epoch}/2`);
  await again.close();
  world.said.length = 0;
  world.disk.failRead = (path) => path === `${DATA}/dropped.json`;
  const third = await start(world);
  assert.ok(world.said.some((line) => /dropped\.json cannot be used: EIO/.test(line)));
  assert.equal(third.position('f'), `${store.epoch}/2`);
  await third.close();
});

test('expired runs stay few, however many there were', () => {
  const expired = new ExpiredRuns();
  const at = (ms: number) => ({ ms, sub: 0 });
  for (let seq = 1; seq <= LIMITS.expiredRunsMax + 1; seq++)
    expired.add([{ origin: 'a', epoch: 1, from: seq, to: seq, min: at(seq), max: at(seq + 1) }]);
  assert.equal([...expired.all].length, 1);
  assert.deepEqual(expired.runs('a', 1), [[1, LIMITS.expiredRunsMax + 1]]);
  const [all] = expired.all;
  assert.deepEqual([all.min.ms, all.max.ms], [1, LIMITS.expiredRunsMax + 2]);
});

test('what is just being dropped is not read again, and counts for nothing when it is gone', async () => {
  const world = newWorld();
  const store = await start(world);
  const [segment] = await seal(store, 1);
  store.rollSegment();
  store.quarantine(segment, [segment.last!]);
  const dropped = store.drop([segment], 'expired');
  // It is sound all the time.
  await store.readAgain(segment);
  assert.deepEqual(segment.intervals(), []);
  await dropped;
  await store.readAgain(segment);
  assert.deepEqual(store.totals, { segments: 0, batches: 0, entries: 0, rawBytes: 0, storedBytes: 0 });
});

test('what could not be dropped is not told as dropped', async () => {
  const world = newWorld();
  world.disk.totalBytes = 1e9;
  const store = await start(world);
  const [segment] = await seal(store, 1);
  store.rollSegment();
  world.disk.spaceBytes = world.disk.usedBytes;
  await assert.rejects(store.drop([segment], 'expired'), { code: 'LV_DISK_FULL' });
  assert.deepEqual(segment.intervals(), [[1, 1]]);
  assert.deepEqual([...store.dropped.expired.all], []);
  assert.ok(!store.isReleased(segment.id));
  world.disk.spaceBytes = Infinity;
  await store.drop([segment], 'expired');
  assert.equal([...store.dropped.expired.all].length, 1);
  assert.ok(store.isReleased(segment.id));
});

test('others’ segments go before it is written only where the disk is full', async () => {
  const [frame] = await bobsFrames(1);
  for (const code of ['ENOSPC', 'EIO']) {
    const world = newWorld();
    const disk = world.disk.boot();
    const replaceFile = disk.replaceFile.bind(disk);
    let isFailing = true;
    disk.replaceFile = async (path, bytes) => {
      if (isFailing && path.endsWith('dropped.json')) throw Object.assign(new Error(code), { code });
      await replaceFile(path, bytes);
    };
    const store = await openStore({ ...world, disk, keys: alice });
    await store.appendReplica(frame);
    const [segment] = store.segments();
    const dropped = store.drop([segment], 'expired');
    await assert.rejects(dropped, { code: code === 'EIO' ? 'LV_DATA_UNSAFE' : 'LV_DISK_FULL' });
    assert.equal(store.totals.segments, code === 'EIO' ? 1 : 0);
    assert.equal([...store.dropped.expired.all].length, code === 'EIO' ? 0 : 1);
    isFailing = false;
    await store.close();
  }
});

test('with a segment expires what rot took from its edges, or all of it, also after a restart', async () => {
  for (const rotten of [
    [1, 2],
    [3, 4],
    [1, 4],
    [1, 2, 3, 4],
  ]) {
    const world = newWorld();
    let store = await start(world);
    for (const frame of await bobsFrames(4)) await store.appendReplica(frame);
    const [segment] = store.segments();
    const times = segment.bounds();
    store.quarantine(
      segment,
      rotten.map((seq) => segment.entry(seq)!),
    );
    await store.close();
    store = await start(world);
    await store.drop([...store.segments()], 'expired');
    assert.deepEqual(store.dropped.expired.runs(segment.id.origin, segment.id.epoch), [[1, 4]]);
    const expired = [...store.dropped.expired.all];
    assert.ok(expired.some(({ min }) => min.ms === times.min.ms));
    assert.ok(expired.some(({ max }) => max.ms === times.max.ms));
  }
});

test('with a segment expires what rot took from between, and not what never came', async () => {
  const frames = await bobsFrames(7);
  const world = newWorld();
  const store = await start(world);
  for (const seq of [1, 2, 3, 6, 7]) await store.appendReplica(frames[seq - 1]!, { isRepair: true });
  const [segment] = store.segments();
  store.quarantine(segment, [segment.entry(2)!]);
  await store.drop([segment], 'expired');
  assert.deepEqual(
    [...store.dropped.expired.all].map(({ from, to }) => [from, to]),
    [
      [1, 3],
      [6, 7],
    ],
  );
});
