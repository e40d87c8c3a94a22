import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import fc from 'fast-check';
import { base58btc } from 'multiformats/bases/base58';
import { BOUNDS } from '../../src/gossip/membership/constants.ts';
import {
  encodeRider,
  EPOCHS_PER_ORIGIN_MAX,
  parseRider,
  PASSED_ON_MAX,
  SIGNATURES_CHECKED_MAX,
  signWatermark,
  Watermarks,
  type Watermark,
} from '../../src/gossip/repair/watermarks.ts';
import { keysFromSeed, type PeerKeys } from '../../src/gossip/transport/index.ts';
import { LIMITS } from '../../src/store/index.ts';
import { shuffle, PROPERTY } from '../store/material.ts';
import { seededRandom } from '../helpers/sim-clock.ts';

const random = seededRandom(7);
const NOW_MS = 1_700_000_000_000;
let alice: PeerKeys;
let bob: PeerKeys;
before(async () => {
  [alice, bob] = [await keysFromSeed(random.bytes(32)), await keysFromSeed(random.bytes(32))];
});

function said(by: PeerKeys, epoch: number, sealed: number, durable = sealed): Watermark {
  return signWatermark({ origin: by.peer, epoch, sealed, durable }, (bytes) => by.sign(bytes));
}

const progress = ({ origin, epoch, sealed, durable }: Watermark): unknown => [origin, epoch, sealed, durable];

test('nobody can raise what another is known to have acknowledged, nor make up who did', () => {
  const marks = new Watermarks();
  marks.merge(alice.peer, [said(alice, 5, 10)], NOW_MS);
  const told = [
    { ...said(alice, 5, 10), durable: 11, sealed: 11 },
    { ...said(alice, 5, 1_000), origin: bob.peer },
    { ...said(bob, 5, 1_000), origin: alice.peer },
    { ...said(alice, 6, 3), epoch: 7 },
    { ...said(alice, 5, 11), signature: 'A'.repeat(88) },
    { ...said(bob, 5, 11), origin: 'nobody' },
  ];
  marks.merge(bob.peer, told.slice(0, 1), NOW_MS);
  for (const mark of told) marks.merge('someone else', [mark], NOW_MS);
  assert.deepEqual(marks.all().map(progress), [[alice.peer, 5, 10, 10]]);
});

test('a mark goes on through others, unchanged, and raises what they know', () => {
  const [first, second] = [new Watermarks(), new Watermarks()];
  first.merge(alice.peer, [said(alice, 5, 10)], NOW_MS);
  second.merge(bob.peer, first.toPassOn(), NOW_MS);
  assert.deepEqual(second.all().map(progress), [[alice.peer, 5, 10, 10]]);
  assert.equal(first.latest()[0].heardMs, NOW_MS);
  assert.equal(second.latest()[0].heardMs, 0, 'bob is not the one who said it');
});

test('what an origin says of itself with a signature that does not hold is kept, and goes no further', () => {
  const marks = new Watermarks();
  marks.merge(alice.peer, [{ ...said(alice, 5, 10), signature: 'A'.repeat(88) }], NOW_MS);
  assert.equal(marks.get(alice.peer, 5)?.durable, 10);
  assert.deepEqual(marks.toPassOn(), []);
});

test('merging in any order, any number of times, gives the same', () => {
  const all = [0, 1, 2, 5, 9].flatMap((durable) => [
    said(alice, 5, durable),
    said(alice, 5, durable + 3, durable),
  ]);
  const each = fc.array(fc.record({ mark: fc.constantFrom(...all), isDirect: fc.boolean() }), {
    minLength: 1,
  });
  fc.assert(
    fc.property(each, (steps) => {
      const [one, other] = [new Watermarks(), new Watermarks()];
      for (const { mark, isDirect } of steps) one.merge(isDirect ? alice.peer : bob.peer, [mark], NOW_MS);
      for (const { mark, isDirect } of [...shuffle(random, steps), ...steps])
        other.merge(isDirect ? alice.peer : bob.peer, [mark], NOW_MS);
      assert.deepEqual(one.all().map(progress), other.all().map(progress));
      const highest = Math.max(...steps.map(({ mark }) => mark.durable));
      assert.equal(one.get(alice.peer, 5)?.durable, highest);
    }),
    PROPERTY,
  );
});

test('more durable than sealed, and numbers that no run reaches, are malformed', () => {
  const rider = { inventory: { instance: '1.0', version: 1 }, isFull: false };
  parseRider(encodeRider({ marks: [said(alice, 5, 10)], ...rider }));
  for (const mark of [said(alice, 5, 3, 4), said(alice, 2 ** 49, 1), said(alice, 5, 2 ** 49)])
    assert.throws(() => parseRider(encodeRider({ marks: [mark], ...rider })), { code: 'LV_PROTOCOL' });
});

test('of an origin that ran very often, the newest runs are kept', () => {
  const marks = new Watermarks();
  const epochs = Array.from({ length: EPOCHS_PER_ORIGIN_MAX + 50 }, (_, at) => at + 1);
  for (const epoch of shuffle(random, epochs)) marks.merge(alice.peer, [said(alice, epoch, epoch)], NOW_MS);
  assert.deepEqual(
    marks
      .all()
      .map(({ epoch }) => epoch)
      .sort((a, b) => a - b),
    epochs.slice(50),
  );
});

