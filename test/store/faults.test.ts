import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keysFromSeed } from '../../src/gossip/transport/index.ts';
import {
  encodeHeader,
  frameHead,
  LIMITS,
  packBatch,
  readFrame,
  verifyFrame,
  type BatchHeader,
  type LogvineError,
  type SealedBatch,
  type Store,
} from '../../src/store/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import {
  below,
  columnsFrom,
  forEachSeed,
  frameOf,
  framesOf,
  linePack,
  MemoryKeyValue,
  openStore,
  packOf,
  quiet,
  randomEntries,
  partsOf,
} from './material.ts';

const alice = await keysFromSeed(Buffer.alloc(32, 1));
const bob = await keysFromSeed(Buffer.alloc(32, 2));

function newWorld(random = seededRandom(1)) {
  return {
    disk: new SimDisk(random),
    clock: new SimClock(),
    catalog: new MemoryKeyValue(),
    said: [] as string[],
  };
}

type World = ReturnType<typeof newWorld>;

const start = (world: World, more = {}) =>
  openStore({ ...world, disk: world.disk.boot(), keys: alice, more });

/** A signed frame of Bob's that need not be an honest one. */
function bobsFrame(
  seq: number,
  previousHash: Buffer,
  change: Partial<BatchHeader> = {},
  line = `bob ${seq}`,
): Buffer {
  const packed = packBatch(
    [
      {
        labels: { app: 'b' },
        columns: columnsFrom([{ ms: seq, sub: 0, line: Buffer.from(line), metadata: {} }]),
      },
    ],
    1,
  );
  const header = encodeHeader({
    origin: bob.peer,
    epoch: 5,
    seq,
    segment: 1,
    previousHash,
    payloadHash: Buffer.from(packed.payloadHash),
    contentHash: Buffer.from(packed.contentHash),
    sealedAtMs: 9,
    syncedSeq: 0,
    owners: seq === 1 ? [bob.peer] : [],
    filterBytes: packed.filterBytes,
    blocks: packed.blocks,
    streams: partsOf(packed).map(({ labels, ...stream }) => ({
      ...stream,
      stream: 0,
      labels: seq === 1 ? labels : undefined,
    })),
    sources: [],
    ...change,
  });
  return Buffer.concat([
    frameHead(header, packed.payload, packed.payloadCrc, bob.sign(header)),
    packed.payload,
  ]);
}

/** An honest chain of Bob's. */
function bobsChain(count: number, change: Partial<BatchHeader> = {}): Buffer[] {
  const frames: Buffer[] = [];
  for (let seq = 1; seq <= count; seq++) {
    const before = frames.at(-1);
    frames.push(bobsFrame(seq, before ? verifyFrame(before).headerHash : Buffer.alloc(32), change));
  }
  return frames;
}

/** What became of a promise by now. */
function watch(promise: Promise<unknown>): { state: 'pending' | 'done' | string } {
  const seen: { state: string } = { state: 'pending' };
  promise.then(
    () => (seen.state = 'done'),
    (error: LogvineError) => (seen.state = error.code),
  );
  return seen;
}

test('a batch counts as written only when its fsync has ended', async () => {
  const world = newWorld();
  const store = await start(world);
  const gate = Promise.withResolvers<void>();
  world.disk.beforeSync = (path) => (path.endsWith('.seg') ? gate.promise : undefined);
  const own = store.seal(linePack('x'), [{ source: 'f', position: '1' }]);
  const replica = watch(store.appendReplica(bobsChain(1)[0]));
  const written = watch(own.written);
  await quiet();
  assert.equal(written.state, 'pending');
  assert.equal(replica.state, 'pending');
  assert.equal(store.position('f'), undefined);
  assert.equal(store.totals.batches, 0);
  assert.equal([...store.segments()].flatMap(({ record }) => [...record.batches]).length, 0);
  gate.resolve();
  await quiet();
  assert.equal(written.state, 'done');
  assert.equal(replica.state, 'done');
  assert.equal(store.position('f'), '1');
  assert.equal(store.totals.batches, 2);
});

