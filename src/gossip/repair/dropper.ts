import {
  isDamaged,
  messageOf,
  segmentName,
  type Clock,
  type Pace,
  type Segment,
  type SegmentId,
  type Store,
  type Timer,
} from '../../store/index.ts';
import type { Channel, PeerId, Transport } from '../transport/index.ts';
import type { MeshView } from '../view.ts';
import { confirmations, encodeConfirmAnswer, parseConfirmRequest, type ConfirmRequest } from './confirm.ts';
import type { WantedOwners } from './wanted.ts';

const CANDIDATES_PER_ROUND = 1_000;
const RETRY_MS = 30_000;
const RETRIES_REMEMBERED_MAX = 100_000;
/** Who asks besides is told no, and asks again: all at once would be too slow for each of them. */
const CONFIRMING_AT_ONCE_MAX = 2;

export interface DropperOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly view: MeshView;
  readonly store: Store;
  readonly wanted: WantedOwners;
  readonly replicas: number;
  /** One segment is looked into at a time, this often. */
  readonly everyMs: number;
  /** A copy must have been one too many for this long. */
  readonly surplusDelayMs: number;
  /** How long an owner may take to read a segment again. */
  readonly confirmTimeoutMs: number;
  readonly pace: Pace;
  /** This peer hands everything over: it confirms nothing to anybody. */
  isLeaving(): boolean;
  /** Whether every batch of an own segment is acknowledged. */
  isAcknowledged(segment: Segment): boolean;
  log(level: 'info' | 'warn' | 'error', message: string): void;
}

/**
 * Drops copies beyond the k owners (I8). A peer that wants to drop a segment first declares so to itself: from then on it
 * confirms that segment to nobody. Then it asks each of the k owners, and each reads the segment again from its disk before
 * it says yes; one that is itself about to drop it says no.
 *
 * Why k copies remain, with any views of the membership, any delays and no clocks: of all who ever drop a segment take the
 * one that declared itself last. Its k confirmations came after that, from peers that had not declared themselves; had one
 * of them dropped later, it would have declared itself later still.
 */
export class Dropper {
  readonly #options: DropperOptions;
  readonly #declared = new Set<string>();
  readonly #surplusSinceMs = new Map<string, number>();
  readonly #retryAtMs = new Map<string, number>();
  #candidates: Segment[] = [];
  #nextCandidate = 0;
  #timer: Timer | undefined;
  #round: Promise<void> = Promise.resolve();
  #closed = false;
  /** Whoever waits for confirmations: called by `close`, they go on as if nobody had confirmed. */
  readonly #waiting = new Set<() => void>();
  #confirming = 0;
  #droppedBytes = 0;

  constructor(options: DropperOptions) {
    this.#options = options;
  }

  /** Bytes dropped since the start, because others keep them. */
  get droppedBytes(): number {
    return this.#droppedBytes;
  }

