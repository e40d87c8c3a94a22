import { z } from 'zod';
import { Watermarks, type PeerId, type Repairer, type Replicator } from '../gossip/index.ts';
import { messageOf, type Clock, type Disk, type Store, type Timer } from '../store/index.ts';

const SAVE_EVERY_MS = 5_000;
const DIGEST_BYTES_MAX = 2_048;

const saved = z.object({
  marks: z.array(
    z.object({
      origin: z.string(),
      epoch: z.number(),
      sealed: z.number(),
      durable: z.number(),
      heardMs: z.number(),
    }),
  ),
  holdings: z.unknown(),
});

export interface WatermarkKeeperOptions {
  readonly clock: Clock;
  readonly disk: Disk;
  readonly directory: string;
  readonly store: Store;
  readonly replicator: Replicator;
  readonly known: Repairer['known'];
  log(level: 'info' | 'warn' | 'error', message: string): void;
}

/** Carries watermarks with membership's messages, and keeps on disk what this peer knows to exist (I9). */
export class WatermarkKeeper {
  readonly marks = new Watermarks();
  readonly #options: WatermarkKeeperOptions;
  readonly #path: string;
  #timer: Timer | undefined;
  #saving: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: WatermarkKeeperOptions) {
    this.#options = options;
    this.#path = `${options.directory}/known.json`;
  }

  /** What the last run knew. A file that cannot be read is passed over: the mesh tells again. */
  async load(): Promise<void> {
    const { disk, known, log } = this.#options;
    const bytes = await disk.readFile(this.#path);
    if (bytes) {
      try {
        const { marks, holdings } = saved.parse(JSON.parse(bytes.toString('utf8')));
        for (const { heardMs, ...mark } of marks) this.marks.raise(mark, heardMs);
        known.restore(holdings as Parameters<typeof known.restore>[0]);
      } catch (error) {
        log('warn', `${this.#path} cannot be used: ${messageOf(error)}`);
      }
    }
    this.#raiseOwn();
    this.#schedule();
  }

  #raiseOwn(): void {
    const { store, replicator, clock } = this.#options;
    const { origin, epoch, sealedSeq: sealed } = store;
    this.marks.raise({ origin, epoch, sealed, durable: replicator.durableSeq }, clock.nowMs());
  }

  digest(): Buffer | undefined {
    this.#raiseOwn();
    const { origin, epoch } = this.#options.store;
    const own = this.marks.get(origin, epoch);
    const bytes = own && this.marks.encode([own]);
    return bytes && bytes.length <= DIGEST_BYTES_MAX ? bytes : undefined;
  }

  onDigest(from: PeerId, bytes: Buffer): void {
    this.marks.merge(from, bytes, this.#options.clock.nowMs());
  }

  fullState(): Buffer {
    this.#raiseOwn();
    return this.marks.encode(this.marks.all());
  }

  onFullState(from: PeerId, bytes: Buffer): void {
    this.onDigest(from, bytes);
  }

  #schedule(): void {
    if (this.#closed) return;
    this.#timer = this.#options.clock.after(SAVE_EVERY_MS, () => {
      this.#raiseOwn();
      this.#saving = (this.marks.takeChanged() ? this.#save() : Promise.resolve()).finally(() =>
        this.#schedule(),
      );
    });
  }

  async #save(): Promise<void> {
    const { disk, known, log } = this.#options;
    const content = JSON.stringify({ marks: this.marks.all(), holdings: known.toJson() });
    await disk.replaceFile(this.#path, Buffer.from(content)).catch((error: unknown) => {
      log('warn', `${this.#path} cannot be written: ${messageOf(error)}`);
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#saving;
    this.#raiseOwn();
    await this.#save();
  }
}
