import {
  segmentName,
  subtractRuns,
  type Clock,
  type Run,
  type Segment,
  type Store,
} from '../../store/index.ts';
import type { PeerId, Transport } from '../transport/index.ts';
import { placeable, quorumOf, type MeshView } from '../view.ts';
import { confirmations } from './confirm.ts';
import { ownHoldings, type HoldingsKnown } from './knowledge.ts';
import type { WantedOwners } from './wanted.ts';

/** A look asks for confirmations for this long, and says then how far it has come. */
const LOOK_MS = 5_000;

export interface HandoverOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly view: MeshView;
  readonly store: Store;
  readonly wanted: WantedOwners;
  readonly known: HoldingsKnown;
  readonly replicas: number;
  readonly ackQuorum: number;
  /** How long a peer may take to read a segment again. */
  readonly confirmTimeoutMs: number;
  /** Own batches are on their way to their owners, or to this disk. */
  hasUnacknowledged(): boolean;
  /** Learns anew what a peer holds. */
  poll(peer: PeerId): Promise<void>;
}

const MENDED_WITHIN_MS = 60_000;
const MENDED_EVERY_MS = 2_000;

/** How far a peer has come that hands over. */
export interface Remaining {
  /** Held here, and by fewer of the peers that stay than have to. */
  readonly segments: number;
  /** Peers that have to have a segment before this one may go, and those that stay and answer. */
  readonly copiesNeeded: number;
  readonly peersInReach: number;
}

/**
 * What a peer that leaves still has to hand over. An inventory says what a peer believes to have; a segment counts as handed
 * over once k of those that stay have read theirs again from disk, as for a surplus copy (I8).
 */
export class Handover {
  readonly #options: HandoverOptions;
  /** Segment → the version of it that was confirmed, and by whom. */
  readonly #confirmed = new Map<string, { readonly version: number; readonly by: readonly PeerId[] }>();

  constructor(options: HandoverOptions) {
    this.#options = options;
  }

  /**
   * Before this peer says that it leaves, for as long as it fetches what it lacks: what is sound on its disk may wait for the batch
   * that names its streams, and be nowhere else. Resolves when nothing does, or after a minute: that batch may be lost everywhere.
   * `onWaiting`: in how many segments something waits.
   */
  async mended(isOver: () => boolean, onWaiting: (segments: number) => void): Promise<void> {
    const { store, clock } = this.#options;
    const untilMs = clock.monotonicMs() + MENDED_WITHIN_MS;
    /** Versions of segments in which something waited: while they are the same, it does. */
    const waiting = new Map<Segment, number>();
    for (;;) {
      const damaged = [...store.damaged];
      for (const segment of damaged) {
        if (waiting.get(segment) === segment.version) continue;
        waiting.delete(segment);
        // What cannot be read now may be sound: it is looked at again.
        const isWaiting = await store.readAgain(segment).catch(() => undefined);
        if (isWaiting !== false) waiting.set(segment, isWaiting ? segment.version : NaN);
      }
      const count = damaged.filter((segment) => waiting.has(segment)).length;
      onWaiting(count);
      if (count === 0 || isOver() || clock.monotonicMs() >= untilMs) return;
      await new Promise<void>((resolve) => void clock.after(MENDED_EVERY_MS, resolve));
    }
  }

  /** Looks anew. Members that are down for a moment are waited for. */
  async remaining(): Promise<Remaining> {
    const { view, wanted, replicas, ackQuorum, store, known, clock, poll, hasUnacknowledged } = this.#options;
    // A copy that was taken before this peer said that it leaves may be on its way to the disk.
    const busy = [...store.segments()].filter(({ isBusy }) => isBusy);
    await Promise.all(busy.map((segment) => segment.flushed()));
    const others = placeable(view.members()).filter(
      ({ peer, state }) => state === 'alive' && peer !== view.self,
    );
    const asked = await Promise.allSettled(others.map(({ peer }) => poll(peer)));
    const staying = others.filter((_, at) => asked[at].status === 'fulfilled').map(({ peer }) => peer);
    // Receipts rely on W copies beside this peer's, whoever is out of its reach.
    const quorum = quorumOf(view.members(), ackQuorum);
    const needed = Math.max(quorum, Math.min(replicas, wanted.candidatesBeside(view.self)));
    const untilMs = clock.monotonicMs() + LOOK_MS;
    let left = 0;
    for (const [segment, { runs, origin, epoch }] of ownHoldings(store)) {
      const owed = subtractRuns(runs, known.expired.runs(origin, epoch));
      if (owed.length === 0) continue;
      // Of what was confirmed, others may have lost theirs since: then they say so themselves.
      const holders = staying.filter(
        (peer) => subtractRuns(owed, known.holding(peer, segment.id)?.runs ?? []).length === 0,
      );
      const { version, by = [] } = this.#confirmed.get(segmentName(segment.id)) ?? {};
      if (version === segment.version && by.filter((peer) => holders.includes(peer)).length >= needed)
        continue;
      const isLate = clock.monotonicMs() > untilMs;
      if (isLate || !(await this.#isConfirmed(segment, owed, holders, needed))) left++;
    }
    const segments = left === 0 && hasUnacknowledged() ? 1 : left;
    return { segments, copiesNeeded: needed, peersInReach: staying.length };
  }

  async #isConfirmed(
    segment: Segment,
    owed: readonly Run[],
    holders: readonly PeerId[],
    needed: number,
  ): Promise<boolean> {
    const { transport, confirmTimeoutMs } = this.#options;
    const { version } = segment;
    if (holders.length < needed) return false;
    const by = await confirmations(transport, segment, owed, holders, confirmTimeoutMs);
    if (by.length < needed) return false;
    this.#confirmed.set(segmentName(segment.id), { version, by });
    return true;
  }
}
