import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { numberedLines } from './lines.ts';
import { Mesh, type MeshNode, waitFor } from './mesh.ts';

export const LINES = 50_000;
const BATCHES_MIN = 4;
/** A batch for each block that is read. */
const CONFIG = 'batch: { targetBytes: 128KiB, ageMax: 1s }\n';

export interface Copies {
  readonly mesh: Mesh;
  readonly nodes: readonly MeshNode[];
  readonly content: Buffer;
  readonly batches: number;
}

/** Three nodes with a copy each of all that the first one tailed, in several batches. */
export async function threeWithCopies(t: TestContext): Promise<Copies> {
  const mesh = new Mesh(t);
  const path = mesh.path('app.log');
  const content = numberedLines(0, LINES);
  writeFileSync(path, content);
  const config = CONFIG;
  const nodes = await mesh.startAll({
    alice: { files: [path], config },
    bob: { config },
    charlie: { config },
  });
  await nodes[0].tailed(path, content.length, 60_000);
  for (const node of nodes) await node.repaid(30_000);
  const { batches } = (await nodes[0].status()).store;
  assert.ok(batches >= BATCHES_MIN, `${batches} batches`);
  await allHold(nodes, batches);
  return { mesh, nodes, content, batches };
}

export async function allHold(nodes: readonly MeshNode[], batches: number): Promise<void> {
  for (const node of nodes) {
    await waitFor(`${node.name} to hold ${batches} batches`, 30_000, async () => {
      const { store } = await node.status();
      return store.batches === batches ? true : JSON.stringify(store);
    });
  }
}
