import assert from 'node:assert/strict';
import { test } from 'node:test';
import { confirmations } from '../../src/gossip/repair/confirm.ts';
import { seededRandom } from '../helpers/sim-clock.ts';
import { drawSettings } from '../simulation/boot.ts';
import { Cluster } from '../simulation/cluster.ts';

const KiB = 1024;
const BATCHES = 8;

test('a whole segment is read again in time for who asks, however slowly repair goes', async () => {
  const sizes = { repairBytesPerSecond: 64 * KiB, segmentBytesMax: 4096 * KiB, batchTargetBytes: 256 * KiB };
  const cluster = new Cluster(1, 2, { ...drawSettings(1), replicas: 2, ack: 2, ...sizes });
  const { clock, hosts } = cluster;
  const [asker, holder] = hosts;
  for (const host of hosts) cluster.start(host);
  const isMesh = (): boolean => cluster.live.every(({ core }) => core!.membership.alive().length === 2);
  assert.ok(await clock.until(() => cluster.live.length === 2 && isMesh(), 60_000));
  const random = seededRandom(1);
  for (let at = 0; at < BATCHES; at++) {
    const bytes = random.bytes(sizes.batchTargetBytes);
    await clock.run(asker.core!.batcher.write({ kind: 'raw', labels: { app: 'a' }, bytes, readAtMs: 1 }));
  }
  assert.ok(await clock.until(() => holder.core!.store.totals.batches === BATCHES, 60_000));
  const [segment] = asker.core!.store.segments();
  assert.equal(segment.record.batches.length, BATCHES);
  const { transport } = asker.process!;
  const asked = confirmations(transport!, segment, segment.intervals(), [holder.peer!], 60_000);
  assert.deepEqual(await clock.run(asked), [holder.peer]);
});

test('a peer whose disk has nothing left of its earlier runs has their batches back before it reads on', async () => {
  const LINES = 20;
  const cluster = new Cluster(1, 2, { ...drawSettings(1), replicas: 2, ack: 2 });
  const { clock, hosts, ledger } = cluster;
  const [host] = hosts;
  for (const one of hosts) cluster.start(one);
  const isMesh = (): boolean => cluster.live.every(({ core }) => core!.membership.alive().length === 2);
  assert.ok(await clock.until(() => cluster.live.length === 2 && isMesh(), 60_000));
  const before = host.disk.image();
  for (let at = 0; at < LINES; at++) ledger.append(host.file, clock.nowMs(), clock.monotonicMs());
  assert.ok(await clock.until(() => host.process!.acknowledgedTo === LINES, 60_000));
  host.heldDown = true;
  cluster.kill(host, 'power', 'an older image is put back');
  host.disk.restore(before);
  host.catalog.clear();
  cluster.start(host);
  assert.ok(await clock.until(() => host.isUp, 60_000));
  assert.equal(host.process!.resumedAt, LINES);
});
