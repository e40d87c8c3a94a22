import assert from 'node:assert/strict';
import {
  appendFileSync,
  cpSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { allHold, LINES, threeWithCopies, type Copies } from './copies.ts';
import { numberedLines } from './lines.ts';
import { assertSameBytes, type MeshNode } from './mesh.ts';

const EVERYTHING = '{job="logvine"}';

async function assertWhole({ nodes, content }: Copies): Promise<void> {
  for (const node of nodes) {
    const { code, stdout, stderr } = await node.query(EVERYTHING);
    assertSameBytes(stdout, content);
    assert.equal(code, 0, stderr);
  }
}

/** Segment files of a node, the largest first. */
function segmentFiles(node: MeshNode): string[] {
  const root = join(node.data, 'segments');
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.seg'))
    .map((name) => join(root, name))
    .sort((a, b) => statSync(b).size - statSync(a).size);
}

function flipBit(path: string, offset: number): void {
  const bytes = readFileSync(path);
  bytes[offset] ^= 1;
  writeFileSync(path, bytes);
}

test('a node whose catalog was deleted gives the same answers', async (t) => {
  const the = await threeWithCopies(t);
  for (const node of the.nodes) {
    await node.stop();
    rmSync(join(node.data, 'catalog'), { recursive: true });
    await node.start();
  }
  await the.mesh.agree(the.nodes);
  await allHold(the.nodes, the.batches);
  await assertWhole(the);
  // Without the others: its own copies do.
  await the.nodes[2].stop();
  await the.nodes[1].stop();
  const { stdout } = await the.nodes[0].query(EVERYTHING);
  assertSameBytes(stdout, the.content);
});

for (const [role, index] of [
  ['the origin', 0],
  ['an owner', 1],
] as const) {
  test(`damage to a segment of ${role} is never served, and heals; bytes cut off it are fetched again`, async (t) => {
    const the = await threeWithCopies(t);
    const node = the.nodes[index];
    const path = segmentFiles(node)[0];
    const sound = readFileSync(path);
    const assertHealed = async (): Promise<void> => {
      await allHold(the.nodes, the.batches);
      assertSameBytes(readFileSync(path), sound);
    };

    // While it runs.
    flipBit(path, Math.floor(sound.length / 2));
    await assertWhole(the);
    await assertHealed();

    // While it is down, in what begins the segment; behind its end, garbage.
    await node.kill();
    flipBit(path, 200);
    appendFileSync(path, Buffer.alloc(5000, 'LV garbage '));
    await node.start();
    await the.mesh.agree(the.nodes);
    await assertWhole(the);
    await assertHealed();

    // Cut off while it is down.
    await node.kill();
    truncateSync(path, Math.floor(sound.length / 2));
    await node.start();
    await the.mesh.agree(the.nodes);
    await assertWhole(the);
    await assertHealed();
  });
}

test('an origin whose disk goes back in time reads no line a second time', async (t) => {
  const the = await threeWithCopies(t);
  const [alice, bob] = the.nodes;
  await alice.kill();
  const image = `${alice.data}.image`;
  cpSync(alice.data, image, { recursive: true });
  await alice.start();
  const path = the.mesh.path('app.log');
  const more = numberedLines(LINES, 2 * LINES);
  appendFileSync(path, more);
  const whole = Buffer.concat([the.content, more]);
  await alice.tailed(path, whole.length, 60_000);
  await alice.kill();
  rmSync(alice.data, { recursive: true });
  renameSync(image, alice.data);
  await alice.start();
  await the.mesh.agree(the.nodes);
  const last = Buffer.from(`line ${2 * LINES} after all that\n`);
  appendFileSync(path, last);
  await alice.tailed(path, whole.length + last.length, 60_000);
  const { code, stdout, stderr } = await bob.query(EVERYTHING);
  assertSameBytes(stdout, Buffer.concat([whole, last]));
  assert.equal(code, 0, stderr);
});
