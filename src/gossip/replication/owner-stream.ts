import { LogvineError, type Clock, type SealedBatch, type Timer } from '../../store/index.ts';
import type { Channel, PeerId, Transport } from '../transport/index.ts';
import { parseReceipt, REPLICATE_PROTOCOL } from './messages.ts';
import { Transit } from './transit.ts';

export interface OwnerStreamOptions {
  readonly owner: PeerId;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly openTimeoutMs: number;
  /** An owner that confirms nothing for this long while frames are under way has failed. */
  readonly ackTimeoutMs: number;
  readonly windowBytes: number;
  /** The highest seq that is acknowledged; what waits here up to it waits for this owner alone. */
  durableSeq(): number;
  /** The bytes that wait for this owner alone became so many more or, negative, fewer. */
  onLag(bytes: number): void;
  /** The owner has these on its disk. */
  onAck(batches: readonly SealedBatch[]): void;
  /** Called once; the stream is of no use afterwards. */
  onFailed(error: Error): void;
}

/**
 * Frames to one owner, in order, with a bounded window under way, and a narrower one on the link where that is slow. What waits is bounded by whoever sends: by what is not
 * acknowledged yet, and by what lags behind that.
 */
export class OwnerStream {
  readonly #options: OwnerStreamOptions;
  readonly #queue: SealedBatch[] = [];
  readonly #underWay: SealedBatch[] = [];
  #underWayBytes = 0;
  readonly #transit: Transit;
  #laggingBytes = 0;
  #channel: Channel | undefined;
  #running = false;
  #failed = false;
  #ackTimer: Timer | undefined;
  #wake: (() => void) | undefined;

  constructor(options: OwnerStreamOptions) {
    this.#options = options;
    this.#transit = new Transit(options.windowBytes);
  }

  send(batch: SealedBatch): void {
    if (this.#failed) return;
    this.#queue.push(batch);
    this.#wake?.();
    if (!this.#running) {
      this.#running = true;
      void this.#run();
    }
  }

  /** Bytes that every other owner needed has, and that wait for this one. */
  get laggingBytes(): number {
    return this.#laggingBytes;
  }

  /** A batch is acknowledged; if this owner has not confirmed it, it lags. */
  acknowledged(seq: number, bytes: number): void {
    const first = this.#underWay[0] ?? this.#queue[0];
    if (!this.#failed && first !== undefined && first.seq <= seq) this.#lag(bytes);
  }

  /** The others go on without this owner; it catches up by repair. */
  leaveBehind(): void {
    const { owner } = this.#options;
    const behind = `${owner} is ${this.#laggingBytes} bytes behind the others and catches up by repair`;
    this.#fail(new LogvineError('LV_OVERLOADED', behind));
  }

  #lag(bytes: number): void {
    this.#laggingBytes += bytes;
    this.#options.onLag(bytes);
  }

  async #run(): Promise<void> {
    const { transport, owner, openTimeoutMs, clock } = this.#options;
    try {
      const channel = await transport.open(owner, REPLICATE_PROTOCOL, { timeoutMs: openTimeoutMs });
      if (this.#failed) {
        channel.abort(new Error('replication stopped'));
        return;
      }
      this.#channel = channel;
      void this.#receiveAcks(channel);
      while (!this.#failed) {
        const batch = this.#queue[0];
        if (!batch || !this.#hasRoom(batch)) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
          continue;
        }
        this.#queue.shift();
        this.#underWay.push(batch);
        this.#underWayBytes += batch.frameBytes;
        this.#armAckTimer();
        this.#transit.sent(batch.frameBytes, clock.monotonicMs());
        await channel.send(Buffer.concat(batch.frame as Uint8Array[]));
      }
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #hasRoom({ frameBytes }: SealedBatch): boolean {
    const isWide = this.#underWayBytes === 0 || this.#underWayBytes + frameBytes <= this.#options.windowBytes;
    return isWide && this.#transit.hasRoom(frameBytes);
  }

  async #receiveAcks(channel: Channel): Promise<void> {
    try {
      for (;;) {
        const message = await channel.receive();
        if (!message)
          throw new LogvineError('LV_PEER_UNREACHABLE', `${this.#options.owner} closed replication`);
        const receipt = parseReceipt(message);
        if (receipt.kind === 'received') {
          this.#transit.received(receipt.frames, this.#options.clock.monotonicMs());
          this.#wake?.();
          continue;
        }
        // Frames come to it in order, and it says so in order. Of what came by another way it says nothing here.
        const durable: SealedBatch[] = [];
        while (this.#underWay.length > 0 && this.#underWay[0].seq <= receipt.seq) {
          const confirmed = this.#underWay.shift()!;
          durable.push(confirmed);
          this.#underWayBytes -= confirmed.frameBytes;
          if (confirmed.seq <= this.#options.durableSeq()) this.#lag(-confirmed.frameBytes);
        }
        // An owner that has all on its disk has received it, whatever it said before.
        if (this.#underWay.length === 0) this.#transit.received(Infinity, this.#options.clock.monotonicMs());
        this.#ackTimer?.cancel();
        this.#ackTimer = undefined;
        if (this.#underWay.length > 0) this.#armAckTimer();
        this.#options.onAck(durable);
        this.#wake?.();
      }
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #armAckTimer(): void {
    const { clock, ackTimeoutMs, owner } = this.#options;
    this.#ackTimer ??= clock.after(ackTimeoutMs, () =>
      this.#fail(new LogvineError('LV_PEER_TIMEOUT', `${owner} confirmed nothing for ${ackTimeoutMs} ms`)),
    );
  }

  #fail(error: Error): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#ackTimer?.cancel();
    this.#letGo();
    this.#channel?.abort(error);
    this.#wake?.();
    this.#options.onFailed(error);
  }

  #letGo(): void {
    this.#queue.length = 0;
    this.#underWay.length = 0;
    this.#lag(-this.#laggingBytes);
  }

  close(): void {
    this.#failed = true;
    this.#letGo();
    this.#ackTimer?.cancel();
    this.#wake?.();
    this.#channel?.abort(new LogvineError('LV_CLOSED', 'replication stopped'));
  }
}
