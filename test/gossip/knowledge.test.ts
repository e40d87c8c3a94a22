import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Holding, InventoryAnswer } from '../../src/gossip/repair/inventory.ts';
import { HoldingsKnown } from '../../src/gossip/repair/knowledge.ts';
import type { PeerId } from '../../src/gossip/transport/index.ts';
import {
  countRuns,
  ExpiredRuns,
  goneSeqs,
  unionRuns,
  type ExpiredRun,
  type Instant,
  type Run,
  type Segment,
  type SegmentId,
} from '../../src/store/index.ts';
import { HOLDS_NOTHING } from '../helpers/holds-nothing.ts';

const [alice, bob, carol] = ['alice', 'bob', 'carol'] as PeerId[];
const time = { min: { ms: 1, sub: 0 }, max: { ms: 2, sub: 0 } };

function holding(index: number, runs: [number, number][]): Holding {
  return { origin: 'dave', epoch: 1, index, runs, ...time, owners: [], bytes: 1, open: false };
}

function hear(
  known: HoldingsKnown,
  peer: PeerId,
  holdings: Holding[],
  { store = HOLDS_NOTHING, ...more }: Partial<InventoryAnswer> & { store?: typeof HOLDS_NOTHING } = {},
): void {
  const answer: InventoryAnswer = {
    instance: '1.0',
    version: 1,
    more: false,
    holdings,
    removed: [],
    expired: [],
    expiredVersion: 0,
  };
  known.merge(peer, { ...answer, ...more }, store);
}

const holds = (index: number, runs: [number, number][]): typeof HOLDS_NOTHING => ({
  ...HOLDS_NOTHING,
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
  known.forget(alice, HOLDS_NOTHING);
  assert.deepEqual(known.named(alice, 'dave/1-1')?.runs, [[5, 5]]);
  assert.equal(known.named(alice, 'dave/1-2'), undefined);
  assert.deepEqual(known.named(alice, 'dave/1-3')?.runs, [[26, 30]]);
  assert.deepEqual([...known.namesOf(alice)].sort(), ['dave/1-1', 'dave/1-3']);
});

test('of a forgotten peer stays what rot took from it, unless somebody has it', () => {
  const known = new HoldingsKnown();
  const rotten = (index: number, runs: [number, number][]): Holding => ({
    ...holding(index, []),
    rotten: runs.map(([from, to]) => ({ from, to, ...time })),
  });
  hear(known, alice, [rotten(1, [[1, 10]]), rotten(2, [[11, 12]])]);
  hear(known, bob, [holding(1, [[1, 4]]), holding(2, [[11, 12]])]);
  assert.deepEqual(known.runs()[0].runs, [[1, 12]]);
  known.forget(alice, holds(1, [[9, 10]]));
  assert.deepEqual(known.named(alice, 'dave/1-1'), rotten(1, [[5, 8]]));
  assert.equal(known.named(alice, 'dave/1-2'), undefined);
  assert.deepEqual(known.runs()[0].runs, [
    [1, 8],
    [11, 12],
  ]);
  const again = new HoldingsKnown();
  for (const piece of known.pieces()) again.restore(structuredClone(piece));
  assert.deepEqual([...again.all()], [...known.all()]);
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
    known.forget(peer, HOLDS_NOTHING);
    assert.deepEqual(existing(known, 1), [[1, 9]]);
  }
  const left = [...known.all()].reduce((sum, [, { runs }]) => sum + countRuns(runs as Run[]), 0);
  assert.equal(left, 9, 'and each is remembered once');
});

function expiredOf(runs: readonly ExpiredRun[]): ExpiredRuns {
  const expired = new ExpiredRuns();
  expired.add(runs);
  return expired;
}

const vanishedOf = (known: HoldingsKnown): [index: number, runs: [number, number][]][] =>
  [...known.vanished.all()].map(({ index, gone }) => [index, goneSeqs(gone)]);

test('what a peer does not name any more stays expected, unless it expired or is elsewhere', () => {
  const known = new HoldingsKnown();
  const before = [
    holding(1, [[1, 10]]),
    holding(2, [[11, 20]]),
    holding(3, [[21, 30]]),
    holding(4, [[31, 40]]),
  ];
  hear(known, alice, before);
  hear(known, bob, [holding(2, [[11, 12]])]);
  assert.deepEqual(vanishedOf(known), []);
  const store = {
    ...holds(1, [[9, 10]]),
    dropped: { expired: expiredOf([{ origin: 'dave', epoch: 1, from: 21, to: 21, ...time }]) },
  };
  // Its disk was put back to an older state.
  const expired = [{ origin: 'dave', epoch: 1, from: 28, to: 40, ...time }];
  hear(known, alice, [holding(1, [[1, 4]])], { instance: '2.0', expired, store });
  assert.deepEqual(vanishedOf(known), [
    [1, [[5, 8]]],
    [2, [[13, 20]]],
    [3, [[22, 27]]],
  ]);
  assert.deepEqual(known.runs()[0].runs, [
    [1, 8],
    [11, 20],
    [22, 27],
  ]);
  const again = new HoldingsKnown();
  for (const piece of known.pieces()) again.restore(structuredClone(piece));
  assert.deepEqual(vanishedOf(again), vanishedOf(known), 'also after a restart');
  // Some of it turns up, expires, or comes here.
  hear(known, carol, [holding(2, [[11, 18]])], {
    expired: [{ origin: 'dave', epoch: 1, from: 22, to: 27, ...time }],
  });
  known.tidyVanished(holds(1, [[5, 6]]));
  assert.deepEqual(vanishedOf(known), [
    [1, [[7, 8]]],
    [2, [[19, 20]]],
  ]);
});

