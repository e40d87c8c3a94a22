import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { assertEachOnce, numberedLines, Writer } from './lines.ts';
import { assertSameBytes, FULL, Mesh, PROMPT, waitFor } from './mesh.ts';

const CRASHES = FULL ? 20 : 5;
const EVERYTHING = '{job="logvine"}';

test('with two of three dead the answer says what it lacks, and is whole again once they are back', async (t) => {
  const mesh = new Mesh(t);
  const path = mesh.path('app.log');
  const content = numberedLines(0, 30_000);
  writeFileSync(path, content);
  const nodes = await mesh.startAll({ alice: { files: [path] }, bob: {}, charlie: {} });
  const [alice, bob, charlie] = nodes;
  await alice.tailed(path, content.length, 60_000);
  for (const node of nodes) await node.repaid(30_000);

  await alice.kill();
  await bob.kill();
  const alone = await charlie.receipt(EVERYTHING);
  assert.equal(alone.code, 3);
  assert.equal(alone.receipt.complete, false);
  assert.deepEqual(alone.receipt.missing, [], 'charlie has a copy of all that was acknowledged');
  assert.deepEqual(alone.receipt.silent.map(({ peer }) => peer).sort(), [alice.peer, bob.peer].sort());
  const told = await charlie.query(EVERYTHING);
  assertSameBytes(told.stdout, content);
  assert.match(told.stderr, /^INCOMPLETE/);
  assert.match(told.stderr, new RegExp(`silent: origin ${alice.peer}`));

  await alice.start();
  await bob.start();
  await mesh.agree(nodes, 30_000);
  const whole = await charlie.query(EVERYTHING);
  assertSameBytes(whole.stdout, content);
  assert.equal(whole.code, 0, whole.stderr);
});

test('batches whose every holder is dead are named with their origin, seqs, times and owners', async (t) => {
  const mesh = new Mesh(t);
  const path = mesh.path('app.log');
  const content = numberedLines(0, 20_000);
  // The weights keep the batches away from charlie, who is asked later.
  const heavy = `${PROMPT}replicas: 2\nweight: 1000\n`;
  const [alice, holder, witness] = await mesh.startAll({
    alice: { files: [path], config: heavy },
    bob: { config: heavy },
    charlie: { config: 'replicas: 2\nweight: 0.01\n' },
  });
  writeFileSync(path, content);
  await alice.tailed(path, content.length, 60_000);
  for (const node of [alice, holder, witness]) await node.repaid(30_000);
  await waitFor('the witness to know who holds what', 10_000, async () => {
    const { members } = await witness.status();
    for (const node of [alice, holder]) {
      const heard = members.find(({ peer }) => peer === node.peer)?.heldBytes;
      const { store } = await node.status();
      if (heard !== store.storedBytes) return `${heard} of ${store.storedBytes} bytes of ${node.name}`;
    }
    return true;
  });
  await alice.kill();
  await holder.kill();
  const { code, receipt } = await witness.receipt(EVERYTHING);
  assert.equal(code, 3);
  assert.ok(receipt.missing.length > 0, JSON.stringify(receipt));
  for (const missing of receipt.missing) {
    assert.equal(missing.origin, alice.peer);
    assert.ok(missing.fromSeq >= 1 && missing.toSeq >= missing.fromSeq);
    assert.ok(missing.fromTime !== null && missing.toTime !== null, JSON.stringify(missing));
    assert.deepEqual([...missing.lastOwners].sort(), [alice.peer, holder.peer].sort());
  }
  await alice.start();
  await holder.start();
  await mesh.agree([alice, holder, witness], 30_000);
  const whole = await witness.query(EVERYTHING);
  assert.equal(whole.code, 0, whole.stderr);
  assertSameBytes(whole.stdout, content);
});

test(`${CRASHES} crashes of the tailing node during ingest: every line is there once`, async (t) => {
  const mesh = new Mesh(t);
  const path = mesh.path('app.log');
  writeFileSync(path, '');
  const writer = new Writer(path, 400);
  t.after(() => writer.stop());
  const nodes = await mesh.startAll({ alice: { files: [path] }, bob: {}, charlie: {} });
  const [alice, bob] = nodes;
  writer.start(10);
  for (let crash = 0; crash < CRASHES; crash++) {
    const before = writer.written;
    // Each at another moment: in the middle of a batch, of an fsync, of a replication.
    await waitFor('more to be written', 10_000, () => writer.written > before + 8_000 + crash * 3_000);
    await alice.restart();
  }
  const count = writer.stop();
  const size = readFileSync(path).length;
  await alice.tailed(path, size, 60_000);
  await mesh.agree(nodes, 30_000);
  const { code, stdout, stderr } = await bob.query(EVERYTHING);
  assertEachOnce(stdout, count);
  assert.equal(stdout.length, size, 'the empty lines as well');
  assert.equal(code, 0, stderr);
});

test('renamed files under load lose and repeat nothing, over a crash as well', async (t) => {
  const mesh = new Mesh(t);
  const path = mesh.path('app.log');
  writeFileSync(path, '');
  const writer = new Writer(path, 200);
  t.after(() => writer.stop());
  const nodes = await mesh.startAll({ alice: { files: [path] }, bob: {}, charlie: {} });
  const [alice, , charlie] = nodes;
  writer.start(10);
  // Of a file that was renamed and forgotten before the node's first batch, nothing is on its disk to find it by.
  await waitFor('the first batch', 30_000, async () => (await alice.status()).store.batches > 0);
  for (let rotation = 1; rotation <= 4; rotation++) {
    const before = writer.written;
    await waitFor('more to be written', 10_000, () => writer.written > before + 10_000);
    renameSync(path, `${path}.${rotation}`);
    writer.write();
    if (rotation === 3) await alice.restart();
  }
  const count = writer.stop();
  await alice.tailed(path, readFileSync(path).length, 60_000);
  await waitFor('every line to be found', 60_000, async () => {
    const { stdout } = await charlie.query(`${EVERYTHING} |~ "line ${count - 1} "`);
    return stdout.length > 0;
  });
  await mesh.agree(nodes, 30_000);
  const { code, stdout, stderr } = await charlie.query(EVERYTHING);
  assertEachOnce(stdout, count);
  assert.equal(code, 0, stderr);
});

test('files that were renamed or deleted while their node was down are read on, or told as gone', async (t) => {
  const mesh = new Mesh(t);
  mkdirSync(mesh.path('logs'));
  const kept = mesh.path('logs/kept.log');
  const lost = mesh.path('logs/lost.log');
  for (const path of [kept, lost]) writeFileSync(path, 'before\n');
  // Of one that is named as it stands it is told, too, that it was read to its end and is gone.
  const [alice] = await mesh.startAll({ alice: { files: [lost, mesh.path('logs/*.log')] } });
  for (const path of [kept, lost]) await alice.tailed(path, 7, 30_000);
  await alice.stop();
  appendFileSync(kept, 'after\n');
  renameSync(kept, `${kept}.1`);
  unlinkSync(lost);
  await alice.start();
  await waitFor('both to be told of', 30_000, async () => {
    const { stdout } = await alice.query(EVERYTHING);
    const lines = stdout.toString().split('\n').slice(0, -1).sort();
    return (
      (lines.length === 4 &&
        lines[0] === 'after' &&
        lines[3].startsWith(`logvine: ${lost} was deleted, compressed or moved out of reach`)) ||
      lines.join('|')
    );
  });
});
