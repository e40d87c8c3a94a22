import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { MeshNode } from '../../../test/e2e/mesh.ts';
import type { Fault } from '../fault.ts';
import { CONFIG } from '../scene.ts';

const MIB = 2 ** 20;
const KEPT_BYTES = 64 * MIB;
/** What may be open, and so cannot go yet, is a segment of each node; and what is written between two sweeps. */
const OVER_BYTES = 3 * 16 * MIB + 24 * MIB;
const WRITTEN_BYTES = 3 * KEPT_BYTES;
const CONFIGURED = `${CONFIG}retention: { bytesMax: 64MiB }\nsegment: { bytesMax: 16MiB }\n`;

function segmentBytes(node: MeshNode): number {
  const root = join(node.data, 'segments');
  let sum = 0;
  for (const name of readdirSync(root, { recursive: true, encoding: 'utf8' }))
    if (name.endsWith('.seg')) sum += statSync(join(root, name), { throwIfNoEntry: false })?.size ?? 0;
  return sum;
}

/** Random lines, so that they take about as much on disk as they have bytes. */
const LINE = { linesPerTurn: 60, paddingBytes: 2_000 };

export const retention: Fault = {
  name: 'retention',
  title: `three times as much written as retention keeps (${KEPT_BYTES / MIB} MiB)`,
  rounds: 1,
  async run(scene) {
    const nodes = await scene.startUsual(3, { ...LINE, config: CONFIGURED });
    scene.ledger.keptMs = 3_000;
    let most = 0;
    await scene.rounds(async () => {
      const enough = WRITTEN_BYTES / LINE.paddingBytes;
      while (scene.ledger.acknowledged < enough) {
        most = Math.max(most, ...nodes.map(segmentBytes));
        await scene.last(500);
      }
      // Retention looks every ten seconds.
      await scene.last(15_000);
    });
    const after = nodes.map((node) => Math.round(segmentBytes(node) / MIB));
    scene.result.notes.push(
      `segments took ${Math.round(most / MIB)} MiB at most, ${after.join(', ')} MiB at the end`,
    );
    if (most > KEPT_BYTES + OVER_BYTES) scene.violation(`segments took ${most} bytes`);
  },
};
