export {
  addBatch,
  areNamed,
  decodeRecord,
  emptyRecord,
  encodeRecord,
  holesIn,
  isDamaged,
  releaseStreams,
  segmentName,
} from './record.ts';
export type { BatchEntry, BatchView, StreamList } from './batch-list.ts';
export type { Hole, SegmentId, SegmentRecord } from './record.ts';
export { goneOf, joinGone, NOTHING_GONE, goneSeqs, spanning, withoutHeld } from './gone.ts';
export type { GoneRun } from './gone.ts';
export { StreamPool } from './streams.ts';
export type { Stream } from './streams.ts';
export { holdsForeign, recoverSegment } from './recover.ts';
export { ReadableFile } from './readable.ts';
export { OwnLog } from './own.ts';
export type { SealedBatch } from './own.ts';
export { OpenFiles } from './open-files.ts';
export { Segment, unwritten } from './segment.ts';
export type { DiskHealth, ReceivedFrame } from './segment.ts';
