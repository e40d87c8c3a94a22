import assert from 'node:assert/strict';
import { test } from 'node:test';
import { placeable, quorumOf } from '../../src/gossip/view.ts';
import type { Clock } from '../../src/store/host/index.ts';
import { SimMesh } from './membership-mesh.ts';

for (const count of [3, 12, 40]) {
  test(`${count} nodes agree within 10 s, and on a crash within 15 s`, async (context) => {
    for (const seed of [1, 2, 3]) {
      const mesh = new SimMesh(seed);
      await mesh.grow(count);
      assert.ok(await mesh.clock.until(() => mesh.allSee(count), 10_000), `seed ${seed}: not agreed`);
      const agreedMs = mesh.clock.monotonicMs();
      await mesh.clock.advance(10_000);
      mesh.kill(`n${count - 1}`);
      const killedMs = mesh.clock.monotonicMs();
      const known = () => mesh.agreedState(`n${count - 1}`) === 'dead';
      assert.ok(await mesh.clock.until(known, 15_000), `seed ${seed}: a crash was not known to all`);
      assert.ok(mesh.allSee(count - 1));
      context.diagnostic(
        `seed ${seed}: agreed after ${agreedMs | 0} ms, crash known after ${(mesh.clock.monotonicMs() - killedMs) | 0} ms`,
      );
      assert.deepEqual(mesh.warnings, []);
    }
  });
}

test('a host that loses power is found out as well', async () => {
  const mesh = new SimMesh(4);
  await mesh.grow(12);
  await mesh.clock.advance(10_000);
  mesh.node('n5').transport.powerOff();
  await mesh.node('n5').membership.close();
  assert.ok(await mesh.clock.until(() => mesh.agreedState('n5') === 'dead', 20_000));
  // It comes back at once and is let in, although the old connections still look alive.
  await mesh.start('n5');
  assert.ok(await mesh.clock.until(() => mesh.allSee(12), 10_000));
});

test('who finds a crash out thinks no worse of itself: the helpers say in time that they hear nothing either', async () => {
  const mesh = new SimMesh(3);
  await mesh.grow(6);
  assert.ok(await mesh.clock.until(() => mesh.allSee(6), 10_000));
  await mesh.clock.advance(5_000);
  mesh.node('n3').transport.powerOff();
  await mesh.node('n3').membership.close();
  let worst = 0;
  const dead = (): boolean => {
    worst = Math.max(worst, ...mesh.running().map(({ membership }) => membership.healthScore()));
    return mesh.agreedState('n3') === 'dead';
  };
  assert.ok(await mesh.clock.until(dead, 20_000));
  assert.equal(worst, 0);
});

test('loss and delay for an hour convict nobody', { timeout: 300_000 }, async (context) => {
  const mesh = new SimMesh(5, { delayMsMin: 100, delayMsMax: 300, lossShare: 0.05 });
  await mesh.grow(10);
  assert.ok(await mesh.clock.until(() => mesh.allSee(10), 20_000));
  await mesh.clock.advance(3_600_000);
  const convictions = mesh.history.filter((line) => line.endsWith('dead'));
  assert.deepEqual(convictions, []);
  const suspicions = mesh.history.filter((line) => line.endsWith('suspect')).length;
  context.diagnostic(`${suspicions} suspicions, none of them a conviction`);
  assert.ok(mesh.allSee(10) || (await mesh.clock.until(() => mesh.allSee(10), 10_000)));
});

test('a partition splits the mesh, and heals', async () => {
  const mesh = new SimMesh(6);
  await mesh.grow(8);
  await mesh.clock.advance(10_000);
  const left = ['n0', 'n1', 'n2', 'n3', 'n4'];
  const right = ['n5', 'n6', 'n7'];
  mesh.network.partition(
    left.map((name) => mesh.id(name)),
    right.map((name) => mesh.id(name)),
  );
  const split = () =>
    left.every((name) => mesh.node(name).membership.alive().length === 5) &&
    right.every((name) => mesh.node(name).membership.alive().length === 3);
  assert.ok(await mesh.clock.until(split, 60_000), 'not split');
  await mesh.clock.advance(120_000);
  mesh.network.heal();
  assert.ok(await mesh.clock.until(() => mesh.allSee(8), 60_000), 'not healed');
});

test('a restart is a new epoch, known to all, also when it is quick', async () => {
  const mesh = new SimMesh(7);
  await mesh.grow(6);
  await mesh.clock.advance(10_000);
  for (const waitMs of [0, 60_000]) {
    mesh.kill('n3');
    await mesh.clock.advance(waitMs);
    const { membership } = await mesh.start('n3');
    const epoch = membership.member(mesh.id('n3'))!.epoch;
    const seen = () =>
      mesh.running().every((node) => {
        const member = node.membership.member(mesh.id('n3'));
        return member?.epoch === epoch && member.state === 'alive';
      });
    assert.ok(await mesh.clock.until(() => seen() && mesh.allSee(6), 15_000), `after ${waitMs} ms`);
  }
});

