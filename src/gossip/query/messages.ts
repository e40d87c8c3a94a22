import { createHash } from 'node:crypto';
import { z } from 'zod';
import {
  decodeRun,
  encodeRun,
  LIMITS,
  LogvineError,
  parseLabelsKey,
  type EntryRun,
  type Labels,
  type ScanTally,
} from '../../store/index.ts';
import { encodeMessage, parseMessage } from '../repair/index.ts';
import type { PeerId } from '../transport/index.ts';
import type { MeshMember } from '../view.ts';
import {
  goneRunsSchema,
  instantSchema,
  listOf,
  peerIdSchema,
  runsSchema,
  segmentRunsSchema,
} from '../wire.ts';

export const COVERAGE_PROTOCOL = '/logvine/coverage/1';
export const SCAN_PROTOCOL = '/logvine/scan/1';
export const FOLLOW_PROTOCOL = '/logvine/follow/1';

/** What is wrong with the query itself: no other holder would answer it. */
const REFUSAL_CODES = ['LV_QUERY_INVALID', 'LV_QUERY_TIMEOUT', 'LV_QUERY_TOO_LARGE'] as const;

/** Segments that one message speaks of. */
const SEGMENTS_MAX = 1_000_000;

const segment = z.object({
  origin: z.string().max(128),
  epoch: z.number().int().nonnegative(),
  index: z.number().int().positive(),
  runs: segmentRunsSchema,
  min: instantSchema,
  max: instantSchema,
  /** What was held of it here, and rot took: see `Store.rottenIn`. Of the answering run itself as well, so that its times are known. */
  rotten: goneRunsSchema.optional(),
  /** What somebody else was heard to hold of it, and nobody is known to hold any more. */
  vanished: goneRunsSchema.optional(),
  owners: listOf(z.string().max(128), LIMITS.ownersMax),
  bytes: z.number().nonnegative(),
});

/** Members whose answer a query waits for: all but those that have left. In the order of `members`: by peer id. */
export function peersOf(members: readonly Pick<MeshMember, 'peer' | 'state'>[]): PeerId[] {
  return members.filter(({ state }) => state !== 'left').map(({ peer }) => peer);
}

/** Equal for those who know the same peers. */
export function peersDigest(peers: readonly PeerId[]): string {
  return createHash('sha256').update(peers.join()).digest('base64');
}

export const coverageRequest = z.object({
  from: instantSchema,
  to: instantSchema,
  /** Of the peers that the asker knows. */
  peersDigest: z.string().max(64),
});
const coverageStart = z.object({
  epoch: z.number().int().nonnegative(),
  /** The last batch that this peer has sealed and written: what it read since is asked for with the scan. */
  writtenSeq: z.number().int().nonnegative(),
  /** What is held here of segments that lie outside of the range. */
  outside: listOf(
    z.object({ origin: z.string().max(128), epoch: z.number().int().nonnegative(), runs: runsSchema }),
    SEGMENTS_MAX,
  ),
  /** The peers that this one knows, where they are not just those that the asker knows. */
  peers: listOf(peerIdSchema, LIMITS.membersMax).optional(),
});
/** One of the messages that an answer comes in: see `coveragePages`. */
export const coveragePage = z.object({
  /** With the first of them. */
  first: coverageStart.optional(),
  overlapping: listOf(segment, SEGMENTS_MAX),
  more: z.boolean(),
});
export type CoverageAnswer = z.infer<typeof coverageStart> & {
  /** Segments that overlap the range, by what is held here of them or by what is gone. */
  overlapping: CoveredSegment[];
};
export type CoveredSegment = z.infer<typeof segment>;

/** Nanoseconds since 1970, or a step of them: beyond what a number carries. */
const nanoseconds = z.string().regex(/^-?\d{1,24}$/);
const queryText = z.string().max(131_072);

/** What is wanted of the batches. */
const question = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('entries'),
    query: queryText,
    descending: z.boolean(),
    limit: z.number().int().positive(),
  }),
  z.object({
    kind: z.literal('metric'),
    query: queryText,
    startNs: nanoseconds,
    endNs: nanoseconds,
    stepNs: nanoseconds,
  }),
  /** Label sets of streams that one of the selectors matches; no selector: of all. */
  z.object({ kind: z.literal('series'), selectors: listOf(queryText, 64) }),
  /** Names of the labels of such streams, and the values of these; of all, where it is left out. */
  z.object({
    kind: z.literal('labels'),
    selectors: listOf(queryText, 64),
    valuesOf: listOf(queryText, 64).optional(),
  }),
  z.object({ kind: z.literal('patterns'), query: queryText, stepMs: z.number().int().positive() }),
]);
export type Question = z.infer<typeof question>;
export type QuestionOf<Kind extends Question['kind']> = Extract<Question, { kind: Kind }>;

