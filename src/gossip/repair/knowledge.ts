import { isDeepStrictEqual } from 'node:util';
import {
  ExpiredRuns,
  LIMITS,
  segmentName,
  subtractRuns,
  unionRuns,
  type Between,
  type Run,
  type Segment,
  type SegmentId,
  type Store,
} from '../../store/index.ts';
import type { PeerId } from '../transport/index.ts';
import {
  holdingOf,
  type Holding,
  type HoldingsSaved,
  type InventoryAnswer,
  type InventoryVersion,
} from './inventory.ts';

const SEGMENTS_REMEMBERED_MAX = 100_000;
/** Holdings and runs in one piece for the disk. */
const PIECE_ITEMS = 2_000;

interface PeerKnown {
  instance: string;
  version: number;
  expiredVersion: number;
  readonly segments: Set<string>;
  /** Of its holdings; undefined since they changed. */
  bytes: number | undefined;
}

/** What was heard of one run of an origin, as it was at one moment: it does not change any more. */
export interface RunKnown {
  readonly origin: string;
  readonly epoch: number;
  /** All seqs that anybody was heard to hold. */
  readonly runs: readonly Run[];
  /** Who holds what, by segment. */
  readonly segments: readonly ReadonlyMap<PeerId, Holding>[];
}

interface RunNames {
  readonly origin: string;
  readonly epoch: number;
  /** Of the segments that anybody holds. */
  readonly names: Set<string>;
  /** What was last told of it; undefined since it changed. */
  told: RunKnown | undefined;
}

const NOBODY: ReadonlyMap<PeerId, Holding> = new Map();

/** What every other peer was last heard to hold, also after it is gone: the mesh's memory of what exists (I9). */
export class HoldingsKnown {
  /** What retention dropped anywhere. */
  readonly expired = new ExpiredRuns();
  readonly #peers = new Map<PeerId, PeerKnown>();
  /** Who holds what, by segment. A change makes a new map: what was told stays as it was. */
  readonly #segments = new Map<string, ReadonlyMap<PeerId, Holding>>();
  readonly #runs = new Map<string, RunNames>();
  readonly #ids = new Map<string, string>();

  versionOf(peer: PeerId): InventoryVersion {
    const { instance, version, expiredVersion } = this.#peers.get(peer) ?? knownOf(new Set());
    return { instance, version, expiredVersion };
  }

  /** Takes an answer in; returns the holdings that are new. */
  merge(peer: PeerId, answer: InventoryAnswer): Holding[] {
    let known = this.#peers.get(peer);
    // A new process starts counting anew and has told everything: what it no longer names, it no longer holds.
    if (!known || known.instance !== answer.instance) {
      if (known) for (const name of known.segments) this.#forget(peer, name);
      known = { ...knownOf(new Set()), instance: answer.instance };
      this.#peers.set(peer, known);
    }
    known.bytes = undefined;
    known.version = answer.version;
    known.expiredVersion = answer.expiredVersion;
    for (const id of answer.removed) {
      known.segments.delete(segmentName(id));
      this.#forget(peer, segmentName(id));
    }
    for (const holding of answer.holdings) this.#remember(peer, known, holding);
    this.expired.add(answer.expired);
    return answer.holdings;
  }

