import {
  LIMITS,
  messageOf,
  segmentName,
  type Clock,
  type SealedBatch,
  type Segment,
  type SegmentId,
  type Store,
} from '../../store/index.ts';
import { placeOn } from '../placement/index.ts';
import type { PeerId, Transport } from '../transport/index.ts';
import { placeable, placeableUp, quorumOf, type MeshView } from '../view.ts';
import { OwnerStream } from './owner-stream.ts';

export interface ReplicatorOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly view: MeshView;
  /** Copies wanted (k) and fsyncs before an acknowledgement (W). */
  readonly replicas: number;
  readonly ackQuorum: number;
  readonly openTimeoutMs: number;
  readonly ackTimeoutMs: number;
  /** A peer whose replication failed is passed over for this long, while there are others. */
  readonly ownerCooldownMs: number;
  /** A peer said that its disk takes no copies. */
  isFull(peer: PeerId): boolean;
  log(level: 'info' | 'warn' | 'error', message: string): void;
}

export interface TrackedBatch {
  readonly batch: SealedBatch;
  /** Peers that confirmed an fsync. */
  readonly holders: Set<PeerId>;
  /** Resolves when the ack rule (I2) holds. Rejects when this peer's disk failed. */
  readonly acknowledged: Promise<void>;
}

interface Pending extends TrackedBatch {
  /** What rotted is being written again. */
  isBeingWritten: boolean;
  resolve(): void;
  reject(error: Error): void;
}

/**
 * The origin's side of I2: sends each sealed batch to the owners of its segment, counts fsyncs, and acknowledges in the
 * order of the chain. A failed owner costs one new segment; what it missed it fetches itself (repair), and `confirm`
 * tells this replicator.
 */
export class Replicator {
  readonly #options: ReplicatorOptions;
  #store: Store | undefined;
  readonly #streams = new Map<PeerId, OwnerStream>();
  readonly #failedAtMs = new Map<PeerId, number>();
  /** Unacknowledged batches in the order of their seqs. */
  readonly #pending: Pending[] = [];
  #durableSeq = 0;
  #unacknowledgedBytes = 0;
  #laggingBytes = 0;
  #closed = false;
  #onAcknowledged: (batch: SealedBatch) => void = () => undefined;

  constructor(options: ReplicatorOptions) {
    this.#options = options;
  }

  /** The store and the replicator need each other: the store asks for owners, the replicator reads its segments. */
  attach(store: Store): void {
    this.#store = store;
  }

  /** Called for each batch once acknowledged, in the order of the chain. */
  onAcknowledged(listener: (batch: SealedBatch) => void): void {
    this.#onAcknowledged = listener;
  }

  get durableSeq(): number {
    return this.#durableSeq;
  }

  get unacknowledgedBytes(): number {
    return this.#unacknowledgedBytes;
  }

  /** Bytes of acknowledged frames that wait for owners slower than the others. */
  get laggingBytes(): number {
    return this.#laggingBytes;
  }

  /** Fsyncs that an acknowledgement needs. One that has not found its mesh yet must not acknowledge alone either. */
  get quorum(): number {
    const { view, ackQuorum } = this.#options;
    return view.isSearching() ? ackQuorum : quorumOf(view.members(), ackQuorum);
  }

