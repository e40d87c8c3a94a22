import { LIMITS, LogvineError, type Clock, type Store } from '../../store/index.ts';
import { withDeadline, type Channel } from '../transport/index.ts';
import { encodeReceipt, type FrameReceipt } from './messages.ts';

/** A newcomer's introduction takes milliseconds, mostly: an origin that writes to it at once need not fail. */
const INTRODUCED_WITHIN_MS = 10_000;
const notIntroduced = (): LogvineError =>
  new LogvineError('LV_PEER_UNREACHABLE', 'too few members of the mesh know of this peer yet');

/**
 * The owner's side of replication: frames come in, each is verified, written and fsynced, and its seq goes back once it
 * is on disk. Acks are cumulative for a segment, since frames of one come in order. Several frames are written at once
 * so that they share an fsync, up to a window for each origin and a bound for all of them: on a slow disk, origins wait
 * for it. Any error ends the channel; the origin then opens a new segment, and repair brings this peer what it missed.
 */
export class ReplicaReceiver {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #introduced: Promise<void>;
  #bytesInFlight = 0;
  readonly #waiting: (() => void)[] = [];

  /** `introduced`: until then nothing is taken, for a copy at a peer that the mesh does not know of must not count. */
  constructor(store: Store, clock: Clock, introduced: Promise<void>) {
    this.#store = store;
    this.#clock = clock;
    this.#introduced = introduced;
  }

  /** Bytes of frames that are not on disk yet. */
  get bytesInFlight(): number {
    return this.#bytesInFlight;
  }

  async serve(channel: Channel): Promise<void> {
    let ofChannel = 0;
    let acks: Promise<void> = Promise.resolve();
    let failed: Error | undefined;
    let frames = 0;
    const say = (receipt: FrameReceipt): Promise<void> =>
      channel.send(encodeReceipt(receipt)).catch(() => undefined);
    await withDeadline(this.#clock, INTRODUCED_WITHIN_MS, notIntroduced, () => this.#introduced);
    for (;;) {
      await this.#room(() => ofChannel <= LIMITS.replicationWindowBytes);
      const frame = await channel.receive();
      if (!frame) break;
      if (failed) throw failed;
      await say({ kind: 'received', frames: ++frames });
      ofChannel += frame.length;
      this.#bytesInFlight += frame.length;
      const appended = this.#store.appendReplica(frame, { from: channel.peer });
      const before = acks;
      acks = (async () => {
        // Both are waited for even when one fails, so that no rejection goes unseen.
        const [result] = await Promise.allSettled([appended, before]);
        ofChannel -= frame.length;
        this.#bytesInFlight -= frame.length;
        for (const go of this.#waiting.splice(0)) go();
        if (result.status === 'rejected') {
          failed ??= result.reason as Error;
          channel.abort(failed);
          return;
        }
        if (failed) return;
        const { id, seq } = result.value;
        await say({ kind: 'durable', epoch: id.epoch, index: id.index, seq });
      })();
    }
    await acks;
    await channel.close();
  }

  async #room(hasChannelRoom: () => boolean): Promise<void> {
    while (!hasChannelRoom() || this.#bytesInFlight > LIMITS.replicaBytesInFlightMax) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }
}
