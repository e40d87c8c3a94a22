import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { test } from 'node:test';
import { numberedLines } from './lines.ts';
import { assertSameBytes, Mesh, type MeshNode, runCommand, waitFor } from './mesh.ts';

const EVERYTHING = '{job="logvine"}';
const isRoot = process.getuid?.() === 0;

test('inputs that cannot be read are named in the status, and the others are read', async (t) => {
  const mesh = new Mesh(t);
  const good = mesh.path('good.log');
  writeFileSync(good, 'a good line\n');
  const directory = mesh.path('directory.log');
  mkdirSync(directory);
  const dangling = mesh.path('dangling.log');
  symlinkSync(mesh.path('nowhere'), dangling);
  const files = [good, directory, dangling, mesh.path('*.not-yet')];
  const secretive = mesh.path('secretive.log');
  if (!isRoot) {
    writeFileSync(secretive, 'nobody may read this\n');
    chmodSync(secretive, 0);
    files.push(secretive);
  }
  const alice = await mesh.start('alice', { files });
  await alice.tailed(good, 12, 20_000);
  await waitFor('the directory to be named', 10_000, async () => {
    const { inputs, problems } = await alice.status();
    const text = JSON.stringify({ inputs, problems });
    return problems.some(({ code, message }) => code === 'LV_INPUT_UNREADABLE' && message.includes(directory))
      ? true
      : text;
  });
  if (!isRoot) {
    const { problems } = await alice.status();
    assert.ok(problems.some(({ message }) => message.includes(secretive)));
  }
  // A file that appears later is picked up.
  const late = mesh.path('late.not-yet');
  writeFileSync(late, 'a late line\n');
  await alice.tailed(late, 12, 20_000);
  const { code, stdout } = await alice.query(EVERYTHING);
  assert.equal(code, 0);
  assert.deepEqual(stdout.toString().trimEnd().split('\n').sort(), ['a good line', 'a late line']);
});

