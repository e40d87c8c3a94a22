import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COVERAGE_PROTOCOL, SCAN_PROTOCOL, type Receipt } from '../../src/gossip/query/index.ts';
import type { PeerId } from '../../src/gossip/transport/index.ts';
import type { Random } from '../../src/store/host/index.ts';
import { batchRank } from '../../src/store/index.ts';
import { below, forEachSeed, linePack, packOf, pick, shuffle } from '../store/material.ts';
import { seededRandom } from '../helpers/sim-clock.ts';
import { StoreMesh, type Peer, type Sealed } from './store-mesh.ts';

const NAMES = ['alice', 'bob', 'charlie', 'dave', 'eve'];
const START_MS = 1_700_000_000_000;

interface Line {
  readonly text: string;
  readonly ms: number;
  readonly rank: string;
  readonly place: number;
}

const linesBySealed = new WeakMap<Sealed, Line[]>();

/** Seals a batch of lines whose times overlap and tie with those of the others. */
function seal(mesh: StoreMesh, name: string, random: Random, lineBytes = 0): Sealed {
  const at = mesh.sealed.length;
  const startMs = START_MS + below(random, 500);
  const count = 1 + below(random, 12);
  const spreadMs = pick(random, [1, 2, 100]);
  const entries = Array.from({ length: count }, (_, place) => ({
    ms: startMs + below(random, spreadMs),
    sub: 0,
    line: Buffer.from(
      `${name} batch ${at} line ${place} ${random.unit() < 0.3 ? 'error' : 'fine'}${'.'.repeat(lineBytes)}`,
    ),
    metadata: {},
  }));
  const sealed = mesh.seal(name, packOf(entries, { app: 'a', host: name }));
  const { origin, epoch } = sealed.batch.segment.id;
  const rank = batchRank(origin, epoch, sealed.batch.seq);
  linesBySealed.set(
    sealed,
    entries.map(({ line, ms }, place) => ({ text: line.toString(), ms, rank, place })),
  );
  return sealed;
}

const linesOf = (sealed: readonly Sealed[]): Line[] => sealed.flatMap((one) => linesBySealed.get(one)!);

interface Asked {
  readonly from?: number;
  readonly to?: number;
  readonly descending?: boolean;
  readonly limit?: number;
}

function expectedRows(
  lines: readonly Line[],
  { from = -Infinity, to = Infinity, descending, limit = Infinity }: Asked,
): string[] {
  const sorted = lines
    .filter(({ ms }) => ms >= from && ms < to)
    .sort((a, b) => a.ms - b.ms || (a.rank < b.rank ? -1 : a.rank > b.rank ? 1 : 0) || a.place - b.place);
  return (descending ? sorted.reverse() : sorted).slice(0, limit).map(({ text }) => text);
}

const isWithin = (mesh: StoreMesh, asker: Peer, peer: Peer): boolean =>
  peer.process !== undefined && (peer === asker || mesh.network.reachable(asker.id, peer.id));

/** The sums of a receipt, and that it says whole only if nothing is named. */
function checkSums(receipt: Receipt, asked: Asked): void {
  const missing = receipt.missing.reduce((sum, { fromSeq, toSeq }) => sum + toSeq - fromSeq + 1, 0);
  assert.equal(receipt.expected, receipt.read + receipt.pruned + receipt.unneeded + missing);
  assert.equal(receipt.complete, receipt.missing.length === 0 && receipt.silent.length === 0);
  if (asked.limit === undefined) assert.equal(receipt.unneeded, 0);
}

const names = (receipt: Receipt, sealed: Sealed, asked: Asked): boolean => {
  const { origin, epoch } = sealed.batch.segment.id;
  const { seq } = sealed.batch;
  if (receipt.silent.some(({ peer }) => peer === origin)) return true;
  if (
    receipt.missing.some(
      (part) => part.origin === origin && part.epoch === epoch && part.fromSeq <= seq && seq <= part.toSeq,
    )
  ) {
    return true;
  }
  // What lies outside of the range is not missed.
  const { from = -Infinity, to = Infinity } = asked;
  return !linesOf([sealed]).some(({ ms }) => ms >= from && ms < to);
};

