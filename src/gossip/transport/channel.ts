import type { Stream } from '@libp2p/interface';
import { pipe } from 'it-pipe';
import { LogvineError, messageOf } from '../../store/errors.ts';
import type { Clock } from '../../store/host/index.ts';
import { withDeadline } from './deadline.ts';
import { chunksOf, finishedMark, lengthPrefix, messagesOf, type UnfinishedBytes } from './frames.ts';
import type { Channel, PeerId } from './index.ts';

/** Messages up to this size are copied behind their length, so that both go out as one frame. */
const JOINED_BYTES_MAX = 64 * 1024;
/** A stream may still hold this much unsent when `send` resolves. */
const WRITE_BUFFER_BYTES = 256 * 1024;
/** How long `close` waits for a slow reader before the channel is dropped. */
const CLOSE_TIMEOUT_MS = 120_000;
const END_DELAY_MS = 1_000;

export interface ChannelBounds {
  readonly sentBytesMax: number;
  readonly receivedBytesMax: number;
  readonly unfinished: UnfinishedBytes;
  /** Called whenever something comes in. */
  onReceived(): void;
}

/** A channel on a libp2p stream. */
export class StreamChannel implements Channel {
  readonly peer: PeerId;
  readonly #stream: Stream;
  readonly #clock: Clock;
  readonly #sentBytesMax: number;
  readonly #messages: AsyncGenerator<Buffer, void, undefined>;
  #failure: Error | undefined;
  #finished = false;
  #received = 0;
  #closing: Promise<void> | undefined;
  /** Wakes a send or a receive that waits when the channel is aborted from here. */
  #onAbort = new Set<(reason: Error) => void>();

  constructor(peer: PeerId, stream: Stream, clock: Clock, bounds: ChannelBounds) {
    this.peer = peer;
    this.#stream = stream;
    this.#clock = clock;
    this.#sentBytesMax = bounds.sentBytesMax;
    // Until somebody receives, the sender's window closes instead of this side's buffer filling up.
    if (stream.readStatus === 'readable') stream.pause();
    this.#messages = pipe(
      () => chunksOf(stream, bounds.onReceived),
      (chunks) => messagesOf(chunks, bounds.receivedBytesMax, bounds.unfinished),
    );
  }

  async send(message: Uint8Array): Promise<void> {
    if (this.#failure) throw this.#failure;
    if (this.#closing) throw new LogvineError('LV_CLOSED', `The channel to ${this.peer} is closed`);
    if (message.length > this.#sentBytesMax) {
      const reason = new LogvineError(
        'LV_PROTOCOL',
        `A message of ${message.length} bytes exceeds the bound`,
      );
      this.abort(reason);
      throw reason;
    }
    const prefix = lengthPrefix(message.length);
    try {
      if (message.length <= JOINED_BYTES_MAX) {
        this.#stream.send(Buffer.concat([prefix, message]));
      } else {
        this.#stream.send(prefix);
        this.#stream.send(message);
      }
    } catch (cause) {
      throw this.#lost(cause);
    }
    await this.#room();
  }

  /** The stream's own onDrain() holds back only once in its life: wait for the event instead. */
  async #room(): Promise<void> {
    const stream = this.#stream;
    while (stream.writableNeedsDrain && stream.writeBufferLength > WRITE_BUFFER_BYTES) {
      if (this.#failure) throw this.#failure;
      if (stream.writeStatus === 'closed') throw this.#lost();
      await new Promise<void>((resolve, reject) => {
        const settle = (run: () => void) => {
          stream.removeEventListener('drain', drained);
          stream.removeEventListener('close', closed);
          this.#onAbort.delete(aborted);
          run();
        };
        const drained = () => settle(resolve);
        const closed = (event: { error?: Error }) => settle(() => reject(this.#lost(event.error)));
        const aborted = (reason: Error) => settle(() => reject(reason));
        stream.addEventListener('drain', drained);
        stream.addEventListener('close', closed);
        this.#onAbort.add(aborted);
      });
    }
    if (this.#failure) throw this.#failure;
  }

  async receive(): Promise<Buffer | undefined> {
    if (this.#failure) throw this.#failure;
    if (this.#finished) return undefined;
    const aborted = Promise.withResolvers<never>();
    this.#onAbort.add(aborted.reject);
    try {
      const next = await Promise.race([this.#messages.next(), aborted.promise]);
      if (!next.done) {
        this.#received++;
        return next.value;
      }
      this.#finished = true;
      return undefined;
    } catch (error) {
      throw this.#lost(error);
    } finally {
      this.#onAbort.delete(aborted.reject);
    }
  }

  close(): Promise<void> {
    if (this.#failure) return Promise.resolve();
    this.#closing ??= this.#finish();
    return this.#closing;
  }

  async #finish(): Promise<void> {
    const late = () => new LogvineError('LV_PEER_TIMEOUT', `${this.peer} did not read to the end`);
    try {
      this.#stream.send(finishedMark());
      await withDeadline(this.#clock, CLOSE_TIMEOUT_MS, late, async () => {
        await this.#room();
        await this.#spokenTo();
        await this.#stream.close();
      });
    } catch (error) {
      // libp2p may reject with an Event. What was sent may not have arrived: make the other side see that.
      this.abort(error instanceof Error ? error : new LogvineError('LV_PEER_UNREACHABLE', messageOf(error)));
    }
  }

  /**
   * An opener that gets the end of the stream together with the answer to its protocol negotiation loses what came in
   * between. So the answering side ends the stream (not the run of messages) only when the opener has said something.
   */
  async #spokenTo(): Promise<void> {
    const stream = this.#stream;
    if (stream.direction === 'outbound' || this.#received > 0) return;
    if (stream.readBufferLength > 0 || stream.remoteWriteStatus === 'closed') return;
    await new Promise<void>((resolve) => {
      this.#clock.after(END_DELAY_MS, resolve);
      stream.addEventListener('close', () => resolve());
    });
  }

  abort(reason: Error): void {
    if (this.#failure) return;
    this.#failure = reason;
    for (const wake of this.#onAbort) wake(reason);
    this.#onAbort.clear();
    try {
      this.#stream.abort(reason);
    } catch {
      // The stream is gone already.
    }
  }

  /** The failure as this channel reports it from now on. */
  #lost(cause?: unknown): Error {
    if (this.#failure) return this.#failure;
    const reason =
      cause instanceof LogvineError
        ? cause
        : new LogvineError('LV_PEER_UNREACHABLE', `The channel to ${this.peer} was lost`, { cause });
    this.abort(reason);
    return reason;
  }
}
