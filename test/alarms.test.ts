import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Member, PeerId } from '../src/gossip/index.ts';
import {
  batchConflictProblems,
  clockProblems,
  identityProblems,
  isClockTrusted,
  lossProblems,
  memoryProblems,
  peerProblems,
} from '../src/node/alarms.ts';
import { LIMITS } from '../src/store/index.ts';

const [ALICE, BOB, CAROL, DAVE] = ['alice1', 'bob222', 'carol3', 'dave44'] as PeerId[];
const HOUR_MS = 3_600_000;

function clocksSay(
  skewsMs: Readonly<Record<string, number>>,
  states: Readonly<Record<string, string>> = {},
): string[] {
  const members = [ALICE, BOB, CAROL, DAVE].map(
    (peer) => ({ peer, state: states[peer] ?? 'alive' }) as Member,
  );
  return [...clockProblems(members, ALICE, (peer) => skewsMs[peer])].map(({ message }) => message);
}

describe('clocks', () => {
  test('within the limit, unmeasured, or of a peer that is down: nothing', () => {
    assert.deepEqual(clocksSay({ [BOB]: 59_999, [CAROL]: -60_000 }), []);
    assert.deepEqual(clocksSay({ [BOB]: HOUR_MS }, { [BOB]: 'dead' }), []);
  });

  test('one that is far off is named with its skew', () => {
    assert.deepEqual(clocksSay({ [BOB]: 2 * HOUR_MS + 5 * 60_000, [CAROL]: 10, [DAVE]: -3 }), [
      "the clock of …bob222 is 2 h 5 min ahead of this peer's: one of the two is wrong",
    ]);
    assert.deepEqual(clocksSay({ [BOB]: -90_000 }), [
      "the clock of …bob222 is 1 min 30 s behind this peer's: one of the two is wrong",
    ]);
  });

  test('when most others are far off in one direction, it is this one', () => {
    assert.deepEqual(clocksSay({ [BOB]: HOUR_MS, [CAROL]: HOUR_MS, [DAVE]: HOUR_MS + 20 }), [
      "this peer's clock is 1 h behind those of 3 of 3 others: set it right",
    ]);
  });

  test('nothing is dropped for its age before half of the others agree', () => {
    const trusts = (
      skewsMs: Readonly<Record<string, number>>,
      states: Readonly<Record<string, string>> = {},
    ): boolean =>
      isClockTrusted({
        self: ALICE,
        members: () =>
          [ALICE, BOB, CAROL, DAVE].map((peer) => ({ peer, state: states[peer] ?? 'alive' }) as Member),
        clockSkewMs: (peer) => skewsMs[peer],
      });
    assert.equal(trusts({}), false, 'nobody was measured');
    assert.equal(trusts({ [BOB]: 5 }), false);
    assert.equal(trusts({ [BOB]: 5, [CAROL]: -5 }), true);
    assert.equal(trusts({ [BOB]: 5, [CAROL]: -5, [DAVE]: HOUR_MS }), true);
    assert.equal(trusts({ [BOB]: 5, [CAROL]: HOUR_MS, [DAVE]: HOUR_MS }), false);
    const alone = { [BOB]: 'dead', [CAROL]: 'dead', [DAVE]: 'gone' };
    assert.equal(trusts({}, alone), false, 'cut off since the start: nobody can tell');
    assert.equal(trusts({ [CAROL]: 5 }, alone), true);
    assert.equal(trusts({ [BOB]: HOUR_MS, [CAROL]: HOUR_MS, [DAVE]: 5 }, alone), false);
    const left = { [BOB]: 'left', [CAROL]: 'left', [DAVE]: 'left' };
    assert.equal(trusts({ [DAVE]: HOUR_MS }, left), true, 'alone in its mesh');
  });
});

describe('peers', () => {
  const say = (
    states: readonly string[],
    quorum: number,
    batchesBelowK: number,
    lost: readonly string[] = [],
  ): string[] => {
    const members = states.map((state, at) => ({ peer: [ALICE, BOB, CAROL, DAVE][at], state }) as Member);
    return [...peerProblems(members, new Set(lost), quorum, batchesBelowK)].map(({ message }) => message);
  };

  test('those that have left or are gone are neither down nor counted', () => {
    assert.deepEqual(say(['alive', 'alive', 'left', 'gone'], 2, 0), []);
    assert.deepEqual(say(['alive', 'alive', 'left', 'dead'], 2, 0), ['1 of 3 peers is down: …dave44']);
  });

  test('those that were given up still count for what an answer can prove', () => {
    assert.deepEqual(say(['alive', 'alive', 'gone', 'dead'], 2, 0), [
      '1 of 3 peers is down: …dave44',
      '2 peers are out of reach, those given up included: until they return or are forgotten, 72 h after they were last heard, no answer can be complete',
    ]);
  });

  test('those that are lost for good are no news', () => {
    assert.deepEqual(say(['alive', 'alive', 'gone', 'dead'], 2, 0, [CAROL, DAVE]), []);
  });

  test('too few to acknowledge, and what has too few copies', () => {
    assert.deepEqual(say(['alive', 'dead', 'dead'], 2, 1), [
      '2 of 3 peers are down: …bob222, …carol3',
      'only 1 peer is up and an acknowledgement needs 2: pushes are refused and files are not read on',
      '1 batch of this peer, or of peers that are away, has too few copies',
    ]);
  });
});

test('two runs of one identity: both addresses, which of them stopped, and the file to delete', () => {
  const twins = [
    { epoch: 5, addresses: ['/ip4/10.0.0.1/tcp/7421'] },
    { epoch: 9, addresses: [] },
  ];
  const conflicts = [
    { peer: ALICE, twins },
    { peer: BOB, twins },
  ];
  const [own, other] = [...identityProblems(conflicts, { peer: ALICE, epoch: 5, directory: '/data' })];
  assert.equal(own.code, 'LV_IDENTITY_CONFLICT');
  assert.match(
    own.message,
    /this peer's identity: this node, 10\.0\.0\.1:7421 \(epoch 5, which acknowledges nothing any more\); and an unknown address \(epoch 9\)/,
  );
  assert.match(own.message, /delete identity\.key \(here: \/data\/identity\.key\)/);
  assert.match(other.message, /the identity of …bob222: 10\.0/);
  assert.ok(!other.message.includes('/data'));
});

test('batches that nobody is known to have are told of', () => {
  assert.deepEqual([...lossProblems(0)], []);
  const [problem] = lossProblems(1204);
  assert.equal(problem!.code, 'LV_BATCH_LOST');
  assert.match(problem!.message, /^1,204 batches are on no disk within reach, .* logvine accept-loss lists$/);
});

test('batches with two contents are named, up to a bound', () => {
  const problems = [...batchConflictProblems(Array.from({ length: 100 }, (_, at) => `batch ${at} differs`))];
  assert.equal(problems.length, 21);
  assert.match(problems[0].message, /^batch 0 differs: neither is overwritten; logvine verify names/);
  assert.equal(problems[20].message, 'and 80 batches more with two contents');
});

test('streams and batches without number are told of before they fill the memory', () => {
  assert.deepEqual([...memoryProblems(1_000, 1_000_000)], []);
  const told = [...memoryProblems(LIMITS.streamsMax * 0.9, LIMITS.batchesToldMax + 1)];
  assert.deepEqual(
    told.map(({ code }) => code),
    ['LV_OVERLOADED', 'LV_OVERLOADED'],
  );
  assert.match(told[0].message, /450000 streams/);
  assert.match(told[1].message, /pushLinger/);
});