test('any peer answers with the lines within reach, and says whole exactly if nothing acknowledged is out of it', async () => {
  let incomplete = 0;
  await forEachSeed(40, async (random, seed) => {
    const peers = NAMES.slice(0, 3 + (seed % 3));
    const mesh = await StoreMesh.of(peers, random, {
      segmentBytesMax: pick(random, [900, 5_000, 1_000_000]),
      replicas: pick(random, [2, 3]),
    });
    for (let at = 10 + below(random, 25); at > 0; at--) {
      seal(mesh, pick(random, peers), random);
      await mesh.clock.advance(below(random, 400));
    }
    // Sometimes the outage comes before everything is where it belongs.
    const isSettled = random.unit() < 0.6;
    if (isSettled) {
      await mesh.eventually(() => mesh.debts().every((debt) => debt === 0), 60_000);
      await mesh.clock.advance(10_000);
    }
    const victims = shuffle(random, peers).slice(0, below(random, peers.length));
    if (random.unit() < 0.7) for (const name of victims) mesh.kill(name, pick(random, ['lose', undefined]));
    else
      mesh.partition(
        victims,
        peers.filter((name) => !victims.includes(name)),
      );
    // Before everybody knows of it, and after.
    for (const waitMs of [0, 10_000]) {
      await mesh.clock.advance(waitMs);
      const asker = pick(random, mesh.up);
      const within = [...mesh.peers.values()].filter((peer) => isWithin(mesh, asker, peer));
      const held = mesh.sealed.filter((sealed) => within.some((peer) => mesh.holds(peer, sealed)));
      const asked: Asked = pick(random, [
        {},
        { descending: true },
        { from: START_MS + below(random, 300), to: START_MS + 300 + below(random, 300) },
        { limit: 1 + below(random, 30), descending: random.unit() < 0.5 },
      ]);
      const { rows, receipt } = await mesh.ask(asker.name, '{app="a"}', asked);
      assert.deepEqual(rows, expectedRows(linesOf(held), asked));
      checkSums(receipt, asked);
      assert.equal(receipt.entries, rows.length);
      assert.equal(receipt.members.answered, within.length);
      const lost = mesh.sealed.filter((sealed) => sealed.acknowledged && !held.includes(sealed));
      for (const sealed of lost)
        assert.ok(names(receipt, sealed, asked), `${sealed.name} is lost and not named`);
      const away = peers.length - within.length;
      if (isSettled && away < Math.min(mesh.options.ackQuorum, peers.length)) {
        assert.ok(receipt.complete, JSON.stringify(receipt));
        assert.equal(lost.length, 0);
      }
      if (!receipt.complete) incomplete++;
    }
  });
  assert.ok(incomplete > 5 || process.env.LOGVINE_TEST_SEED);
});

test('what was lost names its batches, their times and their last owners, also after the asker was restarted', async () => {
  const random = seededRandom(2);
  const mesh = await StoreMesh.of(NAMES, random, { segmentBytesMax: 700 });
  for (let at = 0; at < 30; at++) {
    seal(mesh, pick(random, NAMES), random);
    await mesh.clock.advance(200);
  }
  await mesh.eventually(() => mesh.debts().every((debt) => debt === 0), 60_000);
  await mesh.clock.advance(10_000);
  const away = ['bob', 'charlie', 'dave'];
  for (const name of away) mesh.kill(name);
  const within = [mesh.peer('alice'), mesh.peer('eve')];
  const lost = mesh.sealed.filter((sealed) => !within.some((peer) => mesh.holds(peer, sealed)));
  assert.ok(lost.length > 0, 'the seed must make some');
  for (const restart of [false, true]) {
    if (restart) {
      mesh.kill('alice', 'lose');
      await mesh.start('alice');
    }
    await mesh.clock.advance(10_000);
    const { receipt } = await mesh.ask('alice', '{app="a"}');
    assert.equal(receipt.complete, false);
    for (const { batch } of lost) {
      const { origin, epoch } = batch.segment.id;
      const named = receipt.missing.find(
        (part) =>
          part.origin === origin &&
          part.epoch === epoch &&
          part.fromSeq <= batch.seq &&
          batch.seq <= part.toSeq,
      );
      assert.ok(named, `batch ${batch.seq} of ${origin}`);
      assert.deepEqual(named.lastOwners, batch.segment.record.owners);
      assert.ok(named.fromTime !== null && named.toTime !== null);
      assert.equal(named.reason, 'unreachable');
    }
    assert.deepEqual(
      receipt.silent.map(({ peer }) => peer).sort(),
      away.map((name) => mesh.peer(name).id).sort(),
    );
    assert.deepEqual(receipt.members, { asked: 5, answered: 2 });
  }
  for (const name of away) await mesh.start(name);
  await mesh.clock.advance(10_000);
  const { rows, receipt } = await mesh.ask('alice', '{app="a"}');
  assert.deepEqual(rows, expectedRows(linesOf(mesh.sealed), {}));
  assert.ok(receipt.complete);
});

