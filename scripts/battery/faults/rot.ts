import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { waitFor, type MeshNode } from '../../../test/e2e/mesh.ts';
import type { Fault } from '../fault.ts';
import { median, seconds } from '../result.ts';

const FLIPS = 50;
const HEAL_MS = 180_000;

function segmentFiles(node: MeshNode): string[] {
  const root = join(node.data, 'segments');
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.seg'))
    .map((name) => join(root, name))
    .filter((path) => statSync(path).size > 0);
}

/** In place: a node that is running has the file open. */
function flipBit(path: string, offset: number): void {
  const file = openSync(path, 'r+');
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, offset);
  byte[0] ^= 1 << Math.floor(Math.random() * 8);
  writeSync(file, byte, 0, 1, offset);
  closeSync(file);
}

/** Waits until what was in each file stands there again, byte for byte. */
async function untilSame(node: MeshNode, sound: ReadonlyMap<string, Buffer>): Promise<void> {
  await waitFor(`${node.name} to have its bytes back`, HEAL_MS, () => {
    for (const [path, bytes] of sound)
      if (!readFileSync(path).subarray(0, bytes.length).equals(bytes)) return path;
    return true;
  });
}

export const flips: Fault = {
  name: 'flips',
  title: `${FLIPS} flipped bits in the segments of a running node, then a verification`,
  rounds: 20,
  async run(scene) {
    await scene.startUsual(3);
    let flipped = 0;
    const tookMs: number[] = [];
    await scene.rounds(async () => {
      const victim = scene.pick(scene.nodes);
      const sound = new Map(segmentFiles(victim).map((path) => [path, readFileSync(path)]));
      const bytes = [...sound.values()].reduce((sum, { length }) => sum + length, 0);
      for (let flip = 0; flip < FLIPS; flip++) {
        // Every byte of the disk is as likely to rot as any other.
        let at = Math.floor(Math.random() * bytes);
        for (const [path, { length }] of sound) {
          if (at < length) {
            flipBit(path, at);
            flipped++;
            break;
          }
          at -= length;
        }
      }
      const startedMs = performance.now();
      // Queries find what they read; a scrub comes round once a week, and does what a verification does now.
      await (await fetch(`${victim.httpUrl}/api/v1/verify`)).arrayBuffer();
      await untilSame(victim, sound);
      tookMs.push(performance.now() - startedMs);
    });
    const [medianMs, mostMs] = [median(tookMs), Math.max(...tookMs)];
    scene.result.notes.push(
      `${flipped} bits flipped; the bytes were back after ${seconds(medianMs)} (median), ${seconds(mostMs)} at most`,
    );
  },
};

export const truncated: Fault = {
  name: 'truncated',
  title: 'half of the segments of a node cut somewhere while it is down',
  rounds: 20,
  async run(scene) {
    await scene.startUsual(3);
    await scene.rounds(async () => {
      const victim = scene.pick(scene.nodes);
      await victim.kill();
      const files = segmentFiles(victim);
      for (const path of files)
        if (Math.random() < 0.5) truncateSync(path, Math.floor(Math.random() * statSync(path).size));
      await victim.start();
    });
  },
};
