import { z } from 'zod';
import {
  ByteReader,
  ByteWriter,
  LIMITS,
  LogvineError,
  type EpochLink,
  type SegmentId,
} from '../../store/index.ts';
import { lossSchema } from '../losses/losses.ts';
import { encodeMessage, parseMessage } from '../repair/index.ts';
import { listOf, peerIdSchema, seqRunSchema } from '../wire.ts';

export const VERIFY_PROTOCOL = '/logvine/verify/1';

export const HASH_BYTES = 32;
/** Segments that one request may name, and damage that one segment may tell. */
export const SEGMENTS_ASKED_MAX = 200;
export const DAMAGE_PER_SEGMENT_MAX = 1_000;
const PROBLEM_LENGTH_MAX = 500;
const PATH_LENGTH_MAX = 4_096;
const RUNS_MAX = 1_000_000;

/** Batches by the time at which they were sealed, in the clock of their origin; both ends included. */
export interface SealedRange {
  readonly fromMs: number;
  readonly toMs: number;
}

const segmentId = z.object({
  origin: z.string().max(128),
  epoch: z.number().int().nonnegative(),
  index: z.number().int().positive(),
});

const requestSchema = z.object({
  /** Null stands for the beginning and the end of time, which JSON lacks. */
  fromMs: z.number().nullable(),
  toMs: z.number().nullable(),
  /** Only these segments; all when it is missing. */
  only: listOf(segmentId, SEGMENTS_ASKED_MAX).optional(),
});

export interface VerifyRequest {
  readonly range: SealedRange;
  readonly only?: readonly SegmentId[] | undefined;
}

export function encodeRequest({ range, only }: VerifyRequest): Buffer {
  const ends = [range.fromMs, range.toMs].map((ms) => (Number.isFinite(ms) ? ms : null));
  const ids = only?.map(({ origin, epoch, index }) => ({ origin, epoch, index }));
  return encodeMessage({ fromMs: ends[0], toMs: ends[1], only: ids });
}

/** Throws LV_PROTOCOL. */
export function decodeRequest(bytes: Uint8Array): VerifyRequest {
  const { fromMs, toMs, only } = parseMessage(requestSchema, bytes, 'verify');
  return { range: { fromMs: fromMs ?? -Infinity, toMs: toMs ?? Infinity }, only };
}

/** Batches of consecutive seqs, each of which names the one before it. */
export interface AuditedRun {
  readonly first: number;
  readonly last: number;
  /** What the first one says of the batch before it; empty when the file was not read. */
  readonly previousHash: Buffer;
  /** The header hash of each batch, one behind the other; of the last one alone when the file was not read. */
  readonly hashes: Buffer;
  /** When each batch was sealed; empty when the file was not read. */
  readonly sealedAtMs: readonly number[];
}

/** A place in a segment file that is not as it was written. */
export interface AuditDamage {
  readonly fromSeq: number;
  readonly toSeq: number;
  readonly offset: number;
  readonly bytes: number;
  readonly problem: string;
  /** It is set aside, never served, and will be fetched from another holder. */
  readonly quarantined: boolean;
}

/** What one peer found in its copy of a segment. */
export interface SegmentAudit {
  readonly id: SegmentId;
  /** Where it stands on that peer's disk. */
  readonly path: string;
  /** The file was read; else this is what the index says, since it lies outside of the range. */
  readonly isRead: boolean;
  readonly sealedFromMs: number;
  readonly sealedToMs: number;
  readonly runs: readonly AuditedRun[];
  /** What the epoch's first batch, when it was read here, says of the epoch before. */
  readonly link: EpochLink | undefined;
  readonly damage: readonly AuditDamage[];
}

export const GONE_TOLD_MAX = 100_000;

const knowledgeSchema = z.object({
  /** What retention dropped, there or where it has heard of it. */
  expired: listOf(seqRunSchema, 200_000),
  /** What it held until rot took it, and what it knows that others had and name no longer. */
  gone: listOf(seqRunSchema, GONE_TOLD_MAX),
  /** What a person has accepted as lost. */
  losses: listOf(lossSchema, LIMITS.lossesMax),
  /** Every member of the mesh that this peer knows, itself included. */
  peers: listOf(peerIdSchema, LIMITS.membersMax),
});
export type Knowledge = z.infer<typeof knowledgeSchema>;

const progressSchema = z.object({ bytes: z.number().nonnegative(), bytesTotal: z.number().nonnegative() });

/** What a peer says while it verifies its disk: first what it knows, then segments in the order of their ids. */
export type AuditStep =
  | ({ readonly kind: 'knowledge' } & Knowledge)
  | { readonly kind: 'segment'; readonly audit: SegmentAudit }
  | { readonly kind: 'progress'; readonly bytes: number; readonly bytesTotal: number }
  | { readonly kind: 'done' };

export function encodeStep(step: AuditStep): Buffer {
  switch (step.kind) {
    case 'knowledge':
      return Buffer.concat([Buffer.of(1), encodeMessage(knowledgeOf(step))]);
    case 'segment':
      return Buffer.concat([Buffer.of(2), encodeAudit(step.audit)]);
    case 'progress':
      return Buffer.concat([Buffer.of(3), encodeMessage({ bytes: step.bytes, bytesTotal: step.bytesTotal })]);
    case 'done':
      return Buffer.of(4);
  }
}

