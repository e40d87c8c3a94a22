import { isDeepStrictEqual } from 'node:util';
import {
  areWithin,
  countRuns,
  ExpiredRuns,
  LIMITS,
  NOTHING_GONE,
  segmentName,
  goneSeqs,
  joinGone,
  subtractRuns,
  unionRuns,
  withoutHeld,
  type Between,
  type GoneRun,
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
  type Vanished,
} from './inventory.ts';
import { VanishedRuns } from './vanished.ts';

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
  /** All seqs that anybody was heard to hold, or to have held. */
  readonly runs: readonly Run[];
  /** Who holds what, by segment. */
  readonly segments: readonly ReadonlyMap<PeerId, Holding>[];
  /** What nobody is known to hold any more. */
  readonly vanished: readonly Vanished[];
}

interface RunNames {
  readonly origin: string;
  readonly epoch: number;
  /** Of the segments that anybody holds. */
  readonly names: Set<string>;
  /** What was last told of it; undefined since it changed. */
  told: RunKnown | undefined;
}

/** Of this peer: what it holds itself, and what it has dropped. */
interface OwnStore extends Pick<Store, 'segment'> {
  readonly dropped: { readonly expired: Pick<ExpiredRuns, 'overlapping'> };
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
  /** What nobody is known to hold any more. */
  readonly vanished = new VanishedRuns();
  #vanishedVersion = 0;

  versionOf(peer: PeerId): InventoryVersion {
    const { instance, version, expiredVersion } = this.#peers.get(peer) ?? knownOf(new Set());
    return { instance, version, expiredVersion };
  }

