import { z } from 'zod';
import { LIMITS, PREAMBLE_BYTES, type GoneRun, type Instant } from '../store/index.ts';
import { parsePeerId, type PeerId } from './transport/index.ts';

/** What the messages between peers are made of. */

/**
 * A list of up to `max` items, read up to the first that is malformed. (zod's own arrays go on and describe everything that is
 * wrong with every item: a message of 1 MB of nonsense took gigabytes.)
 */
export function listOf<T>(item: z.ZodType<T>, max: number): z.ZodType<T[]> {
  return z.unknown().transform((value, context): T[] => {
    if (!Array.isArray(value) || value.length > max) {
      context.addIssue({ code: 'custom', message: `not a list of at most ${max}` });
      return z.NEVER;
    }
    const items: T[] = [];
    for (let at = 0; at < value.length; at++) {
      const read = item.safeParse(value[at]);
      if (!read.success) {
        context.addIssue({ code: 'custom', message: `item ${at} is malformed: ${firstOf(read.error)}` });
        return z.NEVER;
      }
      items.push(read.data);
    }
    return items;
  });
}

/** As `listOf`, for what was written here: items that this version does not take are left out, and cost nobody the others. */
export function soundOf<T>(item: z.ZodType<T>, max: number): z.ZodType<T[]> {
  return z
    .unknown()
    .array()
    .max(max)
    .transform((values) =>
      values.flatMap((value) => {
        const read = item.safeParse(value);
        return read.success ? [read.data] : [];
      }),
    );
}

function firstOf({ issues }: z.ZodError): string {
  const { path = [], message = '' } = issues[0] ?? {};
  return path.length > 0 ? `${path.join('.').slice(0, 100)}: ${message}` : message;
}

export const peerIdSchema = z
  .string()
  .max(64)
  .transform((text, context): PeerId => {
    const peer = parsePeerId(text);
    if (peer) return peer;
    context.addIssue({ code: 'custom', message: 'not the peer id of an Ed25519 key' });
    return z.NEVER;
  });

const RUNS_MAX = 100_000;

/** Runs of seqs, both ends included: ascending and apart, so that no seq is counted or asked for twice. */
export const runsSchema: z.ZodType<[number, number][]> = z.unknown().transform((value, context) => {
  if (isRuns(value)) return value;
  context.addIssue({ code: 'custom', message: `not a list of at most ${RUNS_MAX} ascending runs` });
  return z.NEVER;
});

function isRuns(value: unknown): value is [number, number][] {
  if (!Array.isArray(value) || value.length > RUNS_MAX) return false;
  let after = 0;
  for (const run of value as unknown[]) {
    if (!Array.isArray(run) || run.length !== 2) return false;
    const [from, to] = run as unknown[];
    if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to)) return false;
    if ((from as number) <= after || (to as number) < (from as number)) return false;
    after = to as number;
  }
  return true;
}

/** As many batches as a segment has room for: whoever is asked for some looks for each. */
const SEGMENT_BATCHES_MAX = Math.ceil(
  (LIMITS.segmentBytesMax + LIMITS.payloadBytesMax + LIMITS.headerBytesMax) / PREAMBLE_BYTES,
);

function fitASegment(runs: readonly (readonly [number, number])[]): boolean {
  let batches = 0;
  for (const [from, to] of runs) batches += to - from + 1;
  return batches <= SEGMENT_BATCHES_MAX;
}

/** Runs of seqs of one segment. */
export const segmentRunsSchema = runsSchema.refine(fitASegment, 'more batches than a segment has room for');

/** The same, without zod. */
export function isSegmentRuns(value: unknown): value is [number, number][] {
  return isRuns(value) && fitASegment(value);
}

/** A run of batches of one origin, both ends included. */
export const seqRunSchema = z.object({
  origin: z.string().max(128),
  epoch: z.number().int().nonnegative(),
  from: z.number().int().positive(),
  to: z.number().int().positive(),
});

/** As far from 1970 as a Date goes, in ms. */
export const TIME_MS_MAX = 8.64e15;

export function isInstant(value: unknown): value is Instant {
  const { ms, sub } = (value ?? {}) as Partial<Instant>;
  return typeof ms === 'number' && Math.abs(ms) <= TIME_MS_MAX && isWhole(sub, 0) && sub <= 999_999;
}

/** Without what else a peer may have put beside it, however much that is. */
export const instantOf = ({ ms, sub }: Instant): Instant => ({ ms, sub });

/** As `isSegmentRuns`, with times. */
export function areGoneRuns(value: unknown): value is GoneRun[] {
  if (!Array.isArray(value)) return false;
  const isTimed = (run: Partial<GoneRun> | null): boolean => isInstant(run?.min) && isInstant(run?.max);
  if (!(value as (Partial<GoneRun> | null)[]).every(isTimed)) return false;
  return isSegmentRuns((value as GoneRun[]).map(({ from, to }) => [from, to]));
}

/** Without what else a peer may have put beside them. */
export const goneRunsOf = (runs: readonly GoneRun[]): GoneRun[] =>
  runs.map(({ from, to, min, max }) => ({ from, to, min: instantOf(min), max: instantOf(max) }));

export const goneRunsSchema = z
  .custom<GoneRun[]>(areGoneRuns, 'not a list of ascending runs with times')
  .transform((runs): readonly GoneRun[] => goneRunsOf(runs));

/** A moment: ms since 1970 and nanoseconds within them. */
export const instantSchema = z.custom<Instant>(isInstant, 'not a moment').transform(instantOf);

export function isWhole(value: unknown, min: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= min;
}
