import { z } from 'zod';
import { compareInstants, LogvineError, type Instant, type Segment, type Store } from '../../store/index.ts';

/**
 * What a peer says that it holds of one segment: runs of seqs, not lists of batches, so that an inventory stays small
 * however much is stored.
 */
const instant = z.object({ ms: z.number(), sub: z.number().int().nonnegative() });
const holding = z.object({
  origin: z.string().max(128),
  epoch: z.number().int().nonnegative(),
  index: z.number().int().positive(),
  /** Runs of seqs held, both ends included. */
  runs: z.array(z.tuple([z.number().int().positive(), z.number().int().positive()])).max(100_000),
  min: instant,
  max: instant,
  owners: z.array(z.string().max(128)).max(64),
  bytes: z.number().nonnegative(),
  /** The origin still adds to it. */
  open: z.boolean(),
});

export type Holding = z.infer<typeof holding>;

const inventoryAnswer = z.object({
  /** The answering process: another one means that earlier versions say nothing. */
  instance: z.string().max(64),
  version: z.number().int().nonnegative(),
  holdings: z.array(holding).max(1_000_000),
});

export type InventoryAnswer = z.infer<typeof inventoryAnswer>;

const inventoryRequest = z.object({ instance: z.string().max(64), since: z.number().int().nonnegative() });

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

export function encodeInventoryRequest(instance: string, since: number): Buffer {
  return encodeMessage({ instance, since });
}

/** Earliest and latest entry of a segment's batches. */
export function segmentBounds(segment: Segment): { min: Instant; max: Instant } {
  let min: Instant = { ms: Infinity, sub: 0 };
  let max: Instant = { ms: -Infinity, sub: 0 };
  for (const batch of segment.record.batches) {
    if (compareInstants(batch.min, min) < 0) min = batch.min;
    if (compareInstants(batch.max, max) > 0) max = batch.max;
  }
  return { min, max };
}

export function holdingOf(store: Store, segment: Segment): Holding {
  return {
    ...segment.id,
    runs: segment.intervals(),
    ...segmentBounds(segment),
    owners: [...segment.record.owners],
    bytes: segment.record.fileBytes,
    open: segment === store.openSegment,
  };
}

/** Answers what changed here since the asker last asked. */
export function answerInventory(store: Store, request: Uint8Array): Buffer {
  const { instance, since } = parseMessage(inventoryRequest, request, 'inventory request');
  const own = String(store.epoch);
  const after = instance === own ? since : 0;
  const holdings: Holding[] = [];
  for (const segment of store.segments()) {
    if (segment.version > after && segment.record.batches.length > 0)
      holdings.push(holdingOf(store, segment));
  }
  return encodeMessage({ instance: own, version: store.health.version, holdings } satisfies InventoryAnswer);
}
