import type { Clock } from './host/index.ts';

/**
 * Keeps background work below a rate: a token bucket with one second's worth of room. What is taken beyond it is waited
 * for afterwards, so that a piece may be larger than the bucket.
 */
export class Pace {
  readonly #clock: Clock;
  readonly #bytesPerSecond: number;
  #tokens: number;
  #atMs: number;

  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond;
    this.#tokens = bytesPerSecond;
    this.#atMs = clock.monotonicMs();
  }

  /** Resolves when `bytes` more may be worked on. */
  async take(bytes: number): Promise<void> {
    const now = this.#clock.monotonicMs();
    const gained = ((now - this.#atMs) / 1000) * this.#bytesPerSecond;
    this.#tokens = Math.min(this.#bytesPerSecond, this.#tokens + gained) - bytes;
    this.#atMs = now;
    if (this.#tokens >= 0) return;
    const waitMs = (-this.#tokens / this.#bytesPerSecond) * 1000;
    await new Promise<void>((resolve) => this.#clock.after(waitMs, resolve));
  }
}
