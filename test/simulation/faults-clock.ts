import type { SimHost } from './host.ts';
import type { FaultKind } from './nemesis.ts';

const HOUR_MS = 3_600_000;

/** A clock may have been behind by so much: what it dated then looks older than it is. */
function clockWasBehind(host: SimHost, ms: number): void {
  host.clockBehindMsMax = Math.max(host.clockBehindMsMax, ms);
}

export const CLOCK_FAULTS: FaultKind[] = [
  {
    name: 'clock-jump',
    lastsMs: [5_000, 200_000],
    start({ cluster, chance }) {
      const host = chance.pick(cluster.present);
      const jumpMs = Math.round(chance.between(-1, 1) * chance.pick([2_000, 60_000, HOUR_MS]));
      host.clock.wallOffsetMs += jumpMs;
      clockWasBehind(host, -host.clock.wallOffsetMs);
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
      clockWasBehind(host, host.clockBehindMsMax + 10_000);
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
        clockWasBehind(host, host.clockBehindMsMax + cluster.clock.monotonicMs() - sinceMs);
      };
      return { what: `${host.name}'s wall clock stands still`, end };
    },
  },
];