test('who leaves is known to have left, stays so, and may come back', async () => {
  const mesh = new SimMesh(8);
  await mesh.grow(6);
  await mesh.clock.advance(10_000);
  const { membership, transport } = mesh.node('n2');
  membership.startLeaving();
  const leaving = () =>
    mesh.running().every((node) => node.membership.member(mesh.id('n2'))?.leaving === true);
  assert.ok(await mesh.clock.until(leaving, 3_000));
  assert.equal(mesh.agreedState('n2'), 'alive', 'it still answers for what it holds');
  for (const node of mesh.running()) {
    const placed = placeable(node.membership.members()).map(({ peer }) => peer);
    assert.ok(!placed.includes(mesh.id('n2')) && placed.length === 5);
    assert.equal(quorumOf(node.membership.members(), 6), 5);
  }
  await mesh.clock.run(membership.leave());
  await membership.close();
  transport.crash();
  assert.ok(await mesh.clock.until(() => mesh.agreedState('n2') === 'left', 3_000));
  await mesh.clock.advance(120_000);
  assert.equal(mesh.agreedState('n2'), 'left');
  assert.ok(!mesh.history.some((line) => line.includes(': n2 ') && line.endsWith('suspect')));
  await mesh.start('n2');
  assert.ok(await mesh.clock.until(() => mesh.agreedState('n2') === 'alive', 10_000));
});

test('who has not found the mesh again has not left it', async () => {
  const mesh = new SimMesh(8);
  await mesh.grow(3);
  assert.ok(await mesh.clock.until(() => mesh.allSee(3), 15_000));
  // It dies before it has kept whom it met, and comes back where it hears nobody.
  mesh.kill('n2');
  await mesh.clock.advance(100);
  mesh.filesOf('n2').files.clear();
  mesh.network.partition([mesh.id('n2')], [mesh.id('n0'), mesh.id('n1')]);
  const { membership } = await mesh.start('n2');
  membership.startLeaving();
  await mesh.clock.advance(60_000);
  assert.equal(await mesh.clock.run(membership.leave()), false);
  mesh.network.heal();
  assert.ok(await mesh.clock.until(() => !membership.isSearching(), 60_000));
  assert.equal(await mesh.clock.run(membership.leave()), true);
  await membership.close();
  assert.ok(
    await mesh.clock.until(() => mesh.node('n1').membership.member(mesh.id('n2'))?.state === 'left', 10_000),
  );
});

test('the mesh is found again from members.json when the seeds are gone', async () => {
  const mesh = new SimMesh(9);
  await mesh.grow(5);
  await mesh.clock.advance(30_000);
  mesh.kill('n0');
  for (const name of ['n1', 'n2', 'n3', 'n4']) mesh.kill(name);
  await mesh.clock.advance(60_000);
  for (const name of ['n1', 'n2', 'n3', 'n4']) await mesh.start(name);
  assert.ok(await mesh.clock.until(() => mesh.allSee(4), 15_000), 'not together again');
  // The one that is missing is known to be missing.
  assert.ok(await mesh.clock.until(() => mesh.agreedState('n0') === 'dead', 10_000));
});

test('who joins a mesh writes down all of it at once, not each member', async () => {
  const mesh = new SimMesh(5);
  await mesh.grow(30);
  assert.ok(await mesh.clock.until(() => mesh.allSee(30), 60_000));
  await mesh.start('late');
  assert.ok(await mesh.clock.until(() => mesh.allSee(31), 60_000));
  const { writes, files } = mesh.filesOf('late');
  assert.ok(writes <= 3, `${writes} writes`);
  const { members } = JSON.parse(files.get('/data/members.json')!.toString()) as { members: unknown[] };
  assert.equal(members.length, 30);
});

test('a damaged members.json is no obstacle', async () => {
  const mesh = new SimMesh(10);
  await mesh.grow(3);
  await mesh.clock.advance(20_000);
  mesh.kill('n2');
  const { membership } = mesh.node('n2');
  await membership.close();
  mesh.filesOf('n2').files.set('/data/members.json', Buffer.from('{"version":1,"members":[{'));
  await mesh.start('n2');
  assert.ok(await mesh.clock.until(() => mesh.allSee(3), 10_000));
  assert.equal(mesh.warnings.length, 1);
});

test('dead becomes gone, gone is forgotten, and neither comes back by rumour', async () => {
  const mesh = new SimMesh(11, {}, { goneAfterMs: 60_000, tombstoneMs: 300_000 });
  await mesh.grow(4);
  await mesh.clock.advance(10_000);
  mesh.kill('n3');
  assert.ok(await mesh.clock.until(() => mesh.agreedState('n3') === 'gone', 120_000));
  assert.ok(await mesh.clock.until(() => mesh.agreedState('n3') === 'unknown', 400_000));
  await mesh.clock.advance(400_000);
  assert.equal(mesh.agreedState('n3'), 'unknown');
  await mesh.start('n3');
  assert.ok(await mesh.clock.until(() => mesh.allSee(4), 10_000));
});

