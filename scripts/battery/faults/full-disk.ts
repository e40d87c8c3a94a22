import { rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cannotMount, SmallDisk } from '../disks.ts';
import type { Fault } from '../fault.ts';
import { CONFIG, type Scene } from '../scene.ts';

const DISK_BYTES = 64 * 1024 * 1024;
const FULL_MS = 12_000;

/** The victim reads a file, takes pushes, and keeps copies of others: all of that meets the end of the disk. */
async function fill(scene: Scene, diskReserve: string): Promise<void> {
  const disk = new SmallDisk(scene.mesh.path('small'), DISK_BYTES);
  scene.mesh.onClose(() => disk.close());
  const usual = { linesPerTurn: 10, config: CONFIG };
  await scene.start({
    'node-1': { ...usual, data: join(disk.path, 'data'), config: `${CONFIG}diskReserve: ${diskReserve}\n` },
    'node-2': usual,
    'node-3': usual,
  });
  for (const name of ['a', 'b']) scene.load.addPusher(name);
  const filler = join(disk.path, 'filler');
  await scene.rounds(async (round) => {
    // Sometimes a little is left, so that a write fits in part.
    fillUp(disk.path, filler, round % 2 === 0 ? 0 : 20_000);
    await scene.last(FULL_MS);
    rmSync(filler);
  });
}

function fillUp(directory: string, filler: string, leftBytes: number): void {
  const { bavail, bsize } = statfsSync(directory);
  try {
    writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - leftBytes)));
  } catch (error) {
    // The node has written meanwhile: all the fuller.
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}

export const diskFull: Fault = {
  name: 'disk-full',
  title: `the disk of one node full for ${FULL_MS / 1000} s, with a reserve`,
  rounds: 8,
  cannot: cannotMount,
  run: (scene) => fill(scene, '1GiB'),
};

export const noSpace: Fault = {
  name: 'enospc',
  title: `the disk of one node full for ${FULL_MS / 1000} s, without a reserve: writes fail`,
  rounds: 8,
  cannot: cannotMount,
  run: (scene) => fill(scene, '0'),
};