test('batches that gather behind a running fsync share the next one', async () => {
  const world = newWorld();
  const store = await start(world);
  await store.seal(linePack('first'), []).written;
  const gate = Promise.withResolvers<void>();
  world.disk.beforeSync = () => gate.promise;
  const before = world.disk.syncs;
  const sealed = Array.from({ length: 30 }, (_, at) => store.seal(linePack(`line ${at}`), []));
  await quiet();
  const rest = Array.from({ length: 30 }, (_, at) => store.seal(linePack(`more ${at}`), []));
  gate.resolve();
  await Promise.all([...sealed, ...rest].map(({ written }) => written));
  assert.equal(world.disk.syncs - before, 2);
});

test('a full disk is waited out, in order, and what was sealed stays as it is', async () => {
  await forEachSeed(25, async (random) => {
    const world = newWorld(random);
    const store = await start(world, { segmentBytesMax: 3_000 });
    const done: number[] = [];
    const sealed: SealedBatch[] = [];
    const seal = (): void => {
      const batch = store.seal(packOf(randomEntries(random, 1 + below(random, 20))), []);
      batch.written.then(() => done.push(batch.seq));
      sealed.push(batch);
    };
    for (let round = 0; round < 10; round++) {
      world.disk.spaceBytes = random.unit() < 0.6 ? 1_000 + below(random, 12_000) : Infinity;
      for (let at = 0; at < 3; at++) seal();
      await world.clock.advance(below(random, 2_500));
    }
    world.disk.spaceBytes = 1;
    seal();
    await world.clock.advance(10_000);
    assert.equal(store.diskFull?.code, 'LV_DISK_FULL');
    assert.ok(done.length < sealed.length);
    // A crash in the middle of it leaves the written ones.
    if (random.unit() < 0.3) {
      world.disk.spaceBytes = Infinity;
      world.disk.crash('prefix');
      const held = await framesOf(await start(world));
      for (const seq of done)
        assert.deepEqual(held.get(`${alice.peer}/${store.epoch}/${seq}`), frameOf(sealed[seq - 1]));
      return;
    }
    world.disk.spaceBytes = Infinity;
    await world.clock.advance(2_000);
    assert.deepEqual(
      done,
      sealed.map(({ seq }) => seq),
    );
    assert.equal(store.diskFull, undefined);
    assert.equal(store.health.failure, undefined);
    assert.deepEqual([...(await framesOf(store)).values()], sealed.map(frameOf));
    world.disk.crash('lose');
    assert.deepEqual([...(await framesOf(await start(world))).values()], sealed.map(frameOf));
  });
});

test('a replica that finds no room is refused, and taken once there is some', async () => {
  const world = newWorld();
  const store = await start(world);
  const frames = bobsChain(4);
  await store.appendReplica(frames[0]);
  const path = world.disk.files().find((name) => name.endsWith('.seg'))!;
  const used = world.disk.files().reduce((sum, name) => sum + world.disk.contentOf(name).length, 0);
  world.disk.spaceBytes = used + frames[1].length + 20;
  const tries = frames.slice(1).map((frame) => watch(store.appendReplica(frame)));
  await quiet();
  assert.deepEqual(
    tries.map(({ state }) => state),
    ['LV_DISK_FULL', 'LV_DISK_FULL', 'LV_DISK_FULL'],
  );
  assert.deepEqual(world.disk.contentOf(path), frames[0], 'nothing half is left');
  world.disk.spaceBytes = Infinity;
  for (const frame of frames.slice(1)) await store.appendReplica(frame);
  assert.deepEqual(world.disk.contentOf(path), Buffer.concat(frames));
});

test('while the disk is full, closing tells what it could not write', async () => {
  const world = newWorld();
  const store = await start(world);
  await store.seal(linePack('in'), []).written;
  world.disk.spaceBytes = 1;
  const lost = watch(store.seal(linePack('out'), []).written);
  await world.clock.advance(500);
  const closing = store.close();
  await world.clock.advance(2_000);
  await closing;
  assert.equal(lost.state, 'LV_DISK_FULL');
  world.disk.kill();
  world.disk.spaceBytes = Infinity;
  assert.equal((await framesOf(await start(world))).size, 1);
});

