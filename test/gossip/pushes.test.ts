import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HeldPushes } from '../../src/gossip/pushes/held.ts';
import { PushMemory } from '../../src/gossip/pushes/memory.ts';
import type { PeerId } from '../../src/gossip/transport/index.ts';
import { LIMITS } from '../../src/store/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import type { Tear } from '../helpers/sim-disk.ts';
import { below, forEachSeed, linePack, pick, quiet, shuffle } from '../store/material.ts';
import { digestOf, PushMesh } from './push-mesh.ts';

const THREE = ['alice', 'bob', 'charlie'];
const FIVE = [...THREE, 'dave', 'eve'];
/** After this, everybody knows who is within reach, and homes what they missed. */
const SETTLED_MS = 12_000;

/** What becomes of a promise. */
function watch(promise: Promise<unknown>): { state: string } {
  const seen = { state: 'pending' };
  promise.then(
    () => (seen.state = 'done'),
    (error: { code?: string }) => (seen.state = error.code ?? String(error)),
  );
  return seen;
}

/** Fsyncs of segments wait until the function that this gives is called. */
function holdSyncs(all: PushMesh, names: readonly string[]): () => void {
  const gate = Promise.withResolvers<void>();
  const disks = names.map((name) => all.mesh.peer(name).disk);
  for (const disk of disks) disk.beforeSync = (path) => (path.endsWith('.seg') ? gate.promise : undefined);
  return () => {
    for (const disk of disks) disk.beforeSync = () => undefined;
    gate.resolve();
  };
}

test('a body that is sent to every peer at once, and again later, is stored once', async () => {
  await forEachSeed(20, async (random) => {
    const names = pick(random, [['alice'], THREE, FIVE]);
    const all = await PushMesh.of(names, random, { faults: { delayMsMax: pick(random, [5, 400]) } });
    const { clock } = all.mesh;
    const bodies = Array.from({ length: 10 }, (_, at) => `body ${at}`);
    const answers: { state: string }[] = [];
    for (const body of shuffle(
      random,
      bodies.flatMap((one) => names.map(() => one)),
    )) {
      answers.push(watch(all.push(pick(random, names), body)));
      await clock.advance(below(random, 60));
    }
    assert.ok(await clock.until(() => answers.every(({ state }) => state !== 'pending'), 60_000));
    assert.ok(answers.every(({ state }) => state === 'done'));
    for (const name of names) for (const body of bodies) await clock.run(all.push(name, body));
    assert.deepEqual(all.kept.map(({ body }) => body).sort(), bodies.sort());
  });
});

test('one that is sent again elsewhere while it waits for its copies is answered when it has them', async () => {
  const all = await PushMesh.of(THREE, seededRandom(1));
  const { clock } = all.mesh;
  await clock.run(all.push('alice', 'first'));
  const release = holdSyncs(all, ['bob', 'charlie']);
  const original = watch(all.push('alice', 'second'));
  await clock.advance(1_000);
  const again = watch(all.push('bob', 'second'));
  await clock.advance(5_000);
  assert.deepEqual([original.state, again.state], ['pending', 'pending']);
  release();
  assert.ok(await clock.until(() => original.state === 'done' && again.state === 'done', 1_000));
  assert.equal(all.copies('second'), 1);
});

test('when it never gets its copies, who asks again is told so in time', async () => {
  const all = await PushMesh.of(THREE, seededRandom(2));
  const { clock } = all.mesh;
  await clock.run(all.push('alice', 'first'));
  holdSyncs(all, ['bob', 'charlie']);
  watch(all.push('alice', 'second'));
  await clock.advance(1_000);
  const again = watch(all.push('bob', 'second'));
  assert.ok(await clock.until(() => again.state !== 'pending', 15_000));
  assert.equal(again.state, 'LV_REPLICATION_TIMEOUT');
  assert.equal(all.kept.length, 2);
});

