import type { Receipt } from '../../src/gossip/index.ts';
import type { MemberStatus, Status } from '../../src/node/status.ts';

/** Canned statuses: a healthy mesh, one with a dead member, debt and problems, and a node alone. */

const MiB = 1024 * 1024;

export const ALICE = '12D3KooWAliceAliceAliceAliceAliceAliceAliceAlicALICE1';
export const BOB = '12D3KooWBobBobBobBobBobBobBobBobBobBobBobBobBobBoBOB22';
export const CHARLIE = '12D3KooWCharlieCharlieCharlieCharlieCharlieChaCHARL3';

export function member(peer: string, over: Partial<MemberStatus> = {}): MemberStatus {
  return {
    peer,
    state: 'alive',
    zone: 'a',
    weight: 1,
    epoch: 4,
    http: 'http://127.0.0.1:7422',
    mesh: [`/ip4/127.0.0.1/tcp/7423/p2p/${peer}`],
    version: '0.1.0',
    share: 1 / 3,
    heldBytes: 410 * MiB,
    clockSkewMs: 3,
    ...over,
  };
}

export function healthy(): Status {
  return {
    peer: ALICE,
    version: '0.1.0',
    uptimeSeconds: 273_840,
    epoch: 4,
    members: [
      member(ALICE, { share: 0.341, heldBytes: 431 * MiB, http: 'http://127.0.0.1:7420' }),
      member(BOB, { share: 0.322, zone: 'b' }),
      member(CHARLIE, { share: 0.337, zone: 'c', http: 'http://127.0.0.1:7424' }),
    ],
    replication: {
      k: 3,
      w: 2,
      batchesBelowK: 0,
      bytesBelowK: 0,
      unacknowledgedBytes: 48_123,
      repairedBytes: 0,
    },
    store: { segments: 41, batches: 1877, entries: 12_482_113, rawBytes: 1790 * MiB, storedBytes: 431 * MiB },
    upkeep: {
      toFetch: { batches: 0, bytes: 0, seconds: null },
      surplusDroppedBytes: 0,
      expiredBytes: 0,
      scrub: { bytes: 214 * MiB, rottenBatches: 0, rounds: 0 },
      disk: { freeBytes: 81_234 * MiB, room: 'all' },
    },
    origins: [
      { peer: ALICE, epoch: 4, sealedSeq: 1204, durableSeq: 1204 },
      { peer: BOB, epoch: 2, sealedSeq: 518, durableSeq: 517 },
      { peer: CHARLIE, epoch: 9, sealedSeq: 155, durableSeq: 155 },
    ],
    inputs: [
      input('/var/log/syslog', 18 * MiB, 18 * MiB, 18 * MiB),
      input('/var/log/nginx/access.log', 912 * MiB, 871 * MiB, 866 * MiB),
      input('/srv/app/production.log', 64 * MiB, 64 * MiB, 64 * MiB - 40_000),
    ],
    ingest: { bytesTaken: 1790 * MiB, bytesPerSecond: 3.4 * MiB },
    process: { rssBytes: 142 * MiB, cpuSeconds: 812 },
    problems: [],
  };
}

export function troubled(): Status {
  const status = healthy();
  return {
    ...status,
    members: [
      member(ALICE, { share: 0.5, heldBytes: 431 * MiB, http: 'http://127.0.0.1:7420' }),
      member(BOB, { share: 0, zone: 'b', state: 'dead' }),
      member(CHARLIE, { share: 0.5, zone: 'c', state: 'suspect', http: 'javascript:alert(1)' }),
    ],
    replication: {
      ...status.replication,
      batchesBelowK: 312,
      bytesBelowK: 71 * MiB,
      unacknowledgedBytes: 3 * MiB,
      repairedBytes: 12 * MiB,
    },
    upkeep: {
      ...status.upkeep,
      toFetch: { batches: 41, bytes: 9 * MiB, seconds: 75 },
      scrub: { ...status.upkeep.scrub, rottenBatches: 2 },
    },
    inputs: [
      ...status.inputs,
      { ...input('/var/log/private.log', 0, 0, 0), problem: 'permission denied: let the group adm read it' },
      { ...input('/srv/app/rotated.log', 5 * MiB, 5 * MiB, 5 * MiB), gaps: 2, gapBytes: 81_233 },
    ],
    problems: [
      { code: 'LV_PEER_UNREACHABLE', message: '1 of 3 peers is down: …oBOB22' },
      {
        code: 'LV_REPLICATION_TIMEOUT',
        message: '312 batches of this peer, or of peers that are away, have too few copies',
      },
      {
        code: 'LV_INPUT_UNREADABLE',
        message: '/var/log/private.log: permission denied: let the group adm read it',
      },
    ],
  };
}

export function alone(): Status {
  const status = healthy();
  return {
    ...status,
    members: [member(ALICE, { share: 1, heldBytes: 12 * MiB })],
    replication: { ...status.replication, k: 1, w: 1, unacknowledgedBytes: 0 },
    store: { segments: 1, batches: 12, entries: 90_211, rawBytes: 41 * MiB, storedBytes: 12 * MiB },
    origins: [{ peer: ALICE, epoch: 1, sealedSeq: 12, durableSeq: 12 }],
    inputs: [],
    ingest: { bytesTaken: 41 * MiB, bytesPerSecond: 0 },
  };
}

function input(
  path: string,
  sizeBytes: number,
  readBytes: number,
  durableBytes: number,
): Status['inputs'][number] {
  return { source: path, path, sizeBytes, readBytes, durableBytes };
}

export function receipt(over: Partial<Receipt> = {}): Receipt {
  return {
    complete: true,
    expected: 124,
    read: 12,
    fromIndex: 0,
    pruned: 110,
    unneeded: 2,
    expired: 0,
    lost: 0,
    missing: [],
    silent: [],
    members: { asked: 3, answered: 3 },
    entries: 3,
    bytesScanned: 12 * MiB,
    durationMs: 34,
    ...over,
  };
}

export function incompleteReceipt(): Receipt {
  return receipt({
    complete: false,
    read: 10,
    members: { asked: 3, answered: 1 },
    missing: [
      {
        origin: BOB,
        epoch: 2,
        fromSeq: 514,
        toSeq: 518,
        fromTime: '2026-11-21T04:10:00.000Z',
        toTime: '2026-11-21T04:12:30.000Z',
        lastOwners: [BOB, CHARLIE],
        reason: 'unreachable',
      },
    ],
    silent: [{ peer: CHARLIE, epoch: 9, durableSeq: 155, lastHeard: '2026-11-21T04:11:02.000Z' }],
  });
}
