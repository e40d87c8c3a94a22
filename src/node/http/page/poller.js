/** Asks again and again: every two seconds, less often while nothing answers, not at all while nobody looks. */

const EVERY_MS = 2000;
const EVERY_MS_MAX = 30_000;

/**
 * @typedef {object} PollerOptions
 * @property {() => Promise<unknown>} ask
 * @property {(answer: unknown) => void} answered
 * @property {(error: unknown, retryMs: number) => void} failed
 * @property {() => void} paused
 */

export class Poller {
  /** @type {PollerOptions} */
  #options;
  #running = false;
  #paused = false;
  #waitMs = EVERY_MS;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** Counts starts: an answer to a question from before a stop is not shown. */
  #run = 0;

  /** @param {PollerOptions} options */
  constructor(options) {
    this.#options = options;
  }

  /** Asks at once, and from then on. */
  start() {
    this.stop();
    this.#running = true;
    this.#waitMs = EVERY_MS;
    void this.#poll(this.#run);
  }

  stop() {
    this.#running = false;
    this.#run++;
    clearTimeout(this.#timer);
  }

  /** Until `resume`. */
  pause() {
    if (!this.#running) return;
    this.stop();
    this.#paused = true;
    this.#options.paused();
  }

  resume() {
    if (!this.#paused) return;
    this.#paused = false;
    this.start();
  }

  /** @param {number} run */
  async #poll(run) {
    /** @type {unknown} */
    let answer;
    try {
      answer = await this.#options.ask();
      this.#waitMs = EVERY_MS;
    } catch (error) {
      if (run !== this.#run) return;
      this.#waitMs = Math.min(EVERY_MS_MAX, this.#waitMs * 2);
      this.#again(run);
      this.#options.failed(error, this.#waitMs);
      return;
    }
    if (run !== this.#run) return;
    this.#again(run);
    this.#options.answered(answer);
  }

  /** @param {number} run */
  #again(run) {
    this.#timer = setTimeout(() => void this.#poll(run), this.#waitMs);
  }
}
