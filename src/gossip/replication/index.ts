export { Replicator } from './replicator.ts';
export type { ReplicatorOptions, TrackedBatch } from './replicator.ts';
export { ReplicaReceiver, REPLICATE_PROTOCOL } from './receiver.ts';
