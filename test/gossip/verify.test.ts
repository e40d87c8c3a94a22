import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { HoldingsKnown, signWatermark, Watermarks, type Holding } from '../../src/gossip/repair/index.ts';
import { keysFromSeed, type PeerId, type PeerKeys } from '../../src/gossip/transport/index.ts';
import { auditSegment } from '../../src/gossip/verify/audit.ts';
import { Auditor, Verifier, VERIFY_PROTOCOL, type Verdict } from '../../src/gossip/verify/index.ts';
import type { MemberState } from '../../src/gossip/view.ts';
import {
  LIMITS,
  readPreamble,
  systemClock,
  systemDisk,
  type Clock,
  type Store,
} from '../../src/store/index.ts';
import { HOLDS_NOTHING } from '../helpers/holds-nothing.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import { SimNetwork, type SimTransport } from '../helpers/sim-network.ts';
import { frameOf, linePack, openStore } from '../store/material.ts';

/** Real files need real time; what waits waits a hundredth of it. */
const clock: Clock = {
  nowMs: () => systemClock.nowMs(),
  monotonicMs: () => systemClock.monotonicMs() * 100,
  after: (delayMs, run) => systemClock.after(delayMs / 100, run),
};

interface Peer {
  readonly name: string;
  readonly keys: PeerKeys;
  readonly directory: string;
  transport: SimTransport;
  store: Store;
}

const AT = { ms: 1_700_000_000_000, sub: 0 };

/** Peers with stores in real files, where each holds a copy of everything that alice seals. */
class Scene {
  readonly peers = new Map<string, Peer>();
  readonly states = new Map<string, MemberState>();
  /** Only others than the one that is asked have heard of this peer. */
  unknown: string | undefined;
  readonly watermarks = new Watermarks();
  /** What each of them has heard of others. */
  readonly known = new HoldingsKnown();
  readonly random = seededRandom(7);
  readonly network = new SimNetwork(clock, this.random);
  readonly #root = mkdtempSync(join(tmpdir(), 'logvine-verify-'));

