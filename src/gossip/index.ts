/** How peers find, trust, copy and ask each other. */
export {
  createMembership,
  MEMBERS_TOPIC,
  type IdentityConflict,
  type Member,
  type Membership,
} from './membership/index.ts';
export { doesStand, LOSS_PROTOCOL, LossAcceptor, standingLosses } from './losses/index.ts';
export { placeOn } from './placement/index.ts';
export { Pushes, PUSH_PROTOCOL } from './pushes/index.ts';
export * from './query/index.ts';
export * from './repair/index.ts';
export { ReplicaReceiver, REPLICATE_PROTOCOL, Replicator } from './replication/index.ts';
export { createLibp2pTransport, type Channel, type PeerId, type Transport } from './transport/index.ts';
export * from './verify/index.ts';
export { Turns } from './turns.ts';
export { placeableUp, presentMembers, type MemberState } from './view.ts';