test('what is on no disk that is known is counted, but for what expired or was given up', () => {
  const known = new HoldingsKnown();
  const nothing = new ExpiredRuns();
  const members = new Set([bob, carol]);
  const rotten = [
    { from: 3, to: 5, ...time },
    { from: 9, to: 9, ...time },
  ];
  const damaged = {
    id: { origin: 'dave', epoch: 1, index: 1 },
    intervals: () => [[1, 2]],
  } as unknown as Segment;
  const healthy = { ...HOLDS_NOTHING, damaged: [].values(), rottenIn: () => [] };
  const store = {
    ...HOLDS_NOTHING,
    get damaged() {
      return [damaged].values();
    },
    rottenIn: () => rotten,
  };
  assert.equal(known.countNowhere(healthy, members, nothing), 0);
  assert.equal(known.countNowhere(store, members, nothing), 4);
  hear(known, bob, [holding(1, [[4, 9]]), holding(2, [[11, 20]])]);
  assert.equal(known.countNowhere(store, members, nothing), 1, 'bob has 4, 5 and 9');
  hear(known, bob, [holding(1, [[4, 5]])], { instance: '2.0' });
  assert.deepEqual(vanishedOf(known), [
    [1, [[6, 9]]],
    [2, [[11, 20]]],
  ]);
  assert.equal(known.countNowhere(store, members, nothing), 1 + 4 + 10, 'batch 9 is counted once');
  assert.equal(known.countNowhere(healthy, members, nothing), 4 + 10);
  const lost = expiredOf([{ origin: 'dave', epoch: 1, from: 3, to: 15, ...time }]);
  assert.equal(known.countNowhere(store, members, lost), 5);
  hear(known, carol, [holding(2, [[11, 18]])], {
    expired: [{ origin: 'dave', epoch: 1, from: 19, to: 19, ...time }],
  });
  assert.equal(known.countNowhere(store, members, lost), 1);
  // What carol alone was heard to hold, until she is forgotten.
  hear(known, carol, [holding(2, [[11, 18]]), holding(3, [[21, 22]])], { version: 2 });
  assert.equal(known.countNowhere(healthy, members, lost), 1);
  assert.equal(known.countNowhere(healthy, new Set([bob]), lost), 1 + 3 + 2);
});

test('what is told as rotten, or dropped and held by others, has not vanished; nor has what the same process removed and expired', () => {
  const known = new HoldingsKnown();
  hear(known, bob, [holding(2, [[11, 20]])]);
  hear(known, alice, [holding(1, [[1, 10]]), holding(2, [[11, 20]]), holding(3, [[21, 30]])]);
  hear(known, alice, [{ ...holding(1, [[1, 4]]), rotten: [{ from: 5, to: 10, ...time }] }], {
    removed: [
      { origin: 'dave', epoch: 1, index: 2 },
      { origin: 'dave', epoch: 1, index: 3 },
    ],
    expired: [{ origin: 'dave', epoch: 1, from: 21, to: 30, ...time }],
  });
  assert.deepEqual(vanishedOf(known), []);
  assert.deepEqual([...known.namesOf(alice)], ['dave/1-1']);
  // Of what was rotten, nothing is said any more.
  hear(known, alice, [holding(1, [[1, 4]])]);
  assert.deepEqual(vanishedOf(known), [[1, [[5, 10]]]]);
  hear(known, alice, [holding(1, [[1, 10]])]);
  assert.deepEqual(vanishedOf(known), []);
});

test('what vanishes is bounded, and it is said when there is no room for more', () => {
  const known = new HoldingsKnown();
  const many = Array.from({ length: 6_000 }, (_, at) => holding(at + 1, [[2 * at + 1, 2 * at + 1]]));
  hear(known, alice, many);
  hear(known, alice, [], { instance: '2.0' });
  const remembered = vanishedOf(known).length;
  assert.ok(remembered > 1_000 && remembered < many.length, `${remembered}`);
  assert.equal(known.vanished.leftOut, many.length - remembered);
  hear(known, bob, many);
  assert.deepEqual([vanishedOf(known), known.vanished.leftOut], [[], 0]);
});

