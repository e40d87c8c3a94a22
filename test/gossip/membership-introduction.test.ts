import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Introduction } from '../../src/gossip/membership/introduction.ts';
import type { PeerId } from '../../src/gossip/transport/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimMesh } from './membership-mesh.ts';

const isIntroduced = (mesh: SimMesh, name: string): boolean => mesh.node(name).membership.isIntroduced();

async function meshOf(count: number, seed: number): Promise<SimMesh> {
  const mesh = new SimMesh(seed, {}, { goneAfterMs: 60_000 });
  await mesh.grow(count);
  const all = [...mesh.nodes.keys()];
  assert.ok(await mesh.clock.until(() => mesh.allSee(count), 10_000));
  assert.ok(await mesh.clock.until(() => all.every((name) => isIntroduced(mesh, name)), 5_000));
  return mesh;
}

test('all of a mesh are introduced at once, and stay so, alone and over restarts', async () => {
  const mesh = await meshOf(5, 1);
  assert.ok(mesh.clock.monotonicMs() < 10_000);
  await mesh.clock.advance(100);
  for (const name of ['n0', 'n1', 'n2', 'n3', 'n4']) mesh.kill(name);
  await mesh.clock.advance(1_000);
  await mesh.start('n3');
  assert.ok(isIntroduced(mesh, 'n3'));
});

test('newcomers that only a lone member knows are not introduced, however many they are', async () => {
  const mesh = await meshOf(5, 2);
  const whole = ['n1', 'n2', 'n3', 'n4'].map((name) => mesh.id(name));
  const cutOff = ['n0', 'late', 'later', 'last'];
  for (const name of cutOff.slice(1)) await mesh.start(name);
  mesh.network.partition(
    whole,
    cutOff.map((name) => mesh.id(name)),
  );
  // Longer than it takes to be given up: those beyond count one member out of their reach, and not the newcomers.
  await mesh.clock.advance(150_000);
  assert.equal(mesh.node('n0').membership.member(whole[0])!.state, 'gone');
  assert.equal(mesh.node('n0').membership.alive().length, 4);
  for (const name of cutOff.slice(1)) assert.ok(!isIntroduced(mesh, name), name);
  mesh.network.heal();
  assert.ok(await mesh.clock.until(() => cutOff.every((name) => isIntroduced(mesh, name)), 30_000));
});

test('who left and comes back is a newcomer', async () => {
  const mesh = await meshOf(4, 6);
  const { membership, transport } = mesh.node('n3');
  membership.startLeaving();
  assert.ok(await mesh.clock.run(membership.leave()));
  await membership.close();
  transport.crash();
  assert.ok(await mesh.clock.until(() => mesh.agreedState('n3') === 'left', 5_000));
  await mesh.start('n3');
  mesh.network.partition([mesh.id('n0'), mesh.id('n3')], [mesh.id('n1'), mesh.id('n2')]);
  await mesh.clock.advance(40_000);
  assert.equal(mesh.node('n0').membership.alive().length, 2);
  assert.ok(!isIntroduced(mesh, 'n3'));
  mesh.network.heal();
  assert.ok(await mesh.clock.until(() => isIntroduced(mesh, 'n3'), 30_000));
});

test('where there are not as many, all others count, but those that the operator calls lost', async () => {
  const mesh = await meshOf(2, 3);
  const lost = mesh.id('n1');
  mesh.kill('n1');
  await mesh.start('late');
  await mesh.clock.advance(150_000);
  assert.equal(mesh.node('late').membership.member(lost)!.state, 'gone');
  assert.ok(!isIntroduced(mesh, 'late'), 'n1 may be alive and out of reach');
  mesh.kill('late');
  await mesh.start('late', { lostPeers: [lost] });
  assert.ok(await mesh.clock.until(() => isIntroduced(mesh, 'late'), 10_000));
});

test('a newcomer that was not told yet who else there is does not take those that it met for all', async () => {
  const clock = new SimClock();
  const [bob, carol] = ['bob', 'carol'] as PeerId[];
  let others = [bob];
  let hasSynced = false;
  let isIntroduced = false;
  const introduction = new Introduction(
    {
      others: () => others,
      hasSynced: () => hasSynced,
      isLive: () => true,
      ask: async (peer) => introduction.vouched(peer, peer === bob ? 'introduced' : 'newcomer'),
      introduced: () => (isIntroduced = true),
    },
    { clock, random: seededRandom(1), wanted: 2, hasSeeds: true },
  );
  introduction.start();
  await clock.advance(30_000);
  assert.ok(!isIntroduced, 'bob is the only one that it knows of');
  [others, hasSynced] = [[bob, carol], true];
  await clock.advance(30_000);
  assert.ok(isIntroduced);
  introduction.close();
});

test('who cannot write down a newcomer does not vouch for it', async () => {
  const mesh = await meshOf(3, 4);
  const files = ['n1', 'n2'].map((name) => mesh.filesOf(name));
  const writing = files.map((one) => one.replaceFile);
  for (const one of files) one.replaceFile = () => Promise.reject(new Error('ENOSPC'));
  await mesh.start('late');
  await mesh.clock.advance(60_000);
  assert.ok(mesh.allSee(4));
  assert.ok(!isIntroduced(mesh, 'late'));
  files[0].replaceFile = writing[0];
  assert.ok(await mesh.clock.until(() => isIntroduced(mesh, 'late'), 30_000));
});

test('who answers no ping and sends anything else is suspected and not convicted', async () => {
  const mesh = await meshOf(3, 5);
  const { transport, membership } = mesh.node('n1');
  const others = ['n0', 'n2'];
  for (const name of others) {
    mesh.node(name).transport.handle('/bulk', async (channel) => {
      while (await channel.receive());
    });
  }
  await membership.close();
  const channels = await Promise.all(
    others.map((name) => mesh.clock.run(transport.open(mesh.id(name), '/bulk', { timeoutMs: 5_000 }))),
  );
  for (let seconds = 0; seconds < 60; seconds++) {
    for (const channel of channels) await channel.send(Buffer.alloc(1_000));
    await mesh.clock.advance(1_000);
  }
  const seen = mesh.history.filter((line) => line.includes(': n1 '));
  assert.ok(seen.some((line) => line.endsWith('suspect')));
  assert.ok(!seen.some((line) => line.endsWith('dead')));
  assert.ok(await mesh.clock.until(() => mesh.agreedState('n1') === 'dead', 15_000));
});
