import { TopicValidatorResult } from '@libp2p/gossipsub';
import type { Connection, Stream } from '@libp2p/interface';
import { peerIdFromString } from '@libp2p/peer-id';
import { multiaddr, type Multiaddr } from '@multiformats/multiaddr';
import { LogvineError, messageOf, type ErrorCode } from '../../store/errors.ts';
import type { Clock } from '../../store/host/index.ts';
import { LIMITS } from '../../store/limits.ts';
import { parseAddress, parseListenAddress } from './address.ts';
import { StreamChannel } from './channel.ts';
import { withDeadline } from './deadline.ts';
import type { Channel, PeerId, Transport, TransportEvents } from './index.ts';
import { keysFromSeed, parsePeerId, type PeerKeys } from './keys.ts';
import {
  BOUNDS,
  createNode,
  type Libp2pNode,
  type Libp2pTransportOptions,
  type TransportLog,
} from './libp2p-node.ts';
import { UnfinishedMessages } from './unfinished.ts';

/**
 * Starts a libp2p node that only peers with a mesh secret can talk to.
 *
 * @throws LV_SECRET_INVALID without a secret beyond loopback, LV_PORT_IN_USE, LV_CONFIG_INVALID for a bad address.
 */
export async function createLibp2pTransport(options: Libp2pTransportOptions): Promise<Transport> {
  const listen = parseListenAddress(options.listen);
  if (!listen.loopback && options.secrets.length === 0) {
    throw new LogvineError(
      'LV_SECRET_INVALID',
      `Listening on ${options.listen}, beyond this host, needs a mesh secret: make one with "logvine init"`,
    );
  }
  const keys = await keysFromSeed(options.seed);
  const transport = new Libp2pTransport(options, keys, await createNode(options, keys, listen.address));
  try {
    await transport.start();
  } catch (cause) {
    await transport.close();
    throw listenError(options.listen, cause);
  }
  return transport;
}

function listenError(listen: string, cause: unknown): unknown {
  const text = messageOf(cause);
  const fail = (code: ErrorCode, why: string) =>
    new LogvineError(code, `Cannot listen on ${listen}: ${why}`, { cause });
  if (text.includes('EADDRINUSE')) {
    return fail('LV_PORT_IN_USE', 'another program listens there; choose another address with --listen');
  }
  if (text.includes('EADDRNOTAVAIL'))
    return fail('LV_CONFIG_INVALID', 'no interface of this host has that address');
  if (text.includes('EACCES')) return fail('LV_CONFIG_INVALID', 'this user may not use that port');
  return cause;
}

function closedLate(): Error {
  return new LogvineError('LV_PEER_TIMEOUT', 'The connections did not close in time');
}

class Libp2pTransport implements Transport {
  readonly self: PeerId;
  readonly clock: Clock;
  readonly #node: Libp2pNode;
  readonly #keys: PeerKeys;
  readonly #log: TransportLog;
  readonly #topics: ReadonlySet<string>;
  readonly #messageBytesMax: number;
  readonly #unfinished = new UnfinishedMessages();
  readonly #lastReceivedMs = new Map<PeerId, number>();
  readonly #learned = new Map<PeerId, Multiaddr[]>();
  readonly #dialling = new Map<PeerId, Promise<Connection>>();
  readonly #receivers = new Map<string, (from: PeerId, message: Buffer) => void>();
  #closing: Promise<void> | undefined;

  constructor(options: Libp2pTransportOptions, keys: PeerKeys, node: Libp2pNode) {
    this.self = keys.peer;
    this.clock = options.clock;
    this.#keys = keys;
    this.#node = node;
    this.#log = options.log;
    this.#topics = new Set(options.topics);
    this.#messageBytesMax = options.messageBytesMax ?? LIMITS.messageBytesMax;
  }

  async start(): Promise<void> {
    const gossip = this.#node.services.gossip;
    for (const topic of this.#topics) {
      gossip.topicValidators.set(topic, (_peer, message) =>
        message.type === 'signed' && message.data.length <= BOUNDS.topicMessageBytes
          ? TopicValidatorResult.Accept
          : TopicValidatorResult.Reject,
      );
    }
    gossip.addEventListener('message', ({ detail }) => {
      if (detail.type !== 'signed') return;
      const from = detail.from.toString() as PeerId;
      const receive = this.#receivers.get(detail.topic);
      if (!receive || from === this.self) return;
      this.#guard('topic', () => receive(from, Buffer.from(detail.data)));
    });
    await this.#node.start();
  }

  addresses(): string[] {
    return this.#node.getMultiaddrs().map(String);
  }

