import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';

import { countMissing, findGaps, timeText } from '../../src/gossip/query/receipt.ts';
import { HoldingsKnown, type Holding, type RunKnown } from '../../src/gossip/repair/index.ts';
import type { PeerId } from '../../src/gossip/transport/index.ts';
import { PROPERTY } from '../store/material.ts';
import { HOLDS_NOTHING } from '../helpers/holds-nothing.ts';

const SEGMENT_SEQS = 5;
const SEQS = 20;

/** Segments of five seqs each; the entries of segment n lie in milliseconds 100 n … 100 n + 99. */
const boundsOf = (index: number) => ({
  min: { ms: 100 * index, sub: 0 },
  max: { ms: 100 * index + 99, sub: 0 },
});
const indexOf = (seq: number): number => Math.floor((seq - 1) / SEGMENT_SEQS) + 1;

function runsOf(seqs: readonly number[]): [number, number][] {
  return seqs.toSorted((a, b) => a - b).map((seq) => [seq, seq]);
}

function merged(seqs: readonly number[]): [number, number][] {
  const runs: [number, number][] = [];
  for (const [from] of runsOf(seqs)) {
    const last = runs.at(-1);
    if (last && last[1] === from - 1) last[1] = from;
    else runs.push([from, from]);
  }
  return runs;
}

const seqSet = fc.uniqueArray(fc.integer({ min: 1, max: SEQS }), { maxLength: SEQS });

function holdingsOf(origin: string, seqs: readonly number[]): Holding[] {
  const bySegment = Map.groupBy(seqs, indexOf);
  return [...bySegment].map(([index, own]) => ({
    origin,
    epoch: 1,
    index,
    runs: merged(own),
    ...boundsOf(index),
    owners: [`owner ${index}`],
    bytes: 1,
    open: false,
  }));
}

/** What is remembered of peers, each of which was heard to hold some. */
function remember(origin: string, ...held: readonly (readonly number[])[]): RunKnown[] {
  const known = new HoldingsKnown();
  for (const [at, seqs] of held.entries()) {
    const holdings = holdingsOf(origin, seqs);
    const rest = { more: false, removed: [], expired: [], expiredVersion: 0 };
    known.merge(`peer ${at}` as PeerId, { instance: '1.0', version: 1, holdings, ...rest }, HOLDS_NOTHING);
  }
  return known.runs();
}

/** What a peer that holds these answers about a range. */
const peer = 'somebody' as PeerId;

function answerOf(origin: string, seqs: readonly number[], from: number, to: number) {
  const overlapping = holdingsOf(origin, seqs).filter(({ min, max }) => max.ms >= from && min.ms < to);
  const inside = new Set(overlapping.map(({ index }) => index));
  const rest = seqs.filter((seq) => !inside.has(indexOf(seq)));
  return {
    peer,
    epoch: 1,
    writtenSeq: 0,
    overlapping: overlapping.map(({ open: _open, ...segment }) => segment),
    outside: rest.length > 0 ? [{ origin, epoch: 1, runs: merged(rest) }] : [],
  };
}

/** What a peer answers of which rot took these. */
function rottenAnswerOf(origin: string, seqs: readonly number[]) {
  const overlapping = holdingsOf(origin, seqs).map(({ open: _open, runs, ...segment }) => ({
    ...segment,
    runs: [],
    rotten: runs.map(([from, to]) => ({ from, to, ...boundsOf(segment.index) })),
  }));
  return { peer, epoch: 1, writtenSeq: 0, overlapping, outside: [] };
}

test('missing is what exists by any account, is not held, and may lie in the range', () => {
  const range = fc
    .tuple(fc.integer({ min: 0, max: 600 }), fc.integer({ min: 1, max: 600 }))
    .map(([from, length]) => ({ from, to: from + length }));
  fc.assert(
    fc.property(
      fc.array(seqSet, { maxLength: 3 }),
      fc.array(seqSet, { maxLength: 3 }),
      seqSet,
      fc.nat({ max: SEQS }),
      range,
      (held, remembered, rotten, durable, { from, to }) => {
        const { missing } = findGaps({
          expired: [],
          lost: [],
          awaited: [],
          heard: [],
          answers: [
            ...held.map((seqs) => answerOf('origin', seqs, from, to)),
            rottenAnswerOf('origin', rotten),
          ],
          watermarks: [{ origin: 'origin', epoch: 1, durable }],
          remembered: remember('origin', ...remembered),
          from: { ms: from, sub: 0 },
          to: { ms: to, sub: 0 },
        });
        const isHeld = new Set(held.flat());
        const isKnown = new Set(remembered.flat());
        const isRotten = (seq: number): boolean => {
          const { min, max } = boundsOf(indexOf(seq));
          return rotten.includes(seq) && max.ms >= from && min.ms < to;
        };
        const expected: number[] = [];
        for (let seq = 1; seq <= SEQS; seq++) {
          if (isHeld.has(seq)) continue;
          if (isRotten(seq)) expected.push(seq);
          else if (isKnown.has(seq)) {
            const { min, max } = boundsOf(indexOf(seq));
            if (max.ms >= from && min.ms < to) expected.push(seq);
          } else if (seq <= durable) expected.push(seq);
        }
        const named = missing.flatMap(({ fromSeq, toSeq }) =>
          Array.from({ length: toSeq - fromSeq + 1 }, (_, at) => fromSeq + at),
        );
        assert.deepEqual(
          named.toSorted((a, b) => a - b),
          expected,
          'each once',
        );
        assert.equal(countMissing(missing), expected.length);
        for (const { fromSeq, lastOwners, fromTime, toTime, reason } of missing) {
          assert.equal(reason, isRotten(fromSeq) ? 'corrupt' : 'unreachable');
          if (isKnown.has(fromSeq) || isRotten(fromSeq)) {
            assert.deepEqual(lastOwners, [`owner ${indexOf(fromSeq)}`]);
            assert.equal(fromTime, timeText(boundsOf(indexOf(fromSeq)).min.ms));
          } else assert.deepEqual([lastOwners, fromTime, toTime], [[], null, null]);
        }
      },
    ),
    { ...PROPERTY, numRuns: 1500 },
  );
});

