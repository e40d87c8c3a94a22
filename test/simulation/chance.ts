import type { Random } from '../../src/store/host/index.ts';
import { seededRandom } from '../helpers/sim-clock.ts';

/** Draws for schedules. Each part of a run has its own, so that a change in one does not shift the others' draws. */
export class Chance {
  readonly random: Random;

  constructor(seed: number, part: number) {
    this.random = seededRandom(Math.imul(seed, 0x9e3779b1) ^ Math.imul(part + 1, 0x85ebca6b));
  }

  /** True with this probability. */
  hits(share: number): boolean {
    return this.random.unit() < share;
  }

  /** A whole number from 0 to `bound` − 1. */
  below(bound: number): number {
    return Math.floor(this.random.unit() * bound);
  }

  between(from: number, to: number): number {
    return from + this.random.unit() * (to - from);
  }

  /** Waiting times with this mean, as independent events have them. */
  exponential(mean: number): number {
    return -Math.log(1 - this.random.unit()) * mean;
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]!;
  }

  maybe<Item>(items: readonly Item[]): Item | undefined {
    return items.length > 0 ? this.pick(items) : undefined;
  }

  shuffled<Item>(items: readonly Item[]): Item[] {
    const shuffled = items.slice();
    for (let at = shuffled.length - 1; at > 0; at--) {
      const other = this.below(at + 1);
      [shuffled[at], shuffled[other]] = [shuffled[other]!, shuffled[at]!];
    }
    return shuffled;
  }
}
