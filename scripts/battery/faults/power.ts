import type { Fault } from '../fault.ts';
import { cannotCut, CutDisk } from '../disks.ts';
import { CONFIG } from '../scene.ts';

const NAMES = ['node-1', 'node-2', 'node-3'];

export const powerCut: Fault = {
  name: 'power-cut',
  title: 'power cut of one node: everything not fsynced is gone',
  rounds: 50,
  cannot: cannotCut,
  async run(scene) {
    const disk = new CutDisk(scene.mesh.path('cut'));
    scene.mesh.onClose(() => disk.close());
    const usual = { linesPerTurn: 5, config: CONFIG };
    const [first, ...others] = NAMES;
    const [victim] = await scene.start({
      [first]: { ...usual, data: `${disk.path}/data` },
      ...Object.fromEntries(others.map((name) => [name, usual])),
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

export const powerCutAll: Fault = {
  name: 'power-cut-all',
  title: 'power cut of all nodes at once',
  rounds: 30,
  cannot: cannotCut,
  async run(scene) {
    const disks = NAMES.map((name) => new CutDisk(scene.mesh.path(`cut-${name}`)));
    for (const disk of disks) scene.mesh.onClose(() => disk.close());
    const options = NAMES.map((name, at) => [
      name,
      { linesPerTurn: 5, config: CONFIG, data: `${disks[at].path}/data` },
    ]);
    const nodes = await scene.start(Object.fromEntries(options));
    for (const name of ['a', 'b']) scene.load.addPusher(name);
    await scene.rounds(async () => {
      await scene.last(Math.random() * 500);
      for (const disk of disks) disk.cut();
      await Promise.all(nodes.map((node) => node.kill()));
      for (const disk of disks) {
        disk.unmount();
        disk.mount();
      }
      await Promise.all(nodes.map((node) => node.start()));
    });
  },
};