  #remember(peer: PeerId, known: PeerKnown, holding: Holding): void {
    const name = segmentName(holding);
    if (known.segments.size >= SEGMENTS_REMEMBERED_MAX && !known.segments.has(name)) return;
    known.segments.add(name);
    const holders = this.#segments.get(name) ?? NOBODY;
    this.#setHolders(name, holding, new Map(holders).set(peer, this.#sharedWith(holders, holding)));
  }

  /** There may be a million: copies of a finished segment are told in the same words, and mostly of the same peers. */
  #sharedWith(holders: ReadonlyMap<PeerId, Holding>, holding: Holding): Holding {
    for (const other of holders.values()) if (isDeepStrictEqual(other, holding)) return other;
    const origin = this.#shared(holding.origin);
    return { ...holding, origin, owners: holding.owners.map((owner) => this.#shared(owner)) };
  }

  /** Each message brings texts of its own. */
  #shared(id: string): string {
    const known = this.#ids.get(id);
    if (known !== undefined) return known;
    if (this.#ids.size >= LIMITS.membersMax) this.#ids.clear();
    this.#ids.set(id, id);
    return id;
  }

  #forget(peer: PeerId, name: string): void {
    const holders = new Map(this.#segments.get(name));
    const holding = holders.get(peer);
    if (!holding) return;
    holders.delete(peer);
    this.#setHolders(name, holding, holders);
  }

  #setHolders(name: string, { origin, epoch }: SegmentId, holders: ReadonlyMap<PeerId, Holding>): void {
    const key = `${origin}/${epoch}`;
    let run = this.#runs.get(key);
    if (!run) this.#runs.set(key, (run = { origin, epoch, names: new Set(), told: undefined }));
    run.told = undefined;
    if (holders.size > 0) {
      this.#segments.set(name, holders);
      run.names.add(name);
      return;
    }
    this.#segments.delete(name);
    run.names.delete(name);
    if (run.names.size === 0) this.#runs.delete(key);
  }

  /** Peers that were heard to hold anything. */
  peers(): PeerId[] {
    return [...this.#peers.keys()];
  }

  /**
   * A peer is gone for good, and membership has forgotten it. Of its holdings stays what is known of nobody else, nor held in
   * `store`, nor expired: that exists, and is missing (I9). The rest goes, so that this memory does not grow with every peer
   * that was ever replaced.
   */
  forget(peer: PeerId, store: Pick<Store, 'segment'>): void {
    const known = this.#peers.get(peer);
    if (!known) return;
    for (const name of known.segments) {
      const holders = this.#segments.get(name)!;
      const holding = holders.get(peer)!;
      const { origin, epoch } = holding;
      let left = subtractRuns(holding.runs, store.segment(holding)?.intervals() ?? []);
      left = subtractRuns(left, this.expired.runs(origin, epoch));
      for (const [other, { runs }] of holders) if (other !== peer) left = subtractRuns(left, runs);
      if (left.length > 0)
        this.#setHolders(name, holding, new Map(holders).set(peer, { ...holding, runs: left }));
      else {
        known.segments.delete(name);
        this.#forget(peer, name);
      }
    }
    if (known.segments.size === 0) this.#peers.delete(peer);
    // Should it come back, it tells everything anew.
    else this.#peers.set(peer, knownOf(known.segments));
  }

  /**
   * What retention dropped somewhere and nobody is known to hold any more, this peer included: nobody will ask for it, nor has to
   * keep it.
   */
  goneEverywhere(store: Pick<Store, 'segments'>): Between {
    const held = new Map<string, Run[]>();
    const note = ({ origin, epoch }: Omit<SegmentId, 'index'>, runs: readonly Run[]): void => {
      const key = `${origin}/${epoch}`;
      const all = held.get(key);
      if (!all) held.set(key, [...runs]);
      else for (const run of runs) all.push(run);
    };
    for (const run of this.runs()) note(run, run.runs);
    for (const segment of store.segments()) note(segment.id, segment.intervals());
    return (origin, epoch) =>
      subtractRuns(this.expired.runs(origin, epoch), unionRuns(held.get(`${origin}/${epoch}`) ?? [], []));
  }

  holding(peer: PeerId, id: SegmentId): Holding | undefined {
    return this.#segments.get(segmentName(id))?.get(peer);
  }

  /** Who was heard to hold a segment. */
  holders(id: SegmentId): ReadonlyMap<PeerId, Holding> {
    return this.#segments.get(segmentName(id)) ?? NOBODY;
  }

  /** Everything ever heard, as it is now. Worked out anew only for runs of which there was news: each query asks. */
  runs(): RunKnown[] {
    return Array.from(this.#runs.values(), (run) => (run.told ??= this.#tell(run)));
  }

  #tell({ origin, epoch, names }: RunNames): RunKnown {
    const segments = Array.from(names, (name) => this.#segments.get(name)!);
    const runs = segments.flatMap((holders) => [...holders.values()].flatMap((holding) => holding.runs));
    return { origin, epoch, runs: unionRuns(runs, []), segments };
  }

  /** Everything ever heard, by peer. */
  *all(): IterableIterator<[PeerId, Holding]> {
    for (const holders of this.#segments.values()) yield* holders;
  }

  *of(peer: PeerId): IterableIterator<Holding> {
    for (const name of this.#peers.get(peer)?.segments ?? []) yield this.#segments.get(name)!.get(peer)!;
  }

  /** Bytes of what a peer was heard to hold. */
  bytesOf(peer: PeerId): number {
    const known = this.#peers.get(peer);
    if (!known) return 0;
    if (known.bytes === undefined) {
      known.bytes = 0;
      for (const { bytes } of this.of(peer)) known.bytes += bytes;
    }
    return known.bytes;
  }

  /** Names of the segments that a peer was heard to hold. */
  namesOf(peer: PeerId): ReadonlySet<string> {
    return this.#peers.get(peer)?.segments ?? new Set<string>();
  }

  /** A peer's holding by the segment's name. */
  named(peer: PeerId, name: string): Holding | undefined {
    return this.#segments.get(name)?.get(peer);
  }

  /** For the disk: what survives a restart of this peer, in pieces of bounded size, one peer after the other. */
  *pieces(peers: readonly PeerId[] = this.peers()): IterableIterator<HoldingsSaved> {
    for (const expired of inPieces([...this.expired.all], () => 1)) yield { holdings: [], expired };
    for (const peer of peers) {
      for (const holdings of inPieces([...this.of(peer)], ({ runs }) => 1 + runs.length))
        yield { holdings: [[peer, holdings]], expired: [] };
    }
  }

  /** Reads one of `pieces` back. Versions are forgotten, so that each live peer tells everything again. */
  restore({ holdings, expired }: HoldingsSaved): void {
    for (const [peer, list] of holdings) {
      const known = knownOf(this.#peers.get(peer as PeerId)?.segments ?? new Set());
      this.#peers.set(peer as PeerId, known);
      for (const holding of list) this.#remember(peer as PeerId, known, holding);
    }
    this.expired.add(expired);
  }
}

function* inPieces<Item>(all: readonly Item[], weigh: (item: Item) => number): IterableIterator<Item[]> {
  let piece: Item[] = [];
  let weight = 0;
  for (const item of all) {
    piece.push(item);
    weight += weigh(item);
    if (weight < PIECE_ITEMS) continue;
    yield piece;
    piece = [];
    weight = 0;
  }
  if (piece.length > 0) yield piece;
}

/** Of a peer that has to tell everything. */
function knownOf(segments: Set<string>): PeerKnown {
  return { instance: '', version: 0, expiredVersion: 0, segments, bytes: undefined };
}

/** This peer's holdings as it would tell them. */
export function* ownHoldings(store: Store): IterableIterator<[Segment, Holding]> {
  for (const segment of store.segments()) {
    if (segment.record.batches.length > 0) yield [segment, holdingOf(store, segment)];
  }
}