/** A mesh of three with some ten megabytes of lines, so that an answer takes many messages. */
async function largeMesh(random: Random): Promise<StoreMesh> {
  const mesh = await StoreMesh.of(NAMES.slice(0, 3), random, { segmentBytesMax: 3_000 });
  for (let at = 0; at < 36; at++) {
    seal(mesh, pick(random, NAMES.slice(0, 3)), random, pick(random, [10_000, 60_000]));
    await mesh.clock.advance(100);
  }
  assert.ok(await mesh.eventually(() => mesh.debts().every((debt) => debt === 0), 60_000));
  await mesh.clock.advance(5_000);
  return mesh;
}

test('a holder that dies in the middle of its answer loses no row and doubles none', async () => {
  let inTheMiddle = 0;
  await forEachSeed(24, async (random) => {
    const mesh = await largeMesh(random);
    const [asker, victim] = shuffle(random, NAMES.slice(0, 3));
    const asked: Asked = { descending: random.unit() < 0.5 };
    const before = mesh.network.messages;
    mesh.clock.after(2 + below(random, 40), () => mesh.kill(victim));
    const { rows, receipt } = await mesh.ask(asker, '{app="a"}', asked);
    if (mesh.peer(victim).process === undefined && mesh.network.messages > before) inTheMiddle++;
    assert.deepEqual(rows, expectedRows(linesOf(mesh.sealed), asked));
    assert.ok(receipt.complete, JSON.stringify(receipt.missing));
    assert.equal(receipt.read, mesh.sealed.length);
    checkSums(receipt, asked);
  });
  assert.ok(inTheMiddle > 10 || process.env.LOGVINE_TEST_SEED, `${inTheMiddle}`);
});

test('a holder that dies among rows of one instant loses none of them and doubles none', async () => {
  await forEachSeed(16, async (random) => {
    const mesh = await StoreMesh.of(NAMES.slice(0, 3), random);
    for (const name of NAMES.slice(0, 3)) {
      // More than one message takes, in a batch, all at one time.
      const entries = Array.from({ length: 9 }, (_, place) => ({
        ms: START_MS,
        sub: 0,
        line: Buffer.from(`${name} line ${place} ${'.'.repeat(400_000)}`),
        metadata: {},
      }));
      const sealed = mesh.seal(name, packOf(entries, { app: 'a' }));
      const { origin, epoch } = sealed.batch.segment.id;
      const rank = batchRank(origin, epoch, sealed.batch.seq);
      linesBySealed.set(
        sealed,
        entries.map(({ line, ms }, place) => ({ text: line.toString(), ms, rank, place })),
      );
    }
    assert.ok(await mesh.eventually(() => mesh.debts().every((debt) => debt === 0), 60_000));
    await mesh.clock.advance(5_000);
    const [asker, victim] = shuffle(random, NAMES.slice(0, 3));
    const asked: Asked = { descending: random.unit() < 0.5 };
    mesh.clock.after(5 + below(random, 30), () => mesh.kill(victim));
    const { rows, receipt } = await mesh.ask(asker, '{app="a"}', asked);
    const short = (texts: readonly string[]) => texts.map((text) => text.slice(0, 30));
    assert.deepEqual(short(rows), short(expectedRows(linesOf(mesh.sealed), asked)));
    assert.ok(receipt.complete);
  });
});

/** Flips a bit in some batches at a peer. */
function rot(peer: Peer, random: Random, share: number): number {
  let count = 0;
  for (const { record, path } of peer.store.segments()) {
    for (const batch of record.batches) {
      if (random.unit() >= share) continue;
      peer.disk.flipBit(
        path,
        (batch.offset + batch.headerBytes + 100 + below(random, batch.frameBytes - batch.headerBytes - 100)) *
          8,
      );
      count++;
    }
  }
  return count;
}

