import type { DiskImage } from '../helpers/sim-disk.ts';
import { RESERVE_BYTES } from './boot.ts';
import { ACCOUNT_MS } from './checks.ts';
import type { Cluster } from './cluster.ts';
import { forgetParsed } from './disk-image.ts';
import type { SimHost } from './host.ts';
import type { FaultKind } from './nemesis.ts';

/** The mount point stays. */
const EMPTY: DiskImage = new Map<string, 'directory'>([
  ['/', 'directory'],
  ['/data', 'directory'],
]);
const nothing = (): void => undefined;
const isSegment = (path: string): boolean => path.endsWith('.seg');
/** Members that go without a word, for good: from W on, no receipt can be complete before they are forgotten. */
const GONE_FOR_GOOD_MAX = 1;

const goneForGood = (cluster: Cluster): number =>
  cluster.hosts.reduce((sum, { identitiesLost }) => sum + identitiesLost, 0);

const copies = new WeakMap<SimHost, { image: DiskImage; catalog: Map<string, Uint8Array>; madeMs: number }>();

export const DISK_FAULTS: FaultKind[] = [
  {
    name: 'slow-disk',
    lastsMs: [5_000, 60_000],
    start({ cluster, chance }) {
      const host = chance.pick(cluster.present);
      const before = host.syncMs;
      host.syncMs = chance.between(20, 2_000);
      return {
        what: `an fsync takes ${host.syncMs | 0} ms at ${host.name}`,
        end: () => (host.syncMs = before),
      };
    },
  },
  {
    name: 'disk-full',
    lastsMs: [2_000, 60_000],
    start({ cluster, chance }) {
      const host = chance.pick(cluster.present);
      host.disk.spaceBytes = host.disk.usedBytes + chance.below(6_000);
      return { what: `the disk of ${host.name} is full`, end: () => (host.disk.spaceBytes = Infinity) };
    },
  },
  {
    name: 'disk-fills',
    lastsMs: [12_000, 90_000],
    start({ cluster, chance }) {
      const host = chance.pick(cluster.present);
      // Of the reserve: three are left for pushes, two for reading files, one for nothing.
      const steps = [3.5, 2.5, 1.5, 0.5].slice(0, 1 + chance.below(4));
      let isOver = false;
      for (const [at, share] of steps.entries()) {
        cluster.clock.after(at * 3_000, () => {
          if (!isOver) host.disk.spaceBytes = host.disk.usedBytes + share * RESERVE_BYTES;
        });
      }
      const end = (): void => {
        isOver = true;
        host.disk.spaceBytes = Infinity;
      };
      return { what: `the disk of ${host.name} fills up to ${steps.at(-1)} reserves`, end };
    },
  },
  {
    name: 'fsync-error',
    lastsMs: [0, 0],
    start({ cluster, chance }) {
      const host = chance.maybe(cluster.live);
      if (!host) return undefined;
      const process = host.process!;
      const onlySegments = chance.hits(0.7);
      host.disk.failSync = (path) => {
        if (onlySegments && !isSegment(path)) return false;
        host.disk.failSync = () => false;
        if (isSegment(path)) process.sealedAtSyncError = process.core?.store.sealedSeq ?? 0;
        cluster.story.headline(host.name, `an fsync of ${path.split('/').slice(-2).join('/')} fails`);
        cluster.clock.after(chance.between(1_000, 30_000), () => {
          if (process.alive)
            cluster.kill(host, chance.hits(0.5) ? 'process' : 'power', 'after an fsync error');
        });
        return true;
      };
      return { what: `the next fsync at ${host.name} will fail`, end: nothing };
    },
  },
  {
    name: 'older-copy',
    lastsMs: [20_000, 120_000],
    start({ cluster, chance }) {
      const host = chance.maybe(cluster.single);
      if (!host) return undefined;
      const madeMs = cluster.clock.monotonicMs();
      copies.set(host, { image: host.disk.image(), catalog: new Map(host.catalog), madeMs });
      const end = (): void => {
        const copy = copies.get(host);
        if (!copy || host.retired || host.identitiesLost > 0 || host.twin) return;
        cluster.kill(host, 'process', 'its disk is replaced');
        cluster.checks.harm(host, 'gets a disk from an older copy', () => {
          host.disk.restore(copy.image);
          host.catalog = new Map(copy.catalog);
        });
        cluster.checks.setBack(host, copy.madeMs);
      };
      return { what: `a copy is made of the disk of ${host.name}`, end };
    },
  },
  {
    name: 'wiped-disk',
    lastsMs: [0, 0],
    start({ cluster, chance }) {
      if (goneForGood(cluster) >= GONE_FOR_GOOD_MAX) return undefined;
      const host = chance.maybe(cluster.single);
      if (!host) return undefined;
      cluster.kill(host, 'process', 'its disk is wiped');
      cluster.checks.harm(host, 'loses its whole disk', () => {
        host.disk.restore(EMPTY);
        host.catalog = new Map();
      });
      host.identitiesLost++;
      if (host.peer) host.peersLost.push(host.peer);
      host.peer = undefined;
      // The log file was on it too.
      host.file = `${host.name}.${host.identitiesLost}`;
      return { what: `the disk of ${host.name} is wiped`, end: nothing };
    },
  },
  {
    name: 'rot',
    lastsMs: [0, 0],
    start({ cluster, chance }) {
      const host = chance.pick(cluster.present);
      const path = chance.maybe(
        host.disk.files().filter((file) => isSegment(file) && host.disk.durableOf(file)),
      );
      const size = path ? host.disk.durableOf(path)!.length : 0;
      if (!path || size === 0) return undefined;
      const bit = chance.below(size * 8);
      cluster.checks.harm(host, `bit ${bit} of ${path.split('/').slice(-2).join('/')} rots`, () => {
        host.disk.flipBit(path, bit);
        forgetParsed(host.disk, path);
      });
      return { what: `rot on ${host.name}`, end: nothing };
    },
  },
  {
    name: 'misdirected-write',
    lastsMs: [0, 0],
    start({ cluster, chance }) {
      const host = chance.maybe(cluster.live);
      if (!host) return undefined;
      const isTorn = chance.hits(0.5);
      const sound = host.disk.distort;
      host.disk.distort = (path, at, bytes) => {
        if (!isSegment(path)) return { at, bytes };
        host.disk.distort = sound;
        const what = `a write of ${bytes.length} bytes goes ${isTorn ? 'half' : 'astray'}`;
        const account = cluster.checks.beforeHarm(host, what, { path, bytes });
        cluster.clock.after(ACCOUNT_MS, account);
        if (isTorn) return { at, bytes: bytes.subarray(0, chance.below(bytes.length)) };
        return { at: Math.max(0, at - 512 * (1 + chance.below(4))), bytes };
      };
      return { what: `the next write at ${host.name} goes wrong without a word`, end: nothing };
    },
  },
];

export const MEMBER_FAULTS: FaultKind[] = [
  {
    name: 'join',
    lastsMs: [0, 0],
    start({ cluster, chance }) {
      if (cluster.present.length >= cluster.size + 2) return undefined;
      const host = cluster.addHost(chance.pick(cluster.hosts).zone);
      cluster.start(host);
      return { what: `${host.name} joins`, end: nothing };
    },
  },
  {
    name: 'leave',
    lastsMs: [0, 0],
    start({ cluster, chance }) {
      const host = chance.maybe(cluster.live.filter(({ process, twin }) => !process!.leaving && !twin));
      if (!host || cluster.present.length <= Math.max(4, cluster.size - 1)) return undefined;
      if (cluster.present.some(({ process }) => process?.leaving)) return undefined;
      void cluster.leave(host);
      return { what: `${host.name} is told to leave`, end: nothing };
    },
  },
];
