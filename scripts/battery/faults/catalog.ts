import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Fault } from '../fault.ts';

/** Ways to lose an index. */
const WAYS: readonly ((directory: string) => void)[] = [
  (directory) => rmSync(directory, { recursive: true }),
  (directory) => {
    for (const path of filesIn(directory)) {
      const bytes = readFileSync(path);
      for (let flip = 0; flip < 8 && bytes.length > 0; flip++)
        bytes[Math.floor(Math.random() * bytes.length)] ^= 1 << Math.floor(Math.random() * 8);
      writeFileSync(path, bytes);
    }
  },
  (directory) => {
    for (const path of filesIn(directory))
      if (Math.random() < 0.5) truncateSync(path, Math.floor(Math.random() * readFileSync(path).length));
  },
  (directory) => {
    for (const path of filesIn(directory)) if (Math.random() < 0.5) rmSync(path);
  },
  (directory) => writeFileSync(join(directory, 'CURRENT'), 'MANIFEST-999999\n'),
];

function filesIn(directory: string): string[] {
  return readdirSync(directory).map((name) => join(directory, name));
}

export const catalog: Fault = {
  name: 'catalog',
  title: 'catalog of a node deleted, flipped, cut or in part deleted',
  rounds: 50,
  async run(scene) {
    await scene.startUsual(3);
    await scene.rounds(async (round) => {
      const victim = scene.pick(scene.nodes);
      await victim.kill();
      WAYS[round % WAYS.length](join(victim.data, 'catalog'));
      await victim.start();
    });
  },
};
