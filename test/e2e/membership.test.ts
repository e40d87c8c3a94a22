import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { numberedLines } from './lines.ts';
import { assertSameBytes, FULL, Mesh, waitFor } from './mesh.ts';

const NODES = FULL ? 12 : 5;
const EVERYTHING = '{job="logvine"}';
const AGREE_MS = 10_000;
const DEATH_KNOWN_MS = 15_000;

test(`${NODES} nodes agree, a death is known to all, and who comes and goes changes no answer`, async (t) => {
  const mesh = new Mesh(t);
  const path = mesh.path('app.log');
  const content = numberedLines(0, 60_000);
  writeFileSync(path, content);
  const first = await mesh.start('node-1', { files: [path] });
  const others = await Promise.all(
    Array.from({ length: NODES - 1 }, (_, index) => mesh.start(`node-${index + 2}`)),
  );
  let nodes = [first, ...others];
  const ready = performance.now();
  await mesh.agree(nodes, AGREE_MS);
  t.diagnostic(`agreed ${Math.round(performance.now() - ready)} ms after the last one was ready`);
  await first.tailed(path, content.length, 60_000);
  for (const node of nodes) await node.repaid(60_000);
  const assertWhole = async (): Promise<void> => {
    for (const node of nodes.slice(-3)) {
      const { code, stdout, stderr } = await node.query(EVERYTHING);
      assertSameBytes(stdout, content);
      assert.equal(code, 0, stderr);
    }
  };
  await assertWhole();

  const victim = nodes.pop()!;
  await victim.kill();
  await assertWhole();
  const died = performance.now();
  await waitFor('all to know of the death', DEATH_KNOWN_MS, async () => {
    for (const node of nodes) {
      const { members } = await node.status();
      if (members.find(({ peer }) => peer === victim.peer)?.state !== 'dead') return node.name;
    }
    return true;
  });
  t.diagnostic(`the death was known to all ${Math.round(performance.now() - died)} ms after the first query`);
  await victim.start();
  nodes = [...nodes, victim];
  await mesh.agree(nodes, AGREE_MS);
  await assertWhole();

  const newcomer = await mesh.start('newcomer');
  nodes = [...nodes, newcomer];
  await mesh.agree(nodes, AGREE_MS);
  await assertWhole();

  // The origin itself hands over and goes: its lines stay.
  const leaver = nodes.shift()!;
  const left = await leaver.command('leave');
  assert.equal(left.code, 0, left.stderr);
  assert.equal(await leaver.ended(40_000), 0);
  await mesh.agree(nodes, AGREE_MS);
  await assertWhole();
  for (const node of nodes) await node.repaid(60_000);
  // One more that goes without a word leaves every line readable: it was on k disks.
  await nodes.pop()!.kill();
  await assertWhole();
});
