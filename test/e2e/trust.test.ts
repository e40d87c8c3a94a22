import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { createLibp2pTransport } from '../../src/gossip/transport/index.ts';
import { systemClock } from '../../src/store/index.ts';
import { numberedLines } from './lines.ts';
import { assertSameBytes, FULL, Mesh, waitFor, type MeshNode } from './mesh.ts';

const DIALS = FULL ? 1000 : 200;
const EVERYTHING = '{job="logvine"}';
const quiet = { debug: () => undefined, warn: () => undefined };

function secretFile(mesh: Mesh, name: string): string {
  const path = mesh.path(name);
  writeFileSync(path, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600 });
  return path;
}

/** Raw bytes of a dial: nothing at all, a web request, a multistream greeting, noise. */
const OPENINGS = [
  Buffer.alloc(0),
  Buffer.from('GET / HTTP/1.1\r\n\r\n'),
  Buffer.from('\x13/multistream/1.0.0\n\x07/noise\n', 'latin1'),
  randomBytes(4096),
];

test(`strangers are never admitted, learn nothing, and ${DIALS} dials of theirs slow no query`, async (t) => {
  const mesh = new Mesh(t);
  const path = mesh.path('app.log');
  const content = numberedLines(0, 20_000);
  writeFileSync(path, content);
  const flags = ['--secret-file', secretFile(mesh, 'secret')];
  const nodes = await mesh.startAll({ alice: { files: [path], flags }, bob: { flags }, charlie: { flags } });
  const [alice, bob] = nodes;
  await alice.tailed(path, content.length, 60_000);
  for (const node of nodes) await node.repaid(30_000);

  // A stranger has a line of its own, so that a leak in the other direction would show, too.
  const theirs = mesh.path('theirs.log');
  writeFileSync(theirs, 'a line of a stranger\n');
  const join = [alice.meshAddress, bob.meshAddress];
  const strangers = await Promise.all([
    mesh.start('other-secret', {
      files: [theirs],
      flags: ['--secret-file', secretFile(mesh, 'other')],
      join,
    }),
    mesh.start('no-secret', { files: [theirs], join }),
  ]);
  for (const stranger of strangers) {
    await waitFor('the stranger to have its own line', 20_000, async () => {
      const { stdout } = await stranger.query(EVERYTHING);
      return stdout.toString() === 'a line of a stranger\n' ? true : stdout.toString();
    });
    // It dials its seeds every few seconds; this many tries are enough.
    await waitFor('the stranger to have been refused', 20_000, () =>
      /seed|join|refused|cannot be reached|secret/i.test(stranger.log),
    );
  }

  const quietMs = await queryMs(bob, content);
  const sockets = Array.from({ length: DIALS }, (_, dial) => knock(nodes[dial % 3], OPENINGS[dial % 4]));
  t.after(() => sockets.forEach((socket) => socket.destroy()));
  const handshakes = await Promise.all(
    Array.from({ length: DIALS / 20 }, async () => {
      const transport = await createLibp2pTransport({
        seed: randomBytes(32),
        listen: '127.0.0.1:0',
        secrets: [randomBytes(32)],
        topics: [],
        clock: systemClock,
        log: quiet,
      });
      const met = await transport.connect(alice.meshAddress, { timeoutMs: 10_000 }).then(
        () => true,
        () => false,
      );
      await transport.close();
      return met;
    }),
  );
  assert.ok(!handshakes.includes(true), 'a stranger was let in');
  const stormyMs = await queryMs(bob, content);
  assert.ok(stormyMs < 3 * quietMs + 500, `a query took ${stormyMs} ms instead of ${quietMs} ms`);

  for (const node of nodes) {
    const { members } = await node.status();
    assert.deepEqual(members.map(({ peer }) => peer).sort(), nodes.map(({ peer }) => peer).sort());
    assert.deepEqual(await node.alivePeers(), nodes.map(({ peer }) => peer).sort());
  }
  for (const stranger of strangers) {
    const { members, origins } = await stranger.status();
    assert.deepEqual(
      members.map(({ peer }) => peer),
      [stranger.peer],
    );
    assert.ok(origins.every(({ peer }) => peer === stranger.peer));
    assert.deepEqual(originsOnDisk(stranger), [stranger.peer]);
    const { stdout } = await stranger.query(EVERYTHING);
    assert.equal(stdout.toString(), 'a line of a stranger\n');
  }

  // The door is still open to those who have the secret.
  const newcomer = await mesh.start('newcomer', { flags, join });
  await mesh.agree([...nodes, newcomer], 20_000);
});

test('a node does not listen beyond this machine without a secret', async (t) => {
  const mesh = new Mesh(t);
  await assert.rejects(mesh.start('open', { flags: ['--listen', '0.0.0.0:0'] }), /LV_SECRET_INVALID|secret/);
});

async function queryMs(node: MeshNode, content: Buffer): Promise<number> {
  const started = performance.now();
  const { code, stdout, stderr } = await node.query(EVERYTHING);
  const elapsed = performance.now() - started;
  assertSameBytes(stdout, content);
  assert.equal(code, 0, stderr);
  return elapsed;
}

function knock(node: MeshNode, opening: Buffer): Socket {
  const [host, port] = node.meshAddress.split(':');
  const socket = connect({ host, port: Number(port) });
  // Being thrown out is what should happen.
  socket.on('error', () => undefined);
  socket.on('connect', () => socket.write(opening));
  return socket;
}

function originsOnDisk(node: MeshNode): string[] {
  const directory = join(node.data, 'segments');
  return existsSync(directory) ? readdirSync(directory) : [];
}
