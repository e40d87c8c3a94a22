export { DroppedLog, notePosition } from './dropped.ts';
export type { OwnPosition } from './dropped.ts';
export { ExpiredRuns } from './expired.ts';
export type { ExpiredRun } from './expired.ts';
export { Retention } from './retention.ts';
export type { RetentionRule } from './retention.ts';
export { Scrubber } from './scrub.ts';
export { DiskSpace, ROOM_TEXT } from './space.ts';
export type { Room } from './space.ts';
