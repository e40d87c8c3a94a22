import type { Io } from './io.ts';

/** A query that takes no longer needs no bar. */
const SHOWN_AFTER_MS = 1_000;
const BAR_CELLS = 30;
/** Back to the first column, and everything in the line erased. */
const CLEAR = '\r\x1b[2K';

/** How far something long is, on the last line of a terminal; nothing in a pipe. Made of numbers alone. */
export class ProgressLine {
  readonly #io: Io;
  readonly #startedMs: number;
  #isShown = false;

  constructor(io: Io) {
    this.#io = io;
    this.#startedMs = io.clock.monotonicMs();
  }

  /** How much is done of how much, and what that is in words. */
  async show(done: number, of: number, text: string): Promise<void> {
    const cells = of > 0 ? Math.round(Math.min(1, done / of) * BAR_CELLS) : 0;
    await this.say(`${'█'.repeat(cells)}${'░'.repeat(BAR_CELLS - cells)} ${text}`);
  }

  async say(text: string): Promise<void> {
    const passedMs = this.#io.clock.monotonicMs() - this.#startedMs;
    if (!this.#io.isTerminal || passedMs < SHOWN_AFTER_MS) return;
    this.#isShown = true;
    await this.#io.write(`${CLEAR}${text}, ${Math.floor(passedMs / 1000)} s`);
  }

  async clear(): Promise<void> {
    if (!this.#isShown) return;
    this.#isShown = false;
    await this.#io.write(CLEAR);
  }
}
