import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { keysFromSeed } from '../../src/gossip/transport/index.ts';
import {
  encodeHeader,
  frameHead,
  goneSeqs,
  FRAME_MAGIC,
  headerHash,
  readFrame,
  readHead,
  Scrubber,
  unionRuns,
  verifyFrame,
  type Run,
  type Segment,
  type Store,
} from '../../src/store/index.ts';
import type { Random } from '../../src/store/host/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk, type Tear } from '../helpers/sim-disk.ts';
import {
  below,
  contentsOf,
  DATA,
  forEachSeed,
  frameOf,
  framesOf,
  linePack,
  MemoryKeyValue,
  openStore,
  packOf,
  pick,
  quiet,
  randomEntries,
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

type World = ReturnType<typeof newWorld>;

const start = (world: World, more = {}) =>
  openStore({ ...world, disk: world.disk.boot(), keys: alice, more });

/** Bob's batches, sealed on a disk of their own; the first frames of one segment unless `segmentBytesMax` says otherwise. */
async function bobsFrames(count: number, more = {}): Promise<Buffer[]> {
  const disk = new SimDisk(seededRandom(7));
  const store = await openStore({ disk: disk.boot(), clock: new SimClock(), keys: bob, more });
  const sealed = Array.from({ length: count }, (_, at) =>
    store.seal(linePack(`bob ${at}`, 1_700_000_000_000 + at, { app: `app${at % 2}` }), [
      { source: 'f', position: String(at) },
    ]),
  );
  await Promise.all(sealed.map(({ written }) => written));
  return sealed.map(frameOf);
}

const bobsPath = (frame: Buffer): string => {
  const { origin, epoch, segment } = verifyFrame(frame).header;
  return `${DATA}/segments/${origin}/${epoch}-${segment}.seg`;
};

test('what was written is there after any crash, byte for byte, and nothing half', async () => {
  await forEachSeed(60, async (random, seed) => {
    const world = newWorld(random);
    const written = new Map<string, Buffer>();
    const sealedEver = new Map<string, Buffer>();
    const positions = new Map<string, number>();
    let lastEpoch = 0;
    for (let life = 0; life < 4; life++) {
      const store = await start(world, { segmentBytesMax: pick(random, [2_000, 100_000]) });
      assert.ok(store.epoch > lastEpoch, 'epochs rise');
      lastEpoch = store.epoch;
      const held = await framesOf(store);
      for (const [name, frame] of written) assert.deepEqual(held.get(name), frame, `${name} was written`);
      for (const [name, frame] of held)
        assert.deepEqual(sealedEver.get(name), frame, `${name} was sealed so`);
      // A source goes on where the last batch on disk ended: no earlier than acknowledged, and no later than sealed.
      for (const [source, position] of positions) {
        assert.ok(Number(store.position(source) ?? -1) >= position, `${source} went back`);
      }
      checkOwnChain(store);

      world.disk.changesLeft = 3 + below(random, 40);
      let position = life * 1000;
      for (let round = 0; round < 12 && !world.disk.dead; round++) {
        const count = 1 + below(random, 4);
        for (let at = 0; at < count; at++) {
          const sources = [{ source: 'file', position: String(++position) }];
          const batch = store.seal(packOf(randomEntries(random, 1 + below(random, 30))), sources);
          const name = `${store.origin}/${store.epoch}/${batch.seq}`;
          const frame = frameOf(batch);
          const carried = position;
          sealedEver.set(name, frame);
          batch.written.then(() => {
            written.set(name, frame);
            positions.set('file', Math.max(positions.get('file') ?? 0, carried));
          });
        }
        if (random.unit() < 0.2) store.rollSegment();
        await quiet(random.unit() < 0.5 ? 1 : 6);
      }
      world.clock.advance(1 + below(random, 3) * 1000);
      if (seed % 3 === 0) world.disk.kill();
      else world.disk.crash(pick<Tear>(random, ['lose', 'prefix']));
      if (random.unit() < 0.5) world.catalog.values.clear();
    }
    assert.ok(written.size > 3);
  });
});

/** Each batch continues the one before it, also over the end of an epoch. */
function checkOwnChain(store: Store): void {
  const own = [...store.segments()]
    .filter(({ id }) => id.origin === store.origin)
    .sort((a, b) => a.id.epoch - b.id.epoch || a.id.index - b.id.index)
    .flatMap(({ id, record }) => Array.from(record.batches, ({ seq }) => ({ epoch: id.epoch, seq })));
  for (const [at, batch] of own.entries()) {
    const before = own[at - 1];
    assert.equal(batch.seq, before?.epoch === batch.epoch ? before.seq + 1 : 1);
  }
}

test('the chain of headers runs through segments and epochs', async () => {
  const world = newWorld();
  const headers = [];
  for (let life = 0; life < 3; life++) {
    const store = await start(world, { segmentBytesMax: 1 });
    for (let at = 0; at < 3; at++) {
      const batch = store.seal(linePack(`${life} ${at}`), []);
      await batch.written;
      const frame = frameOf(batch);
      headers.push({ header: verifyFrame(frame).header, hash: headerHash(readHead(frame)!.header) });
    }
    world.disk.crash('lose');
  }
  for (const [at, { header }] of headers.entries()) {
    const before: (typeof headers)[number] | undefined = headers[at - 1];
    if (header.seq > 1) assert.deepEqual(header.previousHash, before?.hash);
    else {
      assert.deepEqual(header.previousHash, Buffer.alloc(32));
      assert.deepEqual(
        header.previousEpoch,
        before && { epoch: before.header.epoch, lastSeq: before.header.seq, headerHash: before.hash },
      );
    }
  }
});

test('epochs rise though the clock goes back and epoch.json is lost, rotten or on a bad sector', async () => {
  const world = newWorld();
  let store = await start(world);
  let last = store.epoch;
  for (const harm of ['none', 'garbage', 'empty', 'unreadable', 'gone']) {
    await store.seal(linePack('x'), []).written;
    world.disk.crash('lose');
    if (harm === 'garbage') world.disk.overwrite(`${DATA}/epoch.json`, Buffer.from('{"epoch":"'));
    if (harm === 'empty') world.disk.overwrite(`${DATA}/epoch.json`, Buffer.from('{}'));
    if (harm === 'gone') world.disk.remove(`${DATA}/epoch.json`);
    world.disk.failRead = (path) => harm === 'unreadable' && path === `${DATA}/epoch.json`;
    store = await openStore({ ...world, clock: new SimClock(5_000), disk: world.disk.boot(), keys: alice });
    assert.ok(store.epoch > last, harm);
    last = store.epoch;
  }
});

test('the catalog changes nothing: lost, rotten, old or unwritable', async () => {
  await forEachSeed(20, async (random) => {
    const world = newWorld(random);
    const frames = await bobsFrames(6);
    let store = await start(world, { segmentBytesMax: 1_500 });
    for (let at = 0; at < 6; at++) {
      await store.seal(packOf(randomEntries(random, 20)), [{ source: 's', position: String(at) }]).written;
      await store.appendReplica(frames[at]);
    }
    const old = new Map(world.catalog.values);
    await store.close();
    const full = new Map(world.catalog.values);
    assert.ok(full.size >= 2);
    const expected = await stateOf(store);
    const broken = new Map(full);
    for (const [name, value] of broken) {
      const copy = Buffer.from(value);
      copy[below(random, copy.length)] ^= 1 << below(random, 8);
      broken.set(name, copy);
    }
    class Unwritable extends MemoryKeyValue {
      override put(): Promise<void> {
        return Promise.reject(new Error('no space left'));
      }
    }
    for (const values of [full, new Map<string, Uint8Array>(), old, broken]) {
      world.disk.kill();
      store = await start({ ...world, catalog: new MemoryKeyValue(new Map(values)) });
      assert.deepEqual(await stateOf(store), expected);
    }
    world.disk.kill();
    store = await start({ ...world, catalog: new Unwritable() });
    assert.deepEqual(await stateOf(store), expected);
    await store.close();
  });
});

/** All that a store says of what it holds. */
async function stateOf(store: Store): Promise<unknown> {
  const segments = [...store.segments()]
    .filter(({ record }) => record.batches.length > 0)
    .map(({ id, record }) => {
      const streams = record.streams.map((stream) => stream?.key);
      return JSON.stringify(sorted({ ...record, id, streams, positions: [...record.positions] }));
    })
    .sort();
  const { batches, entries, rawBytes, storedBytes } = store.totals;
  const frames = [...(await framesOf(store))].map(([name, frame]) => `${name} ${crc32(frame)}`).sort();
  return { segments, position: store.position('s'), batches, entries, rawBytes, storedBytes, frames };
}

/** With the keys of every object in one order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) return value;
  const entries = Object.entries(value).map(([key, item]) => [key, sorted(item)] as const);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

test('bad middles are quarantined, never served, and healed by the same frames', async () => {
  await forEachSeed(40, async (random, seed) => {
    const world = newWorld(random);
    const frames = await bobsFrames(8);
    let store = await start(world);
    for (const frame of frames) await store.appendReplica(frame);
    const before = store.totals;
    const path = bobsPath(frames[0]);
    const whole = world.disk.contentOf(path);
    if (seed % 2 === 0) await store.close();
    // Any of them but the last, which could as well be a torn tail.
    const rotten = new Set(Array.from({ length: 1 + below(random, 3) }, () => below(random, 7)));
    const starts = frames.map((_, at) => frames.slice(0, at).reduce((sum, { length }) => sum + length, 0));
    for (const at of rotten)
      world.disk.flipBit(path, (starts[at] + below(random, frames[at].length)) * 8 + below(random, 8));
    world.disk.kill();
    // With the catalog the rot shows when it is read, without it at once.
    if (seed % 2 === 1) world.catalog.values.clear();
    store = await start(world);
    const held = await framesOf(store);
    for (const [at, frame] of frames.entries()) {
      const found = held.get(`${bob.peer}/${verifyFrame(frame).header.epoch}/${at + 1}`);
      if (rotten.has(at)) assert.equal(found, undefined);
      else if (found) assert.deepEqual(found, frame);
    }
    for (const frame of frames) await store.appendReplica(frame);
    assert.deepEqual(world.disk.contentOf(path), whole);
    assert.equal((await framesOf(store)).size, frames.length);
    assert.deepEqual({ ...store.totals }, { ...before });
    const [segment] = store.segments();
    assert.deepEqual(segment.record.quarantined, []);
    assert.deepEqual(segment.intervals(), [[1, 8]]);
    // And it goes on behind them, now and after a restart.
    const more = (await bobsFrames(10)).slice(8);
    await store.appendReplica(more[0]);
    world.disk.crash('lose');
    store = await start(world);
    await store.appendReplica(more[1]);
    assert.equal((await framesOf(store)).size, 10);
  });
});

test('what rot took is known until it is back, whatever becomes of the process and the file', async () => {
  await forEachSeed(40, async (random) => {
    const world = newWorld(random);
    const frames = await bobsFrames(8);
    let store = await start(world);
    for (const frame of frames) await store.appendReplica(frame);
    const again = async (): Promise<Segment> => {
      await store.close();
      store = await start(world);
      const [segment] = store.segments();
      return segment;
    };
    let segment = await again();
    assert.deepEqual(segment.record.rotten, []);
    const lost = new Set<number>();
    const lose = (seq: number): void => {
      lost.add(seq);
      const entry = segment.entry(seq)!;
      world.disk.flipBit(segment.path, (entry.offset + below(random, entry.frameBytes)) * 8);
      store.quarantine(segment, [entry]);
    };
    const check = (): void => {
      const runs = unionRuns(
        [...lost].map((seq): Run => [seq, seq]),
        [],
      );
      assert.deepEqual(goneSeqs(segment.record.rotten), runs);
    };
    // Not the first two: they name the streams of the others.
    for (let at = 1 + below(random, 3); at > 0; at--) {
      const seq = 3 + below(random, 6);
      if (!lost.has(seq)) lose(seq);
    }
    check();
    if (random.unit() < 0.7) segment = await again();
    check();
    if (random.unit() < 0.5) {
      // Cut while it was down: what the catalog knows of and the file has not was here, too.
      const { offset } = segment.last!;
      const { path } = segment;
      const after = frames.length - [...segment.intervals()].at(-1)![1];
      await store.close();
      const file = await world.disk.boot().open(path, 'write');
      await file.truncate(offset);
      lost.add(frames.length - after);
      store = await start(world);
      [segment] = store.segments();
      check();
    }
    for (const frame of frames) {
      await store.appendReplica(frame);
      lost.delete(verifyFrame(frame).header.seq);
      if (random.unit() < 0.3) check();
      if (random.unit() < 0.1) segment = await again();
    }
    assert.deepEqual(segment.record.rotten, []);
    assert.equal((await framesOf(store)).size, frames.length);
  });
});

test('what rot took is known also after a crash, and of a file that became empty or cannot be read', async () => {
  const frames = await bobsFrames(3);
  const hold = async (
    how: (world: World, store: Store, segment: Segment) => Promise<void>,
  ): Promise<Segment> => {
    const world = newWorld();
    const store = await start(world);
    for (const frame of frames) await store.appendReplica(frame);
    const [segment] = store.segments();
    await how(world, store, segment);
    world.disk.failRead = () => false;
    // What is not known after one start is not known after any.
    await (await start(world)).close();
    return [...(await start(world)).segments()][0];
  };
  const crashed = await hold(async (world, store, segment) => {
    const { offset } = segment.last!;
    world.disk.flipBit(segment.path, (offset + 50) * 8);
    store.quarantine(segment, [segment.last!]);
    await quiet(10);
    world.disk.crash('lose');
  });
  assert.deepEqual([crashed.intervals(), goneSeqs(crashed.record.rotten)], [[[1, 2]], [[3, 3]]]);
  const empty = await hold(async (world, store, segment) => {
    await store.close();
    const file = await world.disk.boot().open(segment.path, 'write');
    await file.truncate(0);
  });
  assert.deepEqual([empty.intervals(), goneSeqs(empty.record.rotten)], [[], [[1, 3]]]);
  const unread = await hold(async (world, store, segment) => {
    store.quarantine(segment, [segment.entry(2)!]);
    await store.close();
    world.disk.flipBit(segment.path, (segment.last!.offset - 50) * 8);
    world.catalog.values.set('else', Buffer.alloc(0));
    world.disk.failRead = (path, at = 0) => path === segment.path && at >= segment.last!.offset;
    const again = await start(world);
    await again.close();
  });
  assert.equal(unread.entry(2), undefined);
  assert.ok(goneSeqs(unread.record.rotten).some(([from, to]) => from <= 2 && to >= 2));
});

test('of batches that nothing names any more it is known that they were here, with those that the catalog had', async () => {
  const frames = await bobsFrames(4);
  const world = newWorld();
  let store = await start(world);
  await store.appendReplica(frames[0]);
  await store.rememberIdle();
  await store.rememberIdle();
  for (const frame of frames.slice(1)) await store.appendReplica(frame);
  const [segment] = store.segments();
  world.disk.flipBit(segment.path, 50 * 8);
  world.disk.kill();
  store = await start(world);
  const [again] = store.segments();
  const gone = goneSeqs(again.record.rotten);
  assert.ok(gone.length > 0 && gone[0]![0] === 1, JSON.stringify(gone));
  assert.deepEqual(unionRuns(gone, again.intervals()), [[1, 4]]);
});

test('an origin does not take its own batches for lost: it says itself how far they are acknowledged', async () => {
  const world = newWorld();
  let store = await start(world);
  for (let at = 0; at < 3; at++) await store.seal(linePack(`line ${at}`), []).written;
  const [segment] = store.segments();
  await store.close();
  const file = await world.disk.boot().open(segment.path, 'write');
  await file.truncate(segment.record.batches.at(1)!.offset);
  store = await start(world);
  assert.deepEqual([...store.segments()][0]!.record.rotten, []);
});

test('where the last batch proves rotten, it is healed and the next one follows it', async () => {
  const world = newWorld();
  const frames = await bobsFrames(4);
  let store = await start(world);
  for (const frame of frames.slice(0, 3)) await store.appendReplica(frame);
  await store.close();
  world.disk.flipBit(bobsPath(frames[0]), (world.disk.contentOf(bobsPath(frames[0])).length - 3) * 8);
  world.disk.kill();
  store = await start(world);
  const [segment] = store.segments();
  assert.equal(await store.readFrame(segment.id, 3), undefined);
  await store.close();
  world.disk.kill();
  // The catalog remembers the hole.
  store = await start(world);
  await store.appendReplica(frames[2]);
  await store.appendReplica(frames[3]);
  assert.deepEqual([...(await framesOf(store)).values()], frames);
});

test('what was of no use without a batch before it is there again once that is healed', async () => {
  const world = newWorld();
  const frames = await bobsFrames(4);
  let store = await start(world);
  for (const frame of frames) await store.appendReplica(frame);
  await store.close();
  world.disk.flipBit(bobsPath(frames[0]), 100 * 8);
  world.disk.kill();
  world.catalog.values.clear();
  store = await start(world);
  // Not three: one of the sound ones names no stream of its own.
  assert.equal((await framesOf(store)).size, 2);
  await store.appendReplica(frames[0]);
  assert.deepEqual([...(await framesOf(store)).values()], frames);
  const [segment] = store.segments();
  assert.deepEqual(segment.record.quarantined, []);
});

test('a sector that cannot be read costs what is in it, and not the start', async () => {
  const world = newWorld();
  const frames = await bobsFrames(60);
  let store = await start(world);
  for (const frame of frames) await store.appendReplica(frame);
  await store.close();
  world.disk.kill();
  world.catalog.values.clear();
  const path = bobsPath(frames[0]);
  const bad = 2 * 4096;
  assert.ok(world.disk.contentOf(path).length > bad + 4096);
  world.disk.failRead = (read, position, length) =>
    read === path && position < bad + 4096 && position + length > bad;
  store = await start(world);
  const held = await framesOf(store);
  assert.ok(held.size > 0 && held.size < frames.length, `${held.size} batches`);
  // It can be read again, or was replaced by a good one.
  world.disk.failRead = () => false;
  for (const frame of frames) await store.appendReplica(frame);
  assert.deepEqual([...(await framesOf(store)).values()], frames);
});

test('rot near the end of a file that was finished long ago takes nothing else with it', async () => {
  const world = newWorld();
  const more = { segmentBytesMax: 3_000 };
  let store = await start(world, more);
  const sealed = Array.from({ length: 40 }, (_, at) =>
    store.seal(linePack(`line ${at} ${'x'.repeat(at)}`), []),
  );
  // Written together, so that the last ones of a file do not know yet which are on disk.
  await Promise.all(sealed.map(({ written }) => written));
  await store.close();
  const [first, second] = [...store.segments()].sort((a, b) => a.id.index - b.id.index);
  assert.ok(second);
  const batches = [...first.record.batches];
  const rotten = batches.at(-2)!;
  world.disk.flipBit(first.path, (rotten.offset + rotten.frameBytes - 3) * 8);
  world.disk.kill();
  world.catalog.values.clear();
  store = await start(world, more);
  const seqs = Array.from(store.segment(first.id)!.record.batches, ({ seq }) => seq);
  assert.deepEqual(
    seqs,
    batches.filter((batch) => batch !== rotten).map(({ seq }) => seq),
  );
});

test('on a full disk a batch cannot be healed, and is once there is room', async () => {
  const world = newWorld();
  const frames = await bobsFrames(3);
  const store = await start(world);
  for (const frame of frames) await store.appendReplica(frame);
  const file = world.disk.file(bobsPath(frames[0]));
  file.content = file.content.subarray(0, file.content.length - 10);
  const [segment] = store.segments();
  assert.equal(await store.readFrame(segment.id, 3), undefined);
  world.disk.spaceBytes = world.disk.usedBytes;
  await assert.rejects(store.appendReplica(frames[2]), { code: 'LV_DISK_FULL' });
  assert.equal(store.health.failure, undefined);
  world.disk.spaceBytes = Infinity;
  await store.appendReplica(frames[2]);
  assert.deepEqual([...(await framesOf(store)).values()], frames);
});

test('a batch that is found in a wrong place while it is fetched is there once', async () => {
  const [first, second] = await bobsFrames(2);
  for (const isFoundFirst of [true, false]) {
    for (let turns = 0; turns < 60; turns++) {
      const world = newWorld();
      const store = await start(world);
      for (const frame of [first, second]) await store.appendReplica(frame);
      const [segment] = store.segments();
      // The second one was written over the first one.
      const content = Buffer.alloc(first.length + second.length);
      second.copy(content, 20);
      world.disk.overwrite(segment.path, content);
      for (const seq of [1, 2]) assert.equal(await store.readFrame(segment.id, seq), undefined);
      const works = [() => store.readAgain(segment), () => store.appendReplica(second, { isRepair: true })];
      if (!isFoundFirst) works.reverse();
      world.disk.beforeSync = () => quiet(1);
      const under = works[0]();
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      await Promise.all([under, works[1]()]);
      assert.deepEqual(segment.intervals(), [[2, 2]]);
      assert.equal(store.totals.batches, 1);
      assert.deepEqual([...(await framesOf(store)).values()], [second]);
      await store.close();
      world.disk.kill();
      assert.deepEqual([...(await framesOf(await start(world))).values()], [second]);
    }
  }
});

test('what else lies about in the data directory is left alone', async () => {
  const world = newWorld();
  const store = await start(world);
  const [frame] = await bobsFrames(1);
  await store.appendReplica(frame);
  await store.close();
  world.disk.kill();
  const disk = world.disk.boot();
  const notes = [`${DATA}/segments/notes.txt`, `${dirname(bobsPath(frame))}/1-1.gone_x`];
  for (const path of notes) await disk.replaceFile(path, Buffer.from('mine'));
  const again = await start(world);
  assert.deepEqual([...(await framesOf(again)).values()], [frame]);
  assert.deepEqual([...again.dropped.expired.all], []);
  for (const path of notes) assert.equal(String(world.disk.contentOf(path)), 'mine');
});

test('one batch healed from two peers at once is there once', async () => {
  const world = newWorld();
  const frames = await bobsFrames(3);
  const store = await start(world);
  for (const frame of frames) await store.appendReplica(frame);
  const [segment] = store.segments();
  const totals = { ...store.totals };
  for (const seq of [2, 1]) store.quarantine(segment, [segment.entry(seq)!]);
  const copies = [0, 1, 0, 1].map((at) => store.appendReplica(frames[at]));
  await Promise.all(copies);
  assert.deepEqual(
    Array.from(segment.record.batches, ({ seq }) => seq),
    [1, 2, 3],
  );
  assert.deepEqual(store.totals, totals);
  assert.deepEqual([...(await framesOf(store)).values()], frames);
});

test('an own batch that is healed takes no source back', async () => {
  const world = newWorld();
  let store = await start(world);
  const sealed = [];
  for (let at = 1; at <= 4; at++) {
    sealed.push(store.seal(linePack(`line ${at}`), [{ source: 'f', position: String(at) }]));
    await sealed.at(-1)!.written;
  }
  world.disk.kill();
  store = await start(world);
  const [segment] = store.segments();
  store.quarantine(segment, [segment.entry(2)!]);
  await store.appendReplica(frameOf(sealed[1]));
  assert.equal((await framesOf(store)).size, 4);
  await store.close();
  world.disk.kill();
  store = await start(world);
  assert.equal(store.position('f'), '4');
});

test('batches of streams that a lost batch named are not answered for until it is back', async () => {
  const world = newWorld();
  // Streams app0 and app1 are named in batches 1 and 2.
  const frames = await bobsFrames(6);
  let store = await start(world);
  for (const frame of frames) await store.appendReplica(frame);
  world.disk.flipBit(bobsPath(frames[0]), 100 * 8);
  world.disk.crash('lose');
  world.catalog.values.clear();
  store = await start(world);
  const [segment] = store.segments();
  assert.deepEqual(segment.intervals(), [
    [2, 2],
    [4, 4],
    [6, 6],
  ]);
  for (const { streams } of segment.record.batches) {
    for (const stream of streams) assert.ok(segment.record.streams[stream]);
  }
  // Its place is known, and what it would be asked for is not.
  for (const isRepair of [true, false]) {
    const healed = store.appendReplica(frames[2], { isRepair });
    await assert.rejects(healed, { code: 'LV_PROTOCOL', message: /are named in a batch that is not here/ });
  }
  assert.equal(segment.entry(3), undefined);
  for (const frame of frames) await store.appendReplica(frame);
  assert.deepEqual(segment.intervals(), [[1, 6]]);
  assert.deepEqual(
    segment.record.streams.map((stream) => stream?.labels),
    [{ app: 'app0' }, { app: 'app1' }],
  );
});

test('a crash that leaves any sectors of a group of writes leaves a store that goes on and can be caught up', async () => {
  await forEachSeed(80, async (random) => {
    const world = newWorld(random);
    const frames = await bobsFrames(12);
    let store = await start(world);
    const acknowledged = new Set<number>();
    const first = 1 + below(random, 5);
    for (const frame of frames.slice(0, first)) acknowledged.add((await store.appendReplica(frame)).seq);
    world.disk.changesLeft = 1 + below(random, 4);
    for (const frame of frames.slice(first, first + 6)) {
      void store.appendReplica(frame).then(({ seq }) => acknowledged.add(seq));
    }
    await quiet();
    world.disk.crash('sectors');
    store = await start(world);
    const [segment] = store.segments();
    for (const seq of acknowledged) assert.ok(segment.entry(seq), `${seq} was acknowledged`);
    // Each hole is healed, and what was cut is appended: never one over the other.
    for (const frame of frames) await store.appendReplica(frame);
    assert.deepEqual([...(await framesOf(store)).values()], frames);
    assert.deepEqual(world.disk.contentOf(bobsPath(frames[0])), Buffer.concat(frames));
  });
});

test('every torn tail is cut', async () => {
  const frames = await bobsFrames(3);
  const all = Buffer.concat(frames);
  const ends = [
    0,
    ...frames.map((_, at) => frames.slice(0, at + 1).reduce((sum, { length }) => sum + length, 0)),
  ];
  for (let length = 0; length < all.length; length += 13) {
    for (const tail of [Buffer.alloc(0), Buffer.alloc(600), Buffer.from('LVB1 and so on'.repeat(20))]) {
      const world = newWorld();
      let store = await start(world);
      for (const frame of frames) await store.appendReplica(frame);
      world.disk.kill();
      world.disk.overwrite(bobsPath(frames[0]), Buffer.concat([all.subarray(0, length), tail]));
      store = await start(world);
      const end = ends.findLast((at) => at <= length)!;
      assert.equal(world.disk.contentOf(bobsPath(frames[0])).length, end, `${length} + ${tail.length}`);
      assert.equal((await framesOf(store)).size, ends.indexOf(end));
      for (const frame of frames) await store.appendReplica(frame);
      assert.deepEqual(world.disk.contentOf(bobsPath(frames[0])), all);
    }
  }
});

test('what comes back holds the lines', async () => {
  await forEachSeed(10, async (random) => {
    const world = newWorld(random);
    let store = await start(world);
    const given = randomEntries(random, 200);
    await store.seal(packOf(given, { app: 'x', host: 'h' }), []).written;
    world.disk.crash('lose');
    store = await start(world);
    const [frame] = (await framesOf(store)).values();
    const [{ labels, entries }] = contentsOf(frame);
    assert.deepEqual({ ...labels }, { app: 'x', host: 'h' });
    assert.deepEqual(entries, given);
  });
});

/** Reads of these bytes of a file fail, until the returned function is called. */
function makeUnreadable(disk: SimDisk, path: string, from: number, end: number): () => void {
  disk.failRead = (read, position, length) => read === path && position < end && position + length > from;
  return () => (disk.failRead = () => false);
}

test('bytes that cannot be read at a start are neither cut nor overwritten, and there again at a later start', async () => {
  const frames = await bobsFrames(60);
  const all = Buffer.concat(frames);
  const path = bobsPath(frames[0]);
  const sectors = Math.ceil(all.length / 4096);
  for (const [first, last] of [
    [0, sectors],
    [0, 1],
    [2, 3],
    [sectors - 1, sectors],
  ]) {
    const world = newWorld();
    let store = await start(world);
    for (const frame of frames) await store.appendReplica(frame);
    world.disk.kill();
    world.catalog.values.clear();
    const recover = makeUnreadable(world.disk, path, first * 4096, last * 4096);
    store = await start(world);
    assert.deepEqual(world.disk.contentOf(path), all);
    assert.ok((await framesOf(store)).size < frames.length);
    const [segment] = store.segments();
    assert.equal(segment.record.fileBytes, all.length);
    assert.ok(segment.record.quarantined.length > 0);
    await store.close();
    recover();
    world.disk.kill();
    store = await start(world);
    assert.deepEqual([...(await framesOf(store)).values()], frames);
    assert.deepEqual([...store.damaged], []);
  }
});

test('own batches behind one that cannot be read are not cut either', async () => {
  const world = newWorld();
  let store = await start(world);
  const sealed = Array.from({ length: 60 }, (_, at) =>
    store.seal(linePack(`line ${at}`), [{ source: 'f', position: String(at) }]),
  );
  // Written together: the batches behind the first say of none that it is on disk.
  await Promise.all(sealed.map(({ written }) => written));
  const { path } = sealed[0].segment;
  const all = world.disk.contentOf(path);
  world.disk.kill();
  const recover = makeUnreadable(world.disk, path, 4096, 2 * 4096);
  await start(world);
  assert.deepEqual(world.disk.contentOf(path), all);
  recover();
  world.disk.kill();
  store = await start(world);
  assert.equal((await framesOf(store)).size, 60);
  assert.equal(store.position('f'), '59');
});

test('what a bad sector took is written elsewhere while it cannot be read, and all is served', async () => {
  const world = newWorld();
  const frames = await bobsFrames(60);
  let store = await start(world);
  for (const frame of frames) await store.appendReplica(frame);
  const path = bobsPath(frames[0]);
  const all = world.disk.contentOf(path);
  makeUnreadable(world.disk, path, 4096, 2 * 4096);
  // Another hole, which is healed in its place.
  world.disk.flipBit(path, (all.length - 3) * 8);
  assert.ok((await framesOf(store)).size < frames.length - 1);
  for (const frame of frames) await store.appendReplica(frame);
  assert.equal(store.health.failure, undefined);
  assert.deepEqual(world.disk.contentOf(path).subarray(0, all.length), all);
  assert.equal((await framesOf(store)).size, frames.length);
  assert.deepEqual([...store.damaged], [], 'nothing is missing there any more');
  await store.close();
  world.disk.kill();
  world.catalog.values.clear();
  store = await start(world);
  assert.equal((await framesOf(store)).size, frames.length);
  assert.deepEqual([...store.damaged], []);
});

/** A store's own batches of one line each, one of them with `strange` in it, which stands in its batch as it is. */
async function sealAround(
  store: Store,
  count: number,
  strangeAt: number,
  strange: Buffer,
): Promise<Buffer[]> {
  const frames: Buffer[] = [];
  const noise = seededRandom(3).bytes(20_000);
  for (let at = 1; at <= count; at++) {
    // Among so many random bytes it is not worth compressing.
    const line = at === strangeAt ? Buffer.concat([noise, strange, noise]) : Buffer.from(`line ${at}`);
    const packed = packOf([{ ms: 1_700_000_000_000 + at, sub: 0, line, metadata: {} }]);
    const sealed = store.seal(packed, [{ source: 'f', position: String(at) }]);
    await sealed.written;
    frames.push(frameOf(sealed));
  }
  assert.ok(frames[strangeAt - 1].includes(strange));
  return frames;
}

/** What its checksums say is a frame, with a header like that of `frame`, and nobody has signed. */
function forgedFrame(frame: Buffer, change: object, version?: number): Buffer {
  const { header } = verifyFrame(frame);
  const { payload } = readFrame(frame)!;
  const forged = Buffer.from(encodeHeader({ ...header, ...change }));
  if (version !== undefined) forged[0] = version;
  return Buffer.concat([frameHead(forged, payload, crc32(payload), seededRandom(9).bytes(64)), payload]);
}

test('a line that looks like a batch is none, also where the batch that it is in is damaged', async () => {
  for (const version of [undefined, 99]) {
    const world = newWorld();
    let store = await start(world);
    const first = store.seal(linePack('first'), []);
    await first.written;
    const forged = forgedFrame(
      frameOf(first),
      { seq: 1_000_000, sources: [{ source: 'f', position: '999999' }] },
      version,
    );
    const frames = await sealAround(store, 10, 5, forged);
    const [{ path, id }] = store.segments();
    // In the head of the one that holds the line.
    world.disk.flipBit(path, (world.disk.contentOf(path).indexOf(frames[4]) + 20) * 8);
    world.disk.kill();
    store = await start(world);
    assert.deepEqual(store.segment(id)!.intervals(), [
      [1, 5],
      [7, 11],
    ]);
    assert.equal(store.position('f'), '10');
    assert.deepEqual([...(await framesOf(store)).values()].slice(1), frames.toSpliced(4, 1));
  }
});

test('a line that is a batch of another peer takes no sound batch with it when its own batch is damaged', async () => {
  const world = newWorld();
  let store = await start(world);
  const other = await openStore({
    disk: new SimDisk(seededRandom(7)).boot(),
    clock: new SimClock(),
    keys: bob,
  });
  const copied = other.seal(linePack('copied'), []);
  await copied.written;
  const frames = await sealAround(store, 10, 10, frameOf(copied));
  const [{ path }] = store.segments();
  world.disk.flipBit(path, (world.disk.contentOf(path).indexOf(frames[9]) + 20) * 8);
  const damaged = world.disk.contentOf(path);
  world.disk.kill();
  store = await start(world);
  assert.deepEqual([...(await framesOf(store)).values()], frames.slice(0, 9));
  // What looked like more than a torn tail is kept, and outlives a power cut.
  world.disk.crash('lose');
  const kept = damaged.subarray(damaged.length - frames[9].length);
  assert.deepEqual(world.disk.contentOf(path), damaged.subarray(0, damaged.length - kept.length));
  const aside = world.disk.files().filter((name) => name.startsWith(`${path}.damaged-`));
  assert.equal(aside.length, 1);
  assert.deepEqual(world.disk.contentOf(aside[0]), kept);
  assert.ok(kept.lastIndexOf(FRAME_MAGIC) > 0);
});

test('what could not be read for a while is held again once it can be, without other copies', async () => {
  const world = newWorld();
  let store = await start(world);
  const sealed = Array.from({ length: 60 }, (_, at) =>
    store.seal(linePack(`line ${at}`), [{ source: 'f', position: String(at) }]),
  );
  await Promise.all(sealed.map(({ written }) => written));
  await store.close();
  const [{ path }] = store.segments();
  const totals = { ...store.totals };
  for (const isAtStart of [true, false]) {
    world.disk.kill();
    const makeBad = () => makeUnreadable(world.disk, path, 4096, Infinity);
    if (isAtStart) world.catalog.values.clear();
    let recover = isAtStart ? makeBad() : () => undefined;
    store = await start(world);
    if (!isAtStart) recover = makeBad();
    assert.ok((await framesOf(store)).size < sealed.length);
    const scrubber = new Scrubber({ store, clock: world.clock, periodMs: 86_400_000, log: () => undefined });
    scrubber.start();
    await world.clock.advance(60_000);
    assert.ok(store.totals.batches < sealed.length);
    recover();
    await world.clock.advance(2 * 3_600_000);
    assert.deepEqual({ ...store.totals }, totals);
    assert.equal(store.position('f'), '59');
    assert.deepEqual([...store.damaged], []);
    assert.deepEqual([...(await framesOf(store)).values()], sealed.map(frameOf));
    await scrubber.close();
    await store.close();
  }
});

/** Bob's batches, each of the stream that is given. */
async function bobsFramesOf(apps: readonly string[]): Promise<Buffer[]> {
  const store = await openStore({
    disk: new SimDisk(seededRandom(7)).boot(),
    clock: new SimClock(),
    keys: bob,
  });
  const sealed = apps.map((app, at) =>
    store.seal(linePack(`bob ${at}`, 1_700_000_000_000 + at, { app }), []),
  );
  await Promise.all(sealed.map(({ written }) => written));
  return sealed.map(frameOf);
}

test('what is sound behind rot in one hole is held again, whatever the catalog says', async () => {
  const world = newWorld();
  const frames = await bobsFramesOf(['a', 'a', 'b', 'a', 'b']);
  const path = bobsPath(frames[0]);
  let store = await start(world);
  for (const frame of frames) await store.appendReplica(frame);
  await store.close();
  world.catalog.values.clear();
  for (const at of [0, frames[0].length]) world.disk.flipBit(path, 8 * (at + 10));
  store = await start(world);
  const held = (): unknown => [...store.segments()][0].intervals();
  assert.deepEqual(held(), [
    [3, 3],
    [5, 5],
  ]);
  // Of the second there is no other copy any more.
  await store.appendReplica(frames[0], { isRepair: true });
  await store.readAgain([...store.segments()][0]);
  const all = [
    [1, 1],
    [3, 5],
  ];
  assert.deepEqual(held(), all);
  for (const isRemembered of [true, false]) {
    await store.close();
    if (!isRemembered) world.catalog.values.clear();
    store = await start(world);
    assert.deepEqual(held(), all);
  }
});

test('a batch is not healed into the place of another that is sound', async () => {
  const world = newWorld();
  const frames = await bobsFramesOf(['a', 'b', 'b']);
  const path = bobsPath(frames[0]);
  const store = await start(world);
  for (const at of [1, 2]) await store.appendReplica(frames[at], { isRepair: true });
  const [segment] = store.segments();
  // For a moment the disk gives neither.
  store.quarantine(segment, [...segment.record.batches]);
  await store.appendReplica(frames[0], { isRepair: true });
  for (const frame of frames) assert.ok(world.disk.contentOf(path).includes(frame));
  await store.readAgain(segment);
  assert.deepEqual(segment.intervals(), [[1, 3]]);
});

test('what is sent behind the names of its streams is taken also while there is rot before them', async () => {
  const world = newWorld();
  const frames = await bobsFramesOf(['a', 'b', 'b']);
  const store = await start(world);
  await store.appendReplica(frames[0]);
  const [segment] = store.segments();
  world.disk.flipBit(segment.path, 50 * 8);
  store.quarantine(segment, [segment.last!]);
  await Promise.all([store.appendReplica(frames[1]), store.appendReplica(frames[2])]);
  assert.deepEqual(segment.intervals(), [[2, 3]]);
});
