import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HoldingsKnown, parseRider } from '../../src/gossip/repair/index.ts';
import { keysFromSeed, type PeerId } from '../../src/gossip/transport/index.ts';
import { WatermarkKeeper, type WatermarkKeeperOptions } from '../../src/node/watermark-keeper.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { HOLDS_NOTHING } from '../helpers/holds-nothing.ts';
import { SimDisk } from '../helpers/sim-disk.ts';

const random = seededRandom(4);
const DATA = '/data';
const time = { min: { ms: 1, sub: 0 }, max: { ms: 2, sub: 0 } };

/** A peer as far as its keeper knows it, on a disk that may have a past. */
async function peerOn(
  clock: SimClock,
  disk: SimDisk,
  members: ReadonlySet<string> = new Set(),
  log: (level: string, message: string) => void = (_level, message) => assert.fail(message),
) {
  const keys = await keysFromSeed(Buffer.alloc(32, 5));
  const store = {
    origin: keys.peer,
    epoch: clock.nowMs(),
    sealedSeq: 0,
    instance: '1.0',
    health: { version: 1 },
    ...HOLDS_NOTHING,
  };
  const replicator = { durableSeq: 0 };
  const known = new HoldingsKnown();
  let signed = 0;
  const keeper = new WatermarkKeeper({
    clock,
    disk: disk.boot(),
    directory: DATA,
    store,
    replicator,
    repairer: { known, heard: () => undefined },
    isMember: (peer: string) => members.has(peer),
    isAlive: (peer: string) => peer === 'alive',
    isFull: () => false,
    sign: (bytes: Uint8Array) => {
      signed++;
      return keys.sign(bytes);
    },
    log,
  } as unknown as WatermarkKeeperOptions);
  await clock.run(keeper.load());
  return { keys, store, replicator, known, keeper, signatures: () => signed };
}

async function freshDisk(clock: SimClock): Promise<SimDisk> {
  const disk = new SimDisk(random);
  await clock.run(disk.boot().makeDirectory(DATA));
  return disk;
}

test('a mark is signed when it changed, and at most once a second however often it is asked for', async () => {
  const clock = new SimClock();
  const { keeper, store, replicator, signatures } = await peerOn(clock, await freshDisk(clock));
  const atStart = signatures();
  for (let ping = 0; ping < 100; ping++) {
    store.sealedSeq++;
    replicator.durableSeq = store.sealedSeq;
    keeper.digest();
    await clock.advance(20);
  }
  assert.ok(signatures() - atStart <= 3, `${signatures() - atStart} signatures in 2 s`);
  await clock.advance(1_000);
  const { marks } = parseRider(keeper.digest());
  assert.deepEqual(
    marks.map(({ sealed, durable }) => [sealed, durable]),
    [[100, 100]],
  );
  const settled = signatures();
  for (let ping = 0; ping < 10; ping++) {
    await clock.advance(1_000);
    keeper.digest();
  }
  assert.equal(signatures(), settled, 'nothing changed');
  await clock.run(keeper.close());
});

test('marks and holdings outlive a restart; those of peers that were forgotten meanwhile do not pile up', async () => {
  const clock = new SimClock();
  const disk = await freshDisk(clock);
  const first = await peerOn(clock, disk);
  first.store.sealedSeq = 7;
  for (const [peer, runs] of [
    ['alice', [[1, 9]]],
    ['bob', [[1, 5]]],
  ] as const) {
    const holding = {
      origin: 'o',
      epoch: 1,
      index: 1,
      ...time,
      owners: [],
      bytes: 1,
      sealedAtMs: 1,
      open: false,
    };
    const holdings = [{ ...holding, runs: runs.map(([from, to]): [number, number] => [from, to]) }];
    const rest = { more: false, removed: [], expired: [], expiredVersion: 0 };
    const answer = { instance: '1.0', version: 1, holdings, ...rest };
    first.known.merge(peer as PeerId, answer, HOLDS_NOTHING);
  }
  await clock.run(first.keeper.close());
  await clock.advance(1_000);
  const second = await peerOn(clock, disk, new Set(['bob']));
  assert.equal(second.keeper.marks.get(first.keys.peer, first.store.epoch)?.sealed, 7);
  assert.deepEqual(second.known.named('bob' as PeerId, 'o/1-1')?.runs, [[1, 5]]);
  assert.deepEqual(second.known.named('alice' as PeerId, 'o/1-1')?.runs, [[6, 9]], 'nobody else has these');
  second.keeper.forgotten('bob' as PeerId);
  assert.deepEqual(second.known.named('bob' as PeerId, 'o/1-1')?.runs, [[1, 5]], 'nor these, now');
  await clock.run(second.keeper.close());
});

test('a bad sector under what was known does not keep a peer from starting', async () => {
  const clock = new SimClock();
  const disk = await freshDisk(clock);
  const first = await peerOn(clock, disk);
  await clock.run(first.keeper.close());
  disk.failRead = (path) => path === `${DATA}/known.json`;
  const said: string[] = [];
  const second = await peerOn(clock, disk, new Set(), (level, message) => said.push(`${level} ${message}`));
  assert.match(said.join(), /^warn \/data\/known\.json cannot be used: EIO/);
  assert.equal(second.keeper.marks.get(second.keys.peer, second.store.epoch)?.sealed, 0);
  // It is replaced by one that can be read.
  disk.failRead = () => false;
  await clock.run(second.keeper.close());
  await clock.run((await peerOn(clock, disk)).keeper.close());
});

test('marks and holdings fail each for itself', async () => {
  for (const [broken, whole] of [
    ['known.json', 'holdings.zst'],
    ['holdings.zst', 'known.json'],
  ]) {
    const clock = new SimClock();
    const disk = await freshDisk(clock);
    const said: string[] = [];
    const first = await peerOn(clock, disk, new Set(), (level, message) => said.push(`${level} ${message}`));
    disk.failSync = (path) => path === `${DATA}/${broken}.tmp`;
    await clock.run(first.keeper.close());
    assert.match(said.join(), new RegExp(`^warn /data/${broken} cannot be written: [^,]*$`));
    assert.ok(disk.node(`${DATA}/${whole}`) && !disk.node(`${DATA}/${broken}`));
  }
});