test('what a node cannot start with is said in one line that names it', async (t) => {
  const mesh = new Mesh(t);
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.after(() => taken.close());
  const { port } = taken.address() as AddressInfo;
  const run = async (name: string, ...argv: string[]) => {
    const defaults = ['run', '--data', mesh.path(name), '--listen', '127.0.0.1:0', '--http', '127.0.0.1:0'];
    const outcome = await runCommand([...defaults, ...argv], mesh.directory);
    assert.notEqual(outcome.code, 0, name);
    assert.ok(!outcome.stderr.includes('    at '), `${name}: a stack trace: ${outcome.stderr}`);
    return outcome;
  };

  const glob = await run('bad-glob', '/var/log/[a-');
  assert.match(glob.stderr, /LV_CONFIG_INVALID.*\[a-/s);

  const key = mesh.path('key.yaml');
  writeFileSync(key, 'http: 127.0.0.1:0\nreplicaz: 2\n');
  const badKey = await run('bad-key', '--config', key);
  assert.match(badKey.stderr, /LV_CONFIG_INVALID/);
  assert.match(badKey.stderr, /key\.yaml:2/);
  assert.match(badKey.stderr, /replicaz/);

  const value = mesh.path('value.yaml');
  writeFileSync(value, 'replicas: many\n');
  const badValue = await run('bad-value', '--config', value);
  assert.match(badValue.stderr, /value\.yaml:1.*replicas/s);
  assert.match(badValue.stderr, /whole number from 1 to/);

  const http = await run('http-taken', '--http', `127.0.0.1:${port}`);
  assert.match(http.stderr, new RegExp(`LV_PORT_IN_USE.*127.0.0.1:${port}`, 's'));
  const listen = await run('listen-taken', '--listen', `127.0.0.1:${port}`);
  assert.match(listen.stderr, new RegExp(`LV_PORT_IN_USE.*127.0.0.1:${port}`, 's'));

  const alice = await mesh.start('alice');
  const second = await run('alice');
  assert.match(second.stderr, /LV_DATA_IN_USE another node uses the data directory \S+(?<!catalog): stop it/);
  assert.ok(second.stderr.includes(alice.data), second.stderr);
  assert.equal((await alice.status()).peer, alice.peer, 'the first one goes on');

  const query = await alice.query('{job=');
  assert.equal(query.code, 1);
  assert.match(query.stderr, /LV_QUERY_INVALID/);
  const usage = await alice.command('query', EVERYTHING, '--limit', 'some');
  assert.equal(usage.code, 2);
});

test(
  'a node whose log goes to a full disk goes on',
  { skip: !existsSync('/dev/full') && 'needs /dev/full' },
  async (t) => {
    const mesh = new Mesh(t);
    const path = mesh.path('app.log');
    writeFileSync(path, 'one\n');
    const wrap = ['sh', '-c', 'exec "$@" 2>/dev/full', 'sh'];
    const alice = await mesh.start('alice', { files: [path, mesh.path('gone.log')], wrap });
    await alice.tailed(path, 4, 20_000);
    // What it logs with each of these would end it.
    rmSync(path);
    writeFileSync(path, 'two\n');
    await alice.tailed(path, 4, 20_000);
    const { stdout } = await alice.query(EVERYTHING);
    assert.match(stdout.toString(), /^one\n(.*\n)?two\n$/s);
    await alice.stop();
  },
);

const SKIP_TMPFS =
  isRoot && spawnSync('sh', ['-c', 'command -v mount']).status === 0 ? false : 'needs root to mount a tmpfs';

/** A file system of 12 MiB under the mesh's directory; undefined where even root may not mount one. */
function smallDisk(mesh: Mesh): { path: string; fill(): void; empty(): void } | undefined {
  const path = mesh.path('small');
  mkdirSync(path);
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=12m', 'tmpfs', path]);
  if (status !== 0) return undefined;
  mesh.onClose(() => execFileSync('umount', [path]));
  const ballast = `${path}/ballast`;
  return {
    path,
    fill: () => void spawnSync('dd', ['if=/dev/zero', `of=${ballast}`, 'bs=4k']),
    empty: () => rmSync(ballast),
  };
}

/** A test with a disk that can be filled, and a file to tail on another one. */
function testOnSmallDisk(
  title: string,
  run: (mesh: Mesh, disk: NonNullable<ReturnType<typeof smallDisk>>, path: string) => Promise<void>,
): void {
  test(title, { skip: SKIP_TMPFS }, async (t) => {
    const mesh = new Mesh(t);
    const disk = smallDisk(mesh);
    if (!disk) return t.skip('nobody may mount a tmpfs here');
    await run(mesh, disk, mesh.path('app.log'));
  });
}

async function hasProblem(node: MeshNode, wanted: string): Promise<boolean> {
  const { problems } = await node.status();
  return problems.some(({ code }) => code === wanted);
}

testOnSmallDisk(
  'a full disk of an origin stops it from reading, and it goes on once there is room',
  async (mesh, disk, path) => {
    writeFileSync(path, numberedLines(0, 10_000));
    const [alice, bob] = await mesh.startAll({
      alice: { files: [path], data: `${disk.path}/alice` },
      bob: {},
      charlie: {},
    });
    await waitFor(
      'the first lines to be durable',
      30_000,
      async () => (await alice.status()).inputs[0].durableBytes > 0,
    );
    disk.fill();
    const count = 80_000;
    appendFileSync(path, numberedLines(10_000, count));
    await waitFor('the full disk to be noticed', 30_000, () => hasProblem(alice, 'LV_DISK_FULL'));
    const push = await fetch(`${alice.httpUrl}/loki/api/v1/push`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ streams: [{ stream: { app: 'full' }, values: [['1', 'no room']] }] }),
    });
    assert.equal(push.status, 503, 'nothing is acknowledged that is not on disk');

    disk.empty();
    await alice.tailed(path, numberedLines(0, count).length, 60_000);
    await waitFor('the problem to be over', 10_000, async () => !(await hasProblem(alice, 'LV_DISK_FULL')));
    const { code, stdout, stderr } = await bob.query(EVERYTHING);
    assertSameBytes(stdout, numberedLines(0, count));
    assert.equal(code, 0, stderr);
  },
);

testOnSmallDisk(
  'a full disk of an owner holds nobody up, and it catches up once there is room',
  async (mesh, disk, path) => {
    const content = numberedLines(0, 80_000);
    const nodes = await mesh.startAll({
      alice: { files: [path] },
      bob: { data: `${disk.path}/bob` },
      charlie: {},
    });
    const [alice, bob] = nodes;
    disk.fill();
    writeFileSync(path, content);
    await alice.tailed(path, content.length, 60_000);
    for (const node of nodes) {
      const { code, stdout, stderr } = await node.query(EVERYTHING);
      assertSameBytes(stdout, content);
      assert.equal(code, 0, stderr);
    }
    const { batches } = (await alice.status()).store;
    assert.ok((await bob.status()).store.batches < batches, 'the disk was not full');
    disk.empty();
    await waitFor('bob to catch up', 60_000, async () => {
      const { store } = await bob.status();
      return store.batches === batches ? true : `${store.batches} of ${batches}`;
    });
    await alice.repaid(30_000);
  },
);

testOnSmallDisk(
  'a node that is started on a full disk says so, and starts once there is room',
  async (mesh, disk, path) => {
    const content = numberedLines(0, 10_000);
    writeFileSync(path, content);
    const alice = await mesh.start('alice', { files: [path], data: `${disk.path}/alice` });
    await alice.tailed(path, content.length, 30_000);
    await alice.kill();
    disk.fill();
    await assert.rejects(alice.start(), /LV_DISK_FULL/);
    disk.empty();
    await alice.start();
    const { code, stdout, stderr } = await alice.query(EVERYTHING);
    assertSameBytes(stdout, content);
    assert.equal(code, 0, stderr);
  },
);
