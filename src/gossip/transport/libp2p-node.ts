import { gossipsub, StrictSign } from '@libp2p/gossipsub';
import { identify } from '@libp2p/identify';
import type { ComponentLogger, Logger } from '@libp2p/interface';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import type { Multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import type { Clock } from '../../store/host/index.ts';
import { LIMITS } from '../../store/limits.ts';
import { parseAddress, reachableFromElsewhere } from './address.ts';
import type { PeerId } from './index.ts';
import type { PeerKeys } from './keys.ts';
import { meshEncrypters } from './secret.ts';

/** Where the transport says what an operator may want to know. pino's shape. */
export interface TransportLog {
  debug(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface Libp2pTransportOptions {
  /** This peer's Ed25519 seed (32 bytes). */
  readonly seed: Uint8Array;
  /** `HOST:PORT`; port 0 picks a free one. */
  readonly listen: string;
  /** The mesh secret (32 bytes), or two of them, the preferred first, while it is being changed. */
  readonly secrets: readonly Uint8Array[];
  /** Addresses, `HOST:PORT` or multiaddrs, to tell others instead of those found on the interfaces. */
  readonly announce?: readonly string[];
  /** When given, only these peers are let in or dialled. */
  readonly allowPeers?: readonly PeerId[];
  /** The topics that may be used; messages on others are dropped unread. */
  readonly topics: readonly string[];
  readonly messageBytesMax?: number;
  readonly clock: Clock;
  readonly log: TransportLog;
}

export const BOUNDS = {
  connections: 1024,
  /** Handshakes under way from outside: strangers can hold so many, each no longer than the upgrade timeout. */
  inboundPending: 1_024,
  /**
   * Over the upgrade timeout, less than half of these: one host cannot keep out the others. Hundreds of peers behind one address
   * that all come at once have connected within seconds.
   */
  inboundPerSecondAndHost: 100,
  upgradeTimeoutMs: 5_000,
  dialsAtOnce: 32,
  dialsQueued: 1_000,
  /** All addresses of a peer together; each has its share of it, but no less than a handshake over a long link takes. */
  dialTimeoutMs: 4_000,
  addressDialMsMin: 1_000,
  streamsPerConnection: 2_048,
  streamsPerProtocol: 1_024,
  topicMessageBytes: 64 * 1024,
  /** The window that a stream may grow to. It must fit the read buffer, where it lands while the reader is away. */
  streamWindowBytes: 4 * 1024 * 1024,
  readBufferBytes: 8 * 1024 * 1024,
  /** An idle connection is checked this often, and given up when a check takes longer than the timeout. */
  connectionCheckMs: 15_000,
  connectionCheckTimeoutMs: 30_000,
  closeTimeoutMs: 3_000,
  /** How long an answered channel may stay half open before it is dropped. */
  halfOpenMs: 60_000,
} as const;

const silent: Logger = Object.assign(() => {}, {
  enabled: false,
  trace: () => {},
  error: () => {},
  newScope: () => silent,
});
const silentLogger: ComponentLogger = { forComponent: () => silent };

export type Libp2pNode = Awaited<ReturnType<typeof createNode>>;

/** A configured libp2p node that has not been started. */
export async function createNode(options: Libp2pTransportOptions, keys: PeerKeys, listen: Multiaddr) {
  const messageBytesMax = options.messageBytesMax ?? LIMITS.messageBytesMax;
  const allowed = options.allowPeers && new Set<string>([...options.allowPeers, keys.peer]);
  const stranger = (peer: { toString(): string }) => allowed !== undefined && !allowed.has(peer.toString());
  return createLibp2p({
    privateKey: keys.libp2pKey,
    start: false,
    logger: silentLogger,
    nodeInfo: { name: 'logvine', version: '0', userAgent: 'logvine' },
    addresses: {
      listen: [listen.toString()],
      announce: (options.announce ?? []).map((address) => parseAddress(address).toString()),
      announceFilter: reachableFromElsewhere,
    },
    transports: [tcp()],
    connectionEncrypters: meshEncrypters(options.secrets),
    streamMuxers: [
      yamux({
        maxInboundStreams: BOUNDS.streamsPerConnection,
        maxOutboundStreams: BOUNDS.streamsPerConnection,
        streamOptions: {
          maxStreamWindowSize: BOUNDS.streamWindowBytes,
          maxReadBufferLength: BOUNDS.readBufferBytes,
          maxWriteBufferLength: 3 * messageBytesMax,
        },
      }),
    ],
    connectionGater: {
      denyInboundEncryptedConnection: stranger,
      denyOutboundEncryptedConnection: stranger,
      // Addresses come from signed member records, not from what a peer says of itself when it connects.
      filterMultiaddrForPeer: () => false,
    },
    connectionManager: {
      maxConnections: BOUNDS.connections,
      maxIncomingPendingConnections: BOUNDS.inboundPending,
      inboundConnectionThreshold: BOUNDS.inboundPerSecondAndHost,
      inboundUpgradeTimeout: BOUNDS.upgradeTimeoutMs,
      maxParallelDials: BOUNDS.dialsAtOnce,
      maxDialQueueLength: BOUNDS.dialsQueued,
      addressDialTimeout: BOUNDS.dialTimeoutMs,
      maxPeerAddrsToDial: LIMITS.memberAddressesMax,
      reconnectRetries: 0,
    },
    connectionMonitor: {
      pingInterval: BOUNDS.connectionCheckMs,
      pingTimeout: { minTimeout: BOUNDS.connectionCheckTimeoutMs },
    },
    services: {
      identify: identify(),
      gossip: gossipsub({
        globalSignaturePolicy: StrictSign,
        allowedTopics: [...options.topics],
        maxInboundDataLength: BOUNDS.topicMessageBytes,
        maxInboundStreams: 8,
        maxOutboundStreams: 8,
        allowPublishToZeroTopicPeers: true,
        ignoreDuplicatePublishError: true,
        fallbackToFloodsub: false,
        tagMeshPeers: false,
        // Many peers behind one address (containers, NAT, one test host) are the normal case here.
        scoreParams: { IPColocationFactorWeight: 0 },
      }),
    },
  });
}
