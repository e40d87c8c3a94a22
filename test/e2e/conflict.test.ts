import assert from 'node:assert/strict';
import { appendFileSync, cpSync, rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { numberedLines } from './lines.ts';
import { assertSameBytes, Mesh, type MeshNode, waitFor } from './mesh.ts';

async function problemsOf(node: MeshNode, code: string): Promise<string[]> {
  const { problems } = await node.status();
  return problems.filter((problem) => problem.code === code).map(({ message }) => message);
}

test('a copied data directory: both copies and the others raise the alarm, the older run stops, nothing is lost', async (t) => {
  const mesh = new Mesh(t);
  const path = mesh.path('app.log');
  const first = numberedLines(0, 2_000);
  writeFileSync(path, first);
  const nodes = await mesh.startAll({ alice: {}, bob: { files: [path] }, charlie: {} });
  const [alice, bob, charlie] = nodes;
  await bob.tailed(path, first.length, 60_000);
  await bob.stop();
  cpSync(bob.data, mesh.path('copy'), { recursive: true });
  await bob.start();
  await mesh.agree(nodes);
  const copy = await mesh.start('copy', { join: [alice.meshAddress, charlie.meshAddress] });
  assert.equal(copy.peer, bob.peer);

  for (const node of [bob, copy, alice, charlie]) {
    await waitFor(`${node.name} to raise the alarm`, 60_000, async () => {
      const [message = ''] = await problemsOf(node, 'LV_IDENTITY_CONFLICT');
      const addresses = [bob, copy].map(({ meshAddress }) => `${meshAddress} `);
      return addresses.every((address) => message.includes(address)) ? true : message;
    });
  }
  assert.match((await problemsOf(bob, 'LV_IDENTITY_CONFLICT'))[0], new RegExp(`${bob.data}/identity\\.key`));
  assert.match(
    (await alice.command('status')).stdout.toString(),
    /PROBLEM {2}LV_IDENTITY_CONFLICT: two nodes run/,
  );
  const metrics = await (await fetch(`${alice.httpUrl}/metrics`)).text();
  assert.match(metrics, /logvine_problems\{code="LV_IDENTITY_CONFLICT"\} 1/);

  // The older run takes nothing more: its file waits.
  const second = numberedLines(2_000, 2_100);
  appendFileSync(path, second);
  const push = await fetch(`${bob.httpUrl}/loki/api/v1/push`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      streams: [{ stream: { job: 'x' }, values: [[`${Date.now()}000000`, 'refused']] }],
    }),
  });
  assert.equal(push.status, 503);
  assert.match(await push.text(), /LV_IDENTITY_CONFLICT/);

  // The copy goes away, the other one starts again and goes on where it was.
  await copy.kill();
  await bob.stop();
  await bob.start();
  await mesh.agree(nodes);
  await bob.tailed(path, first.length + second.length, 60_000);
  const { code, stdout, stderr } = await charlie.query('{job="logvine"}');
  assertSameBytes(stdout, Buffer.concat([first, second]));
  assert.equal(code, 0, stderr);
});

test('an older copy of a disk whose clock had been ahead: the node starts again above what the mesh remembers', async (t) => {
  const mesh = new Mesh(t);
  const path = mesh.path('app.log');
  const first = numberedLines(0, 1_000);
  writeFileSync(path, first);
  const nodes = await mesh.startAll({ alice: {}, bob: { files: [path] }, charlie: {} });
  const [alice, bob] = nodes;
  await bob.tailed(path, first.length, 60_000);
  await bob.stop();
  cpSync(bob.data, mesh.path('older'), { recursive: true });
  // As a clock that is an hour ahead would have it.
  writeFileSync(`${bob.data}/epoch.json`, JSON.stringify({ epoch: Date.now() + 3_600_000 }));
  await bob.start();
  const second = numberedLines(1_000, 2_000);
  appendFileSync(path, second);
  await bob.tailed(path, first.length + second.length, 60_000);
  const { epoch } = await bob.status();
  await bob.kill();
  rmSync(bob.data, { recursive: true });
  cpSync(mesh.path('older'), bob.data, { recursive: true });
  await bob.start();
  await waitFor('the node to start again', 60_000, async () => {
    const { members } = await alice.status();
    return members.some(
      ({ peer, state, epoch: now }) => peer === bob.peer && state === 'alive' && now > epoch,
    );
  });
  // Where ports are chosen freely it has others now.
  await bob.restart();
  await mesh.agree(nodes);
  const third = numberedLines(2_000, 3_000);
  appendFileSync(path, third);
  await bob.tailed(path, first.length + second.length + third.length, 60_000);
  const { code, stdout, stderr } = await alice.query('{job=~".+"}');
  assert.equal(code, 0, stderr);
  assertSameBytes(stdout, Buffer.concat([first, second, third]));
});