  static async of(t: TestContext, ...names: string[]): Promise<Scene> {
    const scene = new Scene();
    t.after(async () => {
      for (const { store } of scene.peers.values()) await store.close();
      rmSync(scene.#root, { recursive: true });
    });
    for (const name of names) {
      const keys = await keysFromSeed(scene.random.bytes(32));
      const transport = await scene.network.start(name, keys.libp2pKey.raw.subarray(0, 32));
      const peer = {
        name,
        keys,
        directory: join(scene.#root, name),
        transport,
        store: undefined as never as Store,
      };
      scene.peers.set(name, peer);
      await scene.open(name);
    }
    for (const { transport } of scene.peers.values())
      for (const other of scene.peers.values()) transport.learn(other.keys.peer, [`${other.name}:1`]);
    return scene;
  }

  peer(name: string): Peer {
    return this.peers.get(name)!;
  }

  async open(name: string): Promise<void> {
    const peer = this.peer(name);
    peer.store = await openStore({
      disk: systemDisk,
      clock,
      keys: peer.keys,
      more: {
        directory: peer.directory,
        segmentBytesMax: 1_000,
        chooseOwners: () => [...this.peers.values()].map(({ keys }) => keys.peer),
      },
    });
    const auditor = this.auditor(peer.store);
    peer.transport.handle(VERIFY_PROTOCOL, (channel) => auditor.serve(channel));
  }

  auditor(store: Store): Auditor {
    const peers = (): PeerId[] => [...this.peers.values()].map(({ keys }) => keys.peer);
    return new Auditor({ store, known: this.known, disk: systemDisk, clock, peers });
  }

  /** Restarts a peer: its files are read anew, and what it seals next is in another epoch. */
  async restart(name: string): Promise<void> {
    await this.peer(name).store.close();
    await this.open(name);
  }

  /** Seals so many batches at one peer and copies them to all others. */
  async seal(name: string, batches: number): Promise<void> {
    const { store, keys } = this.peer(name);
    for (let n = 0; n < batches; n++) {
      const sealed = store.seal(linePack(`line ${n} of ${name} ${'x'.repeat(n * 7)}`), []);
      await sealed.written;
      for (const other of this.peers.values())
        if (other.name !== name) await other.store.appendReplica(frameOf(sealed));
    }
    const { origin, epoch, sealedSeq } = store;
    const progress = { origin, epoch, sealed: sealedSeq, durable: sealedSeq };
    this.watermarks.raise(
      signWatermark(progress, (bytes) => keys.sign(bytes)),
      clock.nowMs(),
    );
  }

  async verify(
    by = 'alice',
    range = { fromMs: -Infinity, toMs: Infinity },
    auditor = this.auditor(this.peer(by).store),
  ): Promise<Verdict> {
    const { transport } = this.peer(by);
    const verifier = new Verifier({
      transport,
      clock,
      auditor,
      view: {
        isSearching: () => false,
        isIntroduced: () => true,
        self: transport.self,
        members: () =>
          [...this.peers.values()]
            .filter(({ name }) => name !== this.unknown)
            .map(({ name, keys }) => ({
              peer: keys.peer,
              state: this.states.get(name) ?? 'alive',
              zone: '',
              weight: 1,
              leaving: false,
              stateSinceMs: 0,
              epoch: 1,
              incarnation: 1,
            })),
      },
      watermarks: this.watermarks,
      replicas: 3,
    });
    const steps = verifier.run(range, new AbortController().signal);
    for (;;) {
      const step = await steps.next();
      if (step.done) return step.value;
    }
  }

  /** Files of the batches that alice sealed, on one peer's disk, in order. */
  files(on: string): string[] {
    const segments = [...this.peer(on).store.segments()].filter(({ id }) => id.origin === this.id('alice'));
    return segments
      .sort((a, b) => a.id.epoch - b.id.epoch || a.id.index - b.id.index)
      .map(({ path }) => path);
  }

  id(name: string): PeerId {
    return this.peer(name).keys.peer;
  }
}

/** The whole frames of a segment file. */
function framesIn(path: string): Buffer[] {
  const bytes = readFileSync(path);
  const frames: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const { frameBytes } = readPreamble(bytes.subarray(at))!;
    frames.push(bytes.subarray(at, at + frameBytes));
    at += frameBytes;
  }
  return frames;
}

const names = ['alice', 'bob', 'charlie'] as const;

function runsOf(items: readonly { fromSeq: number; toSeq: number }[]): [number, number][] {
  return items.map(({ fromSeq, toSeq }) => [fromSeq, toSeq]);
}

test('nothing is proven while others know a member that the one that is asked does not', async (t) => {
  const the = await Scene.of(t, ...names);
  await the.seal('alice', 3);
  the.unknown = 'charlie';
  const { proven, gapless, unreachable } = await the.verify();
  assert.deepEqual([proven, gapless], [false, true]);
  const problem = 'others know it, the peer that was asked does not yet';
  assert.deepEqual(unreachable, [{ peer: the.id('charlie'), problem }]);
});

test('what nobody touched is proven: over segments, epochs, origins and disks', async (t) => {
  const the = await Scene.of(t, ...names);
  await the.seal('alice', 12);
  await the.seal('bob', 5);
  await the.restart('alice');
  await the.seal('alice', 4);
  const verdict = await the.verify('charlie');
  assert.deepEqual(verdict.batchesByCopies, { 3: 21 });
  const { proven, gapless, unaltered, enoughCopies, origins, epochs, batches, copies } = verdict;
  assert.deepEqual(
    { proven, gapless, unaltered, enoughCopies, origins, epochs, batches, copies },
    {
      proven: true,
      gapless: true,
      unaltered: true,
      enoughCopies: true,
      origins: 2,
      epochs: 3,
      batches: 21,
      copies: 63,
    },
  );
  assert.ok(verdict.segments >= 6, `${verdict.segments} segments`);
  assert.deepEqual(verdict.notices, []);
  const stored = [...the.peers.values()].reduce((sum, { store }) => sum + store.totals.storedBytes, 0);
  assert.equal(verdict.bytesRead, stored, 'every byte on every disk was read');
});

test('a flipped bit in one copy is named with its file and place, set aside, and whole again when healed', async (t) => {
  const the = await Scene.of(t, ...names);
  await the.seal('alice', 9);
  const [path] = the.files('bob');
  const frames = framesIn(path);
  const before = readFileSync(path);
  const offset = frames[0].length;
  const bytes = Buffer.from(before);
  bytes[offset + frames[1].length - 1] ^= 4;
  writeFileSync(path, bytes);
  const verdict = await the.verify();
  assert.equal(verdict.proven, false);
  assert.equal(verdict.gapless, true);
  const [found, ...more] = verdict.damaged;
  assert.deepEqual(more, []);
  const { problem, ...place } = found;
  assert.deepEqual(place, {
    origin: the.id('alice'),
    epoch: the.peer('alice').store.epoch,
    fromSeq: 2,
    toSeq: 2,
    peer: the.id('bob'),
    path,
    offset,
    bytes: frames[1].length,
    quarantined: true,
    heldElsewhere: true,
  });
  assert.match(problem, /checksum/);
  assert.deepEqual(runsOf(verdict.tooFewCopies), [[2, 2]]);
  await the.peer('bob').store.appendReplica(frames[1]);
  assert.deepEqual(readFileSync(path), before);
  assert.equal((await the.verify()).proven, true);
});

test('a sector that cannot be read takes the batches on it, and not those behind', async () => {
  const disk = new SimDisk(seededRandom(1));
  const view = disk.boot();
  const keys = await keysFromSeed(Buffer.alloc(32, 1));
  const store = await openStore({ disk: view, clock, keys });
  const sealed = Array.from({ length: 60 }, (_, at) => store.seal(linePack(`line ${at}`), []));
  await Promise.all(sealed.map(({ written }) => written));
  const [segment] = store.segments();
  const on = [...segment.record.batches].filter(
    ({ offset, frameBytes }) => offset < 8192 && offset + frameBytes > 4096,
  );
  assert.ok(on.length > 1 && on.at(-1)!.seq < 50);
  disk.failRead = (_path, position, length) => position < 8192 && position + length > 4096;
  const audit = await auditSegment(
    { store, disk: view, pace: async () => undefined },
    segment,
    () => undefined,
  );
  const damage = audit!.damage.map(({ fromSeq, toSeq, problem }) => [fromSeq, toSeq, problem]);
  assert.deepEqual(damage, [[on[0].seq, on.at(-1)!.seq, 'the disk cannot read it']]);
  assert.equal(segment.record.batches.length, 60 - on.length);
  await store.close();
});

test('where a file is gone, all of its batches are found lost at once', async () => {
  const [disk, clock] = [new SimDisk(seededRandom(1)), new SimClock()];
  const view = disk.boot();
  const said: string[] = [];
  const keys = await keysFromSeed(Buffer.alloc(32, 1));
  const store = await openStore({ disk: view, clock, keys, said });
  const sealed = Array.from({ length: 50 }, (_, at) => store.seal(linePack(`line ${at}`), []));
  await Promise.all(sealed.map(({ written }) => written));
  const [segment] = store.segments();
  await view.remove(segment.path);
  const { version } = store.health;
  const host = { store, disk: view, pace: async () => undefined };
  const audit = await auditSegment(host, segment, () => undefined);
  const damage = audit!.damage.map(({ fromSeq, toSeq, problem }) => [fromSeq, toSeq, problem]);
  assert.deepEqual(damage, [[1, 50, 'the file is gone']]);
  assert.equal(segment.record.batches.length, 0);
  assert.equal(store.totals.batches, 0);
  assert.equal(store.health.version, version + 1);
  assert.equal(said.length, 1);
  assert.match(said[0], /^error: batch .* 50 from seq 1 on are rotten in /);
  await store.close();
});

test('a batch removed from one copy is missing there; removed from all, it is missing', async (t) => {
  const the = await Scene.of(t, ...names);
  await the.seal('alice', 20);
  const remove = (name: string): void => {
    const path = the.files(name)[0];
    writeFileSync(path, Buffer.concat(framesIn(path).filter((_, at) => at !== 2)));
  };
  remove('bob');
  await the.restart('bob');
  const one = await the.verify();
  assert.equal(one.gapless, true);
  assert.equal(one.proven, false);
  assert.deepEqual(runsOf(one.tooFewCopies), [[3, 3]]);
  assert.deepEqual([...one.tooFewCopies[0].holders].sort(), [the.id('alice'), the.id('charlie')].sort());
  assert.deepEqual(one.batchesByCopies, { 3: 19, 2: 1 });

  remove('alice');
  remove('charlie');
  await the.restart('alice');
  await the.restart('charlie');
  const all = await the.verify();
  assert.equal(all.gapless, false);
  assert.deepEqual(runsOf(all.missing), [[3, 3]]);
  assert.match(all.missing[0].proof, /batch 4 follows it/);
});

test('what was never known to be acknowledged, and rotted everywhere, is missing; so is what was heard of and is named no longer', async (t) => {
  const the = await Scene.of(t, ...names);
  await the.seal('alice', 4);
  const { origin, epoch } = the.peer('alice').store;
  const forgetful = Object.assign(Object.create(the) as Scene, { watermarks: new Watermarks() });
  for (const name of names) {
    const { store } = the.peer(name);
    const segment = [...store.segments()].find(({ last }) => last?.seq === 4)!;
    const bytes = readFileSync(segment.path);
    bytes[segment.last!.offset + 50] ^= 1;
    writeFileSync(segment.path, bytes);
    store.quarantine(segment, [segment.last!]);
  }
  const rotten = await forgetful.verify();
  assert.deepEqual(
    rotten.missing.map(({ fromSeq, toSeq, proof }) => [fromSeq, toSeq, proof]),
    [[4, 4, 'a peer had it before']],
  );
  const holdingOf = (inEpoch: number, runs: [number, number][]): Holding => {
    const times = { min: AT, max: AT };
    return { origin, epoch: inEpoch, index: 9, runs, ...times, owners: [], bytes: 1, open: false };
  };
  const rest = { version: 1, more: false, removed: [], expired: [], expiredVersion: 0 };
  const tell = (instance: string, holdings: Holding[]): unknown =>
    the.known.merge(the.peer('bob').keys.peer, { instance, holdings, ...rest }, HOLDS_NOTHING);
  tell('1.0', [holdingOf(epoch, [[7, 8]])]);
  assert.deepEqual(runsOf((await forgetful.verify()).missing), [[4, 4]]);
  // Bob's disk was put back to an older state, and another epoch has gone altogether.
  tell('2.0', [holdingOf(epoch + 1, [[1, 2]])]);
  tell('3.0', []);
  assert.deepEqual(
    (await forgetful.verify()).missing.map((run) => [run.epoch - epoch, run.fromSeq, run.toSeq]),
    [
      [0, 4, 8],
      [1, 1, 2],
    ],
  );
});

test('an epoch without its tail is found by its watermark, and by the epoch after it', async (t) => {
  const the = await Scene.of(t, ...names);
  await the.seal('alice', 12);
  const { epoch } = the.peer('alice').store;
  await the.restart('alice');
  await the.seal('alice', 2);
  for (const name of names) {
    const paths = the.files(name).filter((path) => path.includes(`/${epoch}-`));
    unlinkSync(paths.at(-1)!);
    const last = paths.at(-2)!;
    writeFileSync(last, Buffer.concat(framesIn(last).slice(0, -1)));
    await the.restart(name);
  }
  const marked = await the.verify();
  const [{ fromSeq, toSeq, epoch: lacking, proof }] = marked.missing;
  assert.equal(marked.missing.length, 1);
  assert.deepEqual([lacking, toSeq, proof], [epoch, 12, 'it was acknowledged']);
  assert.ok(fromSeq > 1 && fromSeq < 12, `${fromSeq}`);

  // Nobody remembers what was acknowledged.
  const forgetful = Object.assign(Object.create(the) as Scene, { watermarks: new Watermarks() });
  const linked = await forgetful.verify();
  assert.deepEqual(runsOf(linked.missing), [[fromSeq, 12]]);
  assert.equal(linked.missing[0].proof, 'the next epoch names it');
});

test('an epoch of which nothing is left is missing', async (t) => {
  const the = await Scene.of(t, ...names);
  await the.seal('alice', 7);
  const { epoch } = the.peer('alice').store;
  await the.restart('alice');
  await the.seal('alice', 2);
  for (const name of names) {
    for (const path of the.files(name)) if (path.includes(`/${epoch}-`)) unlinkSync(path);
    await the.restart(name);
  }
  const known = await the.verify();
  assert.deepEqual(
    known.missing.map((run) => [run.epoch, run.fromSeq, run.toSeq]),
    [[epoch, 1, 7]],
  );
  const forgetful = Object.assign(Object.create(the) as Scene, { watermarks: new Watermarks() });
  assert.deepEqual(
    (await forgetful.verify()).missing.map((run) => [run.epoch, run.fromSeq, run.toSeq]),
    [[epoch, 1, 7]],
  );
});

test('files that stand in each other’s place, files that are gone and files that were cut are named', async (t) => {
  const the = await Scene.of(t, ...names);
  await the.seal('alice', 6);
  await the.seal('charlie', 6);
  const store = the.peer('bob').store;
  const own = [...store.segments()].find(({ id }) => id.origin === the.id('alice') && id.index === 1)!;
  const foreign = [...store.segments()].find(({ id }) => id.origin === the.id('charlie') && id.index === 1)!;
  const [mine, theirs] = [readFileSync(own.path), readFileSync(foreign.path)];
  writeFileSync(own.path, theirs);
  writeFileSync(foreign.path, mine);
  const swapped = await the.verify();
  assert.equal(swapped.gapless, true);
  assert.deepEqual(new Set(swapped.damaged.map(({ peer }) => peer)), new Set([the.id('bob')]));
  assert.deepEqual(new Set(swapped.damaged.map(({ path }) => path)), new Set([own.path, foreign.path]));
  assert.ok(swapped.damaged.some(({ problem }) => problem.includes(the.id('charlie'))));

  const [gone, cut] = the.files('charlie');
  unlinkSync(gone);
  writeFileSync(cut, readFileSync(cut).subarray(0, 100));
  const damaged = (await the.verify()).damaged.filter(({ peer }) => peer === the.id('charlie'));
  assert.match(damaged.find(({ path }) => path === gone)!.problem, /the file is gone/);
  assert.match(damaged.find(({ path }) => path === cut)!.problem, /it was cut/);
});

test('one id with two signed contents is a conflict that names who holds which', async (t) => {
  const the = await Scene.of(t, ...names);
  await the.seal('alice', 3);
  // Another store with alice's key and, as a clone with a stopped clock would have, her epoch.
  const twin = await openStore({
    disk: systemDisk,
    clock: { ...clock, nowMs: () => the.peer('alice').store.epoch },
    keys: the.peer('alice').keys,
    more: {
      directory: join(the.peer('alice').directory, 'twin'),
      chooseOwners: () => [the.id('bob')],
      random: { ...seededRandom(1), unit: () => 0 },
    },
  });
  const forged = ['one', 'two', 'three'].map((line) => twin.seal(linePack(line), []));
  await Promise.all(forged.map(({ written }) => written));
  await twin.close();
  const path = the.files('bob')[0];
  writeFileSync(path, Buffer.concat(forged.map(frameOf)));
  await the.restart('bob');
  const verdict = await the.verify();
  assert.equal(verdict.unaltered, false);
  assert.deepEqual(
    verdict.conflicts.map(({ seq }) => seq),
    [1, 2, 3],
  );
  const [{ copies }] = verdict.conflicts;
  const hashes = new Map(copies.map(({ peer, hash }) => [peer, hash]));
  assert.equal(hashes.size, 3);
  assert.equal(hashes.get(the.id('alice')), hashes.get(the.id('charlie')));
  assert.notEqual(hashes.get(the.id('alice')), hashes.get(the.id('bob')));
});

test('verifications that have to look twice leave nothing under way', async (t) => {
  const the = await Scene.of(t, ...names);
  await the.seal('alice', 3);
  const [file] = the.files('bob');
  unlinkSync(file);
  await the.restart('bob');
  const { transport, store } = the.peer('alice');
  const auditor = the.auditor(store);
  for (let times = 0; times <= LIMITS.verifyAtOnceMax; times++) {
    const { unreachable, tooFewCopies } = await the.verify('alice', undefined, auditor);
    assert.deepEqual(unreachable, [], `time ${times + 1}`);
    assert.ok(tooFewCopies.length > 0);
  }
  assert.equal(transport.openChannels, 0);
});

test('who is down, or does not answer, leaves it unproven by name', async (t) => {
  const the = await Scene.of(t, ...names);
  await the.seal('alice', 3);
  the.states.set('bob', 'dead');
  the.peer('charlie').transport.crash();
  const verdict = await the.verify();
  assert.equal(verdict.proven, false);
  assert.equal(verdict.gapless, true);
  assert.deepEqual(
    verdict.unreachable.map(({ peer }) => peer).sort(),
    [the.id('bob'), the.id('charlie')].sort(),
  );
  assert.deepEqual(verdict.batchesByCopies, { 1: 3 });
});

test('a range of time reads only its segments, and still sees what is missing within', async (t) => {
  const the = await Scene.of(t, ...names);
  await the.seal('alice', 10);
  const futureMs = clock.nowMs() + 3_600_000;
  const nothing = await the.verify('bob', { fromMs: futureMs, toMs: Infinity });
  assert.deepEqual([nothing.proven, nothing.batches, nothing.bytesRead], [true, 0, 0]);
  for (const name of names) {
    const [path] = the.files(name);
    unlinkSync(path);
    await the.restart(name);
  }
  assert.equal((await the.verify('bob', { fromMs: futureMs, toMs: Infinity })).proven, true);
  const within = await the.verify('bob', { fromMs: clock.nowMs() - 60_000, toMs: Infinity });
  assert.equal(within.gapless, false);
  assert.equal(within.missing[0].fromSeq, 1);
});

test('what retention dropped, on all disks or on one, is neither missing nor too few', async (t) => {
  const the = await Scene.of(t, ...names);
  await the.seal('alice', 12);
  const drop = async (name: string, index: number): Promise<number> => {
    const { store } = the.peer(name);
    const segment = store.segment({ origin: the.id('alice'), epoch: the.peer('alice').store.epoch, index })!;
    const batches = segment.record.batches.length;
    await store.drop([segment], 'expired');
    return batches;
  };
  let expired = 0;
  for (const name of names) expired = await drop(name, 1);
  const onAll = await the.verify();
  assert.deepEqual([onAll.proven, onAll.expired, onAll.batches], [true, expired, 12 - expired]);
  expired += await drop('bob', 2);
  const onOne = await the.verify();
  assert.deepEqual([onOne.proven, onOne.expired, onOne.batches], [true, expired, onAll.batches]);
});
