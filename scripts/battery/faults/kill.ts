import type { Fault } from '../fault.ts';

export const killOne: Fault = {
  name: 'kill-one',
  title: 'kill −9 of one node',
  rounds: 200,
  async run(scene) {
    await scene.startUsual(3);
    await scene.rounds(async () => {
      const victim = scene.pick(scene.nodes);
      await victim.kill();
      await scene.last(300 + Math.random() * 500);
      await victim.start();
    });
  },
};

export const killAll: Fault = {
  name: 'kill-all',
  title: 'kill −9 of all nodes at once',
  rounds: 50,
  async run(scene) {
    await scene.startUsual(3);
    await scene.rounds(async () => {
      await Promise.all(scene.nodes.map((node) => node.kill()));
      await Promise.all(scene.nodes.map((node) => node.start()));
    });
  },
};