test('rot at a holder is answered by another one, named, and healed', async () => {
  await forEachSeed(12, async (random) => {
    const mesh = await largeMesh(random);
    const [asker, rotten] = shuffle(random, NAMES.slice(0, 3));
    const harmed = random.unit() < 0.5 ? asker : rotten;
    assert.ok(rot(mesh.peer(harmed), random, 0.4) > 0);
    const asked: Asked = { descending: random.unit() < 0.5 };
    const { rows, receipt } = await mesh.ask(asker, '{app="a"}', asked);
    assert.deepEqual(rows, expectedRows(linesOf(mesh.sealed), asked));
    assert.ok(receipt.complete, JSON.stringify(receipt.missing));
    checkSums(receipt, asked);
    const healed = () =>
      [...mesh.peer(harmed).store.segments()].every(({ record }) => record.quarantined.length === 0);
    assert.ok(await mesh.eventually(healed, 60_000));
  });
});

test('rot at every holder is corrupt, and the rest is answered', async () => {
  await forEachSeed(6, async (random) => {
    const mesh = await StoreMesh.of(NAMES.slice(0, 3), random);
    for (let at = 0; at < 9; at++) {
      seal(mesh, NAMES[at % 3], random);
      await mesh.clock.advance(100);
    }
    assert.ok(await mesh.eventually(() => mesh.debts().every((debt) => debt === 0), 60_000));
    await mesh.clock.advance(5_000);
    const lost = pick(random, mesh.sealed);
    for (const { store, disk } of mesh.peers.values()) {
      const segment = store.segment(lost.batch.segment.id)!;
      const { offset, frameBytes } = segment.entry(lost.batch.seq)!;
      disk.flipBit(segment.path, (offset + frameBytes - 1) * 8);
    }
    const { rows, receipt } = await mesh.ask(pick(random, NAMES.slice(0, 3)), '{app="a"}');
    assert.deepEqual(rows, expectedRows(linesOf(mesh.sealed.filter((sealed) => sealed !== lost)), {}));
    assert.deepEqual(
      receipt.missing.map(({ origin, fromSeq, toSeq, reason }) => ({ origin, fromSeq, toSeq, reason })),
      [
        {
          origin: lost.batch.segment.id.origin,
          fromSeq: lost.batch.seq,
          toSeq: lost.batch.seq,
          reason: 'corrupt',
        },
      ],
    );
    checkSums(receipt, {});
    // Nobody can heal it: asked again, it is still missing.
    await mesh.clock.advance(30_000);
    const again = await mesh.ask('alice', '{app="a"}');
    assert.equal(again.receipt.complete, false);
  });
});

test('a copy that rots after its origin died, before anybody else had heard how far that was, is missing', async () => {
  const names = NAMES.slice(0, 3);
  let tried = 0;
  await forEachSeed(12, async (random) => {
    const mesh = await StoreMesh.of(names, random, { replicas: 2, ackQuorum: 2 });
    const { clock } = mesh;
    await clock.advance(3_010);
    const sealed = seal(mesh, 'alice', random);
    await clock.until(() => sealed.acknowledged, 900);
    mesh.kill('alice');
    const [holder, other] = names
      .slice(1)
      .sort((a, b) => Number(mesh.holds(mesh.peer(b), sealed)) - Number(mesh.holds(mesh.peer(a), sealed)));
    const { id } = sealed.batch.segment;
    const isHeard = mesh.peer(other).watermarks.get(id.origin, id.epoch)?.durable;
    if (isHeard || mesh.holds(mesh.peer(other), sealed)) return;
    tried++;
    await clock.advance(1_500);
    const { store, disk } = mesh.peer(holder);
    const { path } = store.segment(id)!;
    const times = linesOf([sealed]).map(({ ms }) => ms);
    const everywhere = async (check: (told: { rows: string[]; receipt: Receipt }) => void): Promise<void> => {
      for (const name of [holder, other]) check(await mesh.ask(name, '{app="a"}'));
    };
    const isMissing = async (): Promise<void> => {
      await everywhere(({ rows, receipt }) => {
        assert.deepEqual(rows, []);
        assert.deepEqual(
          receipt.missing.map(({ fromSeq, toSeq, reason, fromTime }) => [fromSeq, toSeq, reason, fromTime]),
          [[1, 1, 'corrupt', new Date(Math.min(...times)).toISOString()]],
        );
      });
      const later = await mesh.ask(other, '{app="a"}', { from: Math.max(...times) + 1 });
      assert.ok(later.receipt.complete, 'and only where it was');
    };
    disk.flipBit(path, 8 * 200);
    await store.readFrame(id, 1);
    await isMissing();
    // Everybody has heard what is left there.
    await clock.advance(8_000);
    await isMissing();
    await mesh.start('alice');
    assert.ok(
      await mesh.eventually(() => mesh.peer(holder).store.segment(id)!.record.rotten.length === 0, 60_000),
      'healed',
    );
    await everywhere(({ rows, receipt }) => {
      assert.deepEqual(rows, expectedRows(linesOf([sealed]), {}));
      assert.ok(receipt.complete);
    });
  });
  assert.ok(tried > 3, `${tried} times, nobody had heard of it`);
});

