import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createHandlers } from '../../src/node/handlers.ts';
import { Batcher } from '../../src/node/pipeline/batcher.ts';
import type { Tasks } from '../../src/node/tasks.ts';
import { LIMITS, verifyFrame, type LogvineError, type TaskRunner } from '../../src/store/index.ts';
import { StoreMesh } from '../gossip/store-mesh.ts';
import { seededRandom } from '../helpers/sim-clock.ts';
import { framesOf, rowsFrom } from '../store/material.ts';

const MiB = 1024 * 1024;

/** A batcher at one peer of a mesh, with the workers' work done in the calling thread. */
async function batcherAt(mesh: StoreMesh, name: string): Promise<Batcher> {
  const { store, replicator } = mesh.peer(name).running;
  const handlers = createHandlers(mesh.peer(name).disk.reader(), mesh.clock);
  const pool: TaskRunner<Tasks> = {
    size: 1,
    run: async (kind, request) => handlers[kind](request).value as Tasks[typeof kind]['response'],
  };
  return new Batcher({
    space: { room: 'all' },
    store,
    replicator,
    pool,
    clock: mesh.clock,
    targetBytes: MiB,
    lingerBytes: 64 * 1024,
    lingerMs: 1_000,
    ageMsMax: 10_000,
    pushLingerMs: 100,
    compressionLevel: 1,
    discoverLevels: false,
    timeZone: 'UTC',
  });
}

function holdSyncs(mesh: StoreMesh, names: readonly string[]): () => void {
  const gate = Promise.withResolvers<void>();
  for (const name of names)
    mesh.peer(name).disk.beforeSync = (path) => (path.endsWith('.seg') ? gate.promise : undefined);
  return () => {
    for (const name of names) mesh.peer(name).disk.beforeSync = () => undefined;
    gate.resolve();
  };
}

const random = seededRandom(5);
const rawBlock = (bytes: number) => {
  const lines = random.bytes(bytes);
  lines[bytes - 1] = 10;
  return { kind: 'raw', labels: { app: 'raw' }, bytes: lines, readAtMs: 1 } as const;
};
const pushOf = (bytes: number, digest?: Uint8Array) => {
  const entries = [{ ms: 1, sub: 0, line: random.bytes(bytes), metadata: {} }];
  return [
    { rows: rowsFrom([{ labels: { app: 'push' }, entries }]), bytes: bytes + 21, labelBytes: 14, digest },
  ];
};
const code = (wanted: string) => (error: unknown) => (error as LogvineError).code === wanted;

test('while the own disk hangs, inputs wait, pushes are refused, and what waits is bounded', async () => {
  const mesh = await StoreMesh.of(['alice', 'bob', 'charlie'], random);
  const batcher = await batcherAt(mesh, 'alice');
  const release = holdSyncs(mesh, ['alice']);
  let written = 0;
  let isOver = false;
  const input = (async () => {
    while (!isOver) {
      await batcher.write(rawBlock(256 * 1024));
      written++;
    }
  })();
  assert.ok(await mesh.clock.until(() => batcher.unsealedBytes > LIMITS.unsealedBytesMax, 10_000));
  const before = written;
  await mesh.clock.advance(20_000);
  assert.ok(written <= before + 1, 'the input waits');
  const pushed: Promise<void>[] = [];
  const flood = (): void => {
    for (let at = 0; at < 100; at++) pushed.push(batcher.push(pushOf(MiB)));
  };
  assert.throws(flood, code('LV_OVERLOADED'));
  assert.ok(batcher.unsealedBytes <= 2 * LIMITS.unsealedBytesMax + LIMITS.batchBytesMax);
  isOver = true;
  release();
  await mesh.clock.run(Promise.all([input, ...pushed]));
  assert.equal(batcher.unsealedBytes, 0);
});

test('small batches that wait for a hanging disk hold little memory', async () => {
  const mesh = await StoreMesh.of(['alice', 'bob', 'charlie'], random);
  const batcher = await batcherAt(mesh, 'alice');
  const release = holdSyncs(mesh, ['alice']);
  // Each push closes a batch with a few raw bytes in it.
  let writes = 0;
  let isOver = false;
  const input = (async () => {
    for (; !isOver; writes++) {
      await batcher.write(rawBlock(100));
      batcher.push(pushOf(100)).catch(() => undefined);
      await new Promise<void>((resolve) => void mesh.clock.after(150, resolve));
    }
  })();
  await mesh.clock.advance(60_000);
  const chunks = LIMITS.arenaBytesMax / (1.5 * MiB);
  assert.ok(writes <= chunks + 2, `${writes} batches with memory of their own`);
  isOver = true;
  release();
  await mesh.clock.run(input);
});

test('while the other owners hang, pushes are told that the mesh cannot store', async () => {
  const mesh = await StoreMesh.of(['alice', 'bob', 'charlie'], random, { segmentBytesMax: 64 * MiB });
  const batcher = await batcherAt(mesh, 'alice');
  const release = holdSyncs(mesh, ['bob', 'charlie']);
  const { replicator } = mesh.peer('alice').running;
  const pushed: Promise<void>[] = [];
  for (let at = 0; replicator.unacknowledgedBytes <= LIMITS.unacknowledgedBytesMax; at++) {
    assert.ok(at < 40);
    pushed.push(batcher.push(pushOf(3 * MiB)));
    await mesh.clock.advance(300);
  }
  assert.throws(() => batcher.push(pushOf(1)), code('LV_REPLICATION_TIMEOUT'));
  assert.ok(replicator.unacknowledgedBytes <= LIMITS.unacknowledgedBytesMax + LIMITS.batchBytesMax);
  release();
  await mesh.clock.run(Promise.all(pushed));
});