test('of the runs in which an origin sealed nothing, only its newest is kept, in whatever order they come', () => {
  const told = [
    said(alice, 1, 0),
    said(alice, 2, 3),
    said(alice, 3, 0),
    said(alice, 4, 0),
    said(alice, 5, 0),
  ];
  for (let round = 0; round < 20; round++) {
    const marks = new Watermarks();
    for (const mark of shuffle(random, told))
      marks.merge(random.unit() < 0.5 ? alice.peer : bob.peer, [mark], NOW_MS);
    const kept = marks.all().map(({ epoch }) => epoch);
    assert.deepEqual(
      kept.sort((a, b) => a - b),
      [2, 5],
    );
    assert.deepEqual(
      marks.latest().map(({ epoch }) => epoch),
      [5],
    );
    marks.takeChanged();
    marks.merge(bob.peer, told, NOW_MS);
    assert.equal(marks.takeChanged(), false);
    marks.merge(bob.peer, [said(alice, 3, 1)], NOW_MS);
    assert.equal(marks.get(alice.peer, 3)?.sealed, 1);
  }
});

test('one message makes a bounded number of signatures be checked; the rest is learned from the next', () => {
  const epochs = Array.from({ length: SIGNATURES_CHECKED_MAX + 20 }, (_, at) => at + 1);
  const told = epochs.map((epoch) => said(alice, epoch, 1));
  const marks = new Watermarks();
  marks.merge(bob.peer, told, NOW_MS);
  assert.equal(marks.all().length, SIGNATURES_CHECKED_MAX);
  marks.merge(bob.peer, told, NOW_MS);
  assert.equal(marks.all().length, told.length);
  const lies = told.map((mark) => ({ ...mark, durable: 2, sealed: 2 }));
  const startedMs = process.cpuUsage().user / 1000;
  marks.merge(bob.peer, Array.from({ length: 20 }, () => lies).flat(), NOW_MS);
  const tookMs = process.cpuUsage().user / 1000 - startedMs;
  assert.ok(tookMs < 2_000, `${tookMs} ms`);
  assert.ok(marks.all().every(({ durable }) => durable === 1));
});

test('made-up origins do not crowd out members, and the full state fits what push-pull takes', async () => {
  const members = new Set<string>([alice.peer]);
  const marks = new Watermarks((peer) => members.has(peer));
  // Each speaks for itself, as a member that makes up identities would.
  const seeds = Array.from({ length: 40 }, () => random.bytes(32));
  const liars = await Promise.all(seeds.map((seed) => keysFromSeed(seed)));
  for (const liar of liars) {
    for (let epoch = 1; epoch <= 500; epoch++) {
      const mark = { origin: liar.peer, epoch: 2 ** 47 + epoch, sealed: 2 ** 48, durable: 2 ** 48 };
      marks.raise({ ...mark, signature: 'A'.repeat(88) }, NOW_MS);
    }
  }
  assert.ok(marks.all().length > PASSED_ON_MAX);
  marks.merge(alice.peer, [said(alice, 1, 4), said(alice, 2, 5)], NOW_MS);
  const passedOn = marks.toPassOn();
  assert.deepEqual(progress(passedOn[0]), [alice.peer, 2, 5, 5], 'the newest run of a member comes first');
  const newest = passedOn.slice(0, 41).map(({ origin }) => origin);
  assert.equal(new Set(newest).size, 41, 'and the newest of each other origin before older ones');
  const state = encodeRider({
    marks: passedOn,
    inventory: { instance: 'x'.repeat(64), version: Number.MAX_SAFE_INTEGER },
    isFull: true,
  });
  assert.equal(passedOn.length, PASSED_ON_MAX);
  assert.ok(state.length < BOUNDS.fullStateBytes, `${state.length} bytes`);
  assert.equal(parseRider(state).marks.length, PASSED_ON_MAX);
});

test('the ping that carries a mark is within the bound of what rides on one', () => {
  const digest = encodeRider({
    marks: [said(alice, 2 ** 48, 2 ** 48)],
    inventory: { instance: 'x'.repeat(64), version: Number.MAX_SAFE_INTEGER },
    isFull: false,
  });
  assert.ok(digest.length < BOUNDS.digestBytes);
});

test('what was saved comes back; what rotted on the disk does not', () => {
  const marks = new Watermarks();
  marks.merge(alice.peer, [said(alice, 5, 10)], NOW_MS);
  marks.merge(bob.peer, [said(bob, 6, 20)], NOW_MS);
  const restored = new Watermarks();
  restored.restore(
    marks.all().map((mark) => (mark.origin === bob.peer ? { ...mark, durable: 21, sealed: 21 } : mark)),
  );
  assert.deepEqual(restored.all().map(progress), [[alice.peer, 5, 10, 10]]);
  assert.equal(restored.latest()[0].heardMs, NOW_MS);
});

test('origins are bounded: others than members have no more places than there can be members', () => {
  const madeUp = (at: number): string => {
    const key = Buffer.alloc(38);
    Buffer.from('002408011220', 'hex').copy(key);
    key.writeUInt32BE(at, 6);
    return base58btc.baseEncode(key);
  };
  const members = new Set<string>();
  const marks = new Watermarks((peer) => members.has(peer));
  const speak = (origin: string, epoch: number): void =>
    marks.merge(origin, [{ origin, epoch, sealed: 1, durable: 1, signature: 'A'.repeat(88) }], NOW_MS);
  for (let at = 0; at < LIMITS.membersMax + 5; at++) speak(madeUp(at), at + 1);
  assert.equal(marks.latest().length, LIMITS.membersMax);
  for (let at = 0; at < LIMITS.membersMax; at++) {
    const member = madeUp(1_000_000 + at);
    members.add(member);
    speak(member, 1);
  }
  assert.equal(marks.latest().length, 2 * LIMITS.membersMax);
  // Replaced members: their successors find a place, and the one that has been gone for longest goes.
  members.delete(madeUp(1_000_000));
  members.add(madeUp(5_000_000));
  speak(madeUp(5_000_000), 1);
  assert.equal(marks.latest().length, 2 * LIMITS.membersMax);
  assert.ok(marks.get(madeUp(5_000_000), 1));
});
