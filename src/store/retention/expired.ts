import { compareInstants, type Instant } from '../batch/index.ts';
import { spanning } from '../segment/index.ts';
import { LIMITS } from '../limits.ts';
import { unionRuns, type Run } from '../runs.ts';

/** Batches that retention took off a disk, a segment's run at a time, with the times of their entries. */
export interface ExpiredRun {
  readonly origin: string;
  readonly epoch: number;
  readonly from: number;
  readonly to: number;
  readonly min: Instant;
  readonly max: Instant;
}

/** What lies between runs of an epoch and need not be told apart from them. */
export type Between = (origin: string, epoch: number) => readonly Run[];

/** Where so many cannot be joined, the oldest are forgotten. */
const RUNS_MAX = LIMITS.expiredRunsMax * 10;
/** That much more before all are looked through again: then each that is added costs a share of it. */
const GROWTH = 1.25;

interface Known {
  readonly run: ExpiredRun;
  /** When it became so, in numbers that rise; 0 while it is added. */
  readonly version: number;
}

interface Epoch {
  readonly origin: string;
  readonly epoch: number;
  /** Ascending, none of which overlap. */
  known: Known[];
  /** The same seqs as few runs as they make; undefined until asked for. */
  seqs: readonly [number, number][] | undefined;
}

/**
 * What retention dropped: remembered, so that nobody takes it for lost, and who dropped it does not fetch it again. Bounded: many
 * runs are joined, over what lies between them only where that is gone as well (docs/decisions/0015).
 */
export class ExpiredRuns {
  readonly #epochs = new Map<string, Epoch>();
  #size = 0;
  #version = 0;
  #joinAbove: number = LIMITS.expiredRunsMax;
  /** Asked when there are too many runs: what they may be joined over. */
  between: () => Between = () => () => [];

  get size(): number {
    return this.#size;
  }

  /** Of the newest run that was added. */
  get version(): number {
    return this.#version;
  }

  get all(): IterableIterator<ExpiredRun> {
    return this.#each();
  }

  *#each(): IterableIterator<ExpiredRun> {
    for (const { known } of this.#epochs.values()) for (const { run } of known) yield run;
  }

  /** Runs of seqs of one epoch, ascending. */
  runs(origin: string, epoch: number): readonly [number, number][] {
    const at = this.#epochs.get(`${origin}/${epoch}`);
    if (!at) return [];
    at.seqs ??= unionRuns(
      at.known.map(({ run }) => [run.from, run.to]),
      [],
    );
    return at.seqs;
  }

  /** Those with any of these seqs in them. */
  *overlapping(origin: string, epoch: number, [from, to]: Run): IterableIterator<ExpiredRun> {
    const known = this.#epochs.get(`${origin}/${epoch}`)?.known ?? [];
    for (let at = firstEndingAt(known, from); at < known.length && known[at].run.from <= to; at++)
      yield known[at].run;
  }

