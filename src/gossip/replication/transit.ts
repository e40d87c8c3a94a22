/** How long a frame may wait on its way before less is sent at once: below this, pings on the same link come in time. */
const DELAY_TARGET_MS = 500;
/** The shortest delay of the last minute or two is the link's own, not that of what waits in front of it; up to this. */
const BASE_DELAY_MS_MAX = 1_000;
const BASE_PERIOD_MS = 60_000;
const WINDOW_BYTES_MIN = 128 * 1024;
const WINDOW_BYTES_START = 1024 * 1024;

interface Sent {
  readonly bytes: number;
  readonly atMs: number;
  /** All that was under way then, itself included: what the link passes until it is received. */
  readonly aheadBytes: number;
}

/**
 * How much may be on its way to one owner, from how long frames take to be received there (not: to be on its disk). A slow link
 * keeps what is sent too early standing in queues, where everything else that goes over it waits behind: pings first of all.
 * The window is what the link passes in `DELAY_TARGET_MS` beyond its own delay, as with TCP Vegas and LEDBAT (RFC 6817); one frame
 * may always go.
 */
export class Transit {
  readonly #windowBytesMax: number;
  #windowBytes: number;
  readonly #underWay: Sent[] = [];
  #bytes = 0;
  #receivedCount = 0;
  /** What was sent before says nothing of the window since. */
  #narrowedMs = -Infinity;
  /** Shortest delay of this period, and of the one before. */
  #baseMs = Infinity;
  #baseBeforeMs = Infinity;
  #periodEndMs = -Infinity;

  constructor(windowBytesMax: number) {
    this.#windowBytesMax = windowBytesMax;
    this.#windowBytes = Math.min(WINDOW_BYTES_START, windowBytesMax);
  }

  get windowBytes(): number {
    return this.#windowBytes;
  }

  hasRoom(bytes: number): boolean {
    return this.#bytes === 0 || this.#bytes + bytes <= this.#windowBytes;
  }

  sent(bytes: number, nowMs: number): void {
    this.#bytes += bytes;
    this.#underWay.push({ bytes, atMs: nowMs, aheadBytes: this.#bytes });
  }

  /** The owner has received so many frames since the stream began. */
  received(count: number, nowMs: number): void {
    for (; this.#receivedCount < count && this.#underWay.length > 0; this.#receivedCount++) {
      const { bytes, atMs, aheadBytes } = this.#underWay.shift()!;
      this.#bytes -= bytes;
      const delayMs = nowMs - atMs;
      const waitMs = delayMs - this.#linkDelayMs(delayMs, nowMs);
      if (waitMs <= DELAY_TARGET_MS) {
        // A window that was hardly used says nothing of a wider one.
        if (aheadBytes * 2 > this.#windowBytes) {
          const wider = this.#windowBytes + bytes * (1 - waitMs / DELAY_TARGET_MS);
          this.#windowBytes = Math.min(this.#windowBytesMax, wider);
        }
      } else if (atMs >= this.#narrowedMs) {
        const passed = (aheadBytes * DELAY_TARGET_MS) / waitMs;
        this.#windowBytes = Math.max(WINDOW_BYTES_MIN, this.#windowBytes / 4, passed);
        this.#narrowedMs = nowMs;
      }
    }
  }

  #linkDelayMs(delayMs: number, nowMs: number): number {
    if (nowMs >= this.#periodEndMs) {
      this.#baseBeforeMs = this.#baseMs;
      this.#baseMs = Infinity;
      this.#periodEndMs = nowMs + BASE_PERIOD_MS;
    }
    this.#baseMs = Math.min(this.#baseMs, delayMs);
    return Math.min(this.#baseMs, this.#baseBeforeMs, BASE_DELAY_MS_MAX);
  }
}
