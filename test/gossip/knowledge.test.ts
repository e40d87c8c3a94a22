import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Holding } from '../../src/gossip/repair/inventory.ts';
import { HoldingsKnown } from '../../src/gossip/repair/knowledge.ts';
import type { PeerId } from '../../src/gossip/transport/index.ts';
import {
  countRuns,
  unionRuns,
  type Run,
  type Segment,
  type SegmentId,
  type Store,
} from '../../src/store/index.ts';

const [alice, bob, carol] = ['alice', 'bob', 'carol'] as PeerId[];
const time = { min: { ms: 1, sub: 0 }, max: { ms: 2, sub: 0 } };

function holding(index: number, runs: [number, number][]): Holding {
  return { origin: 'dave', epoch: 1, index, runs, ...time, owners: [], bytes: 1, open: false };
}

function hear(known: HoldingsKnown, peer: PeerId, holdings: Holding[], instance = '1.0'): void {
  known.merge(peer, {
    instance,
    version: 1,
    more: false,
    holdings,
    removed: [],
    expired: [],
    expiredVersion: 0,
  });
}

const nothing: Pick<Store, 'segment'> = { segment: () => undefined };
const holds = (index: number, runs: [number, number][]): Pick<Store, 'segment'> => ({
  segment: (id: SegmentId) => (id.index === index ? ({ intervals: () => runs } as Segment) : undefined),
});

/** Everything of a segment that is known to exist. */
function existing(known: HoldingsKnown, index: number): [number, number][] {
  let runs: [number, number][] = [];
  for (const [, one] of known.all()) if (one.index === index) runs = unionRuns(runs, one.runs as Run[]);
  return runs;
}

test('of a forgotten peer stays what nobody else is known to hold', () => {
  const known = new HoldingsKnown();
  hear(known, alice, [holding(1, [[1, 10]]), holding(2, [[11, 20]]), holding(3, [[21, 30]])]);
  hear(known, bob, [
    holding(1, [
      [1, 4],
      [6, 10],
    ]),
    holding(2, [[11, 20]]),
  ]);
  known.expired.add([{ origin: 'dave', epoch: 1, from: 21, to: 25, ...time }]);
  known.forget(alice, nothing);
  assert.deepEqual(known.named(alice, 'dave/1-1')?.runs, [[5, 5]]);
  assert.equal(known.named(alice, 'dave/1-2'), undefined);
  assert.deepEqual(known.named(alice, 'dave/1-3')?.runs, [[26, 30]]);
  assert.deepEqual([...known.namesOf(alice)].sort(), ['dave/1-1', 'dave/1-3']);
});

test('what this peer holds itself need not be remembered of another', () => {
  const known = new HoldingsKnown();
  hear(known, alice, [holding(1, [[1, 10]]), holding(2, [[11, 20]])]);
  known.forget(alice, holds(1, [[1, 10]]));
  assert.equal(known.named(alice, 'dave/1-1'), undefined);
  assert.deepEqual(existing(known, 2), [[11, 20]]);
});

test('forgetting all that held a batch, one after the other, forgets no batch', () => {
  const known = new HoldingsKnown();
  hear(known, alice, [holding(1, [[1, 6]])]);
  hear(known, bob, [holding(1, [[4, 9]])]);
  hear(known, carol, [holding(1, [[2, 8]])]);
  for (const peer of [bob, alice, carol]) {
    known.forget(peer, nothing);
    assert.deepEqual(existing(known, 1), [[1, 9]]);
  }
  const left = [...known.all()].reduce((sum, [, { runs }]) => sum + countRuns(runs as Run[]), 0);
  assert.equal(left, 9, 'and each is remembered once');
});

test('one that comes back tells everything anew', () => {
  const known = new HoldingsKnown();
  hear(known, alice, [holding(1, [[1, 10]])]);
  known.forget(alice, nothing);
  assert.deepEqual(known.versionOf(alice), { instance: '', version: 0, expiredVersion: 0 });
  hear(known, alice, [holding(2, [[11, 12]])]);
  assert.deepEqual([...known.namesOf(alice)], ['dave/1-2']);
});

test('a thousand replaced peers leave as much behind as their successors hold', () => {
  const known = new HoldingsKnown();
  for (let n = 0; n < 1_000; n++) {
    hear(known, `peer ${n}` as PeerId, [holding(1, [[1, 10]]), holding(2, [[11, 20]])]);
    if (n > 1) known.forget(`peer ${n - 2}` as PeerId, nothing);
  }
  assert.equal([...known.all()].length, 4);
  assert.equal(known.peers().length, 2);
});

test('what was told of a run stays as it was, and is told anew only when there is news of it', () => {
  const known = new HoldingsKnown();
  const other: Holding = { ...holding(1, [[1, 4]]), origin: 'erin' };
  hear(known, alice, [holding(1, [[1, 10]]), holding(2, [[11, 20]]), other]);
  hear(known, bob, [holding(1, [[5, 12]])]);
  const before = known.runs();
  const text = (): string => JSON.stringify(before.map((run) => [run, run.segments.map((map) => [...map])]));
  const told = text();
  assert.deepEqual(
    before.map(({ origin, runs }) => [origin, runs]),
    [
      ['dave', [[1, 20]]],
      ['erin', [[1, 4]]],
    ],
  );
  hear(known, bob, [holding(1, [[5, 30]])]);
  const [dave, erin] = known.runs();
  assert.deepEqual(dave.runs, [[1, 30]]);
  assert.equal(erin, before[1], 'nothing new');
  known.forget(alice, nothing);
  hear(known, alice, [], '2.0');
  hear(known, bob, [], '2.0');
  assert.deepEqual(known.runs(), []);
  assert.equal(text(), told);
});

test('the bytes of a peer are those of its holdings', () => {
  const known = new HoldingsKnown();
  assert.equal(known.bytesOf(alice), 0);
  hear(known, alice, [holding(1, [[1, 10]]), holding(2, [[11, 20]])]);
  hear(known, bob, [holding(1, [[1, 10]])]);
  assert.equal(known.bytesOf(alice), 2);
  hear(known, alice, [{ ...holding(1, [[1, 10]]), bytes: 7 }]);
  assert.equal(known.bytesOf(alice), 8);
  known.forget(alice, nothing);
  assert.equal(known.bytesOf(alice), 1, 'bob has the other one');
  hear(known, alice, [], '2.0');
  assert.equal(known.bytesOf(alice), 0);
});

test('copies that are told alike are remembered as one, and apart again when one of them changes', () => {
  const known = new HoldingsKnown();
  const told = (runs: [number, number][]): Holding =>
    structuredClone({ ...holding(1, runs), owners: ['x', 'y'] });
  hear(known, alice, [told([[1, 10]])]);
  hear(known, bob, [told([[1, 10]])]);
  hear(known, carol, [told([[1, 9]])]);
  const of = (peer: PeerId): Holding => known.named(peer, 'dave/1-1')!;
  assert.equal(of(bob), of(alice));
  assert.deepEqual(of(carol), told([[1, 9]]));
  hear(known, alice, [told([[1, 5]])]);
  assert.deepEqual([of(alice), of(bob)], [told([[1, 5]]), told([[1, 10]])]);
});
