import type { Cluster } from './cluster.ts';
import type { SimHost } from './host.ts';
import type { FaultKind } from './nemesis.ts';

/** Within so long of both being up and heard, the older run has stopped. */
const FENCED_MS = 30_000;

export const CLONE_FAULTS: FaultKind[] = [
  {
    name: 'cloned-disk',
    lastsMs: [20_000, 90_000],
    start({ cluster, chance }) {
      const host = chance.maybe(cluster.single.filter(({ core, process }) => core && !process!.leaving));
      if (!host || cluster.hosts.some(({ twin }) => twin)) return undefined;
      const copy = cluster.addHost(host.zone);
      copy.disk.restore(host.disk.image());
      copy.catalog = new Map(host.catalog);
      [host.twin, copy.twin] = [copy, host];
      const sinceMs = cluster.clock.monotonicMs();
      const twins = { fromMs: sinceMs, toMs: Infinity };
      cluster.twinsMs.push(twins);
      cluster.start(copy);
      const end = (): void => {
        checkFence(cluster, [host, copy], sinceMs);
        cluster.kill(copy, 'process', 'the copy is taken away');
        cluster.checks.harm(copy, 'and its disk with it', () => copy.disk.restore(NOTHING));
        copy.retired = true;
        [host.twin, copy.twin] = [undefined, undefined];
        twins.toMs = cluster.clock.monotonicMs();
        // The operator restarts the other, as the alarm says.
        void cluster.stop(host);
      };
      return { what: `${copy.name} starts on a copy of the disk of ${host.name}`, end };
    },
  },
];

const NOTHING = new Map<string, 'directory'>([
  ['/', 'directory'],
  ['/data', 'directory'],
]);

/** Of two with one identity, the one that started first acknowledges nothing any more; its data is whole. */
function checkFence(cluster: Cluster, twins: readonly SimHost[], sinceMs: number): void {
  const nowMs = cluster.clock.monotonicMs();
  const wasQuiet =
    cluster.unheard === 0 &&
    cluster.unheardMs + FENCED_MS < nowMs &&
    sinceMs + FENCED_MS < nowMs &&
    cluster.present.every(({ core, process }) => core && process!.startedMs + FENCED_MS < nowMs);
  if (!wasQuiet) return;
  const [older, newer] = twins.toSorted((a, b) => a.core!.store.epoch - b.core!.store.epoch);
  const codeOf = ({ core }: SimHost): string | undefined => core!.store.health.failure?.code;
  if (codeOf(older!) === 'LV_IDENTITY_CONFLICT' && codeOf(newer!) !== 'LV_IDENTITY_CONFLICT') return;
  cluster.story.violated(
    'conflict',
    `${older!.name} and ${newer!.name} run with one identity: ${codeOf(older!)} and ${codeOf(newer!)}`,
    twins.map(({ name }) => name),
  );
}
