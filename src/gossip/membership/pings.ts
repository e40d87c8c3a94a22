import { LogvineError } from '../../store/index.ts';
import type { Channel, PeerId, Transport } from '../transport/index.ts';
import { BOUNDS, SWIM_PROTOCOL } from './constants.ts';
import { encodeMessage, parseAnswer, type Answer, type Request } from './messages.ts';

type Question = Exclude<Request, { kind: 'sync' }>;

/**
 * One long-lived channel to each peer that is asked now and then, so that a probe costs two small messages. The least
 * recently used channels are closed when there are too many.
 */
export class PingChannels {
  readonly #transport: Transport;
  readonly #channels = new Map<PeerId, PingChannel>();

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Asks `peer` and resolves to its answer. Rejects when there is none within `timeoutMs`, or sooner when it is sure. */
  ask(peer: PeerId, question: (seq: number) => Question, timeoutMs: number): Promise<Answer> {
    let channel = this.#channels.get(peer);
    this.#channels.delete(peer);
    channel ??= new PingChannel(this.#transport, peer);
    this.#channels.set(peer, channel);
    if (this.#channels.size > BOUNDS.pingChannels) {
      const [oldest, unused] = this.#channels.entries().next().value!;
      this.#channels.delete(oldest);
      unused.close();
    }
    return channel.ask(question, timeoutMs);
  }

  forget(peer: PeerId): void {
    this.#channels.get(peer)?.close();
    this.#channels.delete(peer);
  }

  close(): void {
    for (const channel of this.#channels.values()) channel.close();
    this.#channels.clear();
  }
}

class PingChannel {
  readonly #transport: Transport;
  readonly #peer: PeerId;
  readonly #waiting = new Map<number, { resolve(answer: Answer): void; reject(error: Error): void }>();
  /** The one in use: what becomes of an earlier one is of no matter. */
  #channel: Promise<Channel> | undefined;
  #seq = 0;
  #unanswered = 0;

  constructor(transport: Transport, peer: PeerId) {
    this.#transport = transport;
    this.#peer = peer;
  }

  async ask(question: (seq: number) => Question, timeoutMs: number): Promise<Answer> {
    if (this.#waiting.size >= BOUNDS.pingsPending) {
      throw new LogvineError('LV_OVERLOADED', `Too many pings to ${this.#peer} are unanswered`);
    }
    const seq = (this.#seq = (this.#seq + 1) % 0xffff_ffff);
    const answer = Promise.withResolvers<Answer>();
    this.#waiting.set(seq, answer);
    const timer = this.#transport.clock.after(timeoutMs, () => {
      answer.reject(new LogvineError('LV_PEER_TIMEOUT', `${this.#peer} did not answer a ping`));
      // The connection below may be dead without knowing it.
      if (++this.#unanswered >= BOUNDS.unansweredPings) this.close();
    });
    this.#send(encodeMessage(question(seq))).catch(answer.reject);
    try {
      return await answer.promise;
    } finally {
      timer.cancel();
      this.#waiting.delete(seq);
    }
  }

  async #send(message: Buffer): Promise<void> {
    if (!this.#channel) {
      const opening = this.#transport.open(this.#peer, SWIM_PROTOCOL, { timeoutMs: BOUNDS.openTimeoutMs });
      this.#channel = opening;
      void this.#read(opening);
    }
    const channel = await this.#channel;
    await channel.send(message);
  }

  async #read(opening: Promise<Channel>): Promise<void> {
    let channel: Channel | undefined;
    try {
      channel = await opening;
      if (this.#channel === opening) this.#unanswered = 0;
      for (;;) {
        const message = await channel.receive();
        if (message === undefined) break;
        const answer = parseAnswer(message);
        this.#unanswered = 0;
        this.#waiting.get(answer.seq)?.resolve(answer);
      }
      await channel.close();
      this.#fail(opening, new LogvineError('LV_PEER_UNREACHABLE', `${this.#peer} closed the channel`));
    } catch (error) {
      channel?.abort(error as Error);
      this.#fail(opening, error as Error);
    }
  }

  #fail(channel: Promise<Channel>, reason: Error): void {
    if (this.#channel !== channel) return;
    this.#channel = undefined;
    for (const { reject } of this.#waiting.values()) reject(reason);
  }

  close(): void {
    const reason = new LogvineError('LV_CLOSED', 'The ping channel was closed');
    const channel = this.#channel;
    if (!channel) return;
    this.#fail(channel, reason);
    channel.then(
      (open) => open.abort(reason),
      () => undefined,
    );
  }
}
