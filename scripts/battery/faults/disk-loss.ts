import { cpSync, renameSync, rmSync } from 'node:fs';
import { waitFor } from '../../../test/e2e/mesh.ts';
import type { Fault } from '../fault.ts';
import { CONFIG } from '../scene.ts';

/** Copies are made anew soon: a round need not wait ten minutes. */
const IMPATIENT = `${CONFIG}repairDelay: 5s\n`;

export const wiped: Fault = {
  name: 'wiped',
  title: 'data and logs of a node deleted while it is down; it comes back empty',
  rounds: 10,
  isFresh: true,
  async run(scene) {
    await scene.startUsual(4, { config: IMPATIENT });
    await scene.rounds(async () => {
      const victim = scene.pick(scene.nodes);
      await victim.kill();
      scene.destroyDisk(victim);
      await victim.start();
    });
  },
};

export const ownerLost: Fault = {
  name: 'owner-lost',
  title: 'W − 1 owners and their disks gone for good, right after an acknowledgement',
  rounds: 10,
  isFresh: true,
  async run(scene) {
    await scene.startUsual(5, { config: IMPATIENT });
    await scene.rounds(async () => {
      const victim = scene.pick(scene.nodes);
      const before = scene.ledger.acknowledged;
      while (scene.ledger.acknowledged === before) await scene.last(1);
      await victim.kill();
      scene.destroyDisk(victim);
      scene.remove(victim);
    });
  },
};

export const restored: Fault = {
  name: 'restored',
  title: 'an older copy of its disk put back under a node',
  rounds: 10,
  isFresh: true,
  async run(scene) {
    await scene.startUsual(3);
    await scene.rounds(async () => {
      const victim = scene.pick(scene.nodes);
      const image = `${victim.data}.image`;
      await victim.kill();
      cpSync(victim.data, image, { recursive: true });
      await victim.start();
      await scene.moreLines(300);
      await victim.kill();
      rmSync(victim.data, { recursive: true });
      renameSync(image, victim.data);
      await victim.start();
    });
  },
};

export const cloned: Fault = {
  name: 'cloned',
  title: 'the disk of a node copied, and a second node started on the copy',
  rounds: 10,
  isFresh: true,
  async run(scene) {
    await scene.startUsual(3);
    await scene.rounds(async () => {
      const original = scene.pick(scene.nodes);
      const copy = `${original.data}-copy`;
      await original.kill();
      cpSync(original.data, copy, { recursive: true });
      await original.start();
      await scene.moreLines(100);
      const clone = await scene.mesh.start('clone', { data: copy, config: CONFIG });
      await waitFor('somebody to say that there are two', 30_000, async () => {
        const { problems } = await original.status();
        const names = problems.map(({ code }) => code);
        return names.includes('LV_IDENTITY_CONFLICT') ? true : names.join();
      });
      await scene.last(3_000);
      await clone.kill();
      await original.kill();
      rmSync(copy, { recursive: true });
      await original.start();
    });
  },
};
