export { Replicator } from './replicator.ts';
export type { ReplicatorOptions, TrackedBatch } from './replicator.ts';
export { REPLICATE_PROTOCOL } from './messages.ts';
export { ReplicaReceiver } from './receiver.ts';
