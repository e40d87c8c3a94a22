import {
  countRuns,
  intersectRuns,
  subtractRuns,
  unionRuns,
  type Run,
  type Store,
} from '../../store/index.ts';
import type { PeerId } from '../transport/index.ts';
import { placeable, placeableUp, type MeshView } from '../view.ts';
import { ownHoldings, type HoldingsKnown } from './knowledge.ts';

export interface Debt {
  readonly batchesBelowK: number;
  readonly bytesBelowK: number;
}

interface DebtOptions {
  readonly view: MeshView;
  readonly store: Store;
  readonly known: HoldingsKnown;
  readonly replicas: number;
}

/**
 * Batches that are on fewer than k peers, as far as this peer knows: its own, and those of origins that are away. A segment
 * of which retention dropped anything anywhere is owed to nobody.
 */
export function debtOf({ view, store, known, replicas }: DebtOptions): Debt {
  const members = view.members();
  const alive = new Set(placeableUp(members).map(({ peer }) => peer));
  const wanted = Math.min(replicas, placeable(members).length);
  let batchesBelowK = 0;
  let bytesBelowK = 0;
  for (const [segment, holding] of ownHoldings(store)) {
    const { origin, epoch } = holding;
    if (origin !== view.self && alive.has(origin as PeerId)) continue;
    // Who has dropped the first batches of a segment cannot take the others: they may name their streams by those.
    const expired = unionRuns(known.expired.runs(origin, epoch), store.dropped.expired.runs(origin, epoch));
    if (intersectRuns(holding.runs, expired).length > 0) continue;
    const copies: Run[][] = [];
    for (const [peer, { runs }] of known.holders(segment.id))
      if (peer !== view.self && alive.has(peer)) copies.push(runs);
    // How many others each batch needs, as runs: below k when fewer than wanted − 1 of the others have it.
    const short = shortRuns(holding.runs, copies, wanted - 1);
    batchesBelowK += countRuns(short);
    for (const [from, to] of short)
      for (let seq = from; seq <= to; seq++) bytesBelowK += segment.entry(seq)?.frameBytes ?? 0;
  }
  return { batchesBelowK, bytesBelowK };
}

/** The part of `runs` that fewer than `needed` of `copies` have. */
export function shortRuns(
  runs: readonly Run[],
  copies: readonly (readonly Run[])[],
  needed: number,
): [number, number][] {
  if (needed <= 0) return [];
  // covered[i] = what at least i + 1 of the copies have.
  let covered: [number, number][][] = Array.from({ length: needed }, () => []);
  for (const copy of copies) {
    const next = covered.map((level) => level);
    for (let level = needed - 1; level >= 0; level--) {
      const gained = level === 0 ? (copy as [number, number][]) : intersectRuns(covered[level - 1], copy);
      next[level] = unionRuns(covered[level], gained);
    }
    covered = next;
  }
  return subtractRuns(runs, covered[needed - 1]);
}
