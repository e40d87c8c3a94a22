import { Convictions } from '../convictions.ts';
import type { Fault } from '../fault.ts';
import { cannotWire } from '../wire.ts';

const PARTITION_MS = 30_000;
const FLAPS = 8;
const FLAP_MS = 1_500;
const LOSSY_MS = 60_000;

export const partitionFor = (ms: number): Fault => ({
  name: 'partition',
  title: `2 of 5 nodes cut off from the other 3 for ${ms / 1000} s`,
  rounds: 6,
  cannot: cannotWire,
  async run(scene) {
    const { wire } = await scene.startWired(5);
    await scene.rounds(async (round) => {
      const hosts = [0, 1, 2, 3, 4].map((at) => ((at + round) % 5) + 1);
      await wire.partition(hosts.slice(0, 2), hosts.slice(2));
      await scene.last(ms);
      await wire.heal();
    });
  },
});

export const partition = partitionFor(PARTITION_MS);
export const longPartition: Fault = { ...partitionFor(180_000), name: 'partition-long', rounds: 1 };

export const oneWay: Fault = {
  name: 'one-way',
  title: `what one node sends is lost for ${PARTITION_MS / 1000} s, what is sent to it arrives`,
  rounds: 6,
  cannot: cannotWire,
  async run(scene) {
    const { wire } = await scene.startWired(3);
    await scene.rounds(async (round) => {
      const [victim, ...others] = [0, 1, 2].map((at) => ((at + round) % 3) + 1);
      await wire.cutOneWay([victim], others);
      await scene.last(PARTITION_MS);
      await wire.heal();
    });
  },
};

export const flapping: Fault = {
  name: 'flapping',
  title: `a link that goes away ${FLAPS} times for ${FLAP_MS / 1000} s`,
  rounds: 6,
  cannot: cannotWire,
  async run(scene) {
    const { wire } = await scene.startWired(3);
    await scene.rounds(async (round) => {
      const [victim, ...others] = [0, 1, 2].map((at) => ((at + round) % 3) + 1);
      for (let flap = 0; flap < FLAPS; flap++) {
        await wire.partition([victim], others);
        await scene.last(FLAP_MS);
        await wire.heal();
        await scene.last(FLAP_MS);
      }
    });
  },
};

export const lossy: Fault = {
  name: 'lossy',
  title: `5 % of packets lost, 100 ms each way, for ${LOSSY_MS / 1000} s`,
  rounds: 5,
  cannot: cannotWire,
  async run(scene) {
    const { wire } = await scene.startWired(3);
    const convictions = new Convictions(scene);
    await scene.rounds(async () => {
      await wire.degrade(0.05, 100);
      await convictions.during(scene.last(LOSSY_MS));
      await wire.heal();
    });
    convictions.report();
  },
};
