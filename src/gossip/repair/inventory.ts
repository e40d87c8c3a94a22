import { z } from 'zod';
import {
  LIMITS,
  LogvineError,
  segmentName,
  type GoneRun,
  type Instant,
  type Segment,
  type SegmentId,
  type Store,
} from '../../store/index.ts';
import {
  areGoneRuns,
  goneRunsOf,
  goneRunsSchema,
  instantOf,
  instantSchema,
  isInstant,
  isSegmentRuns,
  isWhole,
  listOf,
  seqRunSchema,
} from '../wire.ts';
import type { Channel } from '../transport/index.ts';

/** Segments that one message speaks of. */
const SEGMENTS_MAX = 1_000_000;
/** Of these an honest one: with all their runs and owners they fit a message several times over. */
const SEGMENTS_AT_ONCE = 10_000;
const EXPIRED_MAX = 10 * LIMITS.expiredRunsMax;
/** Runs of what expired that one message tells: less than 200 bytes each. */
const EXPIRED_AT_ONCE = 10_000;
/** Peers whose holdings are remembered: of those long gone, what nobody else has. */
const HOLDERS_SAVED_MAX = 1_000_000;

/**
 * What a peer says that it holds of one segment: runs of seqs, not lists of batches, so that an inventory stays small
 * however much is stored.
 */
export interface Holding extends SegmentId {
  /** Runs of seqs held, both ends included. */
  readonly runs: [number, number][];
  readonly min: Instant;
  readonly max: Instant;
  /** What it held, and rot took: see `Store.rottenIn`. */
  readonly rotten?: readonly GoneRun[] | undefined;
  readonly owners: string[];
  readonly bytes: number;
  /** The origin still adds to it. */
  readonly open: boolean;
}

const isName = (value: unknown): value is string => typeof value === 'string' && value.length <= 128;

/** By hand: a start, and what a newcomer is told, are hundreds of thousands. */
const holding = z.unknown().transform((value, context): Holding => {
  const { origin, epoch, index, runs, min, max, rotten, owners, bytes, open } = (value ??
    {}) as Partial<Holding>;
  const isSound =
    isName(origin) &&
    isWhole(epoch, 0) &&
    isWhole(index, 1) &&
    isSegmentRuns(runs) &&
    isInstant(min) &&
    isInstant(max) &&
    (rotten === undefined || areGoneRuns(rotten)) &&
    Array.isArray(owners) &&
    owners.length <= LIMITS.ownersMax &&
    owners.every(isName) &&
    Number.isFinite(bytes) &&
    bytes! >= 0 &&
    typeof open === 'boolean';
  if (isSound)
    return {
      origin,
      epoch,
      index,
      runs,
      min: instantOf(min),
      max: instantOf(max),
      ...(rotten && { rotten: goneRunsOf(rotten) }),
      owners,
      bytes: bytes!,
      open,
    };
  context.addIssue({ code: 'custom', message: 'not a holding' });
  return z.NEVER;
});

export const expiredRun = seqRunSchema.extend({ min: instantSchema, max: instantSchema });

/** What was heard of one segment, and nobody is known to hold any more. */
export interface Vanished extends SegmentId {
  readonly owners: readonly string[];
  readonly gone: readonly GoneRun[];
}

const vanished: z.ZodType<Vanished> = z.object({
  origin: z.string().max(128),
  epoch: z.number().int().nonnegative(),
  index: z.number().int().positive(),
  owners: listOf(z.string().max(128), LIMITS.ownersMax),
  gone: goneRunsSchema,
});

/** What `HoldingsKnown.pieces` gave to this peer's own disk. */
export const holdingsSaved = z.object({
  holdings: listOf(z.tuple([z.string(), listOf(holding, SEGMENTS_MAX)]), HOLDERS_SAVED_MAX),
  vanished: listOf(vanished, SEGMENTS_MAX).optional(),
  expired: listOf(expiredRun, EXPIRED_MAX),
});
export type HoldingsSaved = z.infer<typeof holdingsSaved>;

const inventoryAnswer = z.object({
  /** The answering process: another one means that earlier versions say nothing. */
  instance: z.string().max(64),
  /** All changes up to this one are told. */
  version: z.number().int().nonnegative(),
  /** There are later ones. */
  more: z.boolean(),
  holdings: listOf(holding, SEGMENTS_MAX),
  /** Segments that are no longer held, or of which nothing is known. */
  removed: listOf(
    z.object({
      origin: z.string().max(128),
      epoch: z.number().int().nonnegative(),
      index: z.number().int().positive(),
    }),
    SEGMENTS_MAX,
  ),
  /** What retention dropped there since the asker last heard of it; all up to that version, in numbers of its own. */
  expired: listOf(expiredRun, EXPIRED_MAX),
  expiredVersion: z.number().int().nonnegative(),
});

export type InventoryAnswer = z.infer<typeof inventoryAnswer>;