test('what only others have heard of an origin out of reach is missing, with its times', async () => {
  const tried = { marked: 0, unmarked: 0 };
  await forEachSeed(16, async (random) => {
    const mesh = await StoreMesh.of(NAMES.slice(0, 3), random, { replicas: 2, ackQuorum: 2 });
    const { clock } = mesh;
    await clock.advance(3_010);
    const sealed = seal(mesh, 'alice', random);
    await clock.until(() => sealed.acknowledged, 900);
    const [holder, other] = ['bob', 'charlie']
      .map((name) => mesh.peer(name))
      .sort((a, b) => Number(mesh.holds(b, sealed)) - Number(mesh.holds(a, sealed)));
    if (!sealed.acknowledged || mesh.holds(other, sealed)) return;
    const { path } = holder.store.segment(sealed.batch.segment.id)!;
    mesh.kill(holder.name);
    // Its copy is no whole frame any more: it looks like the end of a write that was torn. And it has heard of nothing yet.
    holder.disk.flipBit(path, 8 * 40);
    holder.catalog.values.clear();
    // The other one hears of the mark, or of the batch alone.
    await clock.advance(below(random, 3) * 600);
    mesh.kill('alice');
    await mesh.start(holder.name);
    mesh.notice();
    const { origin, epoch } = sealed.batch.segment.id;
    if (other.running.repairer.known.runs().length === 0) return;
    tried[other.watermarks.get(origin, epoch)?.durable ? 'marked' : 'unmarked']++;
    const times = linesOf([sealed]).map(({ ms }) => ms);
    for (const name of [holder.name, other.name]) {
      const { rows, receipt } = await mesh.ask(name, '{app="a"}');
      assert.deepEqual(rows, []);
      assert.deepEqual(receipt.silent, [], 'fewer than W are out of reach');
      assert.deepEqual(
        receipt.missing.map(({ fromSeq, toSeq, reason }) => [fromSeq, toSeq, reason]),
        [[1, 1, 'unreachable']],
      );
      const later = await mesh.ask(name, '{app="a"}', { from: Math.max(...times) + 1 });
      assert.ok(later.receipt.complete, 'and only where it was');
    }
    await mesh.start('alice');
    mesh.notice();
    const { rows, receipt } = await mesh.ask(holder.name, '{app="a"}');
    assert.deepEqual(rows, expectedRows(linesOf([sealed]), {}));
    assert.ok(receipt.complete);
  });
  if (process.env.LOGVINE_TEST_SEED === undefined)
    assert.ok(
      Object.values(tried).every((times) => times > 0),
      JSON.stringify(tried),
    );
});

test('a rotten batch is missing where it was, and nowhere else', async () => {
  const mesh = await StoreMesh.of(['alice'], seededRandom(1), { replicas: 1, ackQuorum: 1 });
  await mesh.clock.advance(3_000);
  const at = (hour: number): Sealed =>
    mesh.seal('alice', linePack(`hour ${hour}`, START_MS + hour * 3_600_000, { app: 'a' }));
  const [, second] = [at(0), at(1), at(2)];
  await mesh.clock.advance(3_000);
  const { store, disk } = mesh.peer('alice');
  const segment = store.segment(second.batch.segment.id)!;
  const { offset, frameBytes } = segment.entry(second.batch.seq)!;
  disk.flipBit(segment.path, (offset + frameBytes - 1) * 8);
  const asked = async (hour: number) => {
    const from = START_MS + hour * 3_600_000;
    const { rows, receipt } = await mesh.ask('alice', '{app="a"}', { from, to: from + 1_000 });
    return [rows, receipt.missing.map(({ fromSeq, reason, fromTime }) => [fromSeq, reason, fromTime])];
  };
  for (let round = 0; round < 2; round++) {
    const [rows, missing] = await asked(1);
    assert.deepEqual(rows, []);
    // As news it has the times of its segment.
    const hour = round === 0 ? 0 : 1;
    assert.deepEqual(missing, [[2, 'corrupt', new Date(START_MS + hour * 3_600_000).toISOString()]]);
    for (const hour of [-9_000, 0, 2]) assert.deepEqual((await asked(hour))[1], []);
    assert.deepEqual((await asked(2))[0], ['hour 2']);
    await mesh.clock.advance(10_000);
  }
});