test('what a full disk cut short does not come back with a power cut', async () => {
  await forEachSeed(100, async (random) => {
    const world = newWorld(random);
    const store = await start(world);
    await store.seal(linePack('in'), []).written;
    for (let at = 0; at < 2; at++) await store.rememberIdle();
    world.disk.spaceBytes = 1;
    for (let at = 0; at < 4; at++) store.seal(linePack(`out ${at}`), []).written.catch(() => undefined);
    await world.clock.advance(500);
    // Tried again with one write: room for some of them, and some more bytes.
    world.disk.spaceBytes = world.disk.usedBytes + below(random, 1_300);
    world.disk.changesLeft = random.unit() < 0.5 ? Infinity : 1 + below(random, 3);
    await world.clock.advance(1_000);
    const closing = store.close();
    await world.clock.advance(2_000);
    if (!world.disk.dead) await closing;
    world.disk.kill();
    world.disk.spaceBytes = Infinity;
    const found = await framesOf(await start(world));
    world.disk.crash(random.unit() < 0.5 ? 'prefix' : 'sectors');
    assert.deepEqual(await framesOf(await start(world)), found);
  });
});

test('after a failed fsync nothing more is acknowledged, and a restart has only what was', async () => {
  await forEachSeed(30, async (random, seed) => {
    const world = newWorld(random);
    const store = await start(world, { segmentBytesMax: 2_000 });
    const frames = bobsChain(9);
    const acknowledged = new Map<string, Buffer>();
    const own = (): void => {
      const batch = store.seal(linePack(`own ${random.unit()}`), []);
      const frame = frameOf(batch);
      batch.written.then(
        () => acknowledged.set(`${alice.peer}/${store.epoch}/${batch.seq}`, frame),
        () => undefined,
      );
    };
    const replica = async (at: number): Promise<void> => {
      await store.appendReplica(frames[at]);
      acknowledged.set(`${bob.peer}/5/${at + 1}`, frames[at]);
    };
    for (let at = 0; at < 4; at++) {
      own();
      await replica(at);
    }
    await quiet();
    // A hole, so that a heal is possible, too.
    const bobs = [...store.segments()].find(({ id }) => id.origin === bob.peer)!;
    store.quarantine(bobs, [bobs.entry(2)!]);
    acknowledged.delete(`${bob.peer}/5/2`);

    const failing = seed % 3 === 0 ? alice.peer : seed % 3 === 1 ? bob.peer : '.seg';
    world.disk.failSync = (path) => path.includes(failing);
    own();
    const live = watch(replica(4));
    await quiet();
    world.disk.failSync = () => false;
    assert.equal(store.health.failure?.code, 'LV_DATA_UNSAFE');
    const before = acknowledged.size;
    assert.throws(() => store.seal(linePack('more'), []), { code: 'LV_DATA_UNSAFE' });
    for (const at of [0, 1, 4, 5]) await assert.rejects(replica(at), { code: 'LV_DATA_UNSAFE' });
    await quiet();
    assert.equal(acknowledged.size, before);
    assert.notEqual(live.state, 'pending');
    await store.close();
    world.disk.crash('lose');
    const again = await start(world);
    const held = await framesOf(again);
    for (const [name, frame] of acknowledged) assert.deepEqual(held.get(name), frame, name);
    await again.seal(linePack('works'), []).written;
    for (const frame of frames) await again.appendReplica(frame);
  });
});

test('a batch whose fsync ends after another one failed is not acknowledged', async () => {
  const world = newWorld();
  const store = await start(world);
  const frames = bobsChain(2);
  await store.appendReplica(frames[0]);
  await store.seal(linePack('x'), []).written;
  const gate = Promise.withResolvers<void>();
  world.disk.beforeSync = (path) => (path.includes(bob.peer) ? gate.promise : undefined);
  world.disk.failSync = (path) => path.includes(alice.peer);
  const replica = watch(store.appendReplica(frames[1]));
  const own = watch(store.seal(linePack('y'), []).written);
  await quiet();
  gate.resolve();
  await quiet();
  assert.equal(own.state, 'LV_DATA_UNSAFE');
  assert.equal(replica.state, 'LV_DATA_UNSAFE');
  // Not even one that it has.
  await assert.rejects(store.appendReplica(frames[0]), { code: 'LV_DATA_UNSAFE' });
});

