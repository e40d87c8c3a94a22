import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keysFromSeed } from '../../src/gossip/transport/index.ts';
import {
  DiskSpace,
  Retention,
  Scrubber,
  segmentName,
  type RetentionRule,
  type Segment,
  type Store,
} from '../../src/store/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import { linePack, openStore } from './material.ts';

const alice = await keysFromSeed(Buffer.alloc(32, 1));
const DAY_MS = 86_400_000;

/** A store with one segment a day, of stream `app=…` by turns; and a retention that looks once an hour. */
async function world(options: {
  days: number;
  apps?: readonly string[];
  ageMsMax?: number;
  bytesMax?: number;
  rules?: readonly RetentionRule[];
  mtimeMs?: number;
  isClockTrusted?: () => boolean;
  isAcknowledged?: (segment: Segment) => boolean;
  dropSurplus?: (store: Store, bytes: number) => Promise<number>;
}) {
  const { days, apps = ['a'], ageMsMax, bytesMax, rules = [], mtimeMs = 0 } = options;
  const clock = new SimClock();
  const disk = new SimDisk(seededRandom(1));
  const booted = disk.boot();
  const store = await openStore({ disk: booted, clock, keys: alice, more: { segmentBytesMax: 1 } });
  for (let day = 0; day < days; day++) {
    const sealed = store.seal(linePack(`day ${day}`, 0, { app: apps[day % apps.length] }), []);
    await clock.run(sealed.written);
    await clock.advance(DAY_MS);
  }
  store.rollSegment();
  const retention = new Retention({
    isAcknowledged: options.isAcknowledged ?? (() => true),
    isLeaving: () => false,
    store,
    clock,
    disk: {
      stat: async (path) => {
        const stat = await booted.stat(path);
        return stat && { ...stat, mtimeMs };
      },
    },
    ageMsMax,
    bytesMax,
    rules,
    everyMs: 3_600_000,
    dropSurplus: (bytes) => options.dropSurplus?.(store, bytes) ?? Promise.resolve(0),
    isClockTrusted: options.isClockTrusted ?? (() => true),
    log: () => undefined,
  });
  const left = () => [...store.segments()].map(({ id }) => id.index);
  return { clock, disk, store, retention, left };
}

test('one that ends while surplus copies are dropped lets nothing else go in their place', async () => {
  const dropping = Promise.withResolvers<number>();
  const { store, retention } = await world({ days: 4, bytesMax: 1, dropSurplus: () => dropping.promise });
  const swept = retention.sweep();
  const ended = retention.close();
  dropping.resolve(0);
  await Promise.all([swept, ended]);
  assert.equal(store.totals.segments, 4);
});

test('segments go when they are past their age, and not before', async () => {
  const { clock, store, retention, left } = await world({ days: 5, ageMsMax: 3 * DAY_MS });
  retention.start();
  await clock.advance(3_700_000);
  assert.deepEqual(left(), [4, 5], 'an hour past the third');
  assert.deepEqual(store.dropped.expired.runs(alice.peer, store.epoch), [[1, 3]]);
  await clock.advance(DAY_MS);
  assert.deepEqual(left(), [5]);
  await retention.close();
});

test('rules are asked of what may be past its age, and once', async () => {
  let asked = 0;
  const kept = { matches: () => ++asked > 0, ageMsMax: 100 * DAY_MS };
  const days = 10;
  const { retention, left, store } = await world({ days, ageMsMax: 6.5 * DAY_MS, rules: [kept] });
  await retention.sweep();
  assert.equal(asked, 4, 'the others are younger than anything that expires');
  await retention.sweep();
  assert.equal(asked, 4);
  assert.equal(left().length, days);
  // What comes to a segment may be of a stream that is kept for longer.
  store.named(`${alice.peer}/${store.epoch}-1`)!.touch();
  await retention.sweep();
  assert.equal(asked, 5);
});

test('segments of very many streams are asked about in several sweeps, and none goes before it was', async () => {
  const { retention, left, store } = await world({
    days: 4,
    ageMsMax: DAY_MS / 2,
    rules: [{ matches: () => false, ageMsMax: DAY_MS }],
  });
  for (const { record } of store.segments()) record.streams.length = 150_000;
  await retention.sweep();
  assert.deepEqual(left(), [3, 4]);
  await retention.sweep();
  assert.deepEqual(left(), []);
});

test('a copy is kept for a day after it came, whatever its origin’s clock said', async () => {
  const now = Date.UTC(2026, 0, 1) + 5 * DAY_MS;
  const { clock, retention, left } = await world({
    days: 5,
    ageMsMax: 3 * DAY_MS,
    mtimeMs: now - DAY_MS / 2,
  });
  await retention.sweep();
  assert.equal(left().length, 5);
  await clock.advance(DAY_MS / 2 + 1);
  await retention.sweep();
  assert.deepEqual(left(), [4, 5]);
});

test('a clock in doubt drops nothing', async () => {
  let isTrusted = false;
  const { retention, left } = await world({ days: 5, ageMsMax: DAY_MS, isClockTrusted: () => isTrusted });
  await retention.sweep();
  assert.equal(left().length, 5);
  isTrusted = true;
  await retention.sweep();
  assert.equal(left().length, 1);
});

