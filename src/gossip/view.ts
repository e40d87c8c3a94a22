import type { PeerId } from './transport/index.ts';

export type MemberState = 'alive' | 'suspect' | 'dead' | 'left' | 'gone';

/** What placement, replication, repair and queries need to know of a member. */
export interface MeshMember {
  readonly peer: PeerId;
  readonly state: MemberState;
  readonly zone: string;
  readonly weight: number;
  /** It has said that it will leave, and hands over what it holds: others read from it, and give it nothing more. */
  readonly leaving: boolean;
  /** Monotonic time at which its state last changed. */
  readonly stateSinceMs: number;
  /** Its run, and within it how often it has restated itself: one that was dead and is alive has a higher one. */
  readonly epoch: number;
  readonly incarnation: number;
}

/** Membership as the rest of the gossip layer sees it; this peer is one of the members. */
export interface MeshView {
  readonly self: PeerId;
  members(): readonly MeshMember[];
  /** There is a mesh to join, and no member of it has told this run yet who else there is: what `members` says is too few. */
  isSearching(): boolean;
  /** As many know this peer as its copies need to count for an acknowledgement: until then it stores nothing for anybody. */
  isIntroduced(): boolean;
}

/** Who is out of reach of a peer that searches for its mesh: it does not know them yet. */
export const EVERY_PEER = 'every peer of the mesh to join';

/** Members that belong to the mesh: not those that have left, nor those given up as gone. Where peers are counted, these are. */
export function presentMembers<M extends Pick<MeshMember, 'state'>>(members: readonly M[]): M[] {
  return members.filter(({ state }) => state !== 'left' && state !== 'gone');
}

/** Members that count for placement: those that do not leave and have not been away too long. */
export function placeable<M extends MeshMember>(members: readonly M[]): M[] {
  return members.filter(
    ({ state, leaving }) => !leaving && (state === 'alive' || state === 'suspect' || state === 'dead'),
  );
}

/** Of these, the ones that are not known to be down. */
export function placeableUp<M extends MeshMember>(members: readonly M[]): M[] {
  return placeable(members).filter(({ state }) => state !== 'dead');
}

/**
 * Fsyncs that an acknowledgement needs: W, or as many as there are members to give them when they are fewer. Dead members
 * count until they have left: a minority cut off from the mesh must not acknowledge alone (see docs/decisions/0003). One that
 * leaves takes no copies any more.
 */
export function quorumOf(members: readonly MeshMember[], ackQuorum: number): number {
  const staying = members.filter(({ state, leaving }) => !leaving && state !== 'left').length;
  return Math.max(1, Math.min(ackQuorum, staying));
}