test('what vanished keeps the times that were told of it, whatever else its segment holds', () => {
  const known = new HoldingsKnown();
  const at = (ms: number): Instant => ({ ms, sub: 0 });
  const before: Holding = {
    ...holding(1, [[1, 3]]),
    min: at(10),
    max: at(20),
    rotten: [{ from: 4, to: 4, min: at(70), max: at(80) }],
  };
  hear(known, alice, [before]);
  hear(known, alice, [{ ...before, runs: [[1, 1]], rotten: undefined }], { instance: '2.0' });
  assert.deepEqual([...known.vanished.all()][0]?.gone, [{ from: 2, to: 4, min: at(10), max: at(80) }]);
  const apart = new HoldingsKnown();
  hear(apart, alice, [{ ...before, rotten: [{ from: 9, to: 9, min: at(70), max: at(80) }] }]);
  hear(apart, alice, [{ ...before, runs: [[1, 3]], rotten: undefined }], { instance: '2.0' });
  assert.deepEqual([...apart.vanished.all()][0]?.gone, [{ from: 9, to: 9, min: at(70), max: at(80) }]);
});

test('of its own batches a peer is not believed to have lost any: it says itself how far they are acknowledged', () => {
  const known = new HoldingsKnown();
  const own = { ...holding(1, [[1, 9]]), origin: alice as string };
  hear(known, alice, [own]);
  hear(known, alice, [{ ...own, runs: [[1, 4]] }], { instance: '2.0' });
  assert.deepEqual(vanishedOf(known), []);
  // What it has told itself that rot took stands, also when it does not know that any more.
  hear(known, alice, [{ ...own, runs: [[1, 3]], rotten: [{ from: 4, to: 4, ...time }] }]);
  hear(known, alice, [{ ...own, runs: [[1, 3]] }], { instance: '3.0' });
  assert.deepEqual(vanishedOf(known), [[1, [[4, 4]]]]);
  assert.ok(known.vanished.takeNews());
  hear(known, alice, [{ ...own, runs: [[1, 3]] }]);
  known.tidyVanished(holds(1, [[1, 3]]));
  assert.ok(!known.vanished.takeNews(), 'nothing of it has turned up');
});

test('what one member makes others remember has bounds, and fits what they tell', () => {
  const known = new HoldingsKnown();
  const huge = holding(1, [[1, 700_000]]);
  hear(known, alice, [{ ...huge, rotten: [{ from: 700_001, to: 1_400_000, ...time }] }]);
  hear(known, alice, [], { instance: '2.0' });
  assert.deepEqual(vanishedOf(known), [], 'more than a segment holds');
  const spread = Array.from({ length: 5_000 }, (_, at): [number, number] => [2 * at + 1, 2 * at + 1]);
  hear(known, alice, [holding(1, spread)]);
  hear(known, alice, [], { instance: '3.0' });
  assert.deepEqual(vanishedOf(known), [], 'in more runs than there are sorts of rot');
  hear(
    known,
    alice,
    Array.from({ length: 9_000 }, (_, at) => holding(at + 1, [[at + 1, at + 1]])),
  );
  hear(known, alice, [], { instance: '4.0' });
  assert.equal(vanishedOf(known).length, 5_000);
  hear(
    known,
    alice,
    Array.from({ length: 9_000 }, (_, at) => holding(at + 1, [[at + 1, at + 1]])),
  );
  assert.deepEqual(vanishedOf(known), [], 'and there is room again');
  assert.deepEqual([...known.all()].length, 9_000);
});

test('an older answer that comes last says nothing', () => {
  const known = new HoldingsKnown();
  hear(known, alice, [holding(1, [[1, 9]])], { version: 7 });
  assert.deepEqual(known.versionOf(alice).version, 7);
  hear(known, alice, [holding(1, [[1, 4]])], { version: 6 });
  assert.deepEqual(known.named(alice, 'dave/1-1')?.runs, [[1, 9]]);
});

test('one that comes back tells everything anew', () => {
  const known = new HoldingsKnown();
  hear(known, alice, [holding(1, [[1, 10]])]);
  known.forget(alice, HOLDS_NOTHING);
  assert.deepEqual(known.versionOf(alice), { instance: '', version: 0, expiredVersion: 0 });
  hear(known, alice, [holding(2, [[11, 12]])]);
  assert.deepEqual([...known.namesOf(alice)], ['dave/1-2']);
});

test('a thousand replaced peers leave as much behind as their successors hold', () => {
  const known = new HoldingsKnown();
  for (let n = 0; n < 1_000; n++) {
    hear(known, `peer ${n}` as PeerId, [holding(1, [[1, 10]]), holding(2, [[11, 20]])]);
    if (n > 1) known.forget(`peer ${n - 2}` as PeerId, HOLDS_NOTHING);
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
  known.forget(alice, HOLDS_NOTHING);
  const expired = [
    { ...other, from: 1, to: 4 },
    { origin: 'dave', epoch: 1, from: 1, to: 30, ...time },
  ];
  hear(known, alice, [], { instance: '2.0', expired });
  hear(known, bob, [], { instance: '2.0' });
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
  known.forget(alice, HOLDS_NOTHING);
  assert.equal(known.bytesOf(alice), 1, 'bob has the other one');
  hear(known, alice, [], { instance: '2.0' });
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
