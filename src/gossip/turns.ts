import type { Clock } from '../store/index.ts';

/** How long a calculation may hold up everything else. */
const TURN_MS = 20;

/** A long calculation goes in turns: probes, pushes and queries are answered in between. */
export class Turns {
  readonly #clock: Clock;
  #untilMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.restart();
  }

  /** Everything else has just had its turn. */
  restart(): void {
    this.#untilMs = this.#clock.monotonicMs() + TURN_MS;
  }

  get isOver(): boolean {
    return this.#clock.monotonicMs() >= this.#untilMs;
  }

  async next(): Promise<void> {
    await new Promise<void>((resolve) => this.#clock.after(0, resolve));
    this.restart();
  }
}
