import { join } from 'node:path';
import {
  placeableUp,
  presentMembers,
  type IdentityConflict,
  type Member,
  type Membership,
  type PeerId,
} from '../gossip/index.ts';
import { LIMITS } from '../store/index.ts';
import { batches, isOrAre, plural, shortPeer } from './words.ts';

/** What a person should look at: a stable code, and a sentence that says what, where and what to do. */
export interface Problem {
  readonly code: string;
  readonly message: string;
}

const CONFLICTS_SHOWN_MAX = 20;
/** Of a bound, from where on a person is told. */
const TOLD_SHARE = 0.8;

/** `10.0.0.1:7421` for multiaddrs such as /ip4/10.0.0.1/tcp/7421/p2p/ID; others as they are. */
function addressText(addresses: readonly string[]): string {
  const texts = addresses.map((address) => {
    const found = /^\/(ip4|ip6|dns|dns4|dns6)\/([^/]+)\/tcp\/(\d+)/.exec(address);
    if (!found) return address;
    return `${found[1] === 'ip6' ? `[${found[2]}]` : found[2]}:${found[3]}`;
  });
  return texts.join(' or ') || 'an unknown address';
}

/** `self` is this very run of this peer, `directory` its data directory. */
export function* identityProblems(
  conflicts: readonly IdentityConflict[],
  self: { readonly peer: PeerId; readonly epoch: number; readonly directory: string },
): Generator<Problem> {
  const code = 'LV_IDENTITY_CONFLICT';
  for (const { peer, twins } of conflicts) {
    const newest = twins.at(-1)!.epoch;
    const where = twins.map(({ epoch, addresses }) => {
      const own = peer === self.peer && epoch === self.epoch ? 'this node, ' : '';
      const fenced = epoch < newest ? ', which acknowledges nothing any more' : '';
      return `${own}${addressText(addresses)} (epoch ${epoch}${fenced})`;
    });
    const whose = peer === self.peer ? "this peer's identity" : `the identity of ${shortPeer(peer)}`;
    const key =
      peer === self.peer ? `identity.key (here: ${join(self.directory, 'identity.key')})` : 'identity.key';
    const message =
      `two nodes run with ${whose}: ${where.join('; and ')}. A data directory was copied. ` +
      `Stop the copy, delete ${key} in its data directory, and start it again as a peer of its own; then restart the other`;
    yield { code, message };
  }
}

/** The answer that replaces an acknowledgement once a later run of this peer's identity is about. */
export function supersededText(
  by: { readonly epoch: number; readonly addresses: readonly string[] },
  directory: string,
): string {
  return (
    `another node runs with this peer's identity and started later, at ${addressText(by.addresses)} ` +
    `(epoch ${by.epoch}): nothing more is acknowledged here. If this is the copy, delete ${join(directory, 'identity.key')}; ` +
    `if the other one is, delete its identity.key. Then restart this node`
  );
}

/**
 * Whether the others' clocks speak for this peer's: of those measured in this run, in reach or not, at least as many are near as
 * far, and as many as are within reach and not measured yet. Else nothing is dropped for its age. Alone in its mesh, a peer has
 * nobody to ask; one that only remembers others waits until it has measured one of them, or they are forgotten.
 */
export function isClockTrusted(membership: Pick<Membership, 'self' | 'members' | 'clockSkewMs'>): boolean {
  let [near, far, unmeasured, away] = [0, 0, 0, 0];
  for (const { peer, state } of membership.members()) {
    if (peer === membership.self || state === 'left') continue;
    const skewMs = membership.clockSkewMs(peer);
    if (skewMs !== undefined && Math.abs(skewMs) <= LIMITS.clockSkewMsMax) near++;
    else if (skewMs !== undefined) far++;
    else if (state === 'alive' || state === 'suspect') unmeasured++;
    else away++;
  }
  if (near === 0) return far + unmeasured + away === 0;
  return far <= near && unmeasured <= near;
}

/** Clocks far from this peer's; when most of the others are, it is this peer's clock. */
export function* clockProblems(
  members: readonly Member[],
  self: PeerId,
  skewMsOf: (peer: PeerId) => number | undefined,
): Generator<Problem> {
  const code = 'LV_CLOCK_SKEW';
  const measured = members.flatMap(({ peer, state }) => {
    const skewMs = peer !== self && (state === 'alive' || state === 'suspect') ? skewMsOf(peer) : undefined;
    return skewMs === undefined ? [] : [{ peer, skewMs }];
  });
  const far = measured.filter(({ skewMs }) => Math.abs(skewMs) > LIMITS.clockSkewMsMax);
  const sorted = measured.map(({ skewMs }) => skewMs).sort((a, b) => a - b);
  const median = sorted[Math.floor((sorted.length - 1) / 2)];
  if (measured.length >= 2 && Math.abs(median) > LIMITS.clockSkewMsMax && far.length * 2 > measured.length) {
    const message = `this peer's clock is ${spanText(median)} ${median > 0 ? 'behind' : 'ahead of'} those of ${far.length} of ${measured.length} others: set it right`;
    yield { code, message };
    return;
  }
  for (const { peer, skewMs } of far) {
    const message = `the clock of ${shortPeer(peer)} is ${spanText(skewMs)} ${skewMs > 0 ? 'ahead of' : 'behind'} this peer's: one of the two is wrong`;
    yield { code, message };
  }
}

