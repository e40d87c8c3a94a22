import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keysFromSeed } from '../../src/gossip/transport/index.ts';
import type { Disk, DiskFile } from '../../src/store/host/index.ts';
import {
  CatalogKeeper,
  goneSeqs,
  segmentName,
  StreamPool,
  type SegmentRecord,
  type Store,
} from '../../src/store/index.ts';
import { catalogOver } from '../../src/store/catalog/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import { DATA, frameOf, framesOf, linePack, MemoryKeyValue, openStore, quiet } from './material.ts';

const alice = await keysFromSeed(Buffer.alloc(32, 1));
const bob = await keysFromSeed(Buffer.alloc(32, 2));

/** As LevelDB: a power cut takes what was changed since the last synced change. */
class LazyCatalog extends MemoryKeyValue {
  puts = 0;
  refuses = false;
  takesNothing = false;
  #synced = new Map<string, Uint8Array>();
  override async put(key: string, value: Uint8Array, { sync } = { sync: false }): Promise<void> {
    if (this.takesNothing || (sync && this.refuses)) throw new Error('no space left');
    this.puts += sync ? 0 : 1;
    await super.put(key, value);
    if (sync) this.sync();
  }
  override async del(key: string, { sync }: { readonly sync: boolean }): Promise<void> {
    if (this.refuses) throw new Error('no space left');
    await super.del(key, { sync });
    if (sync) this.sync();
  }
  sync(): void {
    this.#synced = new Map(this.values);
  }
  powerCut(): void {
    this.values.clear();
    for (const [key, value] of this.#synced) this.values.set(key, value);
  }
}

function newWorld() {
  return { disk: new SimDisk(seededRandom(1)), clock: new SimClock(), catalog: new LazyCatalog() };
}

type World = ReturnType<typeof newWorld>;

/** Opens alice's store, and notes which segment files are read for it. */
async function start(world: World, more = {}): Promise<{ store: Store; filesRead: string[] }> {
  const filesRead = new Set<string>();
  const disk: Disk = world.disk.boot();
  const open = disk.open.bind(disk);
  disk.open = async (path, mode) => {
    const file = await open(path, mode);
    const read: DiskFile['read'] = (position, length) => {
      if (path.endsWith('.seg')) filesRead.add(path);
      return file.read(position, length);
    };
    return { ...file, read };
  };
  const store = await openStore({ ...world, disk, keys: alice, more });
  return { store, filesRead: [...filesRead] };
}

/** Bob's batches; all in one segment unless `more` says otherwise. */
async function bobsFrames(count: number, more = {}): Promise<Buffer[]> {
  const disk = new SimDisk(seededRandom(7)).boot();
  const store = await openStore({ disk, clock: new SimClock(), keys: bob, more });
  const sealed = Array.from({ length: count }, (_, at) => store.seal(linePack(`line ${at}`), []));
  await Promise.all(sealed.map(({ written }) => written));
  return sealed.map(frameOf);
}

/** So long that what was not written to meanwhile is remembered. */
async function idle(store: Store): Promise<void> {
  await store.rememberIdle();
  await store.rememberIdle();
}

test('a start after a crash reads what came last, and nothing that was remembered before', async () => {
  const world = newWorld();
  const { store } = await start(world, { segmentBytesMax: 1 });
  const theirs = await bobsFrames(4, { segmentBytesMax: 1 });
  for (let at = 0; at < 3; at++) {
    await store.seal(linePack(`own ${at}`), []).written;
    await store.appendReplica(theirs[at]);
  }
  await store.rememberIdle();
  assert.equal(world.catalog.puts, 0, 'they may be written to still');
  await store.rememberIdle();
  assert.equal(world.catalog.puts, 6);
  await idle(store);
  assert.equal(world.catalog.puts, 6, 'each once');
  await store.appendReplica(theirs[3]);
  await store.seal(linePack('own 3'), []).written;
  const held = await framesOf(store);
  const paths = [...store.segments()].slice(-2).map(({ id }) => `${DATA}/segments/${segmentName(id)}.seg`);
  world.disk.kill();
  const again = await start(world);
  assert.deepEqual(again.filesRead.sort(), paths.sort());
  assert.deepEqual(await framesOf(again.store), held);
});

test('while a peer runs, what nothing is written to is remembered by itself', async () => {
  const world = newWorld();
  const { store } = await start(world);
  const keeper = new CatalogKeeper(store, world.clock, () => undefined);
  keeper.start();
  await world.clock.run(store.seal(linePack('own 0'), []).written);
  await world.clock.advance(60_000);
  assert.equal(world.catalog.puts, 1);
  await keeper.close();
  store.rollSegment();
  await world.clock.run(store.seal(linePack('own 1'), []).written);
  await world.clock.advance(60_000);
  assert.equal(world.catalog.puts, 1);
});

test('what the catalog could not take at a start it takes once it can', async () => {
  const world = newWorld();
  const { store } = await start(world);
  for (const frame of await bobsFrames(3)) await store.appendReplica(frame);
  world.disk.kill();
  world.catalog.takesNothing = true;
  const { store: second, filesRead } = await start(world);
  assert.equal(filesRead.length, 1);
  world.catalog.takesNothing = false;
  await idle(second);
  world.disk.kill();
  const { store: third, filesRead: later } = await start(world);
  assert.deepEqual(later, []);
  assert.equal((await framesOf(third)).size, 3);
});

test('one that is written to after it was remembered is read again', async () => {
  const world = newWorld();
  const { store } = await start(world);
  const [first, second] = await bobsFrames(2);
  await store.appendReplica(first);
  await idle(store);
  await store.appendReplica(second);
  world.disk.kill();
  const again = await start(world);
  assert.equal(again.filesRead.length, 1);
  assert.equal((await framesOf(again.store)).size, 2);
});

test('a good end remembers what has changed, and only that', async () => {
  const world = newWorld();
  const { store } = await start(world, { segmentBytesMax: 1 });
  for (let at = 0; at < 5; at++) await store.seal(linePack(`own ${at}`), []).written;
  store.rollSegment();
  await idle(store);
  await store.seal(linePack('own 5'), []).written;
  await store.close();
  assert.equal(world.catalog.puts, 6);
  const again = await start(world);
  assert.deepEqual(again.filesRead, []);
  await again.store.close();
  assert.equal(world.catalog.puts, 6, 'what the start found in it is not put there again');
});

test('nothing is remembered after a failed fsync', async () => {
  const world = newWorld();
  const { store } = await start(world, { segmentBytesMax: 1 });
  await store.seal(linePack('own 0'), []).written;
  world.disk.failSync = (path) => path.endsWith('.seg');
  await assert.rejects(store.seal(linePack('own 1'), []).written, { code: 'LV_DATA_UNSAFE' });
  await idle(store);
  await store.close();
  assert.equal(world.catalog.puts, 0);
});

/** Alice has three of bob's batches, the middle one of which has rotted, and that is remembered. */
async function damagedWorld() {
  const world = newWorld();
  const { store } = await start(world);
  const frames = await bobsFrames(3);
  for (const frame of frames) await store.appendReplica(frame);
  const [segment] = store.segments();
  world.disk.flipBit(segment.path, (segment.entry(2)!.offset + 100) * 8);
  assert.equal(await store.readFrame(segment.id, 2), undefined);
  await idle(store);
  assert.equal(world.catalog.values.size, 1);
  world.catalog.sync();
  return { world, store, frames, segment };
}

test('a power cut does not bring back what was remembered before a heal', async () => {
  const { world, store, frames } = await damagedWorld();
  await store.appendReplica(frames[1]);
  await idle(store);
  world.disk.crash('lose');
  world.catalog.powerCut();
  const again = await start(world);
  const [segment] = again.store.segments();
  assert.deepEqual(segment.record.quarantined, []);
  assert.deepEqual(segment.intervals(), [[1, 3]]);
});

test('while a segment is healed it is not remembered', async () => {
  const { world, store, frames, segment } = await damagedWorld();
  const syncing = Promise.withResolvers<void>();
  const inSync = Promise.withResolvers<void>();
  world.disk.beforeSync = (path) => {
    if (path !== segment.path) return;
    inSync.resolve();
    return syncing.promise;
  };
  const healed = store.appendReplica(frames[1]);
  await inSync.promise;
  await idle(store);
  await store.rememberIdle();
  const remembered = (): Promise<SegmentRecord | undefined> =>
    catalogOver(world.catalog).get(segment.id, new StreamPool());
  // Only what rot took: the file would be read.
  const during = await remembered();
  assert.deepEqual([during?.fileBytes, during?.batches.length], [0, 0]);
  assert.deepEqual(goneSeqs(during!.rotten), [[2, 2]]);
  syncing.resolve();
  await healed;
  await idle(store);
  assert.equal((await remembered())?.batches.length, 3);
});

test('what the catalog cannot forget is not healed', async () => {
  const { world, store, frames, segment } = await damagedWorld();
  const before = world.disk.contentOf(segment.path);
  world.catalog.refuses = true;
  await assert.rejects(store.appendReplica(frames[1]), { code: 'LV_DISK_FULL' });
  assert.deepEqual(world.disk.contentOf(segment.path), before);
  world.catalog.refuses = false;
  await store.appendReplica(frames[1]);
  assert.deepEqual(segment.intervals(), [[1, 3]]);
});

test('what is dropped is forgotten before its file goes, and not remembered on its way', async () => {
  const { world, store, segment } = await damagedWorld();
  store.quarantine(segment, [segment.entry(3)!]);
  await store.rememberIdle();
  let remembered: number | undefined;
  world.disk.beforeLoss = () => (remembered = world.catalog.values.size);
  await Promise.all([store.drop([segment], 'expired'), store.rememberIdle()]);
  assert.equal(remembered, 0);
  await quiet(5);
  await idle(store);
  assert.equal(world.catalog.values.size, 0);
});
