import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packBatch } from '../../src/store/batch/index.ts';
import { LIMITS, type PackedBatch } from '../../src/store/index.ts';
import { seededRandom } from '../helpers/sim-clock.ts';
import { columnsFrom } from '../store/material.ts';
import { StoreMesh, type Peer } from './store-mesh.ts';

const MiB = 1024 * 1024;
const random = seededRandom(77);

/** A batch of that many bytes that do not compress. */
function packOfBytes(bytes: number): PackedBatch {
  const line = random.bytes(bytes);
  return packBatch(
    [{ labels: { app: 'a' }, columns: columnsFrom([{ ms: 1, sub: 0, line, metadata: {} }]) }],
    1,
  );
}

function slowDisk(mesh: StoreMesh, peer: Peer, ms: number): void {
  peer.disk.beforeSync = (path) =>
    path.endsWith('.seg') ? new Promise((resolve) => void mesh.clock.after(ms, resolve)) : undefined;
}

test('an owner whose disk is slow holds up no acknowledgement; what waits for it is bounded, and it catches up', async () => {
  const mesh = await StoreMesh.of(['alice', 'bob', 'charlie'], random, { segmentBytesMax: 64 * MiB });
  const { clock } = mesh;
  const charlie = mesh.peer('charlie');
  slowDisk(mesh, charlie, 4_000);
  const { replicator } = mesh.peer('alice').running;
  const packed = packOfBytes(3 * MiB);
  let lagMax = 0;
  let waitMsMax = 0;
  let isLeftBehind = false;
  for (let at = 0; at < 27; at++) {
    const startedMs = clock.monotonicMs();
    const sealed = mesh.seal('alice', packed);
    assert.ok(await clock.until(() => sealed.acknowledged, 30_000));
    waitMsMax = Math.max(waitMsMax, clock.monotonicMs() - startedMs);
    lagMax = Math.max(lagMax, replicator.laggingBytes);
    isLeftBehind ||= mesh.peer('alice').said.some((line) => line.includes('behind the others'));
  }
  assert.ok(lagMax > LIMITS.laggingBytesMax / 2, `${lagMax} bytes`);
  assert.ok(lagMax <= LIMITS.laggingBytesMax, `${lagMax} bytes wait for one owner`);
  assert.ok(isLeftBehind);
  assert.ok(waitMsMax < 1_000, `an acknowledgement took ${waitMsMax} ms`);
  assert.equal(replicator.unacknowledgedBytes, 0);

  assert.ok(await mesh.eventually(() => mesh.debts().every((debt) => debt === 0), 600_000));
  assert.equal(replicator.laggingBytes, 0);
  assert.equal(charlie.store.totals.batches, 27);
});

test('where a peer acknowledges by itself, what waits for the others is counted as well', async () => {
  const mesh = await StoreMesh.of(['alice', 'bob', 'charlie'], random, { ackQuorum: 1 });
  const { clock } = mesh;
  const { replicator } = mesh.peer('alice').running;
  slowDisk(mesh, mesh.peer('bob'), 500);
  const packed = packOfBytes(1 * MiB);
  const sealed = [1, 2, 3].map(() => mesh.seal('alice', packed));
  assert.ok(await clock.until(() => sealed.every(({ acknowledged }) => acknowledged), 10_000));
  assert.ok(replicator.laggingBytes > 0);
  assert.ok(await clock.until(() => mesh.peer('bob').store.totals.batches === 3, 10_000));
  await clock.advance(1_000);
  assert.equal(replicator.laggingBytes, 0);
});

test('an owner that is only a little slow is never left behind', async () => {
  const mesh = await StoreMesh.of(['alice', 'bob', 'charlie'], random, { segmentBytesMax: 64 * MiB });
  const { clock } = mesh;
  slowDisk(mesh, mesh.peer('charlie'), 300);
  const packed = packOfBytes(MiB / 8);
  for (let at = 0; at < 60; at++) {
    mesh.seal('alice', packed);
    await clock.advance(20);
  }
  assert.ok(await clock.until(() => mesh.sealed.every(({ acknowledged }) => acknowledged), 30_000));
  await clock.advance(5_000);
  assert.equal(mesh.peer('charlie').store.totals.batches, 60);
  assert.equal(mesh.peer('alice').running.replicator.laggingBytes, 0);
  const segments = new Set(mesh.sealed.map(({ batch }) => batch.segment));
  assert.ok(segments.size <= 2, `${segments.size} segments`);
});

test('what comes in from many origins at once to a slow disk is bounded, and all of it arrives', async () => {
  const names = ['slow', ...Array.from({ length: 11 }, (_, at) => `origin ${at}`)];
  const mesh = await StoreMesh.of(names, random, { replicas: 12, ackQuorum: 1 });
  const { clock } = mesh;
  const slow = mesh.peer('slow');
  slowDisk(mesh, slow, 2_000);
  const packed = packOfBytes(4 * MiB);
  for (let at = 0; at < 3; at++) {
    for (const name of names.slice(1)) mesh.seal(name, packed);
    await clock.advance(100);
  }
  let bytesMax = 0;
  const isDone = (): boolean => {
    bytesMax = Math.max(bytesMax, slow.running.receiver.bytesInFlight);
    return slow.store.totals.batches === 33;
  };
  assert.ok(await clock.until(isDone, 120_000), `${slow.store.totals.batches} of 33`);
  assert.ok(bytesMax > LIMITS.replicaBytesInFlightMax / 2);
  assert.ok(bytesMax <= LIMITS.replicaBytesInFlightMax + 5 * MiB, `${bytesMax} bytes`);
});