test('of what many tell, each batch is named once, and as rotten where it is', () => {
  const seqs = Array.from({ length: 10_000 }, (_, at) => 2 * at + 1);
  const told = rottenAnswerOf('origin', seqs);
  const vanished = {
    ...told,
    overlapping: told.overlapping.map(({ rotten, ...one }) => ({ ...one, vanished: rotten })),
  };
  const { missing } = findGaps({
    expired: [],
    lost: [],
    awaited: [],
    heard: [],
    answers: [vanished, told, told, vanished, told, told],
    watermarks: [],
    remembered: [],
    from: { ms: -1e9, sub: 0 },
    to: { ms: 1e9, sub: 0 },
  });
  assert.equal(countMissing(missing), seqs.length);
  assert.ok(missing.every(({ reason }) => reason === 'corrupt'));
});

test('origins and epochs are told apart', () => {
  const { missing } = findGaps({
    expired: [],
    lost: [],
    awaited: [],
    heard: [],
    answers: [
      {
        peer,
        epoch: 1,
        writtenSeq: 0,
        overlapping: [],
        outside: [{ origin: 'a', epoch: 1, runs: [[1, 9]] }],
      },
    ],
    watermarks: [
      { origin: 'a', epoch: 1, durable: 9 },
      { origin: 'a', epoch: 2, durable: 2 },
      { origin: 'b', epoch: 1, durable: 3 },
      { origin: 'c', epoch: 1, durable: 0 },
    ],
    remembered: [],
    from: { ms: 0, sub: 0 },
    to: { ms: 1, sub: 0 },
  });
  assert.deepEqual(
    missing.map(({ origin, epoch, fromSeq, toSeq }) => [origin, epoch, fromSeq, toSeq]),
    [
      ['a', 2, 1, 2],
      ['b', 1, 1, 3],
    ],
  );
});

for (const [why, other] of [
  ['expired', 'lost'],
  ['lost', 'expired'],
] as const) {
  test(`what is ${why} is counted and not missing, but for what is still held`, () => {
    fc.assert(
      fc.property(seqSet, seqSet, seqSet, (held, dropped, remembered) => {
        const bounds = boundsOf(1);
        const inRange = dropped.filter((seq) => indexOf(seq) === 1);
        const gone = dropped.map((seq) => ({
          origin: 'origin',
          epoch: 1,
          from: seq,
          to: seq,
          ...boundsOf(indexOf(seq)),
        }));
        const { missing, ...counts } = findGaps({
          answers: [answerOf('origin', held, bounds.min.ms, 200)],
          watermarks: [{ origin: 'origin', epoch: 1, durable: SEQS }],
          remembered: remember('origin', remembered),
          expired: why === 'expired' ? gone : [],
          lost: why === 'lost' ? gone : [],
          awaited: [],
          heard: [],
          from: bounds.min,
          to: { ms: 200, sub: 0 },
        });
        assert.equal(counts[why], inRange.filter((seq) => !held.includes(seq)).length);
        assert.equal(counts[other], 0);
        for (const { fromSeq, toSeq } of missing)
          for (let seq = fromSeq; seq <= toSeq; seq++)
            assert.ok(!dropped.includes(seq) && !held.includes(seq));
      }),
      PROPERTY,
    );
  });
}

test('what a peer was heard to have that is waited for is missing, whoever said that it is lost', () => {
  const bounds = boundsOf(1);
  const [from, to] = [bounds.min, { ms: 200, sub: 0 }];
  const run = { origin: 'origin', epoch: 1, from: 1, to: SEQS, min: from, max: to };
  const seqs = [2, 3];
  const remembered = remember('origin', seqs);
  const watermarks = [{ origin: 'origin', epoch: 1, durable: 4 }];
  const gaps = { answers: [], watermarks, remembered, expired: [], lost: [run], heard: [], from, to };
  assert.equal(findGaps({ ...gaps, awaited: [] }).lost, 4, 'and no more than there is');
  const { lost, missing } = findGaps({ ...gaps, awaited: holdingsOf('origin', seqs) });
  assert.equal(lost, 2);
  assert.deepEqual(
    missing.map(({ fromSeq, toSeq }) => [fromSeq, toSeq]),
    [[2, 3]],
  );
});

test('holdings are looked at only of a run of which something is absent', () => {
  const remembered = ['a', 'b', 'c'].flatMap((origin) => remember(origin, [1, 2, 3, 9]));
  const looked: string[] = [];
  const watched = remembered.map((run) => ({
    ...run,
    get segments() {
      looked.push(run.origin);
      return run.segments;
    },
  }));
  const [a, b, c] = ['a', 'b', 'c'].map((origin) => answerOf(origin, [1, 2, 3, 9], 0, 1000));
  const rest = { watermarks: [], expired: [], lost: [], heard: [], awaited: [], from: { ms: 0, sub: 0 } };
  const gapsOf = (answers: ReturnType<typeof answerOf>[]) =>
    findGaps({ ...rest, answers, remembered: watched, to: { ms: 1000, sub: 0 } }).missing;
  assert.deepEqual(gapsOf([a, b, c]), []);
  assert.deepEqual(looked, []);
  assert.equal(countMissing(gapsOf([a, c])), 4);
  assert.deepEqual(looked, ['b']);
});
