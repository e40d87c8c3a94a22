import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { Mesh, type MeshNode } from './mesh.ts';

function bodyOf(app: string, lines: readonly string[]): string {
  const values = lines.map((line, at) => [`${1_700_000_000_000_000_000n + BigInt(at)}`, line]);
  return JSON.stringify({ streams: [{ stream: { app }, values }] });
}

async function push(
  node: MeshNode,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = {},
): Promise<number> {
  const response = await fetch(`${node.httpUrl}/loki/api/v1/push`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body,
  });
  await response.arrayBuffer();
  return response.status;
}

async function linesAt(node: MeshNode, app: string): Promise<string[]> {
  const { code, stdout, stderr } = await node.query(`{app="${app}"}`);
  assert.equal(code, 0, stderr);
  return stdout.toString().split('\n').slice(0, -1);
}

test('a body that is sent again, anywhere and after restarts, is stored once; another is not held back by it', async (t) => {
  const mesh = new Mesh(t);
  const nodes = await mesh.startAll({ alice: {}, bob: {}, charlie: {} });
  const [alice, bob, charlie] = nodes;
  const body = bodyOf('shop', ['one', 'two']);
  const statuses = await Promise.all(
    [alice, bob, charlie, alice, bob, charlie].map((node) => push(node, body)),
  );
  assert.deepEqual(statuses, [204, 204, 204, 204, 204, 204]);
  assert.equal(await push(bob, bodyOf('shop', ['one', 'three'])), 204);
  assert.deepEqual((await linesAt(charlie, 'shop')).sort(), ['one', 'one', 'three', 'two']);

  // Whose push it is counts too, and so does how the body is to be read.
  assert.equal(await push(bob, body, { 'x-scope-orgid': 'other' }), 204);
  assert.equal((await linesAt(alice, 'shop')).length, 6);

  await alice.restart();
  await mesh.agree(nodes);
  for (const node of nodes) assert.equal(await push(node, body), 204);
  for (const node of nodes) await node.kill();
  await Promise.all(nodes.map((node) => node.start()));
  await mesh.agree(nodes);
  for (const node of nodes) assert.equal(await push(node, body), 204);
  assert.equal((await linesAt(bob, 'shop')).length, 6);
});

test('a push that is larger than a batch is stored whole, once, and in order', async (t) => {
  const mesh = new Mesh(t);
  const [alice, bob] = await mesh.startAll({ alice: {}, bob: {} });
  // Lines that hardly compress, and more of them than one batch may have.
  const lines = Array.from({ length: 120 }, (_, at) => {
    let state = at + 1;
    const bytes = Buffer.alloc(100_000);
    for (let i = 0; i < bytes.length; i++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      bytes[i] = 33 + ((state >>> 16) % 90);
    }
    return `${String(at).padStart(4, '0')} ${bytes.toString('latin1')}`;
  });
  const body = bodyOf('large', lines);
  assert.equal(await push(alice, body), 204);
  assert.equal(await push(bob, body), 204);
  const found = await linesAt(bob, 'large');
  assert.equal(found.length, lines.length);
  assert.ok(found.every((line, at) => line === lines[at]));
  const many = bodyOf(
    'many',
    Array.from({ length: 200_000 }, (_, at) => `${at}`),
  );
  const packed = new Uint8Array(gzipSync(many));
  assert.equal(await push(bob, packed, { 'content-encoding': 'gzip' }), 204);
  assert.equal(await push(alice, packed, { 'content-encoding': 'gzip' }), 204);
  assert.equal((await linesAt(alice, 'many')).length, 200_000);
});

test('where pushes are not told apart, each is stored', async (t) => {
  const mesh = new Mesh(t);
  const alice = await mesh.start('alice', { config: 'pushDedupWindow: 0s\nreplicas: 1\n' });
  for (let at = 0; at < 3; at++) assert.equal(await push(alice, bodyOf('shop', ['same'])), 204);
  assert.deepEqual(await linesAt(alice, 'shop'), ['same', 'same', 'same']);
});

test('a body that is too large is refused before it is read, and too many at once are told to come back', async (t) => {
  const mesh = new Mesh(t);
  const alice = await mesh.start('alice', { config: 'replicas: 1\n' });
  assert.equal(await push(alice, new Uint8Array(33 * 1024 * 1024)).catch(() => 413), 413);
  const body = new Uint8Array(31 * 1024 * 1024).fill(32);
  const answers = await Promise.all(Array.from({ length: 8 }, () => push(alice, body)));
  assert.ok(answers.includes(429), answers.join());
  assert.ok(
    answers.every((status) => status === 429 || status === 400),
    answers.join(),
  );
  assert.equal(await push(alice, bodyOf('shop', ['after'])), 204);
});
