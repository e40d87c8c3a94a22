import { z } from 'zod';
import {
  encodeRider,
  marksSaved,
  parseRider,
  signWatermark,
  Watermarks,
  type PeerId,
  type Repairer,
  type Replicator,
  type Rider,
  type Watermark,
} from '../gossip/index.ts';
import { leftOutText } from './alarms.ts';
import { HoldingsFile } from './holdings-file.ts';
import { LIMITS, messageOf, type Clock, type Disk, type Store, type Timer } from '../store/index.ts';

const SAVE_EVERY_MS = 5_000;
/** Saving takes at most this share of the time: what is known of a large mesh is large. */
const SAVE_SHARE_MAX = 0.02;

/** A mark of this peer is signed at most this often, however often it is asked: what changed meanwhile comes with the next. */
const SIGN_EVERY_MS = 1_000;

const saved = z.object({ marks: marksSaved });

interface Told {
  readonly marks: readonly Watermark[];
  readonly version: number;
  readonly isFull: boolean;
  readonly bytes: Buffer;
}

export interface WatermarkKeeperOptions {
  readonly clock: Clock;
  readonly disk: Disk;
  readonly directory: string;
  readonly store: Store;
  readonly replicator: Replicator;
  readonly repairer: Pick<Repairer, 'known' | 'heard'>;
  /** Ed25519 with this peer's key. */
  sign(bytes: Uint8Array): Uint8Array;
  /** A member of the mesh, dead ones included; false once it is forgotten. */
  isMember(peer: string): boolean;
  isAlive(peer: string): boolean;
  /** This peer's disk takes no copies of others. */
  isFull(): boolean;
  log(level: 'info' | 'warn' | 'error', message: string): void;
}

/**
 * Rides on membership's messages: how far this peer's batches are, which inventory it has, whether its disk is full. Keeps on
 * disk what this peer knows to exist (I9).
 */
export class WatermarkKeeper {
  readonly marks: Watermarks;
  readonly #options: WatermarkKeeperOptions;
  readonly #path: string;
  readonly #holdings: HoldingsFile;
  #leftOut = 0;
  readonly #full = new Set<string>();
  /** Most pings bring what the one before them brought: what was last told, and last heard of each peer. */
  readonly #told: { ping?: Told; state?: Told } = {};
  #own: readonly Watermark[] = [];
  readonly #heard = new Map<PeerId, { bytes: Buffer; rider: Rider }>();
  #timer: Timer | undefined;
  #saving: Promise<void> = Promise.resolve();
  #closed = false;
  #signedMs = -Infinity;

