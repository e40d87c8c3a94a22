import type { Cluster } from './cluster.ts';
import type { FaultKind } from './nemesis.ts';

const HOUR_MS = 3_600_000;

/** Clocks were wrong by so much: what counts by them may be off by as much. */
function clockWasOff(cluster: Cluster, ms: number): void {
  cluster.clockErrorMs = Math.max(cluster.clockErrorMs, Math.abs(ms));
}

export const CLOCK_FAULTS: FaultKind[] = [
  {
    name: 'clock-jump',
    lastsMs: [5_000, 200_000],
    start({ cluster, chance }) {
      const host = chance.pick(cluster.present);
      const jumpMs = Math.round(chance.between(-1, 1) * chance.pick([2_000, 60_000, HOUR_MS]));
      host.clock.wallOffsetMs += jumpMs;
      clockWasOff(cluster, host.clock.wallOffsetMs);
      const end = (): void => {
        host.clock.wallOffsetMs -= jumpMs;
      };
      return { what: `${host.name}'s wall clock jumps by ${jumpMs} ms`, end };
    },
  },
  {
    name: 'clock-drift',
    lastsMs: [20_000, 200_000],
    start({ cluster, chance }) {
      const host = chance.pick(cluster.present);
      const rate = chance.between(0.97, 1.03);
      host.clock.drift(rate);
      clockWasOff(cluster, cluster.clockErrorMs + 10_000);
      return { what: `${host.name}'s clocks run at ${rate.toFixed(4)}`, end: () => host.clock.drift(1) };
    },
  },
  {
    name: 'clock-stands-still',
    lastsMs: [5_000, 120_000],
    start({ cluster, chance }) {
      const host = chance.pick(cluster.present);
      const sinceMs = cluster.clock.monotonicMs();
      host.clock.standStill();
      const end = (): void => {
        host.clock.goOn();
        clockWasOff(cluster, cluster.clock.monotonicMs() - sinceMs);
      };
      return { what: `${host.name}'s wall clock stands still`, end };
    },
  },
];
