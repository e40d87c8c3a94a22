import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Verdict } from '../../src/gossip/index.ts';
import { readPreamble } from '../../src/store/index.ts';
import { threeWithCopies } from './copies.ts';
import { type MeshNode, waitFor } from './mesh.ts';

async function verify(
  node: MeshNode,
  ...flags: string[]
): Promise<{ code: number | null; verdict: Verdict }> {
  const { code, stdout, stderr } = await node.command('verify', '--output', 'json', ...flags);
  assert.ok(code === 0 || code === 3, stderr);
  return { code, verdict: JSON.parse(stdout.toString()) as Verdict };
}

/** The largest segment file of what `origin` sealed. */
function segmentFile(node: MeshNode, origin: MeshNode): string {
  const directory = join(node.data, 'segments', origin.peer);
  const paths = readdirSync(directory).map((name) => join(directory, name));
  return paths.sort((a, b) => statSync(b).size - statSync(a).size)[0];
}

function framesIn(path: string): Buffer[] {
  const bytes = readFileSync(path);
  const frames: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += frames.at(-1)!.length) {
    frames.push(bytes.subarray(at, at + readPreamble(bytes.subarray(at))!.frameBytes));
  }
  return frames;
}

test('a mesh proves itself; flipped bits are named and heal; a node that is down leaves it unproven', async (t) => {
  const { nodes } = await threeWithCopies(t);
  const [alice, bob, charlie] = nodes;
  const sound = await alice.command('verify');
  assert.equal(sound.code, 0, sound.stdout.toString() + sound.stderr);
  assert.match(sound.stdout.toString(), /^PROVEN: \d+ batches of 1 origin /);
  assert.match(sound.stdout.toString(), /copies +\d+ batches on 3 disks \(3 wanted\)/);
  assert.doesNotMatch(sound.stdout.toString(), /\x1b/, 'nothing moves the cursor in a pipe');

  const path = segmentFile(bob, alice);
  const before = readFileSync(path);
  const frames = framesIn(path);
  const tampered = Buffer.from(before);
  const offset = frames[0].length + frames[1].length;
  tampered[offset + 2_000] ^= 1;
  const isHealed = (): boolean => readFileSync(path).equals(before);
  const scrubbed = async (): Promise<number> => (await bob.status()).upkeep.scrub.rottenBatches;
  writeFileSync(path, tampered);
  let found = await verify(charlie);
  if ((await scrubbed()) > 0) {
    // The scrub came by first. It has read this file now, and will not for a week.
    await waitFor('the batch to be healed', 30_000, isHealed);
    writeFileSync(path, tampered);
    found = await verify(charlie);
    assert.equal(await scrubbed(), 1);
  }
  assert.equal(found.code, 3);
  assert.deepEqual(
    found.verdict.damaged.map((one) => [one.peer, one.path, one.offset, one.fromSeq, one.quarantined]),
    [[bob.peer, path, offset, 3, true]],
  );
  assert.equal(found.verdict.gapless, true);
  await waitFor('the batch to be healed', 30_000, isHealed);
  assert.equal((await verify(charlie)).code, 0);

  await bob.kill();
  await waitFor('bob to be seen dead', 30_000, async () => (await charlie.alivePeers()).length === 2);
  const away = await verify(charlie, '--since', '1h');
  assert.equal(away.code, 3);
  assert.deepEqual([away.verdict.gapless, away.verdict.unaltered], [true, true]);
  assert.deepEqual(
    away.verdict.unreachable.map(({ peer }) => peer),
    [bob.peer],
  );
});

test('a batch that was cut out of every copy is missing, by its number', async (t) => {
  const { mesh, nodes } = await threeWithCopies(t);
  const [alice, bob] = nodes;
  for (const node of nodes) await node.stop();
  for (const node of nodes) {
    const path = segmentFile(node, alice);
    writeFileSync(path, Buffer.concat(framesIn(path).filter((_, at) => at !== 1)));
  }
  await Promise.all(nodes.map((node) => node.start()));
  await mesh.agree(nodes);
  const { code, verdict } = await verify(bob);
  assert.equal(code, 3);
  assert.deepEqual(
    verdict.missing.map((run) => [run.origin, run.fromSeq, run.toSeq]),
    [[alice.peer, 2, 2]],
  );
  const { stdout } = await bob.command('verify');
  assert.match(stdout.toString(), /^NOT PROVEN: /);
  assert.match(
    stdout.toString(),
    /missing {2}batch 2 of origin \S+ epoch \d+\n +nobody has it, and batch 3 follows it/,
  );
  await waitFor('an alarm that a batch is nowhere', 30_000, async () => {
    const { problems } = await bob.status();
    const alarm = problems.find((problem) => problem.code === 'LV_BATCH_LOST');
    return alarm?.message.startsWith('1 batch is on no disk within reach') ? true : JSON.stringify(problems);
  });
});
