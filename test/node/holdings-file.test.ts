import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HoldingsKnown, type Holding } from '../../src/gossip/repair/index.ts';
import type { PeerId } from '../../src/gossip/transport/index.ts';
import { HoldingsFile } from '../../src/node/holdings-file.ts';
import type { Timer } from '../../src/store/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { HOLDS_NOTHING } from '../helpers/holds-nothing.ts';
import { SimDisk } from '../helpers/sim-disk.ts';

const PATH = '/data/holdings.zst';
const time = { min: { ms: 1, sub: 0 }, max: { ms: 2, sub: 0 } };
const peers = ['alive 1', 'dead 1', 'alive 2', 'dead 2'] as PeerId[];
const SEGMENTS = 5_000;

function holdings(peer: PeerId, segments: number): Holding[] {
  return Array.from({ length: segments }, (_, at) => ({
    origin: peer,
    epoch: 1,
    index: at + 1,
    runs: [[at + 1, at + 1]],
    ...time,
    owners: [...peers],
    bytes: 1,
    open: false,
  }));
}

async function fileOn(clock: SimClock, disk: SimDisk, known: HoldingsKnown, bytesMax?: number) {
  const isAlive = (peer: PeerId): boolean => peer.startsWith('alive');
  const booted = disk.boot();
  await clock.run(booted.makeDirectory('/data'));
  return new HoldingsFile({ clock, disk: booted, path: PATH, known, isAlive, bytesMax });
}

function hearAll(): HoldingsKnown {
  const known = new HoldingsKnown();
  for (const peer of peers) {
    const rest = { more: false, removed: [], expiredVersion: 0 };
    const expired = [{ origin: peer, epoch: 7, from: 1, to: 9, ...time }];
    known.merge(
      peer,
      { instance: '1.0', version: 1, holdings: holdings(peer, SEGMENTS), expired, ...rest },
      HOLDS_NOTHING,
    );
  }
  return known;
}

const countOf = (known: HoldingsKnown, peer: PeerId): number => known.namesOf(peer).size;

test('what is known is read back as it was, and each peer has to tell everything again', async () => {
  const clock = new SimClock();
  const disk = new SimDisk(seededRandom(1));
  const known = hearAll();
  assert.equal(await clock.run((await fileOn(clock, disk, known)).save()), 0);
  const restored = new HoldingsKnown();
  await clock.run((await fileOn(clock, disk, restored)).load());
  for (const peer of peers) {
    assert.deepEqual([...restored.of(peer)], [...known.of(peer)]);
    assert.deepEqual(restored.versionOf(peer), { instance: '', version: 0, expiredVersion: 0 });
    assert.deepEqual(restored.expired.runs(peer, 7), [[1, 9]]);
  }
});

test('where there is no room for all, what live peers hold is left out, and counted', async () => {
  const clock = new SimClock();
  const disk = new SimDisk(seededRandom(2));
  const known = hearAll();
  await clock.run((await fileOn(clock, disk, known)).save());
  const all = disk.contentOf(PATH).length;
  const leftOut = await clock.run((await fileOn(clock, disk, known, Math.ceil(0.6 * all))).save());
  assert.ok(disk.contentOf(PATH).length <= 0.6 * all);
  const restored = new HoldingsKnown();
  await clock.run((await fileOn(clock, disk, restored)).load());
  for (const peer of ['dead 1', 'dead 2'] as PeerId[]) assert.equal(countOf(restored, peer), SEGMENTS);
  const alive = countOf(restored, 'alive 1' as PeerId) + countOf(restored, 'alive 2' as PeerId);
  assert.equal(alive + leftOut, 2 * SEGMENTS);
  assert.ok(leftOut > 0);
});

test('it is made in pieces of bounded size, however many runs a segment has, and others have their turns', async () => {
  const known = new HoldingsKnown();
  const runs = Array.from({ length: 1_000 }, (_, at): [number, number] => [2 * at + 1, 2 * at + 1]);
  const some = holdings(peers[0], 50).map((holding) => ({ ...holding, runs }));
  const rest = { more: false, removed: [], expired: [], expiredVersion: 0 };
  known.merge(peers[0], { instance: '1.0', version: 1, holdings: some, ...rest }, HOLDS_NOTHING);
  const sizes = [...known.pieces()].map((piece) => JSON.stringify(piece).length);
  assert.ok(sizes.length >= 25 && Math.max(...sizes) < 50_000, sizes.join());

  /** Each look at it takes 10 ms. */
  class SlowClock extends SimClock {
    looks = 0;
    turns = 0;

    override monotonicMs(): number {
      return super.monotonicMs() + 10 * this.looks++;
    }

    override after(delayMs: number, run: () => void): Timer {
      if (delayMs === 0) this.turns++;
      return super.after(delayMs, run);
    }
  }
  const clock = new SlowClock();
  const file = await fileOn(clock, new SimDisk(seededRandom(3)), known);
  const before = clock.turns;
  await clock.run(file.save());
  assert.ok(clock.turns - before >= 8, `${clock.turns - before} turns for ${sizes.length} pieces`);
});

test('a piece that rotted costs what comes after it', async () => {
  const clock = new SimClock();
  const disk = new SimDisk(seededRandom(4));
  await clock.run((await fileOn(clock, disk, hearAll())).save());
  disk.flipBit(PATH, 8 * Math.floor(0.7 * disk.contentOf(PATH).length));
  const restored = new HoldingsKnown();
  await assert.rejects(clock.run((await fileOn(clock, disk, restored)).load()));
  assert.ok(countOf(restored, 'dead 1' as PeerId) + countOf(restored, 'dead 2' as PeerId) > SEGMENTS);
});