test('a node that stood still convicts nobody', async () => {
  const mesh = new SimMesh(12);
  const still = new StandingClock(mesh.clock);
  await mesh.grow(5);
  await mesh.start('n5', { clock: still });
  await mesh.clock.advance(10_000);
  for (let round = 0; round < 5; round++) {
    // While it stands still it neither reads nor sends; when it wakes, its timers come first and the network after.
    const others = mesh
      .running()
      .map(({ transport }) => transport.self)
      .filter((peer) => peer !== mesh.id('n5'));
    mesh.network.partition(others, [mesh.id('n5')]);
    still.stop();
    await mesh.clock.advance(3_000);
    still.goOn();
    mesh.network.heal();
    await mesh.clock.advance(12_000);
  }
  assert.ok(
    !mesh.history.some((line) => line.includes(' n5: ') && /suspect|dead/.test(line)),
    mesh.history.join('\n'),
  );
  assert.ok(mesh.allSee(6));
});

test('what a component attaches travels with pings and push-pull', async () => {
  const mesh = new SimMesh(13);
  const seen = new Set<string>();
  for (const name of ['n0', 'n1', 'n2']) {
    const { membership } = await mesh.start(name);
    membership.attach({
      digest: () => Buffer.from(`digest of ${name}`),
      onDigest: (from, bytes) => seen.add(`${name} <- ${mesh.nameOf(from)}: ${bytes}`),
      fullState: () => Buffer.from(`state of ${name}`),
      onFullState: (from, bytes) => seen.add(`${name} <- ${mesh.nameOf(from)}: ${bytes}`),
    });
  }
  const all = () =>
    ['n0', 'n1', 'n2'].every((to) =>
      ['n0', 'n1', 'n2'].every(
        (from) =>
          from === to ||
          (seen.has(`${to} <- ${from}: digest of ${from}`) && seen.has(`${to} <- ${from}: state of ${from}`)),
      ),
    );
  assert.ok(await mesh.clock.until(all, 120_000), [...seen].join('\n'));
  const { membership } = mesh.node('n0');
  assert.ok(mesh.clock.monotonicMs() - membership.lastHeardMs(mesh.id('n1'))! < 10_000);
});

test('a change of description reaches everybody', async () => {
  const mesh = new SimMesh(14);
  await mesh.grow(5);
  await mesh.clock.advance(10_000);
  mesh.node('n1').membership.update({ zone: 'west', weight: 3, http: 'http://n1:7420' });
  const known = () =>
    mesh.running().every(({ membership }) => {
      const member = membership.member(mesh.id('n1'))!;
      return member.zone === 'west' && member.weight === 3 && member.http === 'http://n1:7420';
    });
  assert.ok(await mesh.clock.until(known, 2_000));
});

test('traffic per node does not grow with the mesh', async (context) => {
  const perNode: number[] = [];
  for (const count of [8, 32]) {
    const mesh = new SimMesh(15);
    await mesh.grow(count);
    await mesh.clock.advance(60_000);
    const before = mesh.network.messages;
    await mesh.clock.advance(60_000);
    perNode.push((mesh.network.messages - before) / count / 60);
  }
  context.diagnostic(
    `messages per node and second: ${perNode.map((rate) => rate.toFixed(2)).join(' at 8, ')} at 32`,
  );
  assert.ok(perNode[1]! < perNode[0]! * 1.3);
});

test('a run is its seed', async () => {
  const first = await run(21);
  assert.deepEqual(await run(21), first);
  assert.notDeepEqual(await run(22), first);
});

async function run(seed: number): Promise<string[]> {
  const mesh = new SimMesh(seed, { delayMsMin: 5, delayMsMax: 150, lossShare: 0.1 });
  await mesh.grow(7);
  await mesh.clock.advance(20_000);
  mesh.kill('n4');
  await mesh.clock.advance(40_000);
  await mesh.start('n4');
  await mesh.clock.advance(20_000);
  return mesh.history;
}

/** A clock whose timers wait while it stands still. */
class StandingClock implements Clock {
  readonly #clock: Clock;
  #waiting: (() => void)[] | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }
  nowMs = () => this.#clock.nowMs();
  monotonicMs = () => this.#clock.monotonicMs();

  after(delayMs: number, run: () => void) {
    let cancelled = false;
    const timer = this.#clock.after(delayMs, () => {
      if (this.#waiting) this.#waiting.push(() => !cancelled && run());
      else run();
    });
    return {
      cancel: () => {
        cancelled = true;
        timer.cancel();
      },
    };
  }

  stop(): void {
    this.#waiting = [];
  }

  goOn(): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const run of waiting) run();
  }
}
