import assert from 'node:assert/strict';
import { test } from 'node:test';
import { placeOn } from '../src/gossip/placement/index.ts';

const peers = (count: number, zones = 1) =>
  Array.from({ length: count }, (_, i) => ({ peer: `peer-${i}`, zone: `z${i % zones}`, weight: 1 }));

function shares(candidates: ReturnType<typeof peers>, keys: number, k: number): Map<string, number> {
  const counts = new Map(candidates.map(({ peer }) => [peer, 0]));
  for (let key = 0; key < keys; key++) {
    for (const peer of placeOn(`segment-${key}`, candidates, k)) counts.set(peer, counts.get(peer)! + 1);
  }
  return counts;
}

test('the largest share of ten equal peers is at most 1.15 of the fair one', () => {
  const counts = shares(peers(10), 20_000, 3);
  assert.ok(Math.max(...counts.values()) / ((20_000 * 3) / 10) < 1.15);
  assert.ok(Math.min(...counts.values()) / ((20_000 * 3) / 10) > 0.85);
});

test('shares follow the weights', () => {
  const candidates = peers(5).map((peer, i) => ({ ...peer, weight: i === 0 ? 3 : 1 }));
  const counts = shares(candidates, 20_000, 1);
  assert.ok(Math.abs(counts.get('peer-0')! / 20_000 - 3 / 7) < 0.02);
});

test('a peer that leaves moves only what it held', () => {
  const ten = peers(10);
  const nine = ten.slice(0, 9);
  for (let key = 0; key < 2000; key++) {
    const before = placeOn(`segment-${key}`, ten, 3);
    const after = placeOn(`segment-${key}`, nine, 3);
    const kept = before.filter((peer) => peer !== 'peer-9');
    assert.ok(kept.every((peer) => after.includes(peer)));
  }
});

test('copies go to different zones where there are enough', () => {
  const candidates = peers(9, 3);
  for (let key = 0; key < 500; key++) {
    const zones = placeOn(`s${key}`, candidates, 3).map(
      (peer) => candidates.find((c) => c.peer === peer)!.zone,
    );
    assert.equal(new Set(zones).size, 3);
  }
  assert.equal(new Set(placeOn('s', peers(6, 2), 3)).size, 3);
});

test('fewer candidates than copies gives them all', () => {
  assert.deepEqual(placeOn('s', peers(2), 3).sort(), ['peer-0', 'peer-1']);
  assert.deepEqual(placeOn('s', [], 3), []);
});

test('whoever joins or goes, by weight and zone, moves no more than its own share', () => {
  const keys = 5_000;
  const ten = peers(10, 5).map((peer, i) => ({ ...peer, weight: 1 + (i % 3) }));
  for (const zone of ['z0', 'z9']) {
    const newcomer = { peer: 'newcomer', zone, weight: 2 };
    let moved = 0;
    let share = 0;
    for (let key = 0; key < keys; key++) {
      const before = placeOn(`segment-${key}`, ten, 3);
      const after = placeOn(`segment-${key}`, [...ten, newcomer], 3);
      // Joining and going are each other's opposite.
      moved += after.filter((peer) => !before.includes(peer)).length;
      if (after.includes('newcomer')) share++;
    }
    assert.ok(share > keys / 10, 'it takes some');
    assert.equal(moved, share, 'and nothing else moves');
  }
});

test('with weights and zones alike, the largest share is at most 1.15 of the fair one', () => {
  const candidates = peers(10, 5).map((peer, i) => ({ ...peer, weight: i < 5 ? 1 : 2 }));
  const counts = shares(candidates, 20_000, 3);
  for (const { peer, weight } of candidates) {
    const fair = (20_000 * 3 * weight) / 15;
    assert.ok(counts.get(peer)! / fair < 1.15, `${peer}: ${counts.get(peer)! / fair}`);
  }
});

test('the best are those that come first when all are sorted by what each gets alone with another', () => {
  const candidates = peers(12, 4).map((peer, i) => ({ ...peer, weight: 1 + (i % 3) }));
  for (let key = 0; key < 500; key++) {
    const name = `s${key}`;
    // With one zone, `placeOn` says who is better of two.
    const alone = candidates.map((peer) => ({ ...peer, zone: '' }));
    const sorted = alone.toSorted((a, b) => (placeOn(name, [a, b], 1)[0] === a.peer ? -1 : 1));
    assert.deepEqual(
      placeOn(name, alone, 12),
      sorted.map(({ peer }) => peer),
    );
    const zoneOf = (peer: string): string => candidates.find((one) => one.peer === peer)!.zone;
    const rounds = placeOn(name, candidates, 12);
    for (let from = 0; from < 12; from += 4) {
      const round = rounds.slice(from, from + 4);
      assert.equal(new Set(round.map(zoneOf)).size, 4, 'every zone has one more before any has two more');
      const left = sorted.map(({ peer }) => peer).filter((peer) => !rounds.slice(0, from).includes(peer));
      const bestOfEach = left.filter((peer, at) => left.findIndex((p) => zoneOf(p) === zoneOf(peer)) === at);
      assert.deepEqual(round, bestOfEach);
    }
  }
});
