export { addBatch, decodeRecord, emptyRecord, encodeRecord, releaseStreams, segmentName } from './record.ts';
export type { BatchEntry, SegmentId, SegmentRecord, StreamList } from './record.ts';
export { StreamPool } from './streams.ts';
export type { Stream } from './streams.ts';
export { holdsForeign, recoverSegment } from './recover.ts';
export { OwnLog } from './own.ts';
export type { SealedBatch } from './own.ts';
export { Segment } from './segment.ts';
export type { DiskHealth, FrameToWrite } from './segment.ts';
