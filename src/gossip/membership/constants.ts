/**
 * The knobs of membership: memberlist's defaults for a local network. Each says what more of it does.
 */
export interface MembershipTiming {
  /** One probe per node and interval. Longer: less traffic, a crash is noticed later. */
  readonly probeIntervalMs: number;
  /** How long a direct ping may take before helpers are asked. Longer: fewer indirect probes on slow links. */
  readonly probeTimeoutMs: number;
  /** Suspicion lasts at least `suspicionMult × log10(n) × probeInterval`. More: fewer false convictions, later ones. */
  readonly suspicionMult: number;
  /** A lone accuser waits this many times longer than several do. */
  readonly suspicionMaxMult: number;
  /** Interval of push-pull with a random peer in a mesh of up to 32; it grows with their number beyond. */
  readonly syncIntervalMs: number;
  /** A member dead for so long is gone: its segments are repaired around it. */
  readonly goneAfterMs: number;
  /** How long `left` and `gone` are remembered, so that no late rumour brings a member back. */
  readonly tombstoneMs: number;
  /** members.json is written at most this often. */
  readonly saveIntervalMs: number;
}

export const DEFAULT_TIMING: MembershipTiming = {
  probeIntervalMs: 1_000,
  probeTimeoutMs: 500,
  suspicionMult: 4,
  suspicionMaxMult: 6,
  syncIntervalMs: 30_000,
  goneAfterMs: 600_000,
  tombstoneMs: 72 * 3_600_000,
  saveIntervalMs: 10_000,
};

export const SWIM_PROTOCOL = '/logvine/swim/1';
export const MEMBERS_TOPIC = 'logvine/members';

export const BOUNDS = {
  helpers: 3,
  /** A rumour is passed on `retransmitMult × ceil(log10(n + 1))` times by each that hears it. */
  retransmitMult: 4,
  updatesPerMessage: 8,
  updatesPerTopicMessage: 32,
  updatesQueued: 4_096,
  digestBytes: 2 * 1024,
  fullStateBytes: 4 * 1024 * 1024,
  /** Longest ping or ack: updates, digest, and room. */
  pingMessageBytes: 64 * 1024,
  /** Local health runs from 0 to this; probes slow down by (health + 1). */
  healthMax: 7,
  pingChannels: 256,
  pingsPending: 64,
  relayedPings: 64,
  /** Of a probe's time-out: a helper says that it got no answer while the one who asked still listens (Lifeguard's nack). */
  relayTimeoutShare: 0.8,
  /** Of these, for one peer, which asks for one or two. */
  relayedPingsPerPeer: 8,
  /** A channel on which so many pings in a row went unanswered is replaced by a fresh one. */
  unansweredPings: 2,
  openTimeoutMs: 3_000,
  syncTimeoutMs: 10_000,
  syncsAnsweredAtOnce: 8,
  connectTimeoutMs: 5_000,
  redialMsMin: 1_000,
  redialMsMax: 30_000,
  /** How often a silent member is tried again, while there are others and while there are none. */
  reviveMs: 10_000,
  reviveIsolatedMs: 1_500,
  reviveIsolatedPeers: 3,
  introductionsAtOnce: 4,
  /** How long a newcomer that too few know waits before it asks again: twice as long each time. */
  introduceMsMin: 50,
  introduceMsMax: 1_000,
  /** A timer this late means that this process stood still: it must not judge others. */
  stallMs: 400,
  leaveTimeoutMs: 2_000,
  /** The longest host name, and the peer id, as a multiaddr. */
  addressLength: 336,
  zoneLength: 128,
  httpLength: 256,
  versionLength: 64,
  /** members.json is written at most this often when many join at once. */
  membersGatherMs: 50,
  /** What a process had sent before its end does not arrive later than this. */
  lateMessageMs: 10_000,
  /**
   * An identity that runs twice is forgotten so long after only one of the two is heard: this, and for each live member as
   * much as it takes until all were pinged a few times.
   */
  twinRememberedMs: 10_000,
  twinRememberedMsPerMember: 3_000,
  /** Runs of one identity that are told apart. */
  twins: 4,
} as const;
