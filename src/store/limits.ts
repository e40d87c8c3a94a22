/**
 * Every bound of Logvine in one file (I11). `assertLimits` states how they relate; it runs at start.
 */

const KiB = 1024;
const MiB = 1024 * KiB;

export const LIMITS = {
  /** Longest line kept whole; inputs cut longer ones into marked pieces. */
  lineBytesMax: 1 * MiB,
  /** Uncompressed lines that a batch is sealed at. */
  batchBytesTarget: 1 * MiB,
  /** Uncompressed lines in one batch: the target, plus the block that crossed it. */
  batchBytesMax: 6 * MiB,
  /** Entries in one batch: bounds the columns of empty lines. */
  batchEntriesMax: 2 * MiB,
  batchStreamsMax: 20_000,
  headerBytesMax: 4 * MiB,
  payloadBytesMax: 16 * MiB,
  /** One message between peers: a whole frame fits. */
  messageBytesMax: 24 * MiB,
  labelsPerStreamMax: 64,
  labelNameBytesMax: 1024,
  labelValueBytesMax: 4096,
  segmentBytesMax: 64 * MiB,
  /** Streams that one segment names: more than its bytes have room for, so that no honest segment meets it. */
  segmentStreamsMax: 4 * MiB,
  segmentAgeMsMax: 3_600_000,
  ownersMax: 16,
  /** Lines read and not yet sealed, over all inputs: inputs wait beyond it. */
  unsealedBytesMax: 16 * MiB,
  /** Sealed and waiting for their acknowledgement. */
  unacknowledgedBytesMax: 64 * MiB,
  /** Frames under way to one owner. */
  replicationWindowBytes: 8 * MiB,
  /** Bytes in one request body of a push. */
  pushBytesMax: 32 * MiB,
  queryLengthMax: 128 * KiB,
  /** Results that one query holds at one peer before it waits for its reader. */
  queryBufferBytesMax: 64 * MiB,
  /** One chunk of results on the wire. */
  queryChunkBytes: 1 * MiB,
  /** Entries that a Loki client may ask for at once (JSON is built in memory). */
  queryLimitMax: 100_000,
  queriesAtOnceMax: 64,
  queryTimeoutMs: 120_000,
  membersMax: 10_000,
  /** Sources whose position is remembered after their batches are dropped. */
  sourcesMax: 100_000,
  /** Dropped segments that inventories tell one by one. */
  removedSegmentsMax: 100_000,
  /** Runs of expired batches told apart; beyond it neighbours are joined. */
  expiredRunsMax: 10_000,
} as const;

/** States the relations between bounds. Throws when one does not hold. */
export function assertLimits(): void {
  const relations: [string, boolean][] = [
    ['a line fits into a batch', LIMITS.lineBytesMax <= LIMITS.batchBytesMax],
    ['a target batch fits the bound', LIMITS.batchBytesTarget < LIMITS.batchBytesMax],
    [
      'a frame fits one message',
      LIMITS.headerBytesMax + LIMITS.payloadBytesMax + 1024 <= LIMITS.messageBytesMax,
    ],
    [
      'a batch fits a payload even when zstd gains nothing',
      LIMITS.batchBytesMax * 2 <= LIMITS.payloadBytesMax,
    ],
    ['a batch fits a segment', LIMITS.payloadBytesMax <= LIMITS.segmentBytesMax],
    ['a window takes a target batch', LIMITS.batchBytesTarget <= LIMITS.replicationWindowBytes],
    ['a chunk fits one message', LIMITS.queryChunkBytes + LIMITS.batchBytesMax < LIMITS.messageBytesMax],
  ];
  for (const [relation, holds] of relations) {
    if (!holds) throw new Error(`limits.ts: ${relation}: does not hold`);
  }
}