export const scanRequest = z.object({
  question,
  from: instantSchema,
  to: instantSchema,
  /**
   * Also this peer's own lines of that epoch after that seq, sealed or not; of `except` another holder is asked, since they
   * were copied while coverage was being asked. Another run of this peer has none: it was not the one that gave coverage.
   */
  fresh: z
    .object({
      epoch: z.number().int().nonnegative(),
      afterSeq: z.number().int().nonnegative(),
      except: runsSchema,
    })
    .optional(),
});
/** One of the messages behind it: which segments to look into. See `scanPages`. */
export const workPage = z.object({
  work: listOf(
    z.object({
      origin: z.string().max(128),
      epoch: z.number().int().nonnegative(),
      index: z.number().int().positive(),
      runs: segmentRunsSchema,
    }),
    SEGMENTS_MAX,
  ),
  more: z.boolean(),
});
export type ScanMessage = z.infer<typeof scanRequest> & Pick<z.infer<typeof workPage>, 'work'>;

export const followRequest = z.object({ query: z.string().max(131_072) });

const failedMessage = z.object({
  origin: z.string().max(128),
  epoch: z.number(),
  index: z.number().int().positive(),
  seqs: listOf(z.number().int().positive(), 100_000),
});
const tally = z.object({
  batches: z.number(),
  pruned: z.number(),
  read: z.number(),
  unneeded: z.number(),
  fromIndex: z.number(),
  bytesScanned: z.number(),
});
const progress = z.object({ done: z.number(), of: z.number() });
const refusal = z.object({ code: z.enum(REFUSAL_CODES), message: z.string().max(65_536) });
/** A label's name and some of its values. */
export const labelFound = z.tuple([z.string(), listOf(z.string(), 1_000_000)]);
export const patternsFound = listOf(
  z.object({
    pattern: z.string(),
    level: z.string(),
    samples: listOf(z.tuple([z.number(), z.number()]), 1_000_000),
  }),
  1_000_000,
);

/** Takes in label sets as a holder tells them: a `labelsKey` a line. Throws LV_PROTOCOL. */
export function takeSeries(known: Map<string, Labels>, bytes: Uint8Array): void {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  for (const key of text.split('\n')) {
    if (known.has(key)) continue;
    try {
      known.set(key, parseLabelsKey(key));
    } catch (cause) {
      throw new LogvineError('LV_PROTOCOL', 'a series message is malformed', { cause });
    }
  }
}

/** A step of a scan as it travels: one byte of kind, then the run's bytes or JSON. */
export type RemoteStep =
  | { readonly kind: 'run'; readonly run: EntryRun }
  /** A piece of the answer to a question other than 'entries'. It counts once the holder is done. */
  | { readonly kind: 'found'; readonly bytes: Uint8Array }
  | { readonly kind: 'failed'; readonly failed: z.infer<typeof failedMessage> }
  | { readonly kind: 'progress'; readonly done: number; readonly of: number }
  | { readonly kind: 'refused'; readonly error: LogvineError }
  | { readonly kind: 'done'; readonly tally: ScanTally };

const KINDS = ['run', 'failed', 'done', 'found', 'progress', 'refused'] as const;

export function encodeStep(step: RemoteStep): Buffer {
  return Buffer.concat([Buffer.of(KINDS.indexOf(step.kind) + 1), bodyOf(step)]);
}

function bodyOf(step: RemoteStep): Uint8Array {
  switch (step.kind) {
    case 'run':
      return encodeRun(step.run);
    case 'found':
      return step.bytes;
    case 'failed':
      return encodeMessage(step.failed);
    case 'done':
      return encodeMessage(step.tally);
    case 'progress':
      return encodeMessage({ done: step.done, of: step.of });
    case 'refused':
      return encodeMessage({ code: step.error.code, message: step.error.message });
  }
}

/** Throws LV_PROTOCOL. */
export function decodeStep(bytes: Buffer): RemoteStep {
  const body = bytes.subarray(1);
  const kind = KINDS[bytes[0] - 1];
  switch (kind) {
    case 'run':
      return { kind, run: decodeRun(body) };
    case 'found':
      return { kind, bytes: body };
    case 'failed':
      return { kind, failed: parseMessage(failedMessage, body, 'scan') };
    case 'done':
      return { kind, tally: parseMessage(tally, body, 'scan') };
    case 'progress':
      return { kind, ...parseMessage(progress, body, 'scan') };
    case 'refused': {
      const { code, message } = parseMessage(refusal, body, 'scan');
      return { kind, error: new LogvineError(code, message) };
    }
    default:
      throw new LogvineError('LV_PROTOCOL', 'a scan message has an unknown kind');
  }
}

/** The refusal that an error amounts to, when it is the query's own fault. */
export function refusalOf(error: unknown): LogvineError | undefined {
  const isRefusal = error instanceof LogvineError && REFUSAL_CODES.some((code) => code === error.code);
  return isRefusal ? error : undefined;
}
