import type { MemberState } from '../gossip/index.ts';
import type { Room } from '../store/index.ts';
import type { InputStatus } from './inputs/index.ts';

/** `GET /api/v1/status`: what a peer knows of itself and the mesh. Names are stable; there may be more of them. */
export interface Status {
  readonly peer: string;
  readonly version: string;
  readonly uptimeSeconds: number;
  readonly epoch: number;
  readonly members: readonly MemberStatus[];
  readonly replication: {
    /** Copies wanted, and disks that an acknowledgement needs. */
    readonly k: number;
    readonly w: number;
    /** Of this peer's own batches, and of those that it holds of peers that are away. */
    readonly batchesBelowK: number;
    readonly bytesBelowK: number;
    readonly unacknowledgedBytes: number;
    /** Bytes fetched from others by repair since the start. */
    readonly repairedBytes: number;
  };
  readonly store: {
    readonly segments: number;
    readonly batches: number;
    readonly entries: number;
    readonly rawBytes: number;
    readonly storedBytes: number;
  };
  /** What the node does by itself behind the scenes. */
  readonly upkeep: {
    /** Batches that this peer should hold and still has to fetch; seconds at the rate of late, null while nothing comes. */
    readonly toFetch: { readonly batches: number; readonly bytes: number; readonly seconds: number | null };
    /** Since the start: copies that others keep and that were dropped here, and what retention dropped. */
    readonly surplusDroppedBytes: number;
    readonly expiredBytes: number;
    /** Since the start: bytes read again, batches found rotten, times that everything was read. */
    readonly scrub: { readonly bytes: number; readonly rottenBatches: number; readonly rounds: number };
    /** Room on the disk of the data directory, null when it cannot be told; what is still taken. */
    readonly disk: { readonly freeBytes: number | null; readonly room: Room };
  };
  /** Watermarks of every origin's newest epoch. */
  readonly origins: readonly {
    readonly peer: string;
    readonly epoch: number;
    readonly sealedSeq: number;
    readonly durableSeq: number;
  }[];
  readonly inputs: readonly InputStatus[];
  readonly ingest: { readonly bytesTaken: number; readonly bytesPerSecond: number };
  readonly process: { readonly rssBytes: number; readonly cpuSeconds: number };
  /** What a person should look at now; empty when all is well. */
  readonly problems: readonly { readonly code: string; readonly message: string }[];
}

export interface MemberStatus {
  readonly peer: string;
  readonly state: MemberState | 'leaving';
  readonly zone: string;
  readonly weight: number;
  readonly epoch: number;
  /** URL of its HTTP interface. */
  readonly http: string;
  /** Its multiaddrs. */
  readonly mesh: readonly string[];
  readonly version: string;
  /** The share of segments that rendezvous gives it, 0…1. */
  readonly share: number;
  /** Bytes of batches that it is known to hold. */
  readonly heldBytes: number;
  /** Milliseconds that its clock is ahead of that of the peer that was asked; null until it has been measured. */
  readonly clockSkewMs: number | null;
}