test('one that its peer refused is stored where it is sent next', async () => {
  const all = await PushMesh.of(THREE, seededRandom(3));
  const { clock } = all.mesh;
  await clock.run(all.push('alice', 'first'));
  const { replicator } = all.mesh.peer('alice').running;
  Object.defineProperty(replicator, 'whyNoAcknowledgement', { get: () => 'too few are up' });
  const refused = watch(all.push('alice', 'second'));
  await clock.advance(500);
  assert.equal(refused.state, 'LV_REPLICATION_TIMEOUT');
  await clock.run(all.push('bob', 'second'));
  assert.deepEqual(
    all.kept.map(({ body, peer }) => `${body} ${peer}`),
    ['first alice', 'second bob'],
  );
});

test('its peer died before it was in a batch: it is stored where it is sent next', async () => {
  const all = await PushMesh.of(THREE, seededRandom(4));
  const { clock } = all.mesh;
  await clock.run(all.push('alice', 'first'));
  watch(all.push('alice', 'second'));
  await clock.advance(50);
  assert.ok(all.has('alice', 'second'));
  all.kill('alice', 'lose');
  // While nobody knows that it is dead, it may still store it.
  const early = watch(all.push('bob', 'second'));
  await clock.advance(3_000);
  assert.equal(early.state, 'pending');
  assert.ok(await clock.until(() => early.state === 'done', 20_000));
  await clock.run(all.push('charlie', 'second'));
  assert.equal(all.copies('second'), 1);
});

test('its peer died when one other had it: it is not stored again, and answered once it has its copies', async () => {
  for (const restarts of [false, true]) {
    const all = await PushMesh.of(THREE, seededRandom(5));
    const { clock, network } = all.mesh;
    await clock.run(all.push('alice', 'first'));
    const release = holdSyncs(all, ['charlie']);
    watch(all.push('alice', 'second'));
    // Bob's confirmation does not reach Alice before she is gone.
    assert.ok(await clock.until(() => all.has('bob', 'second'), 2_000));
    all.kill('alice');
    release();
    if (restarts) {
      await clock.advance(300);
      await all.start('alice');
    }
    await clock.run(
      all.push('charlie', 'second').catch(() => all.push('charlie', 'second')),
      60_000,
    );
    assert.equal(all.kept.filter(({ body }) => body === 'second').length, 1);
    assert.ok(
      ['bob', 'charlie'].every((name) => all.has(name, 'second')) || all.has('alice', 'second'),
      'on W disks',
    );
    void network;
  }
});

test('one that others are still writing when it is looked for is not stored again', async () => {
  // The first of its segment, and one that follows others.
  for (const bodies of [['only'], ['first', 'second']]) {
    const all = await PushMesh.of(THREE, seededRandom(6));
    const { clock } = all.mesh;
    const last = bodies.at(-1)!;
    for (const body of bodies.slice(0, -1)) await clock.run(all.push('alice', body));
    const release = holdSyncs(all, ['bob', 'charlie']);
    watch(all.push('alice', last));
    const isOnItsWay = (name: string): boolean =>
      all.kept.some(
        ({ body, sealed }) => body === last && sealed && all.mesh.holds(all.mesh.peer(name), sealed),
      );
    assert.ok(await clock.until(() => isOnItsWay('bob') && isOnItsWay('charlie'), 2_000));
    all.kill('alice', 'lose');
    await clock.advance(6_000);
    assert.ok(!all.has('bob', last) && !all.has('charlie', last));
    clock.after(1_000, release);
    await clock.run(all.push('charlie', last), 60_000);
    assert.equal(all.kept.length, bodies.length);
  }
});

test('what a busy peer holds is told while it goes on writing', async () => {
  const all = await PushMesh.of(THREE, seededRandom(7));
  const { clock } = all.mesh;
  const bob = all.mesh.peer('bob');
  // A slow disk, and a batch comes before the one before it is on it.
  bob.disk.beforeSync = () => new Promise((resolve) => void clock.after(200, resolve));
  const write = (): void => {
    all.mesh.seal('alice', linePack('x'));
    clock.after(100, write);
  };
  write();
  await clock.advance(1_000);
  const held = new HeldPushes({
    store: bob.store,
    disk: {
      open: async (path) => ({
        read: async (position, length) => bob.disk.reader().readAt(path, position, length),
        close: async () => undefined,
      }),
    },
    clock,
    windowMs: 3_600_000,
  });
  assert.deepEqual(await clock.run(held.find([digestOf('first')]), 2_000), [[]]);
});

