import { z } from 'zod';
import { decodeRun, encodeRun, LogvineError, type EntryRun, type ScanTally } from '../../store/index.ts';
import { encodeMessage, parseMessage } from '../repair/index.ts';

export const COVERAGE_PROTOCOL = '/logvine/coverage/1';
export const SCAN_PROTOCOL = '/logvine/scan/1';
export const SERIES_PROTOCOL = '/logvine/series/1';
export const FOLLOW_PROTOCOL = '/logvine/follow/1';

const instant = z.object({ ms: z.number(), sub: z.number().int().min(0).max(999_999) });
const runs = z.array(z.tuple([z.number().int().positive(), z.number().int().positive()])).max(100_000);
const segment = z.object({
  origin: z.string().max(128),
  epoch: z.number().int().nonnegative(),
  index: z.number().int().positive(),
  runs,
  min: instant,
  max: instant,
  owners: z.array(z.string().max(128)).max(64),
  bytes: z.number(),
});

export const coverageRequest = z.object({ from: instant, to: instant });
export const coverageAnswer = z.object({
  epoch: z.number().int().nonnegative(),
  /** The last batch that this peer has sealed and written: what it read since is asked for with the scan. */
  writtenSeq: z.number().int().nonnegative(),
  /** Segments held here that overlap the range. */
  overlapping: z.array(segment).max(1_000_000),
  /** What is held here of segments that lie outside of it. */
  outside: z.array(z.object({ origin: z.string().max(128), epoch: z.number(), runs })).max(1_000_000),
});
export type CoverageAnswer = z.infer<typeof coverageAnswer>;
export type CoveredSegment = z.infer<typeof segment>;

export const scanRequest = z.object({
  query: z.string().max(131_072),
  from: instant,
  to: instant,
  descending: z.boolean(),
  limit: z.number().int().positive(),
  work: z
    .array(
      z.object({ origin: z.string().max(128), epoch: z.number(), index: z.number().int().positive(), runs }),
    )
    .max(1_000_000),
  /** Also this peer's own lines after that seq of its current epoch, sealed or not. */
  freshAfterSeq: z.number().int().nonnegative().optional(),
  /** Batches after that seq which another holder is asked for: they were copied while coverage was being asked. */
  freshExcept: runs,
});
export type ScanMessage = z.infer<typeof scanRequest>;

export const seriesRequest = z.object({ from: instant, to: instant });
export const seriesAnswer = z.array(z.record(z.string(), z.string())).max(1_000_000);
export const followRequest = z.object({ query: z.string().max(131_072) });

const failedMessage = z.object({
  origin: z.string().max(128),
  epoch: z.number(),
  index: z.number().int().positive(),
  seqs: z.array(z.number().int().positive()).max(100_000),
});
const tally = z.object({
  batches: z.number(),
  pruned: z.number(),
  read: z.number(),
  unneeded: z.number(),
  bytesScanned: z.number(),
});

/** A step of a scan as it travels: one byte of kind, then the run's bytes or JSON. */
export type RemoteStep =
  | { readonly kind: 'run'; readonly run: EntryRun }
  | { readonly kind: 'failed'; readonly failed: z.infer<typeof failedMessage> }
  | { readonly kind: 'done'; readonly tally: ScanTally };

export function encodeStep(step: RemoteStep): Buffer {
  if (step.kind === 'run') return Buffer.concat([Buffer.of(1), encodeRun(step.run)]);
  if (step.kind === 'failed') return Buffer.concat([Buffer.of(2), encodeMessage(step.failed)]);
  return Buffer.concat([Buffer.of(3), encodeMessage(step.tally)]);
}

export function decodeStep(bytes: Buffer): RemoteStep {
  const body = bytes.subarray(1);
  switch (bytes[0]) {
    case 1:
      return { kind: 'run', run: decodeRun(body) };
    case 2:
      return { kind: 'failed', failed: parseMessage(failedMessage, body, 'scan') };
    case 3:
      return { kind: 'done', tally: parseMessage(tally, body, 'scan') };
    default:
      throw new LogvineError('LV_PROTOCOL', 'a scan message has an unknown kind');
  }
}
