import { z } from 'zod';
import { encodeMessage, parseMessage } from './inventory.ts';

const EPOCHS_PER_ORIGIN_MAX = 10_000;

const watermark = z.object({
  origin: z.string().max(128),
  epoch: z.number().int().nonnegative(),
  sealed: z.number().int().nonnegative(),
  durable: z.number().int().nonnegative(),
});

export type Watermark = z.infer<typeof watermark>;

/** What rides on membership's messages. */
const rider = z.object({
  marks: z.array(watermark).max(100_000),
  /** Which inventory the sender has now. */
  inventory: z.object({ instance: z.string().max(64), version: z.number().int().nonnegative() }),
  /** Its disk takes no copies of others. */
  isFull: z.boolean(),
});
export type Rider = z.infer<typeof rider>;

export function encodeRider({ marks, ...rest }: Rider): Buffer {
  const plain = marks.map(({ origin, epoch, sealed, durable }) => ({ origin, epoch, sealed, durable }));
  return encodeMessage({ marks: plain, ...rest });
}

/** Throws LV_PROTOCOL. */
export const parseRider = (bytes: Uint8Array): Rider => parseMessage(rider, bytes, 'rider');

/**
 * The highest sealed and durable seq of every (origin, epoch) that this peer has heard of. They only rise, so that
 * merging in any order, any number of times, gives the same.
 */
export class Watermarks {
  readonly #marks = new Map<string, Map<number, Watermark & { heardMs: number }>>();
  #changed = false;

  /** `heardMs`: wall clock at which the origin is known to have said it; 0 when unknown. */
  raise(mark: Watermark, heardMs: number): void {
    let epochs = this.#marks.get(mark.origin);
    if (!epochs) this.#marks.set(mark.origin, (epochs = new Map()));
    const known = epochs.get(mark.epoch);
    if (!known) {
      if (epochs.size >= EPOCHS_PER_ORIGIN_MAX) return;
      epochs.set(mark.epoch, { ...mark, heardMs });
      this.#changed = true;
      return;
    }
    if (mark.sealed > known.sealed || mark.durable > known.durable) this.#changed = true;
    known.sealed = Math.max(known.sealed, mark.sealed);
    known.durable = Math.max(known.durable, mark.durable);
    known.heardMs = Math.max(known.heardMs, heardMs);
  }

  get(origin: string, epoch: number): Watermark | undefined {
    return this.#marks.get(origin)?.get(epoch);
  }

  /** The newest epoch of each origin, with the time it was last heard from. */
  latest(): (Watermark & { heardMs: number })[] {
    return [...this.#marks.values()].map((epochs) => epochs.get(Math.max(...epochs.keys()))!);
  }

  all(): (Watermark & { heardMs: number })[] {
    return [...this.#marks.values()].flatMap((epochs) => [...epochs.values()]);
  }

  /** Takes marks in; what an origin says of itself is heard now. */
  merge(from: string, marks: readonly Watermark[], nowMs: number): void {
    for (const mark of marks) this.raise(mark, mark.origin === from ? nowMs : 0);
  }

  /** True once after each change: what is on disk is older. */
  takeChanged(): boolean {
    const changed = this.#changed;
    this.#changed = false;
    return changed;
  }
}
