import type { Fault } from '../fault.ts';

export const pauseOne: Fault = {
  name: 'pause',
  title: 'SIGSTOP of one node for 1–15 s, then SIGCONT',
  rounds: 12,
  async run(scene) {
    await scene.startUsual(3);
    await scene.rounds(async () => {
      const victim = scene.pick(scene.nodes);
      process.kill(victim.pid, 'SIGSTOP');
      try {
        await scene.last(1_000 + Math.random() * 14_000);
      } finally {
        process.kill(victim.pid, 'SIGCONT');
      }
    });
  },
};
