import type { Chance } from './chance.ts';
import type { Cluster } from './cluster.ts';
import { CLOCK_FAULTS } from './faults-clock.ts';
import { CLONE_FAULTS } from './faults-clone.ts';
import { DISK_FAULTS, MEMBER_FAULTS } from './faults-disk.ts';
import { Links, NETWORK_FAULTS } from './faults-network.ts';
import { PROCESS_FAULTS } from './faults-process.ts';

export interface FaultContext {
  readonly cluster: Cluster;
  readonly chance: Chance;
  readonly links: Links;
}

/** One kind of fault. `start` says what it did and how it ends; undefined when there was nothing to do it to. */
export interface FaultKind {
  readonly name: string;
  /** How long one lasts, from and to; 0 for what is over at once. */
  readonly lastsMs: readonly [number, number];
  /** It keeps nodes from hearing each other in time. */
  readonly isDeafening?: true;
  start(context: FaultContext): { what: string; end(): unknown } | undefined;
}

const ALL_FAULTS: readonly FaultKind[] = [
  ...NETWORK_FAULTS,
  ...PROCESS_FAULTS,
  ...CLOCK_FAULTS,
  ...DISK_FAULTS,
  ...MEMBER_FAULTS,
  ...CLONE_FAULTS,
];

/**
 * Makes trouble, as the seed has it. Swarm testing (Groce and others, 2012): each seed takes a random subset of the
 * kinds of faults, each at its own rate, since faults that are always all on hide each other.
 */
export class Nemesis {
  readonly #context: FaultContext;
  readonly #kinds: { readonly kind: FaultKind; readonly meanMs: number }[];
  readonly #under = new Set<() => unknown>();
  #stopped = false;

  constructor(cluster: Cluster, chance: Chance) {
    this.#context = { cluster, chance, links: new Links(cluster) };
    const share = chance.pick([0.15, 0.3, 0.6]);
    const drawn = ALL_FAULTS.filter(() => chance.hits(share));
    this.#kinds = drawn.map((kind) => ({
      kind,
      meanMs: chance.pick([10_000, 30_000, 90_000]),
    }));
    const names = this.#kinds.map(({ kind, meanMs }) => `${kind.name}/${meanMs / 1000}s`);
    cluster.story.headline('nemesis', `kinds: ${names.join(' ') || 'none'}`);
  }

  start(): void {
    for (const { kind, meanMs } of this.#kinds) this.#next(kind, meanMs);
  }

  #next(kind: FaultKind, meanMs: number): void {
    const { cluster, chance } = this.#context;
    cluster.clock.after(chance.exponential(meanMs), () => {
      if (this.#stopped) return;
      const [fromMs, toMs] = kind.lastsMs;
      const lastsMs = fromMs * (toMs / Math.max(1, fromMs)) ** chance.random.unit();
      const fault = kind.start(this.#context);
      if (!fault) return this.#next(kind, meanMs);
      cluster.story.headline('nemesis', `${fault.what}${lastsMs > 0 ? ` for ${lastsMs | 0} ms` : ''}`);
      if (lastsMs === 0) return this.#next(kind, meanMs);
      const end = (): void => {
        if (!this.#under.delete(end)) return;
        cluster.story.headline('nemesis', `over: ${fault.what}`);
        cluster.disturbances--;
        cluster.disturbedMs = cluster.clock.monotonicMs();
        if (kind.isDeafening) {
          cluster.unheard--;
          cluster.unheardMs = cluster.disturbedMs;
        }
        fault.end();
      };
      this.#under.add(end);
      cluster.disturbances++;
      if (kind.isDeafening) cluster.unheard++;
      cluster.clock.after(lastsMs, () => {
        if (this.#stopped) return;
        end();
        this.#next(kind, meanMs);
      });
    });
  }

  /** Ends all faults, and makes no more. */
  stop(): void {
    this.#stopped = true;
    for (const end of this.#under) end();
    for (const { disk } of this.#context.cluster.hosts) {
      disk.changesLeft = Infinity;
      disk.spaceBytes = Infinity;
      disk.failSync = () => false;
      disk.distort = (_path, at, bytes) => ({ at, bytes });
    }
    this.#context.cluster.story.headline('nemesis', 'all faults are over');
  }
}
