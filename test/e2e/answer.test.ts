import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { numberedLines } from './lines.ts';
import { assertSameBytes, FULL, Mesh, PROMPT } from './mesh.ts';

const LINES = FULL ? 1_000_000 : 100_000;
const EVERYTHING = '{job="logvine"}';

test('another node returns exactly the lines of a tailed file, also when any one node is dead', async (t) => {
  const mesh = new Mesh(t);
  const path = mesh.path('app.log');
  const content = numberedLines(0, LINES);
  writeFileSync(path, content);
  const nodes = await mesh.startAll({ alice: { files: [path] }, bob: {}, charlie: {} });
  const [alice, bob] = nodes;
  await alice.tailed(path, content.length, 120_000);
  for (const node of nodes) await node.repaid(30_000);

  for (const node of [bob, alice]) {
    const { code, stdout, stderr } = await node.query(EVERYTHING);
    assertSameBytes(stdout, content);
    assert.match(stderr, /^complete: /);
    assert.equal(code, 0);
  }
  const { receipt } = await bob.receipt(`${EVERYTHING} |= "line 7 "`);
  assert.equal(receipt.complete, true);
  assert.equal(receipt.entries, 1);
  assert.equal(receipt.expected, receipt.read + receipt.pruned + receipt.unneeded);

  for (const victim of nodes) {
    await victim.kill();
    // At once: the others have not noticed yet.
    const witness = nodes.find((node) => node !== victim)!;
    const { code, stdout, stderr } = await witness.query(EVERYTHING);
    assertSameBytes(stdout, content);
    assert.equal(code, 0, stderr);
    await victim.start();
    await mesh.agree(nodes);
  }
});

test('a holder that dies while it sends is replaced in the middle of the answer', async (t) => {
  const mesh = new Mesh(t);
  const path = mesh.path('app.log');
  // More than fits into the pipes between holder, node, command and test.
  const content = numberedLines(0, FULL ? LINES : 3 * LINES);
  // The weights keep the batches away from dave, who is asked.
  const heavy = `${PROMPT}weight: 1000\n`;
  const nodes = await mesh.startAll({
    alice: { files: [path], config: heavy },
    bob: { config: heavy },
    charlie: { config: heavy },
    dave: { config: 'weight: 0.01\n' },
  });
  const [alice, , , dave] = nodes;
  writeFileSync(path, content);
  await alice.tailed(path, content.length, 240_000);
  for (const node of nodes) await node.repaid(60_000);
  assert.equal((await dave.status()).store.batches, 0);
  for (const victim of nodes.slice(0, 3)) {
    let isSending = false;
    const { code, stdout, stderr } = await dave.query(EVERYTHING, {
      onFirstBytes: () => {
        isSending = true;
        void victim.kill();
      },
    });
    assert.ok(isSending);
    assertSameBytes(stdout, content);
    assert.equal(code, 0, stderr);
    await victim.start();
    await mesh.agree(nodes, 30_000);
  }
});
