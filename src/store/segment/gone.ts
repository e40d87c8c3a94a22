import { compareInstants, type Instant } from '../batch/index.ts';
import { subtractRuns, type Run } from '../runs.ts';
import type { BatchEntry } from './batch-list.ts';

/** Batches of one segment that were somewhere and are not any more: seqs, both ends included, and from when their entries are. */
export interface GoneRun {
  readonly from: number;
  readonly to: number;
  readonly min: Instant;
  readonly max: Instant;
}

export const NOTHING_GONE: readonly GoneRun[] = Object.freeze([]);

export function goneOf(batches: Iterable<BatchEntry>): GoneRun[] {
  return joinGone(Array.from(batches, ({ seq, min, max }) => ({ from: seq, to: seq, min, max })));
}

/** In as few runs as they make, ascending and apart. */
export function joinGone(...lists: (readonly GoneRun[])[]): GoneRun[] {
  const joined: GoneRun[] = [];
  for (const run of lists.flat().sort((a, b) => a.from - b.from)) {
    const last = joined.at(-1);
    if (last && run.from <= last.to + 1) joined[joined.length - 1] = spanning(last, run);
    else joined.push(run);
  }
  return joined;
}

/** The run from the first of both to the last. */
export function spanning<Timed extends GoneRun>(a: Timed, b: Timed): Timed {
  return {
    ...a,
    from: Math.min(a.from, b.from),
    to: Math.max(a.to, b.to),
    min: compareInstants(a.min, b.min) < 0 ? a.min : b.min,
    max: compareInstants(a.max, b.max) > 0 ? a.max : b.max,
  };
}

export function goneSeqs(gone: readonly GoneRun[]): [number, number][] {
  return gone.map(({ from, to }) => [from, to]);
}

/** What is left of it beside `held`, both ascending; the very same where nothing of it is held. */
export function withoutHeld(gone: readonly GoneRun[], held: readonly Run[]): readonly GoneRun[] {
  const left: GoneRun[] = [];
  let at = 0;
  let isLess = false;
  for (const run of gone) {
    while (at < held.length && held[at][1] < run.from) at++;
    let end = at;
    while (end < held.length && held[end][0] <= run.to) end++;
    if (end === at) {
      left.push(run);
      continue;
    }
    isLess = true;
    for (const [from, to] of subtractRuns([[run.from, run.to]], held.slice(at, end)))
      left.push({ ...run, from, to });
    // The last of these may reach into the next run.
    at = end - 1;
  }
  if (!isLess) return gone;
  return left.length > 0 ? left : NOTHING_GONE;
}
