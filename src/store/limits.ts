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
  /** Compressed on their own, with two zstd contexts each; an honest batch has some 150 at most. */
  batchBlocksMax: 1_024,
  /** Epochs (ms since 1970) and seqs: no clock shows a later time for thousands of years, no run has as many batches. */
  counterMax: 2 ** 48,
  /** Names and values of the labels in one batch, its sources and their positions: they stand in its header. */
  batchLabelBytesMax: 2 * MiB,
  headerBytesMax: 4 * MiB,
  /** The name of a source, and where it stands: the longest path, escaped, and more. */
  sourceTextBytesMax: 64 * KiB,
  payloadBytesMax: 16 * MiB,
  /** One message between peers: a whole frame fits. */
  messageBytesMax: 24 * MiB,
  /** A request that names a range, a version or a query. */
  smallRequestBytesMax: 1 * MiB,
  /** A request that names runs of batches. */
  runsRequestBytesMax: 4 * MiB,
  /** Messages that have begun and not ended, of one peer and of all: what peers can leave lying here. */
  unfinishedBytesPerPeerMax: 64 * MiB,
  unfinishedBytesMax: 256 * MiB,
  /** Labels of one stream as a client, or an entry of the configuration, gives them. */
  labelsPerStreamMax: 64,
  /** Labels of one stream with those of the configuration, of the file, and `service_name`. */
  labelsStoredMax: 136,
  labelNameBytesMax: 1024,
  labelValueBytesMax: 4096,
  segmentBytesMax: 64 * MiB,
  /** Of a file to which batches are added: with those that stand there twice, after damage. */
  segmentFileBytesMax: 1024 * MiB,
  /** Segment files open for writing, unless more are being written at once. */
  openSegmentsMax: 128,
  /** Streams that one segment names: more than its bytes have room for, so that no honest segment meets it. */
  segmentStreamsMax: 4 * MiB,
  /** Streams in the segments of one peer, beyond which pushes name no new ones there: about a kilobyte of memory each. */
  streamsMax: 500_000,
  /** Batches in the segments of one peer, beyond which its status says that they take much memory. */
  batchesToldMax: 10_000_000,
  segmentAgeMsMax: 3_600_000,
  ownersMax: 16,
  /** Lines read and not yet sealed, over all inputs: inputs wait beyond it. */
  unsealedBytesMax: 16 * MiB,
  /** Memory that raw lines wait in; more than the lines themselves where batches are small. */
  arenaBytesMax: 64 * MiB,
  /** Sealed and waiting for their acknowledgement. */
  unacknowledgedBytesMax: 64 * MiB,
  /** Frames under way to one owner. */
  replicationWindowBytes: 8 * MiB,
  /** Frames that wait for an owner after enough others have them, over all owners: the slowest is left to repair beyond it. */
  laggingBytesMax: 64 * MiB,
  /** Replicas received and not on disk yet, over all origins. */
  replicaBytesInFlightMax: 64 * MiB,
  httpConnectionsMax: 2_048,
  /** Bytes in the body of any request but a push: a query as a form. */
  requestBytesMax: 1 * MiB,
  /** Bytes in one request body of a push. */
  pushBytesMax: 32 * MiB,
  /** Bodies of pushes, as received or decoded, until their lines wait for their batch: 429 beyond it. */
  pushBytesInFlightMax: 128 * MiB,
  /** How long the body of a push may take to arrive. */
  pushBodyMs: 30_000,
  /** Bytes of lines and times in one batch of a push; a larger push becomes several. */
  pushPartBytes: 4 * MiB,
  /** Pushes whose digests one batch carries. */
  batchPushesMax: 4096,
  /** Digests of pushes that a peer remembers: some 200 bytes each. */
  pushesRememberedMax: 200_000,
  /** Pushes that a peer carries to their end at once, and questions after them that it keeps waiting. */
  pushesUnderWayMax: 10_000,
  /** Claims, or digests asked for, in one message. */
  pushesPerMessageMax: 1_000,
  /** Tasks that wait for a worker thread. */
  workerTasksMax: 10_000,
  queryLengthMax: 128 * KiB,
  /** Results that one query holds at one peer before it waits for its reader. */
  queryBufferBytesMax: 64 * MiB,
  /** One chunk of results on the wire. */
  queryChunkBytes: 1 * MiB,
  /** Entries that a Loki client may ask for at once (JSON is built in memory). */
  queryLimitMax: 100_000,
  queriesAtOnceMax: 64,
  /** Compiled queries that a thread remembers, and regular expressions. */
  queriesCompiledMax: 64,
  /** Labels that the parsers of a query set for one line: a line of a MiB has room for some 100,000. */
  parsedLabelsMax: 10_000,
  /** Names and values of one label set on its way, whatever gave them: the stream, metadata, parsers, or the query itself. */
  labelSetMax: 64 * 1024,
  /** WebSocket tails at one peer. */
  tailsAtOnceMax: 64,
  /** Queries that wait for their turn; beyond it they are refused. */
  queriesWaitingMax: 512,
  /** What scans found in the index of batches, remembered for all queries of a peer: filters and headers' numbers. */
  indexMemoryBytesMax: 64 * MiB,
  /** What metric queries found in batches, remembered for when they are asked again. */
  answerMemoryBytesMax: 32 * MiB,
  /** Series in the answer to a metric query, as Loki's `max_query_series`. */
  querySeriesMax: 500,
  /** Series that a metric query gathers before it sums them up, at one peer. */
  queryPartialSeriesMax: 50_000,
  /** Numbers in the partial results of a metric query at one peer: some operations keep every sample. */
  queryNumbersMax: 4 * MiB,
  /** Points in the answer to a metric query, over all series. */
  queryPointsMax: 1_000_000,
  /** A holder that says nothing for this long is taken for hung, and its work is given to another. */
  queryIdleMs: 15_000,
  /** Patterns of lines told apart by one `patterns` request, at one peer. */
  patternsMax: 300,
  queryTimeoutMs: 120_000,
  /** What verification reads of this disk, over all that ask for it. */
  verifyBytesPerSecond: 64 * MiB,
  /** Verifications of this disk, and of the mesh from here, at once. */
  verifyAtOnceMax: 4,
  /** A peer whose clock differs by more from this one's is named. */
  clockSkewMsMax: 60_000,
  membersMax: 10_000,
  /** Addresses that a member tells, and that it is dialled at. */
  memberAddressesMax: 16,
  /** Addresses to find the mesh at: each is dialled for ever. */
  seedsMax: 100,
  /** What a member says of itself, signed, as JSON: a name of 253 characters and a dozen addresses fit. */
  memberRecordBytesMax: 2 * KiB,
  /** How another member sees it, around that record. */
  memberRowBytesMax: 2 * KiB + 128,
  /** All members in one message, and in members.json. */
  membersBytesMax: 21 * MiB,
  /** Sources whose position is remembered after their batches are dropped. */
  sourcesMax: 100_000,
  /** Dropped segments that inventories tell one by one. */
  removedSegmentsMax: 100_000,
  /** Runs of expired batches told apart; beyond it neighbours are joined. */
  expiredRunsMax: 10_000,
  /** Losses that a person accepts, and runs of batches in all of them. */
  lossesMax: 1_000,
  lostRunsMax: 50_000,
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
    ['places in a segment file fit 32 bits', 2 * LIMITS.segmentFileBytesMax < 2 ** 32],
    ['a window takes a target batch', LIMITS.batchBytesTarget <= LIMITS.replicationWindowBytes],
    [
      'the labels and positions of a batch fit its header, with those of the block that crossed the bound',
      LIMITS.batchLabelBytesMax +
        LIMITS.labelsStoredMax * (LIMITS.labelNameBytesMax + LIMITS.labelValueBytesMax) +
        2 * LIMITS.sourceTextBytesMax +
        LIMITS.batchStreamsMax * 32 +
        LIMITS.batchPushesMax * 17 <=
        LIMITS.headerBytesMax,
    ],
    [
      'two sets of labels in the configuration, and those that are added, fit a stream',
      2 * LIMITS.labelsPerStreamMax + 8 <= LIMITS.labelsStoredMax,
    ],
    ['a part of a push fits a batch', LIMITS.pushPartBytes <= LIMITS.batchBytesMax],
    ['a push fits what may be in flight', LIMITS.pushBytesMax <= LIMITS.pushBytesInFlightMax],
    ['what lags takes one window', LIMITS.replicationWindowBytes <= LIMITS.laggingBytesMax],
    ['a replica fits what may be in flight', LIMITS.messageBytesMax <= LIMITS.replicaBytesInFlightMax],
    ['a hung holder is given up before the query is', LIMITS.queryIdleMs * 2 < LIMITS.queryTimeoutMs],
    [
      'a message fits what a peer may have under way',
      LIMITS.messageBytesMax <= LIMITS.unfinishedBytesPerPeerMax,
    ],
    ['one peer leaves room for others', LIMITS.unfinishedBytesPerPeerMax * 2 <= LIMITS.unfinishedBytesMax],
    ['blocks of a batch of small streams fit', LIMITS.batchBytesMax / (64 * KiB) < LIMITS.batchBlocksMax],
    [
      'a query fits a small request, however it is escaped',
      LIMITS.queryLengthMax * 6 < LIMITS.smallRequestBytesMax,
    ],
    [
      'a label set fits what is decoded: of the stream, metadata, parsers, a query that writes `a=b,` and so on, and an error',
      LIMITS.labelsStoredMax +
        LIMITS.batchStreamsMax +
        LIMITS.parsedLabelsMax +
        LIMITS.queryLengthMax / 4 +
        2 <=
        LIMITS.labelSetMax,
    ],
    [
      'as many members as there may be, each with its longest record, fit one message and members.json',
      LIMITS.membersMax * LIMITS.memberRowBytesMax + 128 <= LIMITS.membersBytesMax &&
        LIMITS.membersBytesMax <= LIMITS.messageBytesMax,
    ],
    ['a chunk fits one message', LIMITS.queryChunkBytes + LIMITS.batchBytesMax < LIMITS.messageBytesMax],
  ];
  for (const [relation, holds] of relations) {
    if (!holds) throw new Error(`limits.ts: ${relation}: does not hold`);
  }
}
