import type { Segment, SegmentId, Store } from '../../store/index.ts';
import { segmentName } from '../../store/index.ts';
import type { PeerId } from '../transport/index.ts';
import { holdingOf, type Holding, type InventoryAnswer } from './inventory.ts';

const SEGMENTS_REMEMBERED_MAX = 1_000_000;

/** What every other peer was last heard to hold, also after it is gone: the mesh's memory of what exists (I9). */
export class HoldingsKnown {
  readonly #byPeer = new Map<PeerId, { instance: string; version: number; holdings: Map<string, Holding> }>();

  versionOf(peer: PeerId): { instance: string; version: number } {
    return this.#byPeer.get(peer) ?? { instance: '', version: 0 };
  }

  /** Takes an answer in; returns the holdings that are new. */
  merge(peer: PeerId, answer: InventoryAnswer): Holding[] {
    let known = this.#byPeer.get(peer);
    // A new process starts counting anew and has told everything: what it no longer names, it no longer holds.
    if (!known || known.instance !== answer.instance) {
      known = { instance: answer.instance, version: 0, holdings: new Map() };
      this.#byPeer.set(peer, known);
    }
    known.version = answer.version;
    for (const holding of answer.holdings) {
      if (known.holdings.size < SEGMENTS_REMEMBERED_MAX) known.holdings.set(segmentName(holding), holding);
    }
    return answer.holdings;
  }

  holding(peer: PeerId, id: SegmentId): Holding | undefined {
    return this.#byPeer.get(peer)?.holdings.get(segmentName(id));
  }

  /** Everything ever heard, by peer. */
  *all(): IterableIterator<[PeerId, Holding]> {
    for (const [peer, { holdings }] of this.#byPeer)
      for (const holding of holdings.values()) yield [peer, holding];
  }

  of(peer: PeerId): IterableIterator<Holding> {
    return (this.#byPeer.get(peer)?.holdings ?? new Map<string, Holding>()).values();
  }

  /** For the disk: what survives a restart of this peer. */
  toJson(): unknown {
    return [...this.#byPeer].map(([peer, { holdings }]) => [peer, [...holdings.values()]]);
  }

  /** Reads `toJson` back. Versions are forgotten, so that each live peer tells everything again. */
  restore(peers: readonly (readonly [PeerId, readonly Holding[]])[]): void {
    for (const [peer, holdings] of peers) {
      const map = new Map(holdings.map((holding) => [segmentName(holding), holding] as const));
      this.#byPeer.set(peer, { instance: '', version: 0, holdings: map });
    }
  }
}

/** This peer's holdings as it would tell them. */
export function* ownHoldings(store: Store): IterableIterator<[Segment, Holding]> {
  for (const segment of store.segments()) {
    if (segment.record.batches.length > 0) yield [segment, holdingOf(store, segment)];
  }
}