test('a directory whose fsync fails is a failed fsync', async () => {
  const world = newWorld();
  const store = await start(world);
  world.disk.failSync = (path) => path.endsWith('segments');
  const first = watch(store.seal(linePack('x'), []).written);
  await quiet();
  assert.equal(first.state, 'LV_DATA_UNSAFE');
  world.disk.failSync = () => false;
  assert.throws(() => store.seal(linePack('y'), []), { code: 'LV_DATA_UNSAFE' });
});

/** Everything on the disk, and what the store says of it. */
async function snapshot(world: World, store: Store): Promise<unknown> {
  const files = world.disk.files().map((path) => [path, world.disk.contentOf(path).toString('base64')]);
  return { files, totals: { ...store.totals }, frames: await framesOf(store) };
}

test('one id with two contents is an alarm and changes nothing', async () => {
  const world = newWorld();
  const store = await start(world);
  const frames = bobsChain(3);
  for (const frame of frames) await store.appendReplica(frame);
  const before = await snapshot(world, store);
  const other = bobsFrame(2, verifyFrame(frames[0]).headerHash, {}, 'another line');
  const followsOther = bobsFrame(4, verifyFrame(other).headerHash);
  for (const frame of [
    other,
    followsOther,
    bobsFrame(3, Buffer.alloc(32)),
    bobsFrame(1, Buffer.alloc(32), {}, '?'),
  ]) {
    await assert.rejects(store.appendReplica(frame), { code: 'LV_BATCH_CONFLICT' });
  }
  assert.deepEqual(await snapshot(world, store), before);
  assert.equal(store.conflicts.length, 4);
  assert.ok(world.said.some((text) => /two different contents/.test(text)));
  // A batch that it has already is none.
  for (const frame of frames) await store.appendReplica(frame);
  assert.deepEqual(await snapshot(world, store), before);
});

test('another content of a batch that is being written is an alarm too', async () => {
  const world = newWorld();
  const store = await start(world);
  const frames = bobsChain(2);
  await store.appendReplica(frames[0]);
  const gate = Promise.withResolvers<void>();
  world.disk.beforeSync = () => gate.promise;
  const first = watch(store.appendReplica(frames[1]));
  const same = watch(store.appendReplica(frames[1]));
  const other = watch(store.appendReplica(bobsFrame(2, verifyFrame(frames[0]).headerHash, {}, '?')));
  await quiet();
  assert.deepEqual([first.state, same.state], ['pending', 'pending']);
  gate.resolve();
  await quiet();
  assert.deepEqual([first.state, same.state, other.state], ['done', 'done', 'LV_BATCH_CONFLICT']);
  assert.equal((await framesOf(store)).size, 2);
});

test('a batch is healed in its place also where the one before it is missing', async () => {
  const world = newWorld();
  const store = await start(world);
  const frames = bobsChain(6);
  for (const frame of frames) await store.appendReplica(frame);
  const whole = await snapshot(world, store);
  const [segment] = store.segments();
  for (const seq of [2, 3, 4]) store.quarantine(segment, [segment.entry(seq)!]);
  for (const seq of [4, 2, 3]) await store.appendReplica(frames[seq - 1]);
  assert.deepEqual(segment.record.quarantined, []);
  assert.deepEqual(await snapshot(world, store), whole);
});

