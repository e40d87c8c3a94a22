import { BOUNDS } from './constants.ts';

/**
 * Lifeguard's local health: a node that misses answers which others get, or that is accused itself, is likely the slow
 * one. It then probes less often, waits longer, and so accuses less.
 */
export class LocalHealth {
  #score = 0;

  /** 0 is healthy. */
  get score(): number {
    return this.#score;
  }

  note(delta: number): void {
    this.#score = Math.min(BOUNDS.healthMax, Math.max(0, this.#score + delta));
  }

  scale(ms: number): number {
    return ms * (this.#score + 1);
  }
}
