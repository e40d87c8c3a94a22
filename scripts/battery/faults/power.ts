import type { Fault } from '../fault.ts';
import { cannotCut, CutDisk } from '../disks.ts';
import { CONFIG } from '../scene.ts';

export const powerCut: Fault = {
  name: 'power-cut',
  title: 'power cut of one node: everything not fsynced is gone',
  rounds: 50,
  cannot: cannotCut,
  async run(scene) {
    const disk = new CutDisk(scene.mesh.path('cut'));
    scene.mesh.onClose(() => disk.close());
    const usual = { linesPerTurn: 5, config: CONFIG };
    const [victim] = await scene.start({
      'node-1': { ...usual, data: `${disk.path}/data` },
      'node-2': usual,
      'node-3': usual,
    });
    for (const name of ['a', 'b']) scene.load.addPusher(name);
    await scene.rounds(async () => {
      await scene.last(Math.random() * 500);
      disk.cut();
      await scene.last(Math.random() * 300);
      await victim.kill();
      disk.unmount();
      disk.mount();
      await victim.start();
    });
  },
};
