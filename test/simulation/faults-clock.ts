import type { FaultKind } from './nemesis.ts';

const HOUR_MS = 3_600_000;

export const CLOCK_FAULTS: FaultKind[] = [
  {
    name: 'clock-jump',
    lastsMs: [5_000, 200_000],
    start({ cluster, chance }) {
      const host = chance.pick(cluster.present);
      const jumpMs = Math.round(chance.between(-1, 1) * chance.pick([2_000, 60_000, HOUR_MS]));
      host.clock.wallOffsetMs += jumpMs;
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
      return { what: `${host.name}'s clocks run at ${rate.toFixed(4)}`, end: () => host.clock.drift(1) };
    },
  },
];
