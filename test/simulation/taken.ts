import { batchesIn } from './disk-image.ts';
import type { SimHost } from './host.ts';

/** Where a batch was, of which faults took copies. */
export interface Copies {
  /** Hosts that have it, whole and durable, with all that stands before it. */
  readonly holders: ReadonlySet<SimHost>;
  /** Hosts that would have it, or could use theirs, if a fault had not taken something. */
  readonly taken: ReadonlySet<SimHost>;
}

/** What faults took from which disk. */
export class Taken {
  /** File → host → batches of it that a fault took there, and when it did so last. */
  readonly #byPath = new Map<string, Map<SimHost, Map<string, number>>>();

  note(host: SimHost, path: string, id: string, atMs: number): void {
    const byHost = this.#byPath.get(path) ?? new Map<SimHost, Map<string, number>>();
    this.#byPath.set(path, byHost.set(host, (byHost.get(host) ?? new Map<string, number>()).set(id, atMs)));
  }

  /** When a fault last took that batch from that disk; undefined: none has. */
  atMs(host: SimHost, path: string, id: string): number | undefined {
    return this.#byPath.get(path)?.get(host)?.get(id);
  }

  /** The batches of which copies are gone at this moment, and where the others are. */
  now(present: readonly SimHost[]): ReadonlyMap<string, Copies> {
    const all = new Map<string, Copies>();
    for (const [path, byHost] of this.#byPath) {
      const stored = new Map(present.map((host) => [host, batchesIn(host.disk.durableOf(path) ?? NOTHING)]));
      const ids = new Set([...byHost.values(), ...stored.values()].flatMap((batches) => [...batches.keys()]));
      // What follows a batch may name its streams by it, and is of no use at that host before that one is back.
      const usable = new Map<SimHost, number>();
      for (const host of new Set([...byHost.keys(), ...present])) {
        // Whoever left handed over what it had.
        if (host.leftMs !== undefined) continue;
        const lacks = [...(byHost.get(host)?.keys() ?? [])].filter((id) => !stored.get(host)?.has(id));
        usable.set(host, Math.min(...lacks.map(seqOf)));
      }
      for (const id of ids) {
        const holders = new Set<SimHost>();
        const taken = new Set<SimHost>();
        for (const [host, untilSeq] of usable) {
          if (seqOf(id) >= untilSeq) taken.add(host);
          else if (stored.get(host)?.has(id)) holders.add(host);
        }
        if (taken.size > 0) all.set(id, { holders, taken });
      }
    }
    return all;
  }
}

const NOTHING = Buffer.alloc(0);
const seqOf = (id: string): number => Number(id.slice(id.lastIndexOf('/') + 1));