/**
 * Peers that are down, and what follows from it. `quorum`: disks that an acknowledgement needs; `lost`: peers that never come
 * back, as a person has said.
 */
export function* peerProblems(
  members: readonly Member[],
  lost: ReadonlySet<string>,
  quorum: number,
  batchesBelowK: number,
): Generator<Problem> {
  const present = presentMembers(members);
  const dead = present.filter(({ peer, state }) => state === 'dead' && !lost.has(peer));
  if (dead.length > 0) {
    const names = dead.map(({ peer }) => shortPeer(peer)).join(', ');
    const message = `${dead.length} of ${plural(present.length, 'peer')} ${isOrAre(dead.length)} down: ${names}`;
    yield { code: 'LV_PEER_UNREACHABLE', message };
  }
  const away = members.filter(({ state }) => state === 'dead' || state === 'gone');
  const isAwaited = away.some(({ peer }) => !lost.has(peer));
  if (away.length > dead.length && away.length >= quorum && isAwaited) {
    const message = `${plural(away.length, 'peer')} ${isOrAre(away.length)} out of reach, those given up included: until they return or are forgotten, 72 h after they were last heard, no answer can be complete`;
    yield { code: 'LV_PEER_UNREACHABLE', message };
  }
  const up = placeableUp(members).length;
  if (up < quorum) {
    const message = `only ${plural(up, 'peer')} ${isOrAre(up)} up and an acknowledgement needs ${quorum}: pushes are refused and files are not read on`;
    yield { code: 'LV_REPLICATION_TIMEOUT', message };
  }
  if (batchesBelowK > 0 && dead.length > 0) {
    const have = batchesBelowK === 1 ? 'has' : 'have';
    const message = `${batches(batchesBelowK)} of this peer, or of peers that are away, ${have} too few copies`;
    yield { code: 'LV_REPLICATION_TIMEOUT', message };
  }
}

/** Of a newcomer. */
export const INTRODUCTION_PROBLEM: Problem = {
  code: 'LV_REPLICATION_TIMEOUT',
  message:
    'too few members of the mesh know of this peer yet, since others are out of reach: until they are back, it takes no copies, refuses pushes and does not read files on. If they never will be, name them under `lostPeers` in the configuration of this node (docs/configuration.md)',
};

/** `holdings`: what others are known to hold and the next start will not know. */
export function leftOutText(holdings: number): string {
  return `holdings.zst has no room for ${plural(holdings, 'segment')} that other peers hold, those of live ones left out first: should this node restart, it learns of them only from peers that are up then`;
}

/** `times`: how often batches vanished for which there was no room in memory. */
export function vanishedText(times: number): string {
  return `so many batches vanished from disks that ${plural(times, 'time')} there was no room to remember which: answers may lack them and call themselves complete. Find out what takes them away, then settle what is gone with \`logvine accept-loss\``;
}

/** What a peer keeps in memory for as long as it is stored. */
export function* memoryProblems(streams: number, storedBatches: number): Generator<Problem> {
  const code = 'LV_OVERLOADED';
  if (streams > LIMITS.streamsMax * TOLD_SHARE) {
    const message = `${streams} streams are stored here; beyond ${LIMITS.streamsMax}, pushes can name no new ones`;
    yield { code, message: `${message}: what differs from line to line belongs into structured metadata` };
  }
  if (storedBatches > LIMITS.batchesToldMax) {
    const message = `${storedBatches} batches are stored here, and each takes 120 bytes of memory or more`;
    yield {
      code,
      message: `${message}: let retention drop some, or raise batch.pushLinger, so that pushes share them`,
    };
  }
}

/** `count`: batches that nobody is known to have, and no person has given up. */
export function* lossProblems(count: number): Generator<Problem> {
  if (count === 0) return;
  const where = 'on no disk within reach, nor known to be on another, so that answers are INCOMPLETE';
  const todo = 'start peers that are down; what none of them has, logvine accept-loss lists';
  const message = `${batches(count)} ${isOrAre(count)} ${where}: ${todo}`;
  yield { code: 'LV_BATCH_LOST', message };
}

/** One batch id with two contents, as the store tells it. */
export function* batchConflictProblems(conflicts: readonly string[]): Generator<Problem> {
  const code = 'LV_BATCH_CONFLICT';
  for (const conflict of conflicts.slice(0, CONFLICTS_SHOWN_MAX)) {
    const todo = 'neither is overwritten; logvine verify names which peer has which';
    yield { code, message: `${conflict}: ${todo}` };
  }
  const rest = conflicts.length - CONFLICTS_SHOWN_MAX;
  if (rest > 0) yield { code, message: `and ${plural(rest, 'batch', 'batches')} more with two contents` };
}

/** `2 h 5 min`: a difference of clocks, in the two largest units. */
function spanText(ms: number): string {
  const seconds = Math.round(Math.abs(ms) / 1000);
  const units: readonly [number, string][] = [
    [86_400, 'd'],
    [3_600, 'h'],
    [60, 'min'],
    [1, 's'],
  ];
  const first = units.findIndex(([size]) => seconds >= size);
  if (first < 0) return '0 s';
  const [size, unit] = units[first];
  const whole = `${Math.floor(seconds / size)} ${unit}`;
  const next = units[first + 1];
  const rest = next ? Math.floor((seconds % size) / next[0]) : 0;
  return rest > 0 ? `${whole} ${rest} ${next[1]}` : whole;
}