  start(): void {
    if (this.#closed) return;
    this.#timer = this.#options.clock.after(this.#options.everyMs, () => {
      this.#round = this.#next().finally(() => this.start());
    });
  }

  /** A copy that this peer need not keep, whatever the others have. Behind rot may be the only copy of a batch: it is healed first. */
  isSurplus(segment: Segment): boolean {
    const { wanted, replicas, view, store, isAcknowledged } = this.#options;
    if (isDamaged(segment.record)) return false;
    if (segment.record.batches.length === 0 || !store.isFinished(segment)) return false;
    if (segment.id.origin === view.self && !isAcknowledged(segment)) return false;
    const owners = wanted.of(segment.id);
    return owners.length >= replicas && !owners.includes(view.self);
  }

  async #next(): Promise<void> {
    const { store, clock, surplusDelayMs } = this.#options;
    if (this.#nextCandidate >= this.#candidates.length) {
      this.#candidates = [...store.segments()];
      this.#nextCandidate = 0;
    }
    const nowMs = clock.monotonicMs();
    // Goes on behind the last one that it tried: those that nobody can confirm must not keep all others waiting.
    for (let looked = 0; looked < CANDIDATES_PER_ROUND; looked++) {
      const segment = this.#candidates[this.#nextCandidate++];
      if (!segment) return;
      const name = segmentName(segment.id);
      if (!this.isSurplus(segment)) {
        this.#surplusSinceMs.delete(name);
        continue;
      }
      const sinceMs = this.#surplusSinceMs.get(name);
      if (sinceMs === undefined) this.#surplusSinceMs.set(name, nowMs);
      if (nowMs - (sinceMs ?? nowMs) < surplusDelayMs || (this.#retryAtMs.get(name) ?? 0) > nowMs) continue;
      // One a round: dropping is never urgent.
      await this.tryDrop(segment);
      return;
    }
  }

  /** Drops surplus copies without waiting, until `bytes` are gained or none is left; resolves with the bytes gained. */
  async dropSurplus(bytes: number): Promise<number> {
    const before = this.#droppedBytes;
    for (const segment of [...this.#options.store.segments()]) {
      if (this.#closed || this.#droppedBytes - before >= bytes) break;
      const isDue = (this.#retryAtMs.get(segmentName(segment.id)) ?? 0) <= this.#options.clock.monotonicMs();
      if (isDue && this.isSurplus(segment)) await this.tryDrop(segment);
    }
    return this.#droppedBytes - before;
  }

  /** Drops a surplus copy if k owners confirm theirs now. Never rejects. */
  async tryDrop(segment: Segment): Promise<boolean> {
    const { store, clock, log } = this.#options;
    const name = segmentName(segment.id);
    if (this.#declared.has(name)) return false;
    this.#declared.add(name);
    try {
      const { version } = segment;
      const confirmed = await this.#isConfirmed(segment);
      // What came or went meanwhile was not asked about.
      if (confirmed && !this.#closed && segment.version === version && this.isSurplus(segment)) {
        const bytes = segment.record.fileBytes;
        await store.drop([segment], 'surplus');
        this.#droppedBytes += bytes;
        this.#surplusSinceMs.delete(name);
        this.#retryAtMs.delete(name);
        return true;
      }
    } catch (error) {
      log('warn', `a surplus copy of ${name} could not be dropped: ${messageOf(error)}`);
    } finally {
      this.#declared.delete(name);
    }
    if (this.#retryAtMs.size >= RETRIES_REMEMBERED_MAX) this.#retryAtMs.clear();
    this.#retryAtMs.set(name, clock.monotonicMs() + RETRY_MS);
    return false;
  }

  async #isConfirmed(segment: Segment): Promise<boolean> {
    const { transport, wanted, replicas, confirmTimeoutMs, view } = this.#options;
    const owners = wanted.of(segment.id).slice(0, replicas);
    if (this.#closed || owners.length < replicas || owners.includes(view.self)) return false;
    const runs = segment.intervals();
    const answered = Promise.withResolvers<readonly PeerId[]>();
    const giveUp = (): void => answered.resolve([]);
    this.#waiting.add(giveUp);
    void confirmations(transport, segment, runs, owners, confirmTimeoutMs).then(answered.resolve);
    const confirmed = await answered.promise;
    this.#waiting.delete(giveUp);
    return confirmed.length === owners.length;
  }

  /** Answers another peer that wants to drop its copy, or to leave. */
  async serveConfirm(channel: Channel): Promise<void> {
    const message = await channel.receive();
    if (!message) return;
    const { runs, ...id } = parseConfirmRequest(message);
    const held = this.#confirming < CONFIRMING_AT_ONCE_MAX && (await this.#readAgain(id, runs));
    // No wait between this look and the answer: what is declared later will ask for confirmations of its own.
    await channel.send(encodeConfirmAnswer(held && !this.#isGoing(id)));
    await channel.close();
  }

  /** This copy may go: it counts for nobody. */
  #isGoing(id: SegmentId): boolean {
    return this.#options.isLeaving() || this.#declared.has(segmentName(id));
  }

  async #readAgain(id: SegmentId, runs: ConfirmRequest['runs']): Promise<boolean> {
    this.#confirming++;
    try {
      return await this.#holds(id, runs);
    } finally {
      this.#confirming--;
    }
  }

  async #holds(id: SegmentId, runs: ConfirmRequest['runs']): Promise<boolean> {
    const { store, pace, clock, confirmTimeoutMs } = this.#options;
    const untilMs = clock.monotonicMs() + confirmTimeoutMs;
    for (const [from, to, lastHash] of runs) {
      const batches = [...(store.segment(id)?.record.batches.between([[from, to]]) ?? [])];
      if (batches.length !== to - from + 1) return false;
      if (batches.at(-1)?.headerHash.toString('hex') !== lastHash) return false;
      for (const { seq, frameBytes } of batches) {
        // Whoever asked has given up by then.
        if (clock.monotonicMs() > untilMs) return false;
        if (this.#closed || store.health.failure || this.#isGoing(id)) return false;
        await pace.take(frameBytes);
        if (!(await store.readFrame(id, seq))) return false;
      }
    }
    // What was read may have been dropped or found rotten since.
    return runs.every(([from, to]) => {
      for (let seq = from; seq <= to; seq++) if (!store.segment(id)?.entry(seq)) return false;
      return true;
    });
  }

  /** Waits for what is being dropped, and not for confirmations: they may take a minute. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    for (const giveUp of this.#waiting) giveUp();
    await this.#round;
  }
}
