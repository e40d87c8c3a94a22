import { messageOf } from '../errors.ts';
import type { Clock, Timer } from '../host/index.ts';
import { Pace } from '../pace.ts';
import { segmentName } from '../segment/index.ts';
import type { Store } from '../store.ts';

/** A small store is still read no slower than this, so that a young mesh is soon looked through. */
const BYTES_PER_SECOND_MIN = 256 * 1024;
const PAUSE_MS = 1_000;
/** A disk that did not give some bytes may give them later; each try may take it seconds. */
const READ_AGAIN_EVERY_MS = 3_600_000;

export interface ScrubberOptions {
  readonly store: Store;
  readonly clock: Clock;
  /** Everything held is read once in this time. */
  readonly periodMs: number;
  log(level: 'warn', message: string): void;
}

/**
 * Reads everything that is held again, over and over, so that rot is found while other copies are sound. What fails its
 * checksums is quarantined, and repair fetches it again. What is quarantined is looked at again, too: where only the disk failed, that
 * may be the only copy.
 */
export class Scrubber {
  readonly #options: ScrubberOptions;
  #timer: Timer | undefined;
  #round: Promise<void> = Promise.resolve();
  #closed = false;
  #queue: string[] = [];
  #nextRoundMs = 0;
  #readAgainMs = 0;
  readonly #done = { bytes: 0, rottenBatches: 0, rounds: 0 };

  constructor(options: ScrubberOptions) {
    this.#options = options;
  }

  /** Since the start: bytes read, batches found rotten, times that everything was read. */
  get done(): Readonly<{ bytes: number; rottenBatches: number; rounds: number }> {
    return this.#done;
  }

  start(): void {
    if (this.#closed) return;
    const { clock, log } = this.#options;
    this.#timer = clock.after(PAUSE_MS, () => {
      this.#round = this.#next()
        .catch((error: unknown) => log('warn', `scrub: ${messageOf(error)}`))
        .finally(() => this.start());
    });
  }

  async #next(): Promise<void> {
    const { store, clock, periodMs } = this.#options;
    const nowMs = clock.monotonicMs();
    if (nowMs >= this.#readAgainMs) {
      this.#readAgainMs = nowMs + READ_AGAIN_EVERY_MS;
      await this.#readAgain();
    }
    if (this.#queue.length === 0) {
      if (nowMs < this.#nextRoundMs) return;
      if (this.#done.bytes > 0) this.#done.rounds++;
      this.#queue = [...store.segments()].map(({ id }) => segmentName(id));
      if (this.#queue.length > 0) this.#nextRoundMs = nowMs + periodMs;
    }
    const segment = store.named(this.#queue.pop() ?? '');
    if (!segment) return;
    const bytesPerSecond = Math.max(BYTES_PER_SECOND_MIN, (store.totals.storedBytes / periodMs) * 1000);
    const pace = new Pace(clock, bytesPerSecond);
    for (const { seq, frameBytes } of segment.record.batches) {
      await pace.take(frameBytes);
      if (this.#closed || store.named(segmentName(segment.id)) !== segment) return;
      if (!segment.entry(seq)) continue;
      this.#done.bytes += frameBytes;
      if (!(await store.readFrame(segment.id, seq)) && store.named(segmentName(segment.id)) === segment)
        this.#done.rottenBatches++;
    }
  }

  async #readAgain(): Promise<void> {
    const { store, log } = this.#options;
    for (const segment of [...store.damaged]) {
      if (this.#closed) return;
      await store.readAgain(segment).catch((error: unknown) => log('warn', `scrub: ${messageOf(error)}`));
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#round;
  }
}
