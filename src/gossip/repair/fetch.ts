import { z } from 'zod';
import {
  LogvineError,
  type Clock,
  type Pace,
  type Run,
  type SegmentId,
  type Store,
} from '../../store/index.ts';
import { withDeadline, type Channel, type PeerId, type Transport } from '../transport/index.ts';
import { segmentRunsSchema } from '../wire.ts';
import { encodeMessage, parseMessage } from './inventory.ts';

export const FETCH_PROTOCOL = '/logvine/fetch/1';

const fetchRequest = z.object({
  origin: z.string().max(128),
  epoch: z.number().int().nonnegative(),
  index: z.number().int().positive(),
  runs: segmentRunsSchema,
});

/** Sends the asked batches of one segment that are held here and sound, in order. */
export async function serveFetch(channel: Channel, store: Store): Promise<void> {
  const message = await channel.receive();
  if (!message) return;
  const { runs, ...id } = parseMessage(fetchRequest, message, 'fetch');
  for (const [from, to] of runs) {
    // Bounded by what is held: a run may claim to be longer than any segment.
    const held = store.segment(id)?.record.batches.between([[from, to]]) ?? [];
    for (const { seq } of held) {
      const frame = await store.readFrame(id, seq);
      if (frame) await channel.send(frame);
    }
  }
  await channel.close();
}

export interface FetchOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly store: Store;
  readonly pace: Pace;
  readonly timeoutMs: number;
  /** Stops it: it rejects with the reason. */
  readonly signal?: AbortSignal;
}

/**
 * Fetches batches of one segment from a peer and stores them; resolves with the bytes that came. Rejects as `open` does, with
 * LV_PEER_TIMEOUT when the peer falls silent, and with what `appendReplica` rejects with.
 */
export async function fetchBatches(
  peer: PeerId,
  id: SegmentId,
  runs: readonly Run[],
  { transport, clock, store, pace, timeoutMs, signal }: FetchOptions,
): Promise<number> {
  const channel = await transport.open(peer, FETCH_PROTOCOL, { timeoutMs });
  const late = () => new LogvineError('LV_PEER_TIMEOUT', `${peer} sent nothing for ${timeoutMs} ms`);
  const stop = (): void => channel.abort(signal!.reason as Error);
  signal?.addEventListener('abort', stop);
  let bytes = 0;
  try {
    signal?.throwIfAborted();
    const { origin, epoch, index } = id;
    await channel.send(encodeMessage({ origin, epoch, index, runs }));
    for (;;) {
      // One that falls silent must not stop the rounds with all the others.
      const frame = await withDeadline(clock, timeoutMs, late, () => channel.receive());
      if (!frame) break;
      await store.appendReplica(frame, { from: peer, isRepair: true });
      bytes += frame.length;
      await pace.take(frame.length);
      signal?.throwIfAborted();
    }
    await channel.close();
    return bytes;
  } catch (error) {
    channel.abort(error as Error);
    throw error;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}