test('a hole whose batches are all there again elsewhere is none, and one that may hold more stays', async () => {
  const [first, second, third, fourth, fifth] = bobsChain(5);
  const holesOf = async (order: readonly Buffer[], rotten: readonly number[], again: readonly Buffer[]) => {
    const world = newWorld();
    const store = await start(world);
    for (const frame of order) await store.appendReplica(frame, { isRepair: true });
    const [segment] = store.segments();
    for (const seq of rotten) {
      const { offset, frameBytes } = segment.entry(seq)!;
      world.disk.flipBit(segment.path, (offset + frameBytes - 1) * 8);
      assert.equal(await store.readFrame(segment.id, seq), undefined);
    }
    for (const frame of again) await store.appendReplica(frame, { isRepair: true });
    const holes = [segment.record.quarantined.length];
    assert.equal([...store.damaged].length, holes[0]);
    await store.close();
    for (const catalog of [world.catalog, new MemoryKeyValue()]) {
      world.disk.kill();
      const [found] = (await start({ ...world, catalog })).segments();
      holes.push(found.record.quarantined.length);
    }
    return holes;
  };
  const gone = [0, 0, 0];
  assert.deepEqual(await holesOf([first, third, fourth, second], [2], [second]), gone);
  assert.deepEqual(await holesOf([first, third, fourth, fifth, second], [3, 2], [third, second]), gone);
  // The last batch may be in it, or the first.
  const longer = bobsFrame(4, verifyFrame(third).headerHash, {}, 'a longer line than the others');
  const stays = [1, 1, 1];
  assert.deepEqual(await holesOf([first, third, longer, second], [4, 2], [second]), stays);
  assert.deepEqual(await holesOf([first, second, third], [1], [fourth]), stays);
  assert.deepEqual(await holesOf([first, second, third], [2, 3], [fourth]), stays);
});

test('a hole is not healed with what does not continue the chain', async () => {
  const world = newWorld();
  const store = await start(world);
  const frames = bobsChain(3);
  for (const frame of frames) await store.appendReplica(frame);
  const [segment] = store.segments();
  store.quarantine(segment, [segment.entry(2)!]);
  const before = await snapshot(world, store);
  await assert.rejects(store.appendReplica(bobsFrame(2, Buffer.alloc(32, 9))), { code: 'LV_BATCH_CONFLICT' });
  assert.deepEqual(await snapshot(world, store), before);
  await store.appendReplica(frames[1]);
  assert.equal((await framesOf(store)).size, 3);
});

test('replicas out of order, of nobody and of this peer itself are refused', async () => {
  const world = newWorld();
  const store = await start(world);
  const frames = bobsChain(5);
  const refused = (frame: Buffer, code: string) => assert.rejects(store.appendReplica(frame), { code });
  await refused(frames[1], 'LV_PROTOCOL');
  await store.appendReplica(frames[0]);
  await refused(frames[2], 'LV_PROTOCOL');
  await store.appendReplica(frames[1]);
  await refused(frames[4], 'LV_PROTOCOL');
  assert.equal((await framesOf(store)).size, 2);
  const own = store.seal(linePack('mine'), []);
  await own.written;
  const stranger = await start(newWorld());
  await assert.rejects(stranger.appendReplica(frameOf(own)), { code: 'LV_PROTOCOL' });
  await refused(Buffer.alloc(0), 'LV_FRAME_CORRUPT');
  await refused(bobsFrame(3, verifyFrame(frames[1]).headerHash, { origin: '../../etc' }), 'LV_FRAME_CORRUPT');
  await refused(bobsFrame(3, verifyFrame(frames[1]).headerHash, { origin: alice.peer }), 'LV_FRAME_CORRUPT');
});

test('of an earlier epoch, a peer takes its own batches back', async () => {
  const world = newWorld();
  const store = await start(world);
  const sealed = ['a', 'b'].map((line) => store.seal(linePack(line), []));
  await Promise.all(sealed.map(({ written }) => written));
  const lost = newWorld();
  await lost.clock.advance(60_000);
  const again = await start(lost);
  for (const batch of sealed) await again.appendReplica(frameOf(batch));
  assert.deepEqual([...(await framesOf(again)).values()], sealed.map(frameOf));
});

