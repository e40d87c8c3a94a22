/**
 * How peers reach each other: message channels and topics between peers that hold the mesh secret. libp2p carries it
 * in a real node, the simulator in tests; both pass one contract suite.
 */

import { LogvineError } from '../../store/errors.ts';
import type { Clock } from '../../store/host/index.ts';
import { withDeadline } from './deadline.ts';

/** A libp2p peer id in its text form (12D3Koo…); it embeds the peer's Ed25519 public key. */
export type PeerId = string & { readonly brand: 'PeerId' };

/**
 * An ordered, reliable, bidirectional run of messages with one peer. Messages are length-prefixed on the wire; one that
 * exceeds `messageBytesMax` aborts the channel with LV_PROTOCOL.
 */
export interface Channel {
  readonly peer: PeerId;
  /** Resolves when there is room for the next message (back-pressure). Rejects once the channel is closed or aborted. */
  send(message: Uint8Array): Promise<void>;
  /** The next message; undefined after the other side closed in good order. Rejects on abort or a lost connection. */
  receive(): Promise<Buffer | undefined>;
  /** No more sends from here; idempotent, never rejects. Messages that were sent before are still delivered. */
  close(): Promise<void>;
  /** Drops the channel at once; pending sends and receives reject with `reason`. Idempotent. */
  abort(reason: Error): void;
}

export interface TransportEvents {
  connected(peer: PeerId): void;
  disconnected(peer: PeerId): void;
}

export interface Transport {
  readonly self: PeerId;
  /** The clock that every deadline of this transport runs on. */
  readonly clock: Clock;
  /** Multiaddrs that others can reach this peer at, with `/p2p/ID`. */
  addresses(): string[];
  /**
   * Answers every channel that a peer opens for `protocol`. The channel is closed when the handler returns and aborted
   * when it throws; neither touches another channel. What comes in on it may be smaller than other messages:
   * `requestBytesMax`.
   */
  handle(
    protocol: string,
    handler: (channel: Channel) => Promise<void>,
    bounds?: { readonly requestBytesMax?: number },
  ): void;
  /**
   * Opens a channel, dialling if need be. Rejects with LV_PEER_UNREACHABLE or LV_PEER_TIMEOUT.
   */
  open(peer: PeerId, protocol: string, options: { timeoutMs: number }): Promise<Channel>;
  /**
   * Dials an address of the form `host:port` or a multiaddr, and says who answered: `self` when it is this very peer.
   * Rejects as `open` does, and with LV_CONFIG_INVALID when `address` is malformed.
   */
  connect(address: string, options: { timeoutMs: number }): Promise<PeerId>;
  /** Addresses to dial a peer at, learned from its member record; replaces those learned before. */
  learn(peer: PeerId, addresses: readonly string[]): void;
  /** Sends to every peer subscribed to `topic` that gossip reaches; no promise of delivery. */
  publish(topic: string, message: Uint8Array): void;
  /** Called for every message on `topic` that is signed by its sender, never for this peer's own. */
  subscribe(topic: string, receive: (from: PeerId, message: Buffer) => void): void;
  on(events: Partial<TransportEvents>): void;
  isConnected(peer: PeerId): boolean;
  /** Monotonic time at which anything came from `peer` on a channel; undefined when nothing did in this run. */
  lastReceivedMs(peer: PeerId): number | undefined;
  /** Signs with this peer's key (Ed25519, 64 bytes). */
  sign(bytes: Uint8Array): Buffer;
  close(): Promise<void>;
}

/**
 * Sends one request on a fresh channel and waits for one answer. Rejects with LV_PEER_UNREACHABLE, LV_PEER_TIMEOUT
 * (after `timeoutMs` over all), or LV_PROTOCOL when the peer closes without an answer.
 */
export async function request(
  transport: Transport,
  peer: PeerId,
  protocol: string,
  message: Uint8Array,
  timeoutMs: number,
): Promise<Buffer> {
  return requestPages(transport, peer, protocol, message, timeoutMs, (answer) => answer);
}

/** Asks several peers at once, and takes what those say that answer; whose answer `take` throws at has said nothing. */
export async function requestAll(
  transport: Transport,
  peers: Iterable<PeerId>,
  protocol: string,
  message: Uint8Array,
  timeoutMs: number,
  take: (answer: Buffer) => void,
): Promise<void> {
  const others = [...peers].filter((peer) => peer !== transport.self);
  await Promise.allSettled(
    others.map(async (peer) => take(await request(transport, peer, protocol, message, timeoutMs))),
  );
}

/** As `request`, for an answer of several messages: `take` returns what they are together, once it has all. */
export async function requestPages<Answer extends object>(
  transport: Transport,
  peer: PeerId,
  protocol: string,
  message: Uint8Array,
  timeoutMs: number,
  take: (page: Buffer) => Answer | undefined,
): Promise<Answer> {
  const startedMs = transport.clock.monotonicMs();
  const channel = await transport.open(peer, protocol, { timeoutMs });
  const leftMs = Math.max(1, timeoutMs - (transport.clock.monotonicMs() - startedMs));
  const late = () => new LogvineError('LV_PEER_TIMEOUT', `${peer}: no answer within ${timeoutMs} ms`);
  try {
    const answer = await withDeadline(transport.clock, leftMs, late, async () => {
      await channel.send(message);
      for (;;) {
        const page = await channel.receive();
        if (!page) throw new LogvineError('LV_PROTOCOL', `${peer} closed ${protocol} without an answer`);
        const whole = take(page);
        if (whole) return whole;
      }
    });
    void channel.close();
    return answer;
  } catch (error) {
    channel.abort(error as Error);
    throw error;
  }
}

export { withDeadline } from './deadline.ts';
export { keysFromSeed, parsePeerId, type PeerKeys } from './keys.ts';
export { createLibp2pTransport } from './libp2p.ts';
export type { Libp2pTransportOptions, TransportLog } from './libp2p-node.ts';
export { deriveMeshKeys, SECRET_BYTES } from './secret.ts';
