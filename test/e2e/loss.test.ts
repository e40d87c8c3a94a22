import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { numberedLines } from './lines.ts';
import { Mesh, type MeshNode, PROMPT, waitFor } from './mesh.ts';

test('what is on no disk any more is missing until a person accepts that it is lost; then answers are complete', async (t) => {
  const mesh = new Mesh(t);
  const path = mesh.path('app.log');
  const content = numberedLines(0, 2_000);
  // The weights keep the batches away from charlie.
  const light = 'replicas: 2\nweight: 0.01\n';
  const [alice, bob, charlie] = await mesh.startAll({
    alice: { files: [path], config: `${PROMPT}replicas: 2\nweight: 1000\n` },
    bob: { config: 'replicas: 2\nweight: 1000\n' },
    charlie: { config: light },
  });
  // Not before all know each other: of whom alice knows first, charlie would be an owner.
  writeFileSync(path, content);
  await alice.tailed(path, content.length, 60_000);
  await waitFor('charlie to hear what alice has acknowledged', 30_000, async () =>
    (await charlie.status()).origins.some(({ peer, durableSeq }) => peer === alice.peer && durableSeq > 0),
  );
  await alice.repaid(30_000);
  await waitFor('charlie to hold none of it', 30_000, async () => {
    const { store } = await charlie.status();
    return store.batches === 0 ? true : JSON.stringify(store);
  });
  assert.equal((await charlie.accept()).stdout.toString(), 'nothing is missing\n');

  for (const node of [alice, bob]) {
    await node.kill();
    rmSync(node.data, { recursive: true });
  }
  await waitFor('both to be seen dead', 30_000, async () => {
    const { members } = await charlie.status();
    return members.filter(({ state }) => state === 'dead').length === 2;
  });
  const before = await charlie.query('{filename=~".+"}');
  assert.equal(before.code, 3);
  assert.match(before.stderr, /missing: origin \S+ epoch \d+ seq 1/);
  assert.match(before.stderr, /silent: origin/);

  const listed = await charlie.accept();
  assert.equal(listed.code, 3);
  assert.match(listed.stdout.toString(), /on no disk within reach: \d+ batch/);
  assert.ok(listed.stdout.includes(`  ${bob.peer}\n`));
  const refused = await charlie.accept('--yes', '--never-back', alice.peer);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /LV_PEER_UNREACHABLE out of reach.*--never-back/);
  assert.equal((await charlie.accept('--yes', '--never-back', charlie.peer)).code, 1);
  assert.equal((await charlie.query('{filename=~".+"}')).code, 3);

  const both = ['--never-back', alice.peer, '--never-back', bob.peer];
  const accepted = await charlie.accept('--yes', ...both);
  assert.equal(accepted.code, 0, accepted.stderr);
  assert.match(
    accepted.stdout.toString(),
    /lost for good: \d+ batch[^]*accepted, and remembered by 1 of 1 peer within reach/,
  );
  const isComplete = async (node: MeshNode): Promise<void> => {
    await waitFor(`${node.name} to answer completely`, 30_000, async () => {
      const { code, stderr } = await node.query('{filename=~".+"}');
      return code === 0 && /complete: .* lost for good/.test(stderr) ? true : stderr;
    });
    const proof = await node.command('verify');
    assert.equal(proof.code, 0, proof.stdout.toString());
    assert.match(proof.stdout.toString(), /but for \d+ batch\S* that a person has accepted as lost/);
  };
  await isComplete(charlie);
  // Who comes later hears of it, and a restart does not forget it.
  const dave = await mesh.start('dave', { config: `${light}lostPeers: [${alice.peer}, ${bob.peer}]\n` });
  await mesh.agree([charlie, dave]);
  await isComplete(dave);
  await charlie.restart();
  await mesh.agree([charlie, dave]);
  await isComplete(charlie);
});