test('of a later epoch, a peer keeps no batch of its own, and is told that it is not the last run', async () => {
  const later = newWorld();
  await later.clock.advance(60_000);
  const sealed = (await start(later)).seal(linePack('a'), []);
  await sealed.written;
  const toldOf: number[] = [];
  const store = await start(newWorld(), { onLaterRun: (epoch: number) => void toldOf.push(epoch) });
  await assert.rejects(store.appendReplica(frameOf(sealed)), { code: 'LV_PROTOCOL' });
  const { origin, epoch } = verifyFrame(frameOf(sealed)).header;
  assert.equal(origin, store.origin);
  assert.deepEqual(toldOf, [epoch]);
  assert.equal((await framesOf(store)).size, 0);
  await assert.rejects(
    store.appendReplica(bobsFrame(1, verifyFrame(frameOf(sealed)).headerHash, { origin: alice.peer, epoch })),
    { code: 'LV_FRAME_CORRUPT' },
  );
  assert.equal(toldOf.length, 1, 'who has not its key tells it nothing');
});

test('of its own epoch, a batch that this run has not sealed tells it that another run had it', async () => {
  const first = await start(newWorld());
  const sealed = first.seal(linePack('a'), []);
  await sealed.written;
  const toldOf: number[] = [];
  const second = await start(newWorld(), { onLaterRun: (epoch: number) => void toldOf.push(epoch) });
  assert.equal(second.epoch, first.epoch);
  await assert.rejects(second.appendReplica(frameOf(sealed)), { code: 'LV_PROTOCOL' });
  assert.deepEqual(toldOf, [first.epoch]);
});

test('replicas sent at once are written in their order', async () => {
  const world = newWorld();
  const store = await start(world);
  const frames = bobsChain(20);
  const results = await Promise.all(frames.map((frame) => store.appendReplica(frame)));
  assert.deepEqual(
    results.map(({ seq }) => seq),
    frames.map((_, at) => at + 1),
  );
  const path = world.disk.files().find((name) => name.endsWith('.seg'))!;
  assert.deepEqual(world.disk.contentOf(path), Buffer.concat(frames));
});

test('a frame over the bounds is refused, whoever signed it', async () => {
  const world = newWorld();
  const store = await start(world);
  const [honest] = bobsChain(1);
  const tooLong = Buffer.concat([honest, Buffer.alloc(LIMITS.messageBytesMax)]);
  tooLong.writeUInt32LE(LIMITS.payloadBytesMax + 1, 8);
  const overlong = Buffer.alloc(84 + LIMITS.headerBytesMax + 1);
  honest.copy(overlong);
  overlong.writeUInt32LE(LIMITS.headerBytesMax + 1, 4);
  const [block] = verifyFrame(honest).header.blocks;
  const frames = [
    tooLong,
    overlong,
    bobsFrame(1, Buffer.alloc(32), { filterBytes: LIMITS.payloadBytesMax }),
    bobsFrame(1, Buffer.alloc(32), { blocks: [{ ...block, linesRaw: 2 ** 40 }] }),
    bobsFrame(1, Buffer.alloc(32), { owners: Array.from({ length: 17 }, () => bob.peer) }),
    honest.subarray(0, -1),
  ];
  for (const frame of frames) await assert.rejects(store.appendReplica(frame), { code: 'LV_FRAME_CORRUPT' });
  assert.deepEqual([...store.segments()], []);
  assert.ok(readFrame(honest));
});

test('what is too large to be sealed takes no names from what is sealed after it', async () => {
  const store = await openStore({
    disk: new SimDisk(seededRandom(1)).boot(),
    clock: new SimClock(),
    keys: alice,
  });
  await store.seal(linePack('one', 1, { app: 'a' }), []).written;
  const sources = [{ source: 'f', position: 'x'.repeat(LIMITS.headerBytesMax) }];
  assert.throws(() => store.seal(linePack('two', 1, { app: 'b' }), sources), /a header of/);
  const next = store.seal(linePack('three', 1, { app: 'b' }), []);
  await next.written;
  assert.equal(next.seq, 2);
  const { header } = verifyFrame(Buffer.concat(next.frame as Uint8Array[]));
  assert.deepEqual(header.streams[0].labels, { app: 'b' });
});
