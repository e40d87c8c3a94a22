import { z } from 'zod';
import { LIMITS, type ExpiredRun, type Loss } from '../../store/index.ts';
import { compareAge } from '../membership/record.ts';
import { isLive } from '../membership/table.ts';
import { expiredRun } from '../repair/index.ts';
import type { MeshMember } from '../view.ts';
import { listOf, peerIdSchema } from '../wire.ts';

const counter = z.number().int().nonnegative();

export type LostPeer = Loss['peers'][number];

export const lostPeers: z.ZodType<LostPeer[]> = listOf(
  z.object({ peer: peerIdSchema, epoch: counter, incarnation: counter }),
  LIMITS.membersMax,
);

export const lossSchema: z.ZodType<Loss> = z.object({
  runs: listOf(expiredRun, LIMITS.lostRunsMax),
  peers: lostPeers,
});

/** What holds of the losses that were accepted. */
export interface StandingLosses {
  readonly runs: readonly ExpiredRun[];
  /** Peers that nobody waits for. */
  readonly peers: ReadonlySet<string>;
}

/**
 * A loss was accepted because those peers never come back. Once one of them has come back all the same, nothing of it holds any more:
 * what it has counts, and it is waited for again when it is away. That is known from its record, which is newer then, and
 * which every member hears of.
 */
export function doesStand(loss: Loss, members: readonly MeshMember[]): boolean {
  return laterRecords(loss, members)?.length === 0;
}

/** Later records of its peers than it names; undefined when one of them is up. */
export function laterRecords({ peers }: Loss, members: readonly MeshMember[]): LostPeer[] | undefined {
  const later: LostPeer[] = [];
  for (const lost of peers) {
    const member = members.find(({ peer }) => peer === lost.peer);
    if (!member) continue;
    if (isLive(member.state)) return undefined;
    const { peer, epoch, incarnation } = member;
    if (compareAge(member, lost) > 0) later.push({ peer, epoch, incarnation });
  }
  return later;
}

export function standingLosses(losses: Iterable<Loss>, members: readonly MeshMember[]): StandingLosses {
  const runs: ExpiredRun[] = [];
  const lost = new Set<string>();
  for (const loss of losses) {
    if (!doesStand(loss, members)) continue;
    for (const run of loss.runs) runs.push(run);
    for (const { peer } of loss.peers) lost.add(peer);
  }
  return { runs, peers: lost };
}
