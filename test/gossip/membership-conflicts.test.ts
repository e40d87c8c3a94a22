import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMembership, type Membership } from '../../src/gossip/membership/index.ts';
import { encodeMessage } from '../../src/gossip/membership/messages.ts';
import { Identities } from '../../src/gossip/membership/identities.ts';
import { SWIM_PROTOCOL } from '../../src/gossip/membership/constants.ts';
import type { PeerId } from '../../src/gossip/transport/index.ts';
import type { Clock } from '../../src/store/host/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimNetwork, type Faults, type SimTransport } from '../helpers/sim-network.ts';
import { MemoryFiles } from './membership-mesh.ts';

interface Node {
  readonly name: string;
  readonly membership: Membership;
  readonly transport: SimTransport;
  /** Epochs of the later runs that made this one stop. */
  readonly superseded: number[];
}

class Scene {
  readonly clock = new SimClock();
  readonly random;
  readonly network: SimNetwork;
  #epoch = 0;

  constructor(seed: number, faults: Partial<Faults> = {}) {
    this.random = seededRandom(seed);
    this.network = new SimNetwork(this.clock, this.random, faults);
  }

  async start(name: string, keySeed: Buffer, options: { epoch?: number; clock?: Clock } = {}): Promise<Node> {
    const transport = await this.network.start(name, keySeed, undefined, options.clock);
    const superseded: number[] = [];
    const membership = await createMembership({
      transport,
      clock: options.clock ?? this.clock,
      random: seededRandom(Math.floor(this.random.unit() * 2 ** 32)),
      disk: new MemoryFiles(),
      directory: '/data',
      self: { zone: '', weight: 1, epoch: options.epoch ?? ++this.#epoch, http: '', version: '0' },
      seeds: name === 'alice' ? [] : ['alice:1'],
      introductions: 2,
      lostPeers: [],
      log: { debug: () => undefined, warn: () => undefined },
    });
    membership.on({ superseded: ({ epoch }) => void superseded.push(epoch) });
    membership.start();
    return { name, membership, transport, superseded };
  }

  kill({ transport, membership }: Node): void {
    transport.crash();
    void membership.close();
  }
}

function seedOf(name: string): Buffer {
  return Buffer.alloc(32, name);
}

test('an identity that runs twice: the older run is told to stop, and all name both with their addresses', async () => {
  const the = new Scene(1);
  const alice = await the.start('alice', seedOf('alice'));
  const bob = await the.start('bob', seedOf('bob'));
  const charlie = await the.start('charlie', seedOf('charlie'));
  await the.clock.advance(20_000);
  assert.equal(alice.membership.alive().length, 3);
  const copy = await the.start('copy', seedOf('bob'));
  const all = [alice, bob, charlie, copy];
  const areAlarmed = (): boolean =>
    all.every(({ membership }) => membership.identityConflicts().length === 1);
  await the.clock.until(areAlarmed, 60_000);
  assert.ok(areAlarmed());
  assert.equal(bob.superseded[0], 4);
  assert.deepEqual(copy.superseded, []);
  await the.clock.advance(5_000);
  for (const { name, membership } of all) {
    const [{ peer, twins }] = membership.identityConflicts();
    assert.equal(peer, bob.transport.self);
    assert.deepEqual(
      twins.map(({ epoch, addresses }) => [epoch, addresses[0]?.split('/')[2]]),
      [
        [2, 'bob'],
        [4, 'copy'],
      ],
      `as ${name} sees it`,
    );
  }
  the.kill(bob);
  const areContent = (): boolean =>
    [alice, charlie, copy].every(({ membership }) => membership.identityConflicts().length === 0);
  await the.clock.until(areContent, 120_000);
  assert.ok(areContent());
});

test('restarts, with loss and delay, are never taken for a second run', async () => {
  for (let seed = 1; seed <= 10; seed++) {
    const the = new Scene(seed, { lossShare: 0.05, delayMsMin: 20, delayMsMax: 200 });
    const alice = await the.start('alice', seedOf('alice'));
    let bob = await the.start('bob', seedOf('bob'));
    const charlie = await the.start('charlie', seedOf('charlie'));
    for (let restart = 0; restart < 8; restart++) {
      await the.clock.advance(3_000 + the.random.unit() * 20_000);
      the.kill(bob);
      await the.clock.advance(the.random.unit() * 3_000);
      bob = await the.start('bob', seedOf('bob'));
      for (let second = 0; second < 15; second++) {
        await the.clock.advance(1_000);
        for (const { name, membership, superseded } of [alice, bob, charlie]) {
          assert.deepEqual(membership.identityConflicts(), [], `${name}, seed ${seed}`);
          assert.deepEqual(superseded, [], `${name}, seed ${seed}`);
        }
      }
    }
    for (const node of [alice, bob, charlie]) the.kill(node);
  }
});

test('a record that this peer has not signed stops nobody', async () => {
  const the = new Scene(1);
  const alice = await the.start('alice', seedOf('alice'));
  const bob = await the.start('bob', seedOf('bob'));
  await the.clock.advance(10_000);
  const { peer, addresses, zone, weight, http, version } = alice.membership.member(alice.transport.self)!;
  const signature = Buffer.alloc(64, 7).toString('base64');
  const record = {
    ...{ peer, addresses: [...addresses], zone, weight, http, version, signature },
    ...{ epoch: 999, incarnation: 1, leaving: false, left: false },
  };
  const forge = async (): Promise<void> => {
    const channel = await bob.transport.open(peer, SWIM_PROTOCOL, { timeoutMs: 1_000 });
    await channel.send(encodeMessage({ kind: 'ping', seq: 1, updates: [{ kind: 'record', record }] }));
    await channel.receive();
    await channel.close();
  };
  await the.clock.run(forge());
  assert.deepEqual(alice.superseded, []);
  assert.deepEqual(alice.membership.identityConflicts(), []);
});

test('the skew of each clock is measured, within half a round trip', async () => {
  const the = new Scene(3, { delayMsMin: 10, delayMsMax: 80 });
  const { clock } = the;
  let lateMs = 7_200_000;
  const late: Clock = {
    nowMs: () => clock.nowMs() - lateMs,
    monotonicMs: () => clock.monotonicMs(),
    after: (delayMs, run) => clock.after(delayMs, run),
  };
  const alice = await the.start('alice', seedOf('alice'));
  const bob = await the.start('bob', seedOf('bob'), { clock: late });
  await clock.advance(20_000);
  const skewAt = (node: Node, of: PeerId): number => node.membership.clockSkewMs(of)!;
  assert.ok(Math.abs(skewAt(alice, bob.transport.self) + 7_200_000) <= 80, 'bob is two hours behind');
  assert.ok(Math.abs(skewAt(bob, alice.transport.self) - 7_200_000) <= 80, 'alice is two hours ahead');
  lateMs = -60_000;
  const skewMs = skewAt(bob, alice.transport.self);
  assert.ok(Math.abs(skewMs + 60_000) <= 80, 'bob knows of the jump of its clock before the next ping');
});

test('what a dead process had sent may come late; what comes still later was sent by a second run', async () => {
  const clock = new SimClock();
  const bob = 'bob' as PeerId;
  const identities = new Identities(clock, 'alice' as PeerId, () => 3);
  identities.heard(bob, 4);
  await clock.advance(60_000);
  identities.heard(bob, 7);
  await clock.advance(9_000);
  identities.heard(bob, 4);
  assert.ok(identities.spokeAsOlderRun(bob));
  assert.deepEqual(identities.twinsOf(bob), []);
  await clock.advance(2_000);
  identities.heard(bob, 4);
  assert.deepEqual(
    identities.twinsOf(bob).map(({ epoch }) => epoch),
    [4, 7],
  );
  // A third run: the two before it may be over.
  identities.heard(bob, 9);
  assert.deepEqual(identities.twinsOf(bob), []);
});