  /** The first `max` that were added after that version, and up to which version they are all. */
  since(version: number, max: number): { runs: ExpiredRun[]; version: number; more: boolean } {
    if (version >= this.#version) return { runs: [], version: this.#version, more: false };
    const news: Known[] = [];
    for (const { known } of this.#epochs.values())
      for (const one of known) if (one.version > version) news.push(one);
    news.sort((a, b) => a.version - b.version);
    const more = news.length > max;
    if (more) news.length = max;
    return { runs: news.map(({ run }) => run), version: more ? news.at(-1)!.version : this.#version, more };
  }

  /** True when something in it was new. */
  add(runs: Iterable<ExpiredRun>): boolean {
    const before = this.#version;
    const byEpoch = Map.groupBy(runs, ({ origin, epoch }) => `${origin}/${epoch}`);
    for (const [key, all] of byEpoch) {
      const added = all.filter(({ from, to }) => from <= to).sort((a, b) => a.from - b.from);
      if (added.length > 0) this.#addTo(key, added);
    }
    if (this.#size > this.#joinAbove) this.#makeFewer();
    return this.#version > before;
  }

  #addTo(key: string, added: readonly ExpiredRun[]): void {
    const { origin, epoch } = added[0];
    let at = this.#epochs.get(key);
    if (!at) this.#epochs.set(key, (at = { origin, epoch, known: [], seqs: undefined }));
    const last = added.reduce((to, run) => Math.max(to, run.to), 0);
    const first = firstEndingAt(at.known, added[0].from);
    let end = first;
    while (end < at.known.length && at.known[end].run.from <= last) end++;
    const touched = at.known.slice(first, end);
    const merged = mergeOverlapping(
      [...touched, ...added.map((run) => ({ run, version: 0 }))].sort((a, b) => a.run.from - b.run.from),
    );
    if (merged.every(({ version }) => version > 0)) return;
    const news = merged.map((one) => (one.version > 0 ? one : { ...one, version: ++this.#version }));
    // Mostly at the end.
    if (end === at.known.length) {
      at.known.length = first;
      for (const one of news) at.known.push(one);
    } else at.known = [...at.known.slice(0, first), ...news, ...at.known.slice(end)];
    at.seqs = undefined;
    this.#size += news.length - touched.length;
  }

  /** Times become those of all that is joined: a receipt may then count more of them than lie in its range. */
  #makeFewer(): void {
    const between = this.between();
    this.#size = 0;
    for (const at of this.#epochs.values()) {
      at.known = join(at.known, between(at.origin, at.epoch));
      at.seqs = undefined;
      this.#size += at.known.length;
    }
    if (this.#size > RUNS_MAX) this.#forgetOldest(this.#size - RUNS_MAX / GROWTH);
    this.#joinAbove = Math.max(LIMITS.expiredRunsMax, Math.min(RUNS_MAX, this.#size * GROWTH));
  }

  /** What is forgotten may be taken for missing, and not the other way round. */
  #forgetOldest(count: number): void {
    let left = Math.ceil(count);
    for (const [key, at] of [...this.#epochs].sort(([, a], [, b]) => a.epoch - b.epoch)) {
      if (left === 0) return;
      const gone = Math.min(left, at.known.length);
      at.known.splice(0, gone);
      if (at.known.length === 0) this.#epochs.delete(key);
      left -= gone;
      this.#size -= gone;
    }
  }
}

/** The place of the first run that ends at `seq` or behind it. */
function firstEndingAt(known: readonly Known[], seq: number): number {
  let [low, high] = [0, known.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (known[middle].run.to < seq) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** `sorted` by their first seq. What covers another stays as it is. */
function mergeOverlapping(sorted: readonly Known[]): Known[] {
  const merged: Known[] = [];
  for (const one of sorted) {
    const last = merged.at(-1);
    if (!last || last.run.to < one.run.from) merged.push(one);
    else if (!covers(last.run, one.run))
      merged[merged.length - 1] = covers(one.run, last.run)
        ? one
        : { run: spanning(last.run, one.run), version: 0 };
  }
  return merged;
}

/** With no more than `between` between those that are joined: whoever was told of them knows all that is new in it. */
function join(known: readonly Known[], between: readonly Run[]): Known[] {
  const joined: Known[] = [];
  let at = 0;
  for (const one of known) {
    const last = joined.at(-1);
    const [from, to] = [(last?.run.to ?? 0) + 1, one.run.from - 1];
    while (at < between.length && between[at][1] < to) at++;
    const isNothing = from > to || (at < between.length && between[at][0] <= from);
    if (!last || !isNothing) joined.push(one);
    else {
      const version = Math.max(last.version, one.version);
      joined[joined.length - 1] = { run: spanning(last.run, one.run), version };
    }
  }
  return joined;
}

function covers(a: ExpiredRun, b: ExpiredRun): boolean {
  const isWithin = a.from <= b.from && b.to <= a.to;
  return isWithin && compareInstants(a.min, b.min) <= 0 && compareInstants(a.max, b.max) >= 0;
}