  /** Takes an answer in; returns the holdings that are new. `store`: of this peer. */
  merge(peer: PeerId, answer: InventoryAnswer, store: OwnStore): Holding[] {
    let known = this.#peers.get(peer);
    // Two were asked for at once, and the older one came last.
    if (known?.instance === answer.instance && answer.version < known.version) return [];
    const told = new Map(answer.holdings.map((holding) => [segmentName(holding), holding]));
    /** What it had of others, and has not, as it says now. */
    const less: Vanished[] = [];
    const compare = (name: string): void => {
      const before = this.named(peer, name);
      const now = told.get(name);
      // Mostly all is as it was, and there may be a hundred thousand.
      if (!before || (now && !before.rotten && areWithin(before.runs, now.runs))) return;
      // How many of its own are acknowledged an origin says itself, and it has told which of them rot took.
      const parts = before.origin === peer ? (before.rotten ?? NOTHING_GONE) : partsOf(before);
      const gone = withoutHeld(parts, unionRuns(now?.runs ?? [], goneSeqs(now?.rotten ?? [])));
      const { origin, epoch, index, owners } = before;
      if (gone.length > 0) less.push({ origin, epoch, index, owners, gone });
    };
    // A new process starts counting anew and has told everything: what it no longer names, it no longer holds.
    if (!known || known.instance !== answer.instance) {
      for (const name of known?.segments ?? []) {
        compare(name);
        this.#forget(peer, name);
      }
      known = { ...knownOf(new Set()), instance: answer.instance };
      this.#peers.set(peer, known);
    }
    known.bytes = undefined;
    known.version = answer.version;
    known.expiredVersion = answer.expiredVersion;
    for (const id of answer.removed) {
      const name = segmentName(id);
      compare(name);
      known.segments.delete(name);
      this.#forget(peer, name);
    }
    for (const [name, holding] of told) {
      compare(name);
      this.#remember(peer, known, holding, name);
      if (!this.vanished.isEmpty) this.vanished.turnedUp(holding, holding.runs);
    }
    this.expired.add(answer.expired);
    if (!this.vanished.isEmpty) this.vanished.haveExpired(this.expired, answer.expired);
    for (const one of less) {
      // It may be surplus, or somebody else's.
      const gone = withoutHeld(one.gone, this.#elsewhere(one, spanOf(one.gone), store));
      if (gone.length > 0) this.vanished.add({ ...one, gone });
    }
    return answer.holdings;
  }

  /** Lets go of what is held in `store`, or has expired meanwhile. */
  tidyVanished(store: OwnStore): void {
    for (const one of [...this.vanished.all()])
      this.vanished.turnedUp(one, this.#elsewhere(one, spanOf(one.gone), store));
  }

  /**
   * How many batches this peer had, or has heard of, that no member is known to have, up or away. `lost`: what a person has
   * accepted.
   */
  countNowhere(
    store: OwnStore & Pick<Store, 'damaged' | 'rottenIn'>,
    members: ReadonlySet<PeerId>,
    lost: Pick<ExpiredRuns, 'overlapping'>,
  ): number {
    const gone = new Map<string, SegmentId & { readonly gone: readonly GoneRun[] }>();
    const note = ({ origin, epoch, index }: SegmentId, runs: readonly GoneRun[]): void => {
      const name = segmentName({ origin, epoch, index });
      if (runs.length > 0)
        gone.set(name, { origin, epoch, index, gone: joinGone(gone.get(name)?.gone ?? [], runs) });
    };
    for (const one of this.vanished.all()) note(one, one.gone);
    for (const segment of store.damaged) note(segment.id, store.rottenIn(segment));
    // Of those that are forgotten only what nobody else had is still known.
    const forgotten = this.peers().filter((peer) => !members.has(peer));
    for (const peer of forgotten) for (const holding of this.of(peer)) note(holding, partsOf(holding));
    let count = 0;
    for (const one of gone.values()) {
      const span = spanOf(one.gone);
      const accepted = Array.from(lost.overlapping(one.origin, one.epoch, span), ({ from, to }): Run => [
        from,
        to,
      ]);
      const held = unionRuns(this.#elsewhere(one, span, store, forgotten), accepted);
      count += countRuns(goneSeqs(withoutHeld(one.gone, held)));
    }
    return count;
  }

  /** What of these seqs of a segment is known to be with others than `peers`, with this peer, or to have expired. */
  #elsewhere(
    id: SegmentId,
    [from, to]: Run,
    store: OwnStore,
    peers: readonly PeerId[] = [],
  ): [number, number][] {
    const { origin, epoch } = id;
    const runs: Run[] = store.segment(id)?.intervals().slice() ?? [];
    for (const [other, holding] of this.holders(id))
      if (!peers.includes(other)) for (const run of holding.runs) runs.push(run);
    for (const expired of [this.expired, store.dropped.expired])
      for (const run of expired.overlapping(origin, epoch, [from, to])) runs.push([run.from, run.to]);
    return unionRuns(runs, []);
  }

  #remember(peer: PeerId, known: PeerKnown, holding: Holding, name = segmentName(holding)): void {
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
  forget(peer: PeerId, store: OwnStore): void {
    const known = this.#peers.get(peer);
    if (!known) return;
    for (const name of known.segments) {
      const holders = this.#segments.get(name)!;
      const holding = holders.get(peer)!;
      const left = without(holding, this.#elsewhere(holding, spanOf(partsOf(holding)), store, [peer]));
      if (left) this.#setHolders(name, holding, new Map(holders).set(peer, left));
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
    if (this.vanished.version !== this.#vanishedVersion)
      for (const run of this.#runs.values()) run.told = undefined;
    this.#vanishedVersion = this.vanished.version;
    const runs = Array.from(this.#runs.values(), (run) => (run.told ??= this.#tell(run)));
    for (const { origin, epoch } of this.vanished.runs())
      if (!this.#runs.has(`${origin}/${epoch}`)) runs.push(this.#tell({ origin, epoch, names: new Set() }));
    return runs;
  }

  #tell({ origin, epoch, names }: Omit<RunNames, 'told'>): RunKnown {
    const segments = Array.from(names, (name) => this.#segments.get(name)!);
    const held = segments.flatMap((holders) =>
      [...holders.values()].flatMap(({ runs, rotten }) => (rotten ? [...runs, ...goneSeqs(rotten)] : runs)),
    );
    const vanished = this.vanished.of({ origin, epoch });
    const gone = vanished.flatMap((one) => goneSeqs(one.gone));
    return { origin, epoch, runs: unionRuns(held, gone), segments, vanished };
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
      for (const holdings of inPieces(
        [...this.of(peer)],
        ({ runs, rotten = [] }) => 1 + runs.length + rotten.length,
      ))
        yield { holdings: [[peer, holdings]], expired: [] };
    }
    // Last: what vanishes while the others are written is in one of the two.
    for (const vanished of inPieces([...this.vanished.all()], ({ gone }) => 1 + gone.length))
      yield { holdings: [], expired: [], vanished };
  }

  /** Reads one of `pieces` back. Versions are forgotten, so that each live peer tells everything again. */
  restore({ holdings, expired, vanished = [] }: HoldingsSaved): void {
    for (const [peer, list] of holdings) {
      const known = knownOf(this.#peers.get(peer as PeerId)?.segments ?? new Set());
      this.#peers.set(peer as PeerId, known);
      for (const holding of list) this.#remember(peer as PeerId, known, holding);
    }
    this.expired.add(expired);
    for (const one of vanished) this.vanished.add(one);
  }
}

/** What a holding tells of besides what is known; undefined when that is nothing. */
function without({ rotten = NOTHING_GONE, ...holding }: Holding, known: readonly Run[]): Holding | undefined {
  const runs = subtractRuns(holding.runs, known);
  const left = withoutHeld(rotten, known);
  if (runs.length + left.length === 0) return undefined;
  return { ...holding, runs, ...(left.length > 0 && { rotten: left }) };
}

const spanOf = (runs: readonly GoneRun[]): Run => [runs[0]?.from ?? 0, runs.at(-1)?.to ?? 0];

/** What is held, or was, with times, ascending. */
export function partsOf({ runs, min, max, rotten = NOTHING_GONE }: Holding): readonly GoneRun[] {
  const held = runs.map(([from, to]) => ({ from, to, min, max }));
  return rotten.length > 0 ? [...held, ...rotten].sort((a, b) => a.from - b.from) : held;
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
    if (segment.last) yield [segment, holdingOf(store, segment)];
  }
}
