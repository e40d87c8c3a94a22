import type { Tear } from '../helpers/sim-disk.ts';
import type { FaultKind } from './nemesis.ts';

const TEARS: readonly Tear[] = ['lose', 'prefix', 'sectors'];
/** Until all have written down that a member has left. */
const LEAVE_KEPT_MS = 20_000;
const nothing = (): void => undefined;

export const PROCESS_FAULTS: FaultKind[] = [
  {
    name: 'kill',
    lastsMs: [0, 0],
    start({ cluster, chance }) {
      const host = chance.maybe(cluster.live);
      if (!host) return undefined;
      cluster.kill(host, 'process', 'kill -9');
      return { what: `kill -9 ${host.name}`, end: nothing };
    },
  },
  {
    name: 'power',
    lastsMs: [0, 0],
    start({ cluster, chance }) {
      const host = chance.maybe(cluster.live);
      if (!host) return undefined;
      const tear = chance.pick(TEARS);
      cluster.kill(host, 'power', `a power cut (${tear})`, tear);
      return { what: `power cut at ${host.name}`, end: nothing };
    },
  },
  {
    name: 'power-all',
    lastsMs: [0, 0],
    start({ cluster, chance }) {
      if (!chance.hits(0.3)) return undefined;
      for (const host of cluster.hosts) {
        const leftMs = host.leftMs ?? -Infinity;
        if (leftMs + LEAVE_KEPT_MS > cluster.clock.monotonicMs()) host.leftUnnoticed = true;
      }
      for (const host of cluster.live) {
        const tear = chance.pick(TEARS);
        cluster.kill(host, 'power', `a power cut everywhere (${tear})`, tear);
      }
      return { what: 'power cut everywhere', end: nothing };
    },
  },
  {
    name: 'crash-at-step',
    lastsMs: [0, 0],
    start({ cluster, chance }) {
      const host = chance.maybe(cluster.live);
      if (!host) return undefined;
      host.disk.changesLeft = 1 + chance.below(12);
      return {
        what: `${host.name} will die at its durable step ${host.disk.changesLeft} from now`,
        end: nothing,
      };
    },
  },
  {
    name: 'outage',
    isDeafening: true,
    lastsMs: [10_000, 150_000],
    start({ cluster, chance }) {
      const host = chance.maybe(cluster.live);
      if (!host) return undefined;
      host.heldDown = true;
      cluster.kill(host, chance.hits(0.5) ? 'process' : 'power', 'stays down for a while', 'lose');
      return { what: `${host.name} is down for a while`, end: () => cluster.start(host) };
    },
  },
  {
    name: 'pause',
    isDeafening: true,
    lastsMs: [600, 60_000],
    start({ cluster, chance }) {
      const host = chance.maybe(cluster.live);
      if (!host) return undefined;
      const { process } = host;
      host.clock.pause();
      process!.transport!.paused = true;
      const end = (): void => {
        process!.transport!.paused = false;
        host.clock.resume();
      };
      return { what: `${host.name} stands still`, end };
    },
  },
  {
    name: 'restart',
    lastsMs: [0, 0],
    start({ cluster, chance }) {
      const host = chance.maybe(cluster.live);
      if (!host) return undefined;
      void cluster.stop(host);
      return { what: `${host.name} is restarted in good order`, end: nothing };
    },
  },
  {
    name: 'rolling-restart',
    lastsMs: [0, 0],
    start({ cluster, chance }) {
      const gapMs = chance.between(2_000, 20_000);
      for (const [at, host] of cluster.live.entries()) {
        cluster.clock.after(at * gapMs, () => void (host.isUp && cluster.stop(host)));
      }
      return { what: `rolling restart, one every ${gapMs | 0} ms`, end: nothing };
    },
  },
];
