export { addBatch, decodeRecord, emptyRecord, encodeRecord, segmentName } from './record.ts';
export type { BatchEntry, SegmentId, SegmentRecord } from './record.ts';
export { holdsForeign, recoverSegment } from './recover.ts';
export { OwnLog } from './own.ts';
export type { SealedBatch } from './own.ts';
export { Segment } from './segment.ts';
export type { DiskHealth, FrameToWrite } from './segment.ts';