test('every peer restarts: what was stored before is not stored again', async () => {
  await forEachSeed(5, async (random) => {
    const all = await PushMesh.of(THREE, random);
    const { clock } = all.mesh;
    const bodies = Array.from({ length: 6 }, (_, at) => `body ${at}`);
    for (const body of bodies) await clock.run(all.push(pick(random, THREE), body));
    for (const name of THREE) all.kill(name, 'lose');
    for (const name of THREE) await all.start(name);
    await clock.advance(6_000);
    for (const body of bodies) await clock.run(all.push(pick(random, THREE), body), 60_000);
    assert.equal(all.kept.length, bodies.length);
  });
});

test('every peer restarts, and some time later: one of several parts is not stored again either', async () => {
  const all = await PushMesh.of(THREE, seededRandom(8));
  const { clock } = all.mesh;
  await clock.run(all.push('alice', 'large', 3));
  for (const name of THREE) all.kill(name);
  for (const name of THREE) await all.start(name);
  await clock.advance(120_000);
  await clock.run(all.push('bob', 'large', 3), 60_000);
  assert.equal(all.kept.length, 3);
});

test('peers restart one by one: homes are told again', async () => {
  await forEachSeed(5, async (random) => {
    const all = await PushMesh.of(FIVE, random);
    const { clock } = all.mesh;
    const bodies = Array.from({ length: 20 }, (_, at) => `body ${at}`);
    for (const body of bodies) await clock.run(all.push(pick(random, FIVE), body));
    for (const name of FIVE) {
      all.kill(name);
      await clock.advance(below(random, 8_000));
      await all.start(name);
      await clock.advance(8_000);
    }
    // So old that no home thinks of looking on disks.
    await clock.advance(120_000);
    for (const body of bodies) await clock.run(all.push(pick(random, FIVE), body), 60_000);
    assert.equal(all.kept.length, bodies.length);
  });
});

test('a push of several parts, of which some are left of a peer that died, is made whole', async () => {
  await forEachSeed(20, async (random) => {
    const all = await PushMesh.of(THREE, random);
    const { clock } = all.mesh;
    await clock.run(all.push('alice', 'first'));
    watch(all.push('alice', 'large', 3));
    assert.ok(await clock.until(() => all.has('bob', 'large'), 2_000));
    all.kill('alice', 'lose');
    await clock.advance(6_000);
    await clock.run(all.push('bob', 'large', 3), 60_000);
    assert.deepEqual(
      // What alice alone had on her disk comes back with her (docs/decisions/0008).
      [0, 1, 2].map((part) => all.copies('large', part, all.mesh.up)),
      [1, 1, 1],
    );
  });
});

test('one that was taken over, and then refused, is looked for again by whoever takes it next', async () => {
  for (const next of ['bob', 'charlie']) {
    const all = await PushMesh.of(THREE, seededRandom(9));
    const { clock } = all.mesh;
    await clock.run(all.push('alice', 'first'));
    watch(all.push('alice', 'large', 3));
    assert.ok(await clock.until(() => all.has('bob', 'large'), 2_000));
    all.kill('alice', 'lose');
    await clock.advance(6_000);
    // Charlie does not say what is held, so Bob cannot know: he gives up in time.
    const speak = all.silence('charlie');
    const undecided = watch(all.push('bob', 'large', 3));
    assert.ok(await clock.until(() => undecided.state !== 'pending', 30_000));
    assert.equal(undecided.state, 'LV_REPLICATION_TIMEOUT');
    speak();
    await clock.advance(6_000);
    await clock.run(all.push(next, 'large', 3), 60_000);
    const kept = all.kept.filter(({ body, part }) => body === 'large' && part === 0);
    assert.equal(kept.length, 1, 'Bob has that part');
    for (const part of [0, 1, 2]) assert.ok(all.copies('large', part) >= 1);
  }
});

