import type { Cluster } from './cluster.ts';
import type { FaultKind } from './nemesis.ts';

/** How much longer so many bytes take from one host to another; by name. */
type LinkDelay = (from: string, to: string, bytes: number) => number;

/** What is wrong with links at present; several faults may lie over each other. */
export class Links {
  readonly #cuts = new Set<(from: string, to: string) => boolean>();
  readonly #delays = new Set<LinkDelay>();

  constructor({ network }: Cluster) {
    network.linkDown = (from, to) => {
      for (const isCut of this.#cuts) if (isCut(from, to)) return true;
      return false;
    };
    network.linkDelayMs = (from, to, bytes) => {
      let ms = 0;
      for (const delay of this.#delays) ms += delay(from, to, bytes);
      return ms;
    };
  }

  cut(isCut: (from: string, to: string) => boolean): () => void {
    this.#cuts.add(isCut);
    return () => this.#cuts.delete(isCut);
  }

  slow(delay: LinkDelay): () => void {
    this.#delays.add(delay);
    return () => this.#delays.delete(delay);
  }
}

/** Of the delays that a slow link may have: what is longer makes it a narrow one instead. */
const NARROW_FROM_MS = 1_500;
const QUEUE_MS_MAX = 5_000;

/** All that a host sends, and all that it is sent, stands in one line each, which is of bounded length. */
function narrow(clock: { monotonicMs(): number }, name: string, bytesPerSecond: number): LinkDelay {
  const freeMs = { out: 0, in: 0 };
  return (from, to, bytes) => {
    if (from !== name && to !== name) return 0;
    const way = from === name ? 'out' : 'in';
    const nowMs = clock.monotonicMs();
    const throughMs = Math.max(nowMs, freeMs[way]) + (bytes / bytesPerSecond) * 1000;
    freeMs[way] = Math.min(throughMs, nowMs + QUEUE_MS_MAX);
    return freeMs[way] - nowMs;
  };
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
      if (ms > NARROW_FROM_MS) {
        const bytesPerSecond = Math.round((ms - NARROW_FROM_MS) * 20 + 2_000);
        const end = links.slow(narrow(cluster.clock, host.name, bytesPerSecond));
        return { what: `${host.name}'s links pass ${bytesPerSecond} bytes a second`, end };
      }
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
