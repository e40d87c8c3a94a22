import assert from 'node:assert/strict';
import { createPrivateKey, sign } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { keysFromSeed, parsePeerId } from '../../src/gossip/transport/index.ts';
import { loadIdentity } from '../../src/node/identity.ts';
import { LogvineError, signedBy, systemDisk, systemRandom } from '../../src/store/index.ts';

async function inDirectory(run: (directory: string, path: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'logvine-identity-'));
  try {
    await run(directory, join(directory, 'identity.key'));
  } finally {
    await rm(directory, { recursive: true });
  }
}

const load = (directory: string) => loadIdentity({ directory, disk: systemDisk, random: systemRandom });
const invalid = (error: unknown) => error instanceof LogvineError && error.code === 'LV_IDENTITY_INVALID';

test('an identity is made once, privately, and stays', () =>
  inDirectory(async (directory, path) => {
    const first = await load(directory);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.deepEqual(await load(directory), first);
    assert.equal(parsePeerId(first.peer), first.peer);
    await inDirectory(async (other) => assert.notEqual((await load(other)).peer, first.peer));
  }));

test('an identity that others may read, or that is damaged, is refused and left alone', () =>
  inDirectory(async (directory, path) => {
    await load(directory);
    const content = await readFile(path, 'utf8');
    for (const mode of [0o640, 0o604, 0o620]) {
      await chmod(path, mode);
      await assert.rejects(load(directory), invalid);
    }
    await chmod(path, 0o600);
    for (const damaged of ['', 'x', content.slice(0, -10), content.replace('1', '2'), `${content}more\n`]) {
      await writeFile(path, damaged);
      await assert.rejects(load(directory), invalid, JSON.stringify(damaged));
      assert.equal(await readFile(path, 'utf8'), damaged);
    }
    await rm(path);
    await systemDisk.makeDirectory(path);
    await assert.rejects(load(directory), invalid);
  }));

test('what the seed signs is what the peer id verifies, through each form of the key', async () => {
  const seed = systemRandom.bytes(32);
  const keys = await keysFromSeed(seed);
  const bytes = Buffer.from('a record');
  assert.ok(signedBy(keys.peer, bytes, keys.sign(bytes)));
  assert.ok(signedBy(keys.peer, bytes, sign(null, bytes, keys.signingKey)));
  assert.ok(signedBy(keys.peer, bytes, await keys.libp2pKey.sign(bytes)));
  const worker = createPrivateKey({
    key: keys.signingKey.export({ format: 'der', type: 'pkcs8' }),
    format: 'der',
    type: 'pkcs8',
  });
  assert.ok(signedBy(keys.peer, bytes, sign(null, bytes, worker)));
  assert.ok(!signedBy(keys.peer, Buffer.from('another'), keys.sign(bytes)));
  assert.ok(!signedBy((await keysFromSeed(systemRandom.bytes(32))).peer, bytes, keys.sign(bytes)));
  await assert.rejects(keysFromSeed(Buffer.alloc(31)), invalid);
});

test('only the one text form of an Ed25519 peer id is a peer id', async () => {
  const { peer } = await keysFromSeed(systemRandom.bytes(32));
  assert.equal(parsePeerId(peer), peer);
  for (const text of [
    '',
    'alice',
    `${peer}x`,
    peer.slice(1),
    `/p2p/${peer}`,
    'QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N',
    'x'.repeat(10_000),
  ]) {
    assert.equal(parsePeerId(text), undefined, text);
  }
});
