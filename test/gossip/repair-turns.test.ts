/** What a peer of a large mesh knows is much: it is looked through in turns, so that the peer goes on answering. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Repairer, WantedOwners, type Holding } from '../../src/gossip/repair/index.ts';
import type { PeerId } from '../../src/gossip/transport/index.ts';
import type { MeshMember } from '../../src/gossip/view.ts';
import type { Run } from '../../src/store/index.ts';
import { SimClock } from '../helpers/sim-clock.ts';
import { HOLDS_NOTHING } from '../helpers/holds-nothing.ts';

const MEMBERS = 50;
const SEGMENTS = 3_000;
const time = { min: { ms: 1, sub: 0 }, max: { ms: 2, sub: 0 } };
const peers = Array.from({ length: MEMBERS }, (_, at) => `peer ${at}` as PeerId);
const [self] = peers;

/** Takes a millisecond for every look at it. */
class SlowClock extends SimClock {
  looks = 0;

  override monotonicMs(): number {
    return super.monotonicMs() + this.looks++;
  }
}

/** A peer that holds nothing and has heard of every segment twice, what it looks at, and what expired of each segment. */
function newcomer(clock: SimClock, expired: readonly Run[] = []) {
  let statesRead = 0;
  const members = peers.map((peer) => ({
    peer,
    get state() {
      statesRead++;
      return 'alive';
    },
    zone: '',
    weight: 1,
    leaving: false,
    stateSinceMs: 0,
    epoch: 1,
    incarnation: 1,
  })) as unknown as readonly MeshMember[];
  /** By how many events of the clock there had been. */
  const looks = new Map<number, number>();
  const store = {
    segment: () => void looks.set(clock.events, (looks.get(clock.events) ?? 0) + 1),
    damaged: [],
    dropped: { expired: { runs: () => expired } },
    rollIfAged: () => undefined,
  };
  const view = { self, members: () => members, isSearching: () => false, isIntroduced: () => true };
  const shared = { clock, view, replicas: 3, ackQuorum: 2, repairDelayMs: 1_000 };
  const repairer = new Repairer({
    ...shared,
    wanted: new WantedOwners(shared),
    store,
    pollMs: 500,
    timeoutMs: 1_000,
    takesCopies: () => true,
    log: () => undefined,
    transport: { open: () => Promise.reject(new Error('nobody answers')) },
  } as unknown as ConstructorParameters<typeof Repairer>[0]);
  for (const at of Array(SEGMENTS).keys()) {
    const origin = peers[1 + (at % (MEMBERS - 1))];
    const holding: Holding = {
      origin,
      epoch: 1,
      index: 1 + Math.floor(at / (MEMBERS - 1)),
      runs: [[at * 10 + 1, at * 10 + 10]],
      ...time,
      owners: [],
      bytes: 10,
      open: false,
    };
    for (const peer of [origin, peers[1 + ((at + 1) % (MEMBERS - 1))]]) {
      const { versionOf } = repairer.known;
      const version = versionOf.call(repairer.known, peer).version + 1;
      const rest = { more: false, removed: [], expired: [], expiredVersion: 0 };
      repairer.known.merge(peer, { instance: '1.0', version, holdings: [holding], ...rest }, HOLDS_NOTHING);
    }
  }
  return { repairer, looks, statesRead: () => statesRead };
}

test('who is up is worked out when members change, and not for each segment', async () => {
  const clock = new SimClock();
  const { repairer, statesRead } = newcomer(clock);
  const { batches, bytes } = repairer.backlog();
  assert.ok(batches > SEGMENTS / 10 && bytes === batches, `${batches} batches: 3 of ${MEMBERS} hold each`);
  assert.ok(statesRead() < 20 * MEMBERS, `${statesRead()} states of ${MEMBERS} members were read`);
  await clock.run(repairer.close());
});

test('what is to be fetched is counted in turns', async () => {
  const clock = new SlowClock();
  const { repairer, looks } = newcomer(clock);
  assert.deepEqual(repairer.backlog(), { batches: 0, bytes: 0, seconds: undefined }, 'not known yet');
  await clock.advance(1);
  assert.equal(
    [...looks.values()].reduce((sum, count) => sum + count, 0),
    SEGMENTS,
    'each once',
  );
  assert.ok(Math.max(...looks.values()) < 50, `${Math.max(...looks.values())} segments in one turn`);
  const { batches } = repairer.backlog();
  assert.ok(batches > SEGMENTS / 10);
  await clock.run(repairer.close());
});

test('what may have to be fetched is looked through in turns', async () => {
  const clock = new SlowClock();
  const { repairer, looks } = newcomer(clock, [[1, 10 * SEGMENTS]]);
  repairer.start();
  await clock.advance(600);
  const all = [...looks.values()].reduce((sum, count) => sum + count, 0);
  assert.ok(all >= 2 * SEGMENTS, `${all} holdings`);
  assert.ok(Math.max(...looks.values()) < 50, `${Math.max(...looks.values())} segments in one turn`);
  await clock.run(repairer.close());
});