test('rot and a death in one query lose no row and double none', async () => {
  await forEachSeed(24, async (random) => {
    const mesh = await largeMesh(random);
    const [asker, victim] = shuffle(random, NAMES.slice(0, 3));
    rot(mesh.peer(victim), random, 0.3);
    const asked: Asked = { descending: random.unit() < 0.5 };
    mesh.clock.after(2 + below(random, 40), () => mesh.kill(victim));
    const { rows, receipt } = await mesh.ask(asker, '{app="a"}', asked);
    assert.deepEqual(rows, expectedRows(linesOf(mesh.sealed), asked));
    assert.ok(receipt.complete, JSON.stringify(receipt.missing));
  });
});

test('while lines are written and peers die, an answer holds each acknowledged line once', async () => {
  await forEachSeed(16, async (random) => {
    const peers = NAMES.slice(0, 4);
    const mesh = await StoreMesh.of(peers, random, { segmentBytesMax: 1_500 });
    for (let round = 0; round < 12; round++) {
      for (let at = below(random, 5); at > 0; at--) seal(mesh, pick(random, peers), random);
      await mesh.clock.advance(below(random, 30));
      const before = mesh.sealed.filter(({ acknowledged }) => acknowledged);
      const [asker, victim] = shuffle(random, peers);
      const asking = mesh.ask(asker, '{app="a"}');
      for (let at = below(random, 5); at > 0; at--) {
        const name = pick(random, peers);
        mesh.clock.after(below(random, 12), () => mesh.peer(name).process && seal(mesh, name, random));
      }
      const dies = random.unit() < 0.4;
      if (dies) mesh.clock.after(below(random, 25), () => mesh.kill(victim));
      const { rows } = await asking;
      assert.equal(new Set(rows).size, rows.length, 'no line twice');
      const found = new Set(rows);
      for (const { text } of linesOf(before)) assert.ok(found.has(text), text);
      if (!dies) continue;
      await mesh.clock.advance(100);
      await mesh.start(victim);
      await mesh.eventually(() => mesh.debts().every((debt) => debt === 0), 60_000);
    }
  });
});

test('a batch sealed between two coverage answers is told once, also when its origin dies', async () => {
  for (const dies of [false, true]) {
    const random = seededRandom(11);
    const mesh = await StoreMesh.of(NAMES.slice(0, 3), random);
    const [alice, bob] = [mesh.peer('alice'), mesh.peer('bob')];
    for (let at = 0; at < 4; at++) seal(mesh, 'alice', random);
    assert.ok(await mesh.eventually(() => mesh.sealed.every((one) => mesh.holds(bob, one, true)), 10_000));
    // Bob answers late, when he has what Alice has sealed since she answered.
    const { transport, holder } = bob.running;
    transport.handle(COVERAGE_PROTOCOL, async (channel) => {
      await new Promise<void>((resolve) => void mesh.clock.after(1_000, resolve));
      await holder.serveCoverage(channel);
    });
    mesh.clock.after(300, () => void seal(mesh, 'alice', random));
    if (dies) alice.onScan = () => mesh.kill('alice');
    const { rows, receipt } = await mesh.ask('charlie', '{app="a"}');
    assert.equal(mesh.sealed.length, 5);
    assert.deepEqual(rows, expectedRows(linesOf(mesh.sealed), {}));
    assert.equal(receipt.read, 5);
    assert.ok(receipt.complete);
  }
});

