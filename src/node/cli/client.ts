import { z } from 'zod';
import type { Receipt } from '../../gossip/index.ts';
import {
  decodeRun,
  LIMITS,
  lineOf,
  LogvineError,
  nanosecondsOf,
  type EntryRun,
  type Labels,
  type Metadata,
} from '../../store/index.ts';
import { FRAME_ERROR, FRAME_MISSED, FRAME_RECEIPT, FRAME_RUN } from '../http/native.ts';
import { errorIn, open, parseJson } from './http.ts';
import { receiptOf } from './receipt.ts';

export type { Receipt } from '../../gossip/index.ts';

/** An entry as a client has it. */
export interface ReceivedEntry {
  readonly timeNs: bigint;
  readonly labels: Labels;
  readonly metadata: Metadata;
  /** Without its newline. */
  readonly line: Buffer;
}

export interface EntryRequest {
  /** `http://host:port`, without a slash at the end. */
  readonly addr: string;
  readonly token: string | undefined;
  readonly query: string;
  readonly startNs: bigint;
  /** Exclusive; undefined when the query follows what is written from now on. */
  readonly endNs: bigint | undefined;
  /** 0 is all. */
  readonly limit: number;
  readonly direction: 'forward' | 'backward';
  /** Ends the request; the generator then rejects with the signal's reason. */
  readonly signal: AbortSignal;
  /** What follows missed something; what is yielded next came after it. */
  onMissed?(missed: MissedByTail): void;
}

/** As far from 1970 as a Date goes. */
const time = z.number().min(-8.64e15).max(8.64e15);
const missedByTail = z.object({
  /** Pieces of one or more lines for which it was too slow. */
  count: z.number().int().nonnegative(),
  /** Peers that could not be followed for a while, or still cannot. */
  unheard: z.array(z.object({ peer: z.string(), fromMs: time, toMs: time.optional() })).default([]),
});
export type MissedByTail = z.infer<typeof missedByTail>;

/**
 * Asks a node for entries: `GET {addr}/api/v1/query`, or `/api/v1/tail` without an end. Yields them in order, as many
 * at a time as arrive together, and returns the receipt. Never holds more than one chunk.
 *
 * Throws LogvineError: LV_PEER_UNREACHABLE, LV_UNAUTHORIZED, LV_QUERY_…, or LV_PROTOCOL when the answer ends before
 * its receipt.
 */
export async function* fetchEntries(
  request: EntryRequest,
): AsyncGenerator<readonly ReceivedEntry[], Receipt, void> {
  const { addr, token, signal } = request;
  const parameters = new URLSearchParams({
    query: request.query,
    start: request.startNs.toString(),
    limit: String(request.limit),
    direction: request.direction,
  });
  if (request.endNs !== undefined) parameters.set('end', request.endNs.toString());
  const path = request.endNs === undefined ? '/api/v1/tail' : '/api/v1/query';
  const response = await open({ addr, token, fetch }, `${path}?${parameters}`, 'GET', signal);
  for await (const { kind, body } of framesIn(response.body ?? [], signal, addr)) {
    if (kind === FRAME_RUN) yield entriesOf(decodeRun(body));
    else if (kind === FRAME_RECEIPT) return receiptOf(parseJson(body.toString(), addr), addr);
    else if (kind === FRAME_ERROR) throw errorIn(body.toString());
    else if (kind === FRAME_MISSED) {
      const told = missedByTail.safeParse(parseJson(body.toString(), addr));
      if (!told.success) throw new LogvineError('LV_PROTOCOL', `${addr} sent a frame that is none`);
      request.onMissed?.(told.data);
    }
  }
  throw new LogvineError('LV_PROTOCOL', `${addr} broke off its answer: what was printed may be incomplete`);
}

/** Cuts the body into frames: u32 length, a byte of kind, the body. Holds one frame at a time. */
async function* framesIn(
  body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  signal: AbortSignal,
  addr: string,
): AsyncGenerator<{ kind: number; body: Buffer }> {
  let chunks: Uint8Array[] = [];
  let buffered = 0;
  let wanted = 5;
  try {
    for await (const chunk of body) {
      chunks.push(chunk);
      buffered += chunk.length;
      if (buffered < wanted) continue;
      let bytes = Buffer.concat(chunks);
      while (bytes.length >= 5) {
        const length = bytes.readUInt32LE(0);
        if (length < 1 || length > LIMITS.messageBytesMax)
          throw new LogvineError('LV_PROTOCOL', `${addr} sent a frame of ${length} bytes`);
        wanted = 4 + length;
        if (bytes.length < wanted) break;
        yield { kind: bytes[4], body: bytes.subarray(5, wanted) };
        bytes = bytes.subarray(wanted);
        wanted = 5;
      }
      chunks = [bytes];
      buffered = bytes.length;
    }
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof LogvineError) throw cause;
    throw new LogvineError('LV_PEER_UNREACHABLE', `${addr} broke off its answer`, { cause });
  }
}

function entriesOf(run: EntryRun): ReceivedEntry[] {
  return Array.from({ length: run.count }, (_, row) => {
    const line = lineOf(run, row);
    return {
      timeNs: nanosecondsOf(run, row),
      labels: run.streams[run.streamIds[row]],
      metadata: run.metadata[run.metadataIds[row]],
      line: Buffer.from(line.buffer, line.byteOffset, line.byteLength),
    };
  });
}
