/** How peers find, trust, copy and ask each other. */
export { createMembership, MEMBERS_TOPIC, type Member, type Membership } from './membership/index.ts';
export * from './query/index.ts';
export * from './repair/index.ts';
export { receiveReplicas, REPLICATE_PROTOCOL, Replicator } from './replication/index.ts';
export { createLibp2pTransport, type Channel, type PeerId, type Transport } from './transport/index.ts';