test('who is out of reach and known only to one that answers counts as well', async () => {
  const random = seededRandom(12);
  const mesh = await StoreMesh.of(NAMES, random);
  seal(mesh, 'alice', random);
  await mesh.clock.advance(10_000);
  const [dave, eve] = [mesh.peer('dave').id, mesh.peer('eve').id];
  for (const name of ['alice', 'bob']) mesh.peer(name).unheardOf.add(eve);
  for (const name of ['dave', 'eve']) mesh.kill(name);
  await mesh.clock.advance(5_000);
  const { receipt } = await mesh.ask('alice', '{app="a"}');
  assert.deepEqual(receipt.silent.map(({ peer }) => peer).sort(), [dave, eve].sort());
  // The one of whom it has not heard is fewer than W.
  await mesh.start('dave');
  await mesh.clock.advance(5_000);
  assert.ok((await mesh.ask('alice', '{app="a"}')).receipt.complete);
});

/** Runs `meanwhile` when everybody else has answered what they have, and Bob has not. */
function askWhile(mesh: StoreMesh, meanwhile: () => void): Promise<{ receipt: Receipt }> {
  mesh.network.linkDelayMs = (from) => (from === 'bob' ? 1_000 : 0);
  mesh.clock.after(500, meanwhile);
  return mesh.ask('alice', '{app="a"}');
}

const silentOf = ({ silent }: Receipt): string[] => silent.map(({ peer }) => peer).sort();

test('who left while everybody was asked, and did not answer, is out of reach', async () => {
  const mesh = await StoreMesh.of(NAMES, seededRandom(14));
  const [dave, eve] = [mesh.peer('dave'), mesh.peer('eve')];
  mesh.kill('dave');
  await mesh.clock.advance(10_000);
  eve.running.transport.handle(COVERAGE_PROTOCOL, () => new Promise(() => undefined));
  const { receipt } = await askWhile(mesh, () => {
    const left = { state: 'left', stateSinceMs: mesh.clock.monotonicMs() } as const;
    for (const { beliefs } of mesh.up) beliefs.set(eve.id, left);
  });
  assert.deepEqual(silentOf(receipt), [dave.id, eve.id].sort());
  // Whoever asks after that it left knows that it handed everything over.
  assert.ok((await mesh.ask('alice', '{app="a"}')).receipt.complete);
});

test('who came while everybody was asked is out of reach, of as many as there were before', async () => {
  const mesh = await StoreMesh.of(NAMES, seededRandom(15), { replicas: 5, ackQuorum: 5 });
  const [charlie, ...came] = ['charlie', 'dave', 'eve'].map((name) => mesh.peer(name).id);
  const [alice, bob] = [mesh.peer('alice'), mesh.peer('bob')];
  for (const { unheardOf } of [alice, bob]) for (const peer of came) unheardOf.add(peer);
  mesh.kill('charlie');
  await mesh.clock.advance(10_000);
  assert.ok((await mesh.ask('alice', '{app="a"}')).receipt.complete);
  const { receipt } = await askWhile(mesh, () => alice.unheardOf.clear());
  assert.deepEqual(silentOf(receipt), [charlie, ...came].sort());
});

test('nobody waits for peers that are lost; what they may share with one that is away is not proven', async () => {
  const random = seededRandom(17);
  const mesh = await StoreMesh.of(NAMES, random);
  seal(mesh, 'alice', random);
  await mesh.clock.advance(10_000);
  const [dave, eve] = ['dave', 'eve'].map((name) => mesh.peer(name).id);
  for (const name of ['dave', 'eve']) mesh.kill(name);
  await mesh.clock.advance(5_000);
  const ask = async (): Promise<Receipt> => (await mesh.ask('alice', '{app="a"}')).receipt;
  const { store } = mesh.peer('bob').running;
  const lost = (...peers: PeerId[]) => ({
    runs: [],
    peers: peers.map((peer) => ({ peer, epoch: 1, incarnation: 1 })),
  });
  assert.deepEqual(silentOf(await ask()), [dave, eve].sort());
  await mesh.clock.run(store.dropped.acceptLoss(lost(dave)));
  assert.deepEqual(silentOf(await ask()), [eve]);
  await mesh.clock.run(store.dropped.acceptLoss(lost(dave, eve)));
  assert.ok((await ask()).complete);
  // Alice has it from Bob, and remembers it herself.
  await mesh.clock.advance(1_000);
  assert.equal(mesh.peer('alice').running.store.dropped.losses.length, 2);
  await mesh.start('dave');
  await mesh.clock.advance(5_000);
  mesh.kill('charlie');
  await mesh.clock.advance(5_000);
  assert.deepEqual(silentOf(await ask()), [mesh.peer('charlie').id, eve].sort());
});