test('a file that rot left no batch of goes by its own age, and no sooner than any stream in it could', async () => {
  const rules = [{ matches: () => false, ageMsMax: 4 * DAY_MS }];
  const { store, clock, retention, left } = await world({
    days: 4,
    ageMsMax: 2 * DAY_MS,
    rules,
    mtimeMs: Date.UTC(2026, 0, 1),
  });
  const first = [...store.segments()].find(({ id }) => id.index === 1)!;
  store.quarantine(first, [first.last!]);
  await retention.sweep();
  assert.deepEqual(left(), [1, 3, 4]);
  await clock.advance(3_600_000);
  await retention.sweep();
  assert.deepEqual(left(), [4]);
});

test('what was in a file that is lost does not expire: nothing tells how old it is', async () => {
  const disk = new SimDisk(seededRandom(1)).boot();
  const clock = new SimClock();
  const store = await openStore({ disk, clock, keys: alice });
  const sealed = store.seal(linePack('a line'), []);
  await clock.run(sealed.written);
  store.rollSegment();
  await clock.run(disk.remove(sealed.segment.path));
  assert.equal(await clock.run(store.readFrame(sealed.segment.id, 1)), undefined);
  const retention = new Retention({
    store,
    clock,
    disk,
    ageMsMax: undefined,
    bytesMax: undefined,
    rules: [],
    everyMs: 3_600_000,
    dropSurplus: () => Promise.resolve(0),
    isAcknowledged: () => true,
    isLeaving: () => false,
    isClockTrusted: () => true,
    log: () => undefined,
  });
  await clock.run(retention.sweep());
  assert.deepEqual([...store.dropped.expired.all], []);
  assert.equal([...store.segments()].length, 1);
});

test('what is not acknowledged yet does not expire', async () => {
  const { retention, left } = await world({
    days: 4,
    ageMsMax: DAY_MS,
    bytesMax: 1,
    isAcknowledged: ({ id }) => id.index !== 2,
  });
  await retention.sweep();
  assert.deepEqual(left(), [2]);
});

test('streams have ages of their own', async () => {
  const rules = [
    { matches: ({ app }: Readonly<Record<string, string>>) => app === 'audit', ageMsMax: 100 * DAY_MS },
    { matches: ({ app }: Readonly<Record<string, string>>) => app === 'debug', ageMsMax: DAY_MS },
  ];
  const apps = ['audit', 'debug', 'web'];
  const { retention, left } = await world({ days: 6, apps, ageMsMax: 3 * DAY_MS, rules });
  await retention.sweep();
  assert.deepEqual(left(), [1, 4, 6]);
  const kept = await world({ days: 6, apps, rules });
  await kept.retention.sweep();
  assert.deepEqual(kept.left(), [1, 3, 4, 6], 'what no rule is for stays for ever');
});

test('when all is too much, copies that others keep go first, then the oldest', async () => {
  const asked: number[] = [];
  const size = (await world({ days: 1 })).store.totals.storedBytes;
  const { store, retention, left } = await world({
    days: 6,
    bytesMax: size * 3 + 10,
    dropSurplus: async (own, bytes) => {
      asked.push(bytes);
      const surplus = [...own.segments()].filter(({ id }) => id.index === 5);
      await own.drop(surplus, 'surplus');
      return surplus[0].record.fileBytes;
    },
  });
  await retention.sweep();
  assert.deepEqual(left(), [3, 4, 6]);
  assert.equal(asked.length, 1);
  assert.deepEqual(
    store.dropped.expired.runs(alice.peer, store.epoch),
    [[1, 2]],
    'a surplus copy has not expired',
  );
  await retention.sweep();
  assert.equal(left().length, 3);
});

test('rot is found by reading all of it again in the set time', async () => {
  const { clock, disk, store } = await world({ days: 8 });
  const scrubber = new Scrubber({ store, clock, periodMs: 600_000, log: () => undefined });
  const victim = [...store.segments()][3];
  disk.flipBit(victim.path, victim.record.fileBytes * 8 - 9);
  scrubber.start();
  await clock.advance(600_000);
  assert.equal(scrubber.done.rottenBatches, 1);
  assert.ok(scrubber.done.bytes >= store.totals.storedBytes);
  assert.deepEqual(
    [...store.damaged].map(({ id }) => segmentName(id)),
    [segmentName(victim.id)],
  );
  await scrubber.close();
});

test('a disk that fills up is given up step by step, and taken up again with some room to spare', async () => {
  const clock = new SimClock();
  const free = { bytes: 1_000 };
  const said: string[] = [];
  const space = new DiskSpace({
    disk: { space: () => Promise.resolve({ freeBytes: free.bytes, totalBytes: 100_000 }) },
    clock,
    directory: '/data',
    reserveBytes: 100,
    log: (level, message) => said.push(`${level}: ${message}`),
  });
  const at = async (bytes: number) => {
    free.bytes = bytes;
    await clock.advance(2_500);
    return space.room;
  };
  await space.start();
  assert.equal(space.room, 'all');
  assert.equal(await at(299), 'no replicas');
  assert.equal(await at(301), 'no replicas', 'not taken up again at once');
  assert.equal(await at(199), 'no pushes');
  assert.equal(await at(99), 'nothing');
  let read = false;
  void space.untilRoom().then(() => (read = true));
  assert.equal(await at(105), 'nothing');
  assert.equal(read, false);
  assert.equal(await at(111), 'no pushes');
  assert.equal(read, true);
  assert.equal(await at(1_000), 'all');
  assert.equal(said.filter((line) => line.startsWith('error')).length, 4);
  space.close();
});
