import { compareInstants, type Instant } from '../batch/index.ts';
import { LIMITS } from '../limits.ts';
import { unionRuns } from '../runs.ts';

/** Batches that retention took off a disk, a segment's run at a time, with the times of their entries. */
export interface ExpiredRun {
  readonly origin: string;
  readonly epoch: number;
  readonly from: number;
  readonly to: number;
  readonly min: Instant;
  readonly max: Instant;
}

/** Neighbours are joined before that; then there are as many origins and epochs. */
const RUNS_MAX = LIMITS.expiredRunsMax * 10;

/** What retention dropped: remembered, so that nobody takes it for lost, and who dropped it does not fetch it again. */
export class ExpiredRuns {
  #runs = new Map<string, ExpiredRun>();
  readonly #byEpoch = new Map<string, [number, number][]>();

  get all(): IterableIterator<ExpiredRun> {
    return this.#runs.values();
  }

  /** Runs of seqs of one epoch, ascending. */
  runs(origin: string, epoch: number): readonly [number, number][] {
    return this.#byEpoch.get(`${origin}/${epoch}`) ?? [];
  }

  /** True when something in it was new. */
  add(runs: Iterable<ExpiredRun>): boolean {
    const before = this.#runs.size;
    for (const run of runs) {
      const { origin, epoch, from, to } = run;
      // Bounded, also where one peer expired much of many origins: what is not remembered is taken for missing.
      if (from > to || this.#runs.size >= RUNS_MAX) continue;
      const key = `${origin}/${epoch}/${from}-${to}`;
      if (this.#runs.has(key)) continue;
      this.#runs.set(key, run);
      const byEpoch = `${origin}/${epoch}`;
      this.#byEpoch.set(byEpoch, unionRuns(this.#byEpoch.get(byEpoch) ?? [], [[from, to]]));
    }
    const changed = this.#runs.size > before;
    if (this.#runs.size > LIMITS.expiredRunsMax) this.#joinNeighbours();
    return changed;
  }

  /** Their times become those of both: a receipt may then count more of them than lie in its range. */
  #joinNeighbours(): void {
    const sorted = [...this.#runs.values()].sort((a, b) =>
      a.origin < b.origin ? -1 : a.origin > b.origin ? 1 : a.epoch - b.epoch || a.from - b.from,
    );
    const joined: ExpiredRun[] = [];
    for (const run of sorted) {
      const last = joined.at(-1);
      if (!last || last.origin !== run.origin || last.epoch !== run.epoch || last.to + 1 < run.from) {
        joined.push(run);
        continue;
      }
      const min = compareInstants(last.min, run.min) < 0 ? last.min : run.min;
      const max = compareInstants(last.max, run.max) > 0 ? last.max : run.max;
      joined[joined.length - 1] = { ...last, to: Math.max(last.to, run.to), min, max };
    }
    this.#runs = new Map(joined.map((run) => [`${run.origin}/${run.epoch}/${run.from}-${run.to}`, run]));
  }
}
