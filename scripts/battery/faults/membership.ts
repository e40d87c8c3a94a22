import { waitFor, type MeshNode } from '../../../test/e2e/mesh.ts';
import type { Fault } from '../fault.ts';
import { CONFIG, type Scene } from '../scene.ts';

const LEAVE_MS = 240_000;

/** The node hands everything over and goes; its file is read to its end before. */
async function leave(scene: Scene, node: MeshNode): Promise<void> {
  const writer = scene.load.writer(node);
  if (writer) {
    writer.stop();
    await waitFor(`${node.name} to have read its file`, LEAVE_MS, async () => {
      await scene.load.learn();
      return writer.isDurable;
    });
  }
  const { code, stderr } = await node.command('leave');
  if (code !== 0) scene.violation(`logvine leave of ${node.name} exits with ${code}: ${stderr.slice(-500)}`);
  await node.ended(LEAVE_MS);
  scene.remove(node);
}

export const rolling: Fault = {
  name: 'rolling',
  title: 'every node replaced by a new one, one after the other, with `leave`',
  rounds: 3,
  isFresh: true,
  async run(scene) {
    const old = await scene.startUsual(3);
    await scene.rounds(async () => {
      for (const [index, node] of old.entries()) {
        await scene.start({ [`node-${index + 4}`]: { linesPerTurn: 5, config: CONFIG } });
        scene.load.resume();
        await leave(scene, node);
      }
    });
  },
};

export const grow: Fault = {
  name: 'grow',
  title: '3 → 10 → 3 nodes under load, with `leave`',
  rounds: 2,
  isFresh: true,
  async run(scene) {
    const first = await scene.startUsual(3);
    await scene.rounds(async () => {
      const names = Array.from({ length: 7 }, (_, index) => `node-${index + 4}`);
      const added: MeshNode[] = [];
      for (const name of names) added.push(...(await scene.start({ [name]: { config: CONFIG } })));
      await scene.moreLines(500);
      // Two of the first go as well, so that most of what there was has to move.
      for (const node of [...first.slice(0, 2), ...added.slice(0, 5)]) await leave(scene, node);
    });
  },
};
