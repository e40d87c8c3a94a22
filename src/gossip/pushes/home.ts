import { LIMITS } from '../../store/index.ts';
import { request, type PeerId, type Transport } from '../transport/index.ts';
import type { KnownPush } from './memory.ts';
import { asPeer, encodePushMessage, parseTold, PUSH_PROTOCOL, type Tell } from './messages.ts';

/** What one home says to one claim. */
export interface HomeAnswer extends KnownPush {
  readonly remembersMs: number;
}

interface Waiting {
  readonly tell: Tell;
  answer(known: HomeAnswer | undefined): void;
}

/** A home that did not answer is passed over for this long. */
const COOLDOWN_MS = 5_000;

/**
 * The way to one home. While a message is under way the next tells gather and go out together, so that a flood of small
 * pushes costs a message a round trip and not one a push.
 */
export class HomeLink {
  readonly #transport: Transport;
  readonly #peer: PeerId;
  readonly #timeoutMs: number;
  #waiting: Waiting[] = [];
  #running = false;
  #coolUntilMs = -Infinity;

  constructor(transport: Transport, peer: PeerId, timeoutMs: number) {
    this.#transport = transport;
    this.#peer = peer;
    this.#timeoutMs = timeoutMs;
  }

  /** Undefined when the home is out of reach, or too much waits for it. */
  tell(tell: Tell): Promise<HomeAnswer | undefined> {
    const isCooling = this.#transport.clock.monotonicMs() < this.#coolUntilMs;
    if (isCooling || this.#waiting.length >= LIMITS.pushesUnderWayMax) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#waiting.push({ tell, answer: resolve });
      if (!this.#running) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#running = true;
    // What is told in the same turn goes out together.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const group = this.#waiting.splice(0, LIMITS.pushesPerMessageMax);
      try {
        const message = encodePushMessage({ kind: 'tell', tells: group.map(({ tell }) => tell) });
        const answer = await request(this.#transport, this.#peer, PUSH_PROTOCOL, message, this.#timeoutMs);
        const { known, remembersMs } = parseTold(answer);
        for (const [at, { answer: resolve }] of group.entries()) {
          if (at >= known.length) {
            resolve(undefined);
            continue;
          }
          const { peer, epoch, acknowledged } = known[at];
          const claimant = { peer: asPeer(peer), epoch };
          resolve({ claimant, acknowledged, remembersMs: remembersMs ?? Infinity });
        }
      } catch {
        this.#coolUntilMs = this.#transport.clock.monotonicMs() + COOLDOWN_MS;
        for (const { answer } of [...group, ...this.#waiting.splice(0)]) answer(undefined);
      }
    }
    this.#running = false;
  }
}
