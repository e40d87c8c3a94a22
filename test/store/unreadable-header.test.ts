import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { keysFromSeed } from '../../src/gossip/transport/index.ts';
import { frameHead } from '../../src/store/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import { framesOf, linePack, MemoryKeyValue, openStore } from './material.ts';

const keys = await keysFromSeed(Buffer.alloc(32, 1));
const THIS_VERSION = 3;

/** A store with three batches, and behind them a frame whose checksums hold and whose header nobody can read. */
async function withUnreadable(version: number) {
  const disk = new SimDisk(seededRandom(1));
  const said: string[] = [];
  const open = () =>
    openStore({ disk: disk.boot(), clock: new SimClock(), keys, catalog: new MemoryKeyValue(), said });
  const store = await open();
  for (const line of ['a', 'b', 'c']) await store.seal(linePack(line), []).written;
  const [segment] = store.segments();
  const header = Buffer.alloc(60, 0xff);
  header[0] = version;
  const payload = Buffer.from('lines');
  const signature = keys.sign(header);
  const frame = Buffer.concat([frameHead(header, payload, crc32(payload), signature), payload]);
  const view = disk.boot();
  const file = await view.open(segment.path, 'write');
  const { size } = await file.stat();
  await file.write(size, [frame]);
  await file.sync();
  await file.close();
  return { open, said, disk, path: segment.path, size: size + frame.length };
}

test('a header that nobody can read stops no start, and is not cut off as if it had never been there', async () => {
  const { open, said, disk, path, size } = await withUnreadable(THIS_VERSION);
  const store = await open();
  assert.equal((await framesOf(store)).size, 3);
  const [segment] = store.segments();
  assert.equal(segment.record.quarantined.length, 1);
  assert.equal(disk.contentOf(path).length, size);
  assert.ok(said.some((line) => line.startsWith('error:') && line.includes('quarantined')));
  await store.seal(linePack('d'), []).written;
  assert.equal((await framesOf(await open())).size, 4);
});

test('what another version wrote is not taken for rot', async () => {
  const { open } = await withUnreadable(THIS_VERSION + 1);
  await assert.rejects(open(), /another version of Logvine/);
});
