import type { PeerId } from '../transport/index.ts';

/**
 * How far other peers' wall clocks are ahead of this one's, from pings: the answer carries the time at which it was
 * given, and half of the round trip has passed since. The error is at most half of the round trip.
 */
export class ClockSkews {
  readonly #skewsMs = new Map<PeerId, number>();

  /** `wallMs`: what the peer's clock showed; `nowMs`: this one's when the answer came. */
  note(peer: PeerId, wallMs: number, roundTripMs: number, nowMs: number): void {
    this.#skewsMs.set(peer, Math.round(wallMs + roundTripMs / 2 - nowMs));
  }

  /** Milliseconds that the clock of `peer` is ahead; undefined until it has answered a ping. */
  of(peer: PeerId): number | undefined {
    return this.#skewsMs.get(peer);
  }

  forget(peer: PeerId): void {
    this.#skewsMs.delete(peer);
  }
}