  constructor(options: WatermarkKeeperOptions) {
    this.#options = options;
    const { clock, disk, directory, repairer } = options;
    this.#path = `${directory}/known.json`;
    this.#holdings = new HoldingsFile({
      clock,
      disk,
      path: `${directory}/holdings.zst`,
      known: repairer.known,
      isAlive: (peer) => options.isAlive(peer),
    });
    this.marks = new Watermarks((peer) => options.isMember(peer));
  }

  /** Whether a peer said that its disk takes no copies of others. */
  isFull(peer: string): boolean {
    return this.#full.has(peer);
  }

  /** Holdings of other peers that the next start will not know, for want of room in the file. */
  get leftOut(): number {
    return this.#leftOut;
  }

  /** What the last run knew. A file that cannot be read is passed over: the mesh tells again. */
  async load(): Promise<void> {
    const { disk, repairer, isMember, log } = this.#options;
    try {
      const bytes = await disk.readFile(this.#path);
      if (bytes) this.marks.restore(saved.parse(JSON.parse(bytes.toString('utf8'))).marks);
    } catch (error) {
      log('warn', `${this.#path} cannot be used: ${messageOf(error)}`);
    }
    try {
      await this.#holdings.load();
    } catch (error) {
      log('warn', `${this.#holdings.path} cannot be used: ${messageOf(error)}`);
    }
    for (const peer of repairer.known.peers()) if (!isMember(peer)) this.forgotten(peer);
    this.#raiseOwn();
    this.#schedule(SAVE_EVERY_MS);
  }

  /** A peer is no longer known to membership: what is told of it elsewhere too need not be remembered. */
  forgotten(peer: PeerId): void {
    this.#options.repairer.known.forget(peer, this.#options.store);
    this.#full.delete(peer);
    this.#heard.delete(peer);
  }

  #raiseOwn(): void {
    const { store, replicator, clock, sign } = this.#options;
    const { origin, epoch, sealedSeq: sealed } = store;
    const durable = replicator.durableSeq;
    const known = this.marks.get(origin, epoch);
    if (known?.sealed === sealed && known.durable === durable) return;
    this.#signedMs = clock.monotonicMs();
    this.marks.raise(
      signWatermark({ origin, epoch, sealed, durable }, (bytes) => sign(bytes)),
      clock.nowMs(),
    );
  }

  #raiseOwnInTurn(): void {
    if (this.#options.clock.monotonicMs() - this.#signedMs >= SIGN_EVERY_MS) this.#raiseOwn();
  }

  digest(): Buffer {
    this.#raiseOwnInTurn();
    const { origin, epoch } = this.#options.store;
    const own = this.marks.get(origin, epoch);
    if (this.#own[0] !== own) this.#own = own ? [own] : [];
    return this.#rider('ping', this.#own);
  }

  fullState(): Buffer {
    this.#raiseOwnInTurn();
    return this.#rider('state', this.marks.toPassOn());
  }

  #rider(to: 'ping' | 'state', marks: readonly Watermark[]): Buffer {
    const { instance, health } = this.#options.store;
    const { version } = health;
    const isFull = this.#options.isFull();
    const last = this.#told[to];
    if (last?.marks === marks && last.version === version && last.isFull === isFull) return last.bytes;
    const bytes = encodeRider({ marks, inventory: { instance, version }, isFull });
    this.#told[to] = { marks, version, isFull, bytes };
    return bytes;
  }

  onDigest(from: PeerId, bytes: Buffer): void {
    let last = this.#heard.get(from);
    if (!last?.bytes.equals(bytes)) {
      last = { bytes, rider: parseRider(bytes) };
      if (this.#heard.size >= LIMITS.membersMax) this.#heard.clear();
      this.#heard.set(from, last);
    }
    this.#take(from, last.rider);
  }

  #take(from: PeerId, { marks, inventory, isFull }: Rider): void {
    this.marks.merge(from, marks, this.#options.clock.nowMs());
    this.#options.repairer.heard(from, inventory.instance, inventory.version);
    if (isFull) this.#full.add(from);
    else this.#full.delete(from);
  }

  onFullState(from: PeerId, bytes: Buffer): void {
    this.#take(from, parseRider(bytes));
  }

  #schedule(delayMs: number): void {
    if (this.#closed) return;
    const { clock } = this.#options;
    this.#timer = clock.after(delayMs, () => {
      this.#raiseOwn();
      const startedMs = clock.monotonicMs();
      const { known } = this.#options.repairer;
      const hasNews = [this.marks.takeChanged(), known.vanished.takeNews()].includes(true);
      this.#saving = (hasNews ? this.#save() : Promise.resolve()).finally(() => {
        const tookMs = clock.monotonicMs() - startedMs;
        this.#schedule(Math.max(SAVE_EVERY_MS, tookMs / SAVE_SHARE_MAX));
      });
    });
  }

  async #save(): Promise<void> {
    const { disk, log } = this.#options;
    try {
      await disk.replaceFile(this.#path, Buffer.from(JSON.stringify({ marks: this.marks.all() })));
    } catch (error) {
      log('warn', `${this.#path} cannot be written: ${messageOf(error)}`);
    }
    this.#options.repairer.known.tidyVanished(this.#options.store);
    // A file of its own: it is the larger one by far, and marks must not wait for it, nor fail with it.
    try {
      const leftOut = await this.#holdings.save();
      if (leftOut > 0 && this.#leftOut === 0) log('warn', leftOutText(leftOut));
      this.#leftOut = leftOut;
    } catch (error) {
      log('warn', `${this.#holdings.path} cannot be written: ${messageOf(error)}`);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#saving;
    this.#raiseOwn();
    await this.#save();
  }
}
