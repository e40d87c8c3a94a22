import type { Io } from './io.ts';

/** A query that takes no longer needs no bar. */
const SHOWN_AFTER_MS = 1_000;
const BAR_CELLS = 30;
/** Back to the first column, and everything in the line erased. */
const CLEAR = '\r\x1b[2K';

/** How far a long query is, on the last line of a terminal; nothing in a pipe. Made of numbers alone. */
export class ProgressLine {
  readonly #io: Io;
  readonly #startedMs: number;
  #isShown = false;

  constructor(io: Io) {
    this.#io = io;
    this.#startedMs = io.clock.monotonicMs();
  }

  /** Batches that were looked into, of how many. */
  async show(done: number, of: number): Promise<void> {
    const passedMs = this.#io.clock.monotonicMs() - this.#startedMs;
    if (!this.#io.isTerminal || passedMs < SHOWN_AFTER_MS) return;
    const share = of > 0 ? Math.min(1, done / of) : 0;
    const cells = Math.round(share * BAR_CELLS);
    const bar = `${'█'.repeat(cells)}${'░'.repeat(BAR_CELLS - cells)}`;
    this.#isShown = true;
    await this.#io.write(`${CLEAR}${bar} ${done} of ${of} batches, ${Math.floor(passedMs / 1000)} s`);
  }

  /** Where it isn't known how much there is to do. */
  async search(): Promise<void> {
    const passedMs = this.#io.clock.monotonicMs() - this.#startedMs;
    if (!this.#io.isTerminal || passedMs < SHOWN_AFTER_MS) return;
    this.#isShown = true;
    await this.#io.write(`${CLEAR}searching, ${Math.floor(passedMs / 1000)} s`);
  }

  async clear(): Promise<void> {
    if (!this.#isShown) return;
    this.#isShown = false;
    await this.#io.write(CLEAR);
  }
}
