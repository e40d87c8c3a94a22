import type { Clock } from '../../store/index.ts';
import type { PeerId } from '../transport/index.ts';

/**
 * How far other peers' wall clocks are ahead of this one's, from pings: the answer carries the time at which it was
 * given, and half of the round trip has passed since. The error is at most half of the round trip.
 *
 * Kept against this peer's monotonic clock, so that a jump of its wall clock shows at once, against everybody that was ever
 * measured, and not when each has answered another ping.
 */
export class ClockSkews {
  readonly #clock: Clock;
  /** Peer → its wall clock when this peer's monotonic clock was zero. */
  readonly #zerosMs = new Map<PeerId, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** `wallMs`: what the peer's clock showed in an answer that came just now. */
  note(peer: PeerId, wallMs: number, roundTripMs: number): void {
    this.#zerosMs.set(peer, wallMs + roundTripMs / 2 - this.#clock.monotonicMs());
  }

  /** Milliseconds that the clock of `peer` is ahead; undefined until it has answered a ping. */
  of(peer: PeerId): number | undefined {
    const zeroMs = this.#zerosMs.get(peer);
    if (zeroMs === undefined) return undefined;
    return Math.round(zeroMs + this.#clock.monotonicMs() - this.#clock.nowMs());
  }

  forget(peer: PeerId): void {
    this.#zerosMs.delete(peer);
  }
}