test('who steps back from one that it took over itself does not say that there is none of it', async () => {
  const all = await PushMesh.of(FIVE, seededRandom(9), { replicas: 2 });
  const { mesh } = all;
  const { clock } = mesh;
  await clock.run(all.push('alice', 'first'));
  watch(all.push('alice', 'second'));
  const others = FIVE.slice(1);
  assert.ok(await clock.until(() => others.some((name) => all.has(name, 'second')), 2_000));
  all.kill('alice', 'lose');
  await clock.advance(6_000);
  const free = others.filter((name) => !all.has(name, 'second'));
  const [winner, loser] = free.sort((a, b) => (mesh.peer(a).id < mesh.peer(b).id ? -1 : 1));
  // What the first one asks for takes long; meanwhile the client has gone to another, which comes before it.
  for (const name of others) all.silence(name, loser);
  watch(all.push(loser, 'second'));
  await clock.advance(1_000);
  await clock.run(
    all.push(winner, 'second').catch(() => all.push(winner, 'second')),
    60_000,
  );
  assert.equal(all.kept.filter(({ body }) => body === 'second').length, 1);
});

test('no home answers: nothing is kept, and the client is told soon', async () => {
  const all = await PushMesh.of(FIVE, seededRandom(7));
  const { clock } = all.mesh;
  await clock.run(all.push('alice', 'first'));
  for (const name of FIVE.slice(1)) {
    const { transport } = all.mesh.peer(name).running;
    transport.handle('/logvine/push/1', () => new Promise(() => {}));
  }
  const startedMs = clock.monotonicMs();
  await assert.rejects(clock.run(all.push('alice', 'second')), { code: 'LV_REPLICATION_TIMEOUT' });
  assert.equal(all.copies('second'), 0);
  assert.ok(clock.monotonicMs() - startedMs < 8_000);
});

test('after the window the same body is a new one', async () => {
  const all = await PushMesh.of(THREE, seededRandom(8), { windowMs: 60_000 });
  const { clock } = all.mesh;
  await clock.run(all.push('alice', 'body'));
  await clock.advance(59_000);
  await clock.run(all.push('bob', 'body'));
  assert.equal(all.copies('body'), 1);
  await clock.advance(122_000);
  await clock.run(all.push('bob', 'body'));
  assert.equal(all.copies('body'), 2);
});

test('retried at random under crashes and partitions: never lost once answered, never stored where somebody within reach has it', async () => {
  await forEachSeed(5, async (random) => {
    const names = pick(random, [THREE, FIVE]);
    const all = await PushMesh.of(names, random, {
      faults: { lossShare: pick(random, [0, 0.01]), delayMsMax: 40 },
    });
    const { mesh } = all;
    const { clock, network } = mesh;
    let changedMs = 0;
    let judged = 0;
    all.onKeep = (body, keeper) => {
      // What changed a moment ago is not known to all yet.
      if (clock.monotonicMs() - changedMs < SETTLED_MS) return;
      judged++;
      for (const { name, id } of mesh.peers.values()) {
        if (name === keeper || !network.reachable(mesh.peer(keeper).id, id)) continue;
        assert.ok(!all.has(name, body), `${keeper} stores ${body}, and ${name} has it`);
      }
    };
    const answered = new Set<string>();
    let clients = 0;
    const client = async (body: string): Promise<void> => {
      clients++;
      await new Promise<void>((resolve) => void clock.after(below(random, 60_000), resolve));
      for (let attempt = 0; attempt < 60 && !answered.has(body); attempt++) {
        const up = mesh.up.map(({ name }) => name);
        if (up.length > 0) {
          const late = new Promise<void>(
            (_, reject) => void clock.after(12_000, () => reject(new Error('late'))),
          );
          const parts = body.endsWith('0') ? 3 : 1;
          await Promise.race([all.push(pick(random, up), body, parts), late]).then(
            () => answered.add(body),
            (error: Error) => assert.ok(!(error instanceof assert.AssertionError), error.message),
          );
        }
        await new Promise<void>((resolve) => void clock.after(500 + below(random, 4_000), resolve));
      }
      clients--;
    };
    const running: Promise<void>[] = [];
    for (let round = 0; round < 25; round++) {
      for (const which of ['a', 'b', 'c']) running.push(client(`body ${which}${round}`));
      await clock.advance(below(random, pick(random, [5_000, 60_000])));
      const up = mesh.up.map(({ name }) => name);
      const down = names.filter((name) => !up.includes(name));
      const luck = random.unit();
      if (luck < 0.8) changedMs = clock.monotonicMs();
      if (luck < 0.2 && down.length === 0)
        all.kill(pick(random, up), pick<Tear | undefined>(random, ['lose', 'prefix', undefined]));
      else if (luck < 0.5 && down.length > 0) await all.start(pick(random, down));
      else if (luck < 0.6) {
        const mixed = shuffle(random, names);
        const cut = 1 + below(random, names.length - 1);
        mesh.partition(mixed.slice(0, cut), mixed.slice(cut));
      } else if (luck < 0.8) mesh.heal();
    }
    mesh.heal();
    for (const name of names) if (!mesh.peer(name).process) await all.start(name);
    assert.ok(await clock.until(() => clients === 0, 1_200_000));
    await Promise.all(running);
    assert.ok(judged >= 20, `${judged} of 75 were judged`);
    assert.equal(answered.size, 75, 'all are answered in the end');
    await clock.advance(30_000);
    for (const body of answered) {
      for (const part of body.endsWith('0') ? [0, 1, 2] : [0])
        assert.ok(all.copies(body, part) >= 1, `${body} was answered and is lost`);
    }
  });
});