test('beyond the streams that a peer can remember, pushes name no new ones', async () => {
  const mesh = await StoreMesh.of(['alice', 'bob', 'charlie'], random);
  const batcher = await batcherAt(mesh, 'alice');
  await mesh.clock.run(batcher.push(pushOf(1)));
  const { streams } = mesh.peer('alice').running.store;
  Object.defineProperty(streams, 'size', { get: () => LIMITS.streamsMax + 1 });
  await mesh.clock.run(batcher.push(pushOf(1)));
  const entries = [{ ms: 1, sub: 0, line: Buffer.from('x'), metadata: {} }];
  const rows = rowsFrom([{ labels: { app: 'push', request: '1' }, entries }]);
  const added = [{ rows, bytes: 22, labelBytes: 30, digest: undefined }];
  assert.throws(() => batcher.push(added), {
    code: 'LV_OVERLOADED',
    message: /request="1".* structured metadata/,
  });
});

test('the digests of pushes are in the header of their batch', async () => {
  const mesh = await StoreMesh.of(['alice', 'bob', 'charlie'], random);
  const batcher = await batcherAt(mesh, 'alice');
  const digests = [1, 2].map((byte) => Buffer.alloc(16, byte));
  const pushed = digests.map((digest) => batcher.push(pushOf(10, digest)));
  await mesh.clock.run(Promise.all(pushed));
  const { store } = mesh.peer('bob');
  assert.ok(await mesh.clock.until(() => store.totals.entries === 2, 10_000));
  const frames = await mesh.clock.run(framesOf(store));
  const held = [...frames.values()].flatMap((frame) => verifyFrame(frame).header.pushes ?? []);
  assert.deepEqual(held, digests);
});

test('files with long names, read a few bytes at a time, make no batch whose header nobody takes', async () => {
  const mesh = await StoreMesh.of(['alice', 'bob', 'charlie'], random);
  const batcher = await batcherAt(mesh, 'alice');
  const name = 'n'.repeat(LIMITS.sourceTextBytesMax / 2);
  const count = (2 * LIMITS.headerBytesMax) / name.length;
  const sources = Array.from({ length: count }, (_, at) => `${at}/${name}`);
  const line = { ...rawBlock(1), bytes: Buffer.from('x\n') };
  for (const source of sources) await batcher.write({ ...line, position: { source, position: '2' } });
  await mesh.clock.run(batcher.close());
  const { store } = mesh.peer('bob');
  assert.ok(await mesh.clock.until(() => store.totals.entries === count, 10_000));
  const frames = [...(await mesh.clock.run(framesOf(store))).values()];
  const held = frames.flatMap((frame) => verifyFrame(frame).header.sources);
  assert.deepEqual(new Set(held.map(({ source }) => source)), new Set(sources));
});

test('a position that no lines go with is in the next batch, and none older than what was written since', async () => {
  const mesh = await StoreMesh.of(['alice', 'bob', 'charlie'], random);
  const batcher = await batcherAt(mesh, 'alice');
  const { store } = mesh.peer('alice').running;
  batcher.note({ source: 'read', position: '5' });
  batcher.note({ source: 'both', position: '1' });
  assert.equal(store.position('read'), undefined);
  await batcher.write({ ...rawBlock(10), position: { source: 'both', position: '2' } });
  batcher.note({ source: 'open', position: '7' });
  await mesh.clock.run(batcher.close());
  assert.ok(await mesh.clock.until(() => store.totals.batches === 1, 10_000));
  assert.deepEqual(
    ['read', 'both', 'open'].map((source) => store.position(source)),
    ['5', '2', '7'],
  );
});

test('a stack trace keeps its time where a block and its batch end', async () => {
  const mesh = await StoreMesh.of(['alice', 'bob', 'charlie'], random);
  const batcher = await batcherAt(mesh, 'alice');
  const release = holdSyncs(mesh, ['alice']);
  const source = { kind: 'raw', labels: { app: 'java' }, readAtMs: Date.UTC(2024, 2, 10) } as const;
  const followed: (number | undefined)[] = [];
  batcher.follow((streams) => followed.push(streams[0].blocks[0].before?.ms));
  const filler = 'x'.repeat(MiB);
  await batcher.write({ ...source, bytes: Buffer.from(`${filler}\n2024-03-09 10:00:00 ERROR no\n\tat a\n`) });
  await batcher.write({ ...source, bytes: Buffer.from('\tat b\n') });
  await batcher.write({ ...source, bytes: Buffer.from('\tat c\n') });
  await batcher.withUnsealed(async (streams) => {
    const times = streams.flatMap(({ blocks }) => blocks.map(({ before }) => before?.ms));
    const errorMs = Date.UTC(2024, 2, 9, 10);
    assert.deepEqual(times, [undefined, errorMs, errorMs]);
    assert.deepEqual(followed, times);
  });
  release();
  await mesh.clock.run(batcher.close());
});