function knowledgeOf({ expired, gone, losses, peers }: Knowledge): Knowledge {
  return { expired, gone, losses, peers };
}

/** Throws LV_PROTOCOL. */
export function decodeStep(bytes: Buffer): AuditStep {
  const body = bytes.subarray(1);
  switch (bytes[0]) {
    case 1:
      return { kind: 'knowledge', ...parseMessage(knowledgeSchema, body, 'verify') };
    case 2:
      return { kind: 'segment', audit: decodeAudit(body) };
    case 3:
      return { kind: 'progress', ...parseMessage(progressSchema, body, 'verify') };
    case 4:
      return { kind: 'done' };
    default:
      throw new LogvineError('LV_PROTOCOL', 'a verify message has an unknown kind');
  }
}

function encodeAudit(audit: SegmentAudit): Buffer {
  const writer = new ByteWriter(1024);
  const { id, link } = audit;
  writer.text(id.origin);
  writer.varint(id.epoch);
  writer.varint(id.index);
  writer.text(audit.path);
  writer.varint(audit.isRead ? 1 : 0);
  writer.varint(audit.sealedFromMs);
  writer.varint(audit.sealedToMs);
  writer.varint(audit.runs.length);
  for (const run of audit.runs) {
    writer.varint(run.first);
    writer.varint(run.last);
    writer.bytes(run.previousHash);
    writer.bytes(run.hashes);
    let before = 0;
    for (const ms of run.sealedAtMs) {
      writer.zigzag(ms - before);
      before = ms;
    }
  }
  writer.varint(link ? 1 : 0);
  if (link) {
    writer.varint(link.epoch);
    writer.varint(link.lastSeq);
    writer.bytes(link.headerHash);
  }
  writer.varint(audit.damage.length);
  for (const { fromSeq, toSeq, offset, bytes, problem, quarantined } of audit.damage) {
    for (const value of [fromSeq, toSeq, offset, bytes]) writer.varint(value);
    writer.text(problem.slice(0, PROBLEM_LENGTH_MAX / 4));
    writer.varint(quarantined ? 1 : 0);
  }
  return writer.finish();
}

function decodeAudit(bytes: Buffer): SegmentAudit {
  try {
    return readAudit(new ByteReader(bytes), bytes.length);
  } catch (cause) {
    throw new LogvineError('LV_PROTOCOL', 'a verify message is malformed', { cause });
  }
}

function readAudit(reader: ByteReader, bytesMax: number): SegmentAudit {
  const id = { origin: reader.text(128), epoch: reader.varint(), index: reader.varint() };
  const path = reader.text(PATH_LENGTH_MAX);
  const isRead = reader.varint() === 1;
  const sealedFromMs = reader.varint();
  const sealedToMs = reader.varint();
  const runs: AuditedRun[] = [];
  let end = 0;
  for (let left = reader.count(RUNS_MAX); left > 0; left--) {
    const run = readRun(reader, bytesMax, isRead);
    if (run.first <= end) throw new RangeError('runs out of order');
    end = run.last;
    runs.push(run);
  }
  let link: EpochLink | undefined;
  if (reader.varint() === 1) {
    link = { epoch: reader.varint(), lastSeq: reader.varint(), headerHash: reader.bytes(HASH_BYTES) };
    if (link.headerHash.length !== HASH_BYTES) throw new RangeError('not a hash');
  }
  const damage: AuditDamage[] = [];
  for (let left = reader.count(DAMAGE_PER_SEGMENT_MAX); left > 0; left--) {
    damage.push({
      fromSeq: reader.varint(),
      toSeq: reader.varint(),
      offset: reader.varint(),
      bytes: reader.varint(),
      problem: reader.text(PROBLEM_LENGTH_MAX),
      quarantined: reader.varint() === 1,
    });
  }
  if (!reader.done) throw new RangeError('bytes after the audit');
  return { id, path, isRead, sealedFromMs, sealedToMs, runs, link, damage };
}

function readRun(reader: ByteReader, bytesMax: number, isRead: boolean): AuditedRun {
  const first = reader.varint();
  const last = reader.varint();
  const previousHash = reader.bytes(HASH_BYTES);
  const hashes = reader.bytes(bytesMax);
  if (first < 1 || last < first) throw new RangeError('not a run');
  const batches = isRead ? last - first + 1 : 1;
  if (hashes.length !== batches * HASH_BYTES) throw new RangeError('a hash for each batch');
  if (previousHash.length !== (isRead ? HASH_BYTES : 0)) throw new RangeError('not a hash');
  const sealedAtMs: number[] = [];
  let at = 0;
  for (let left = isRead ? batches : 0; left > 0; left--) sealedAtMs.push((at += reader.zigzag()));
  return { first, last, previousHash, hashes, sealedAtMs };
}

/** The order in which every peer tells its segments. */
export function compareSegments(a: SegmentId, b: SegmentId): number {
  if (a.origin !== b.origin) return a.origin < b.origin ? -1 : 1;
  return a.epoch - b.epoch || a.index - b.index;
}