test('a peer that found the mesh only while it asked says that everybody may be out of reach', async () => {
  const mesh = await StoreMesh.of(NAMES, seededRandom(16));
  await mesh.clock.advance(10_000);
  const alice = mesh.peer('alice');
  alice.isSearching = true;
  const { receipt } = await askWhile(mesh, () => (alice.isSearching = false));
  assert.deepEqual(silentOf(receipt), ['every peer of the mesh to join']);
  assert.ok((await mesh.ask('alice', '{app="a"}')).receipt.complete);
});

test('a query that is ended early leaves nothing running', async () => {
  const random = seededRandom(8);
  const mesh = await largeMesh(random);
  const { rows, receipt } = await mesh.ask('alice', '{app="a"}', { limit: 3 });
  assert.deepEqual(rows, expectedRows(linesOf(mesh.sealed), { limit: 3 }));
  assert.ok(receipt.unneeded > 0);
  await mesh.clock.advance(1_000);
  let scans = 0;
  for (const peer of mesh.peers.values()) peer.onScan = () => void scans++;
  await mesh.clock.advance(10_000);
  assert.equal(scans, 0);
});

test('a query that is called off while its channels are opened ends at once, and leaves none open', async (t) => {
  const random = seededRandom(13);
  const mesh = await StoreMesh.of(NAMES.slice(0, 3), random);
  for (const name of NAMES.slice(0, 3)) seal(mesh, name, random);
  await mesh.clock.advance(10_000);
  for (const name of ['bob', 'charlie']) mesh.peer(name).onScan = () => new Promise(() => undefined);
  const { transport, coordinator } = mesh.peer('alice').running;
  const channels = (): number[] => mesh.up.map(({ running }) => running.transport.openChannels);
  const before = channels();
  const gone = new AbortController();
  const open = transport.open.bind(transport);
  const opening = t.mock.method(transport, 'open', (...asked: Parameters<typeof open>) => {
    if (asked[1] === SCAN_PROTOCOL) mesh.clock.after(0, () => gone.abort(new Error('the client has gone')));
    return open(...asked);
  });
  const range = { from: { ms: 0, sub: 0 }, to: { ms: 2 ** 50, sub: 0 } };
  const asked = { query: '{app="a"}', range, descending: false, limit: 10, signal: gone.signal };
  await assert.rejects(mesh.clock.run(coordinator.entries(asked).next(), 1_000), /the client has gone/);
  assert.equal(opening.mock.calls.filter((call) => call.arguments[1] === SCAN_PROTOCOL).length, 2);
  await mesh.clock.advance(1_000);
  assert.deepEqual(channels(), before);
});

test('line filters and selectors are answered by the holders', async () => {
  const random = seededRandom(9);
  const mesh = await StoreMesh.of(NAMES, random, { segmentBytesMax: 900 });
  for (let at = 0; at < 30; at++) {
    seal(mesh, pick(random, NAMES), random);
    await mesh.clock.advance(100);
  }
  await mesh.clock.advance(10_000);
  const all = linesOf(mesh.sealed);
  const cases: [query: string, keep: (text: string) => boolean][] = [
    ['{host="bob"}', (text) => text.startsWith('bob')],
    ['{app="a"} |= "error"', (text) => text.includes('error')],
    [
      '{host=~"bob|eve"} != "error" |~ "line [0-3]"',
      (text) => /^(bob|eve)/.test(text) && !text.includes('error') && /line [0-3]/.test(text),
    ],
    ['{app="b"}', () => false],
  ];
  for (const [query, keep] of cases) {
    const { rows, receipt } = await mesh.ask('dave', query);
    assert.deepEqual(
      rows,
      expectedRows(
        all.filter(({ text }) => keep(text)),
        {},
      ),
      query,
    );
    assert.ok(receipt.complete);
    assert.equal(receipt.read + receipt.pruned, mesh.sealed.length);
  }
  const { series, receipt } = await mesh.clock.run(
    mesh.peer('eve').running.coordinator.series({
      selectors: [],
      range: { from: { ms: 0, sub: 0 }, to: { ms: 2 ** 50, sub: 0 } },
      signal: new AbortController().signal,
    }),
  );
  assert.ok(receipt.complete);
  assert.equal(receipt.fromIndex, mesh.sealed.length);
  const hosts = series.map(({ host }) => host).sort();
  assert.deepEqual(hosts, [...NAMES].sort());
});