const inventoryRequest = z.object({
  instance: z.string().max(64),
  since: z.number().int().nonnegative(),
  expiredSince: z.number().int().nonnegative(),
});

/** Up to where an inventory is known. */
export interface InventoryVersion {
  readonly instance: string;
  readonly version: number;
  readonly expiredVersion: number;
}

export const INVENTORY_PROTOCOL = '/logvine/inventory/1';

/** Parses a message between peers. Throws LV_PROTOCOL. */
export function parseMessage<T>(schema: z.ZodType<T>, bytes: Uint8Array, what: string): T {
  try {
    return schema.parse(
      JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')),
    );
  } catch (cause) {
    throw new LogvineError('LV_PROTOCOL', `a ${what} message is malformed`, { cause });
  }
}

export function encodeMessage(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value), 'utf8');
}

export const parseInventory = (bytes: Uint8Array): InventoryAnswer =>
  parseMessage(inventoryAnswer, bytes, 'inventory');

/**
 * Asks, answer by answer, for all that changed at a peer since a version. As one, so that nothing is taken for gone because a
 * later answer did not come. Rejects as `ask` does, and with LV_PROTOCOL.
 */
export async function askForInventory(
  since: InventoryVersion,
  ask: (request: Buffer) => Promise<Buffer>,
): Promise<InventoryAnswer> {
  const askSince = async ({ instance, version, expiredVersion }: InventoryVersion) =>
    parseInventory(await ask(encodeMessage({ instance, since: version, expiredSince: expiredVersion })));
  let answer = await askSince(since);
  const holdings = new Map(answer.holdings.map((one) => [segmentName(one), one]));
  const removed = [...answer.removed];
  const expired = [...answer.expired];
  while (answer.more) {
    const next = await askSince(answer);
    const isFurther = next.version > answer.version || next.expiredVersion > answer.expiredVersion;
    const isTooMuch = holdings.size > SEGMENTS_MAX || expired.length > 2 * EXPIRED_MAX;
    if (next.instance !== answer.instance || !isFurther || isTooMuch)
      throw new LogvineError('LV_PROTOCOL', 'an inventory has no end');
    for (const id of next.removed) holdings.delete(segmentName(id));
    for (const one of next.holdings) holdings.set(segmentName(one), one);
    removed.push(...next.removed);
    for (const run of next.expired) expired.push(run);
    answer = next;
  }
  return { ...answer, holdings: [...holdings.values()], removed, expired };
}

/** What a peer says of one of its segments, that holds something or did. */
export function coveredBy(segment: Segment, rotten: readonly GoneRun[]): Omit<Holding, 'open'> {
  const { id, last, record } = segment;
  const { owners, fileBytes } = record;
  const { min, max } = last ? segment.bounds() : rotten[0]!;
  return {
    ...id,
    runs: segment.intervals(),
    min,
    max,
    ...(rotten.length > 0 && { rotten }),
    owners: [...owners],
    bytes: last ? fileBytes : 0,
  };
}

export function holdingOf(store: Store, segment: Segment): Holding {
  return { ...coveredBy(segment, store.rottenIn(segment)), open: segment === store.openSegment };
}

/** Answers one peer that asks what changed here. */
export async function serveInventory(channel: Channel, store: Store): Promise<void> {
  const message = await channel.receive();
  if (!message) return;
  await channel.send(answerInventory(store, message));
  await channel.close();
}

/** Answers what changed here since the asker last asked, the oldest changes first, and so many at once. */
export function answerInventory(
  store: Store,
  request: Uint8Array,
  { segments: atOnce, expired: expiredAtOnce } = {
    segments: SEGMENTS_AT_ONCE,
    expired: EXPIRED_AT_ONCE,
  },
): Buffer {
  const { instance, since, expiredSince } = parseMessage(inventoryRequest, request, 'inventory request');
  const isKnown = instance === store.instance;
  const after = isKnown ? since : 0;
  const changed: Segment[] = [];
  /** Nothing is known of what was in them. */
  const empty: SegmentId[] = [];
  for (const segment of store.segments()) {
    if (segment.version <= after) continue;
    if (segment.last || store.rottenIn(segment).length > 0) changed.push(segment);
    else empty.push(segment.id);
  }
  const more = changed.length > atOnce;
  if (more) changed.sort((a, b) => a.version - b.version);
  const told = changed.slice(0, atOnce);
  const removed = store.removedSince(after);
  const expired = store.dropped.expired.since(isKnown ? expiredSince : 0, expiredAtOnce);
  return encodeMessage({
    instance: store.instance,
    version: more ? told.at(-1)!.version : store.health.version,
    more: more || expired.more,
    holdings: told.map((segment) => holdingOf(store, segment)),
    removed: [...removed, ...empty],
    expired: expired.runs,
    expiredVersion: expired.version,
  } satisfies InventoryAnswer);
}