  handle(
    protocol: string,
    handler: (channel: Channel) => Promise<void>,
    { requestBytesMax = this.#messageBytesMax }: { readonly requestBytesMax?: number } = {},
  ): void {
    const answer = (stream: Stream, connection: Connection) => {
      const peer = connection.remotePeer.toString() as PeerId;
      const channel = this.#channel(peer, stream, requestBytesMax);
      void this.#answer(protocol, stream, channel, handler);
    };
    this.#node
      .handle(protocol, answer, {
        maxInboundStreams: BOUNDS.streamsPerProtocol,
        maxOutboundStreams: BOUNDS.streamsPerProtocol,
      })
      .catch((error: unknown) =>
        this.#log.warn({ protocol, error: messageOf(error) }, 'protocol not registered'),
      );
  }

  #channel(peer: PeerId, stream: Stream, receivedBytesMax: number): StreamChannel {
    return new StreamChannel(peer, stream, this.clock, {
      sentBytesMax: this.#messageBytesMax,
      receivedBytesMax,
      unfinished: this.#unfinished.of(peer),
      onReceived: () => this.#received(peer),
    });
  }

  #received(peer: PeerId): void {
    const times = this.#lastReceivedMs;
    if (!times.has(peer) && times.size >= LIMITS.membersMax) times.delete(times.keys().next().value!);
    times.set(peer, this.clock.monotonicMs());
  }

  async #answer(
    protocol: string,
    stream: Stream,
    channel: StreamChannel,
    handler: (channel: Channel) => Promise<void>,
  ): Promise<void> {
    try {
      await handler(channel);
      await channel.close();
      if (stream.status === 'closed' || stream.status === 'aborted' || stream.status === 'reset') return;
      const drop = () =>
        channel.abort(new LogvineError('LV_PEER_TIMEOUT', `${channel.peer} left a channel half open`));
      const timer = this.clock.after(BOUNDS.halfOpenMs, drop);
      stream.addEventListener('close', () => timer.cancel());
    } catch (error) {
      this.#log.debug({ protocol, peer: channel.peer, error: messageOf(error) }, 'channel ended by an error');
      channel.abort(error instanceof Error ? error : new LogvineError('LV_PROTOCOL', messageOf(error)));
    }
  }

  async open(peer: PeerId, protocol: string, options: { timeoutMs: number }): Promise<Channel> {
    if (peer === this.self)
      throw new LogvineError('LV_PEER_UNREACHABLE', 'A peer does not open channels to itself');
    return this.#within(peer, options.timeoutMs, async (signal) => {
      const connection = this.#openConnection(peer) ?? (await this.#dialPeer(peer));
      const stream = await connection.newStream(protocol, {
        signal,
        maxOutboundStreams: BOUNDS.streamsPerProtocol,
      });
      return this.#channel(peer, stream, this.#messageBytesMax);
    });
  }

  /** The newest one: when a peer came back, older connections to it may be dead without knowing. */
  #openConnection(peer: PeerId): Connection | undefined {
    return this.#node
      .getConnections(peerIdFromString(peer))
      .filter((connection) => connection.status === 'open')
      .reduce<Connection | undefined>(
        (newest, next) => (newest && newest.timeline.open >= next.timeline.open ? newest : next),
        undefined,
      );
  }

  /** One dial a peer, for all who wait for it: what it has found out by the time that they give up is of use to the next. */
  #dialPeer(peer: PeerId): Promise<Connection> {
    let dial = this.#dialling.get(peer);
    if (!dial) {
      dial = this.#dialAddresses(peer).finally(() => this.#dialling.delete(peer));
      this.#dialling.set(peer, dial);
    }
    return dial;
  }

  /**
   * One address after the other, each with a time of its own: behind one that swallows everything (a bridge, a firewall) may
   * be one that answers. (libp2p gives each as long as all together, and always begins with the public ones.)
   */
  async #dialAddresses(peer: PeerId): Promise<Connection> {
    const addresses = this.#learned.get(peer) ?? [];
    const eachMs = Math.max(BOUNDS.addressDialMsMin, BOUNDS.dialTimeoutMs / addresses.length);
    const untilMs = this.clock.monotonicMs() + BOUNDS.dialTimeoutMs;
    let failure: unknown = new LogvineError('LV_PEER_UNREACHABLE', `No address of ${peer} is known`);
    for (const address of addresses) {
      const leftMs = untilMs - this.clock.monotonicMs();
      if (leftMs <= 0) break;
      const dial = (signal: AbortSignal) => this.#node.dial(address, { signal });
      try {
        return await this.#within(String(address), Math.min(eachMs, leftMs), dial);
      } catch (error) {
        failure = error;
        this.#tryLast(peer, address);
        // Within this turn of the loop, libp2p would have the next dial join the one that was given up, and end with it.
        await new Promise<void>((resolve) => void this.clock.after(0, resolve));
      }
    }
    throw failure;
  }

  /** The next dial begins with those that have not failed. */
  #tryLast(peer: PeerId, address: Multiaddr): void {
    const known = this.#learned.get(peer);
    if (known?.includes(address)) {
      this.#learned.set(peer, [...known.filter((other) => other !== address), address]);
    }
  }

  async connect(address: string, options: { timeoutMs: number }): Promise<PeerId> {
    const target = parseAddress(address);
    return this.#within(address, options.timeoutMs, async (signal) => {
      try {
        const connection = await this.#node.dial(target, { signal });
        return connection.remotePeer.toString() as PeerId;
      } catch (error) {
        if (error instanceof Error && error.message.includes('Can not dial self')) return this.self;
        throw error;
      }
    });
  }

  /** Runs `work` under a deadline of this transport's clock and reports failures in the contract's two codes. */
  async #within<Result>(
    whom: string,
    timeoutMs: number,
    work: (signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    if (this.#closing) throw new LogvineError('LV_CLOSED', 'This node is closing');
    const abort = new AbortController();
    const late = () => {
      const error = new LogvineError('LV_PEER_TIMEOUT', `${whom} did not answer within ${timeoutMs} ms`);
      abort.abort(error);
      return error;
    };
    try {
      return await withDeadline(this.clock, timeoutMs, late, () => work(abort.signal));
    } catch (cause) {
      if (cause instanceof LogvineError) throw cause;
      throw new LogvineError('LV_PEER_UNREACHABLE', `${whom} cannot be reached: ${messageOf(cause)}`, {
        cause,
      });
    }
  }

  learn(peer: PeerId, addresses: readonly string[]): void {
    if (peer === this.self) return;
    this.#learned.delete(peer);
    const usable: Multiaddr[] = [];
    for (const text of addresses.slice(0, LIMITS.memberAddressesMax)) {
      try {
        const address = parseAddress(text);
        const named = address.getComponents().some((part) => part.name === 'p2p');
        usable.push(named ? address : multiaddr(`${address}/p2p/${peer}`));
      } catch {
        // An address that this version cannot read; the peer may have others.
      }
    }
    if (usable.length === 0) return;
    if (this.#learned.size >= LIMITS.membersMax) this.#learned.delete(this.#learned.keys().next().value!);
    this.#learned.set(peer, usable);
  }

  publish(topic: string, message: Uint8Array): void {
    if (message.length > BOUNDS.topicMessageBytes || !this.#topics.has(topic)) {
      throw new LogvineError('LV_PROTOCOL', `A message of ${message.length} bytes cannot go out on ${topic}`);
    }
    if (this.#closing) return;
    this.#node.services.gossip.publish(topic, message).catch((error: unknown) => {
      this.#log.debug({ topic, error: messageOf(error) }, 'publishing failed');
    });
  }

  subscribe(topic: string, receive: (from: PeerId, message: Buffer) => void): void {
    if (!this.#topics.has(topic)) throw new LogvineError('LV_PROTOCOL', `The topic ${topic} is not allowed`);
    this.#receivers.set(topic, receive);
    this.#node.services.gossip.subscribe(topic);
  }

  on(events: Partial<TransportEvents>): void {
    const { connected, disconnected } = events;
    if (connected) {
      this.#node.addEventListener('peer:connect', ({ detail }) =>
        this.#guard('connected', () => connected(detail.toString() as PeerId)),
      );
    }
    if (disconnected) {
      this.#node.addEventListener('peer:disconnect', ({ detail }) =>
        this.#guard('disconnected', () => disconnected(detail.toString() as PeerId)),
      );
    }
  }

  /** A throw in a callback must not unwind into libp2p. */
  #guard(event: string, run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#log.warn({ event, error: messageOf(error) }, 'a transport callback failed');
    }
  }

  isConnected(peer: PeerId): boolean {
    return parsePeerId(peer) !== undefined && this.#openConnection(peer) !== undefined;
  }

  lastReceivedMs(peer: PeerId): number | undefined {
    return this.#lastReceivedMs.get(peer);
  }

  sign(bytes: Uint8Array): Buffer {
    return this.#keys.sign(bytes);
  }

  close(): Promise<void> {
    this.#closing ??= this.#stop();
    return this.#closing;
  }

  async #stop(): Promise<void> {
    try {
      await withDeadline(this.clock, BOUNDS.closeTimeoutMs, closedLate, async () => this.#node.stop());
    } catch (error) {
      // A TCP shutdown can hang: what is still open then is dropped.
      for (const connection of this.#node.getConnections()) connection.abort(error as Error);
    }
  }
}
