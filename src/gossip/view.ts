import type { PeerId } from './transport/index.ts';

export type MemberState = 'alive' | 'suspect' | 'dead' | 'left' | 'gone';

/** What placement, replication, repair and queries need to know of a member. */
export interface MeshMember {
  readonly peer: PeerId;
  readonly state: MemberState;
  readonly zone: string;
  readonly weight: number;
  /** Monotonic time at which its state last changed. */
  readonly stateSinceMs: number;
}

/** Membership as the rest of the gossip layer sees it; this peer is one of the members. */
export interface MeshView {
  readonly self: PeerId;
  members(): readonly MeshMember[];
  /** There is a mesh to join, and no member of it has told this run yet who else there is: what `members` says is too few. */
  isSearching(): boolean;
}

/** Members that count for placement: those that have not left and have not been away too long. */
export function placeable(members: readonly MeshMember[]): MeshMember[] {
  return members.filter(({ state }) => state === 'alive' || state === 'suspect' || state === 'dead');
}
