/** Sets of seqs as ascending, disjoint, non-adjacent runs with both ends included. */
export type Run = readonly [number, number];

export function unionRuns(a: readonly Run[], b: readonly Run[]): [number, number][] {
  const all = [...a, ...b].sort((x, y) => x[0] - y[0]);
  const union: [number, number][] = [];
  for (const [from, to] of all) {
    const last = union.at(-1);
    if (last && from <= last[1] + 1) last[1] = Math.max(last[1], to);
    else union.push([from, to]);
  }
  return union;
}

/** What is in `a` and not in `b`. */
export function subtractRuns(a: readonly Run[], b: readonly Run[]): [number, number][] {
  const left: [number, number][] = [];
  let at = 0;
  for (const [from, to] of a) {
    let start = from;
    while (at < b.length && b[at][1] < start) at++;
    for (let i = at; i < b.length && b[i][0] <= to; i++) {
      if (b[i][0] > start) left.push([start, b[i][0] - 1]);
      start = Math.max(start, b[i][1] + 1);
    }
    if (start <= to) left.push([start, to]);
  }
  return left;
}

/** Whether all of `a` is in `b`: as `subtractRuns`, without making anything. */
export function areWithin(a: readonly Run[], b: readonly Run[]): boolean {
  let at = 0;
  for (const [from, to] of a) {
    while (at < b.length && b[at][1] < from) at++;
    if (at === b.length || b[at][0] > from || b[at][1] < to) return false;
  }
  return true;
}

export function intersectRuns(a: readonly Run[], b: readonly Run[]): [number, number][] {
  return subtractRuns(a, subtractRuns(a, b));
}

export function countRuns(runs: readonly Run[]): number {
  let count = 0;
  for (const [from, to] of runs) count += to - from + 1;
  return count;
}
