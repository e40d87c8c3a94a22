import { globSync } from 'node:fs';
import type { Fault } from '../fault.ts';

const LIBRARIES = ['/usr/lib/*/faketime/libfaketime.so.1', '/usr/lib*/faketime/libfaketime.so.1'];

function library(): string | undefined {
  return globSync(LIBRARIES)[0];
}

export const clock: Fault = {
  name: 'clock',
  title: 'the clock of one node an hour ahead or behind, from one start to the next',
  rounds: 12,
  cannot: () => (library() === undefined ? 'libfaketime is not installed' : undefined),
  async run(scene) {
    await scene.startUsual(3);
    await scene.rounds(async (round) => {
      const victim = scene.nodes[round % scene.nodes.length];
      await victim.kill();
      const offset = ['+3600s', '-3600s', '+0s'][Math.floor(Math.random() * 3)];
      victim.environment = {
        LD_PRELOAD: library()!,
        FAKETIME: offset,
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
        DONT_FAKE_MONOTONIC: '1',
      };
      await victim.start();
    });
  },
};