  /** What stands in the way of every acknowledgement at present, in words; undefined: nothing. */
  get whyNoAcknowledgement(): string | undefined {
    if (!this.#options.view.isIntroduced()) return 'too few members of the mesh know of this peer yet';
    if (this.#aliveCount() < this.quorum)
      return `an acknowledgement needs ${this.quorum} peers and fewer are up`;
    return undefined;
  }

  /** Owners for a segment that opens now: the best live peers, passing over those that just failed. */
  chooseOwners(id: SegmentId): PeerId[] {
    const { view, replicas, clock, ownerCooldownMs, isFull } = this.#options;
    const now = clock.monotonicMs();
    const alive = view
      .members()
      .filter(({ peer, state, leaving }) => (state === 'alive' && !leaving) || peer === view.self);
    const healthy = alive.filter(
      ({ peer }) =>
        peer === view.self ||
        (now - (this.#failedAtMs.get(peer) ?? -Infinity) >= ownerCooldownMs && !isFull(peer)),
    );
    const candidates = healthy.length >= Math.min(this.#options.ackQuorum, alive.length) ? healthy : alive;
    return placeOn(segmentName(id), candidates, replicas) as PeerId[];
  }

  /** Starts the way of a sealed batch to its owners. */
  track(batch: SealedBatch): TrackedBatch {
    let resolve!: () => void;
    let reject!: (error: Error) => void;
    const acknowledged = new Promise<void>((yes, no) => {
      resolve = yes;
      reject = no;
    });
    acknowledged.catch(() => undefined);
    const pending: Pending = {
      batch,
      holders: new Set(),
      acknowledged,
      isBeingWritten: false,
      resolve,
      reject,
    };
    this.#pending.push(pending);
    this.#unacknowledgedBytes += batch.frameBytes;
    const { self } = this.#options.view;
    // Sent only once it is on this disk: if others had a batch that a power cut takes from its origin, the origin would
    // read its lines again and they would be there twice.
    batch.written.then(
      () => {
        pending.holders.add(self);
        for (const owner of batch.segment.record.owners as PeerId[]) {
          if (owner !== self) this.#stream(owner)?.send(batch);
        }
        // Streams count as lagging what they have when it is acknowledged.
        this.#advance();
      },
      (error: Error) => pending.reject(error),
    );
    return pending;
  }

  /** A peer has these batches of a segment of this epoch on disk. */
  confirm(peer: PeerId, index: number, runs: readonly (readonly [number, number])[]): void {
    for (const { batch, holders } of this.#pending) {
      const isHeld = runs.some(([from, to]) => batch.seq >= from && batch.seq <= to);
      if (isHeld && batch.segment.id.index === index) holders.add(peer);
    }
    this.#advance();
  }

  /** Members changed: the quorum may have, and the open segment may have lost an owner. */
  membersChanged(): void {
    const up = new Set(placeableUp(this.#options.view.members()).map(({ peer }) => peer));
    for (const [peer, stream] of this.#streams) {
      if (up.has(peer)) continue;
      stream.close();
      this.#streams.delete(peer);
      this.#dropFromOpenSegment(peer);
    }
    // With more live peers than copies, the next segment has more places to go.
    const open = this.#store?.openSegment;
    if (open && open.record.owners.length < Math.min(this.#options.replicas, this.#aliveCount())) {
      this.#store?.rollSegment();
    }
    this.#advance();
  }

  #aliveCount(): number {
    return placeable(this.#options.view.members()).filter(({ state }) => state === 'alive').length;
  }

  #stream(owner: PeerId): OwnerStream | undefined {
    const existing = this.#streams.get(owner);
    if (existing || this.#closed) return existing;
    const { transport, clock, openTimeoutMs, ackTimeoutMs, log } = this.#options;
    const stream = new OwnerStream({
      owner,
      transport,
      clock,
      openTimeoutMs,
      ackTimeoutMs,
      windowBytes: LIMITS.replicationWindowBytes,
      durableSeq: () => this.#durableSeq,
      onLag: (bytes) => void (this.#laggingBytes += bytes),
      onAck: (batches) => {
        const durable = new Set(batches);
        for (const { batch, holders } of this.#pending) if (durable.has(batch)) holders.add(owner);
        this.#advance();
      },
      onFailed: (error) => {
        if (this.#closed) return;
        log('warn', `replication to ${owner} failed: ${messageOf(error)}`);
        this.#failedAtMs.set(owner, clock.monotonicMs());
        this.#streams.delete(owner);
        this.#dropFromOpenSegment(owner);
        this.#advance();
      },
    });
    this.#streams.set(owner, stream);
    return stream;
  }

  #dropFromOpenSegment(peer: PeerId): void {
    if (this.#store?.openSegment?.record.owners.includes(peer)) this.#store.rollSegment();
  }

  /**
   * Acknowledges from the front while the rule holds. The origin's fsync is needed in any case. Its copy counts where it is one of
   * the owners; and of a segment that is closed, since an owner that is lost since then is not replaced while the origin has
   * it. It is dropped like an owner's: once k others have read theirs (I8).
   */
  #advance(): void {
    // I7: nothing more is acknowledged after the disk failed, whatever acks still come.
    if (this.#store?.health.failure) return;
    // Nobody would miss this peer, nor the copies that it chose owners for.
    if (!this.#options.view.isIntroduced()) return;
    const { quorum } = this;
    const { self } = this.#options.view;
    while (this.#pending.length > 0) {
      const pending = this.#pending[0];
      const { batch, holders } = pending;
      const copies = holders.size - (this.#countsHere(batch.segment) ? 0 : 1);
      const isHere = batch.segment.entry(batch.seq) !== undefined;
      if (holders.has(self) && !isHere) this.#writeAgain(pending);
      if (!holders.has(self) || !isHere || copies < quorum) break;
      this.#pending.shift();
      this.#unacknowledgedBytes -= batch.frameBytes;
      this.#durableSeq = batch.seq;
      for (const owner of batch.segment.record.owners as PeerId[])
        this.#streams.get(owner)?.acknowledged(batch.seq, batch.frameBytes);
      pending.resolve();
      this.#onAcknowledged(batch);
    }
    this.#boundLag();
  }

  /** It rotted here before it was acknowledged: it may be the only copy, and what was sealed is in memory still. */
  #writeAgain(pending: Pending): void {
    if (pending.isBeingWritten) return;
    pending.isBeingWritten = true;
    const frame = Buffer.concat(pending.batch.frame as Uint8Array[]);
    this.#store!
      .appendReplica(frame, { isRepair: true })
      .catch((error: unknown) => this.#options.log('warn', `writing again what rotted: ${messageOf(error)}`))
      .finally(() => {
        pending.isBeingWritten = false;
        if (pending.batch.segment.entry(pending.batch.seq)) this.#advance();
      });
  }

  #countsHere(segment: Segment): boolean {
    return this.#store!.openSegment !== segment || segment.record.owners.includes(this.#options.view.self);
  }

  /** Frames that wait for slow owners alone have a bound together: the slowest is left to repair. */
  #boundLag(): void {
    while (this.#laggingBytes > LIMITS.laggingBytesMax) {
      const [slowest] = [...this.#streams.values()].sort((a, b) => b.laggingBytes - a.laggingBytes);
      if (!slowest || slowest.laggingBytes <= 0) return;
      slowest.leaveBehind();
    }
  }

  close(): void {
    this.#closed = true;
    for (const stream of this.#streams.values()) stream.close();
    this.#streams.clear();
  }
}
