import type { Cluster } from './cluster.ts';
import type { FaultKind } from './nemesis.ts';

/** What is wrong with links at present; several faults may lie over each other. */
export class Links {
  readonly #cuts = new Set<(from: string, to: string) => boolean>();
  readonly #delays = new Set<(from: string, to: string) => number>();

  constructor({ network }: Cluster) {
    network.linkDown = (from, to) => {
      for (const isCut of this.#cuts) if (isCut(from, to)) return true;
      return false;
    };
    network.linkDelayMs = (from, to) => {
      let ms = 0;
      for (const delay of this.#delays) ms += delay(from, to);
      return ms;
    };
  }

  cut(isCut: (from: string, to: string) => boolean): () => void {
    this.#cuts.add(isCut);
    return () => this.#cuts.delete(isCut);
  }

  slow(delay: (from: string, to: string) => number): () => void {
    this.#delays.add(delay);
    return () => this.#delays.delete(delay);
  }
}

const names = (hosts: readonly { name: string }[]): Set<string> => new Set(hosts.map(({ name }) => name));
const listed = (set: Set<string>): string => [...set].join(' ');

export const NETWORK_FAULTS: FaultKind[] = [
  {
    name: 'partition',
    isDeafening: true,
    lastsMs: [2_000, 120_000],
    start({ cluster, chance, links }) {
      const hosts = chance.shuffled(cluster.present);
      const side = names(hosts.slice(0, 1 + chance.below(hosts.length - 1)));
      const end = links.cut((from, to) => side.has(from) !== side.has(to));
      return { what: `partition: ${listed(side)} | the others`, end };
    },
  },
  {
    name: 'one-way',
    isDeafening: true,
    lastsMs: [2_000, 60_000],
    start({ cluster, chance, links }) {
      const hosts = chance.shuffled(cluster.present);
      const side = names(hosts.slice(0, 1 + chance.below(hosts.length - 1)));
      const end = links.cut((from, to) => side.has(from) && !side.has(to));
      return { what: `one-way: nothing gets out of ${listed(side)}`, end };
    },
  },
  {
    name: 'bridge',
    isDeafening: true,
    lastsMs: [2_000, 60_000],
    start({ cluster, chance, links }) {
      const [bridge, ...hosts] = chance.shuffled(cluster.present);
      const side = names(hosts.slice(0, 1 + chance.below(hosts.length - 1)));
      const end = links.cut(
        (from, to) => from !== bridge!.name && to !== bridge!.name && side.has(from) !== side.has(to),
      );
      return { what: `bridge: ${listed(side)} reach the others only through ${bridge!.name}`, end };
    },
  },
  {
    name: 'link',
    isDeafening: true,
    lastsMs: [1_000, 90_000],
    start({ cluster, chance, links }) {
      const [a, b] = chance.shuffled(cluster.present);
      const pair = names([a!, b!]);
      return {
        what: `no link between ${listed(pair)}`,
        end: links.cut((from, to) => pair.has(from) && pair.has(to)),
      };
    },
  },
  {
    name: 'flapping',
    isDeafening: true,
    lastsMs: [5_000, 60_000],
    start({ cluster, chance, links }) {
      const host = chance.pick(cluster.present);
      const periodMs = chance.between(300, 6_000);
      const isCut = (from: string, to: string): boolean =>
        (from === host.name || to === host.name) &&
        Math.floor(cluster.clock.monotonicMs() / periodMs) % 2 === 0;
      return { what: `${host.name} is flapping every ${periodMs | 0} ms`, end: links.cut(isCut) };
    },
  },
  {
    name: 'slow-link',
    isDeafening: true,
    lastsMs: [5_000, 120_000],
    start({ cluster, chance, links }) {
      const host = chance.pick(cluster.present);
      const ms = chance.between(20, 3_000);
      const end = links.slow((from, to) => (from === host.name || to === host.name ? ms : 0));
      return { what: `${host.name}'s links are ${ms | 0} ms slower`, end };
    },
  },
  {
    name: 'loss',
    isDeafening: true,
    lastsMs: [5_000, 120_000],
    start({ cluster: { network }, chance }) {
      network.faults.lossShare = chance.between(0.01, 0.3);
      return {
        what: `${(network.faults.lossShare * 100) | 0} % loss`,
        end: () => (network.faults.lossShare = 0),
      };
    },
  },
  {
    name: 'delay',
    isDeafening: true,
    lastsMs: [5_000, 120_000],
    start({ cluster: { network }, chance }) {
      network.faults.delayMsMax = chance.between(20, 800);
      return {
        what: `delays up to ${network.faults.delayMsMax | 0} ms, out of order`,
        end: () => (network.faults.delayMsMax = 5),
      };
    },
  },
  {
    name: 'duplicates',
    lastsMs: [5_000, 120_000],
    start({ cluster: { network }, chance }) {
      network.faults.duplicateShare = chance.between(0.1, 0.9);
      return { what: 'topic messages come twice', end: () => (network.faults.duplicateShare = 0) };
    },
  },
];