test('without partitions, and while at most one peer is down at a time, nothing is there twice but what only a dead disk had', async () => {
  await forEachSeed(4, async (random) => {
    const all = await PushMesh.of(FIVE, random);
    const { mesh } = all;
    const { clock } = mesh;
    let clients = 0;
    const client = async (body: string): Promise<void> => {
      clients++;
      for (let isDone = false; !isDone;) {
        const late = new Promise<void>(
          (_, reject) => void clock.after(12_000, () => reject(new Error('late'))),
        );
        const up = mesh.up.map(({ name }) => name);
        isDone = await Promise.race([all.push(pick(random, up), body), late]).then(
          () => random.unit() < 0.6,
          () => false,
        );
        await new Promise<void>((resolve) => void clock.after(below(random, 2_000), resolve));
      }
      clients--;
    };
    for (let round = 0; round < 60; round++) {
      void client(`body ${round}`);
      await clock.advance(below(random, 1_500));
      const down = FIVE.find((name) => !mesh.peer(name).process);
      if (down === undefined && random.unit() < 0.3)
        all.kill(pick(random, FIVE), pick<Tear | undefined>(random, ['lose', undefined]));
      else if (down !== undefined && random.unit() < 0.3) await all.start(down);
    }
    for (const name of FIVE) if (!mesh.peer(name).process) await all.start(name);
    assert.ok(await clock.until(() => clients === 0, 600_000));
    await clock.advance(30_000);
    let twice = 0;
    for (let round = 0; round < 60; round++) {
      const copies = all.copies(`body ${round}`);
      assert.ok(copies >= 1);
      if (copies > 1) twice++;
    }
    assert.ok(twice <= 2, `${twice} of 60`);
  });
});

test('what is remembered has bounds in time and number', async () => {
  const clock = new SimClock();
  const memory = new PushMemory(clock, 1_000);
  const alice = { peer: 'alice' as PeerId, epoch: 1 };
  const bob = { peer: 'bob' as PeerId, epoch: 1 };
  assert.equal(memory.claim('a', alice).claimant, alice);
  assert.equal(memory.claim('a', bob).claimant, alice, 'taken');
  assert.equal(memory.claim('a', bob, [alice]).claimant, bob, 'taken over');
  assert.equal(memory.claim('a', { ...bob, epoch: 2 }).claimant, bob, 'another run is another claimant');
  memory.release('a', alice);
  assert.equal(memory.get('a')?.claimant, bob, 'only its claimant lets go');
  memory.acknowledge('a', bob);
  memory.release('a', bob);
  assert.ok(memory.claim('a', alice, [bob]).acknowledged, 'once acknowledged it stays so');
  await clock.advance(1_000);
  assert.equal(memory.get('a'), undefined);
  for (let at = 0; at < LIMITS.pushesRememberedMax + 10; at++) memory.claim(digestOf(String(at)), alice);
  assert.equal(memory.size, LIMITS.pushesRememberedMax);
  assert.equal(memory.get(digestOf('0')), undefined, 'the oldest go');
  await quiet();
});
