import { z } from 'zod';
import type { Receipt } from '../../gossip/index.ts';
import {
  decodeRun,
  ERROR_CODES,
  LIMITS,
  lineOf,
  LogvineError,
  nanosecondsOf,
  type EntryRun,
  type ErrorCode,
  type Labels,
  type Metadata,
} from '../../store/index.ts';
import { FRAME_ERROR, FRAME_RECEIPT, FRAME_RUN } from '../http/native.ts';
import { refusal, unreachable } from './http.ts';
import { visible } from './visible.ts';

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
}

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
  let response: Response;
  try {
    response = await fetch(`${addr}${path}?${parameters}`, {
      signal,
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      // Else the token could be sent on to somebody else.
      redirect: 'error',
    });
  } catch (cause) {
    signal.throwIfAborted();
    throw unreachable(addr, cause);
  }
  if (!response.ok || !response.body) throw await refusal(response, addr);
  for await (const { kind, body } of framesIn(response.body, signal, addr)) {
    if (kind === FRAME_RUN) yield entriesOf(decodeRun(body));
    else if (kind === FRAME_RECEIPT) return receiptOf(body, addr);
    else if (kind === FRAME_ERROR) throw errorOf(body);
  }
  throw new LogvineError('LV_PROTOCOL', `${addr} broke off its answer: what was printed may be incomplete`);
}

/** What the commands show of a receipt; a node may say more, and `--output json` prints all of it. */
const shownReceipt = z.looseObject({
  complete: z.boolean(),
  expected: z.number(),
  read: z.number(),
  pruned: z.number(),
  missing: z.array(
    z.looseObject({
      origin: z.string(),
      epoch: z.number(),
      fromSeq: z.number(),
      toSeq: z.number(),
      fromTime: z.string().nullable(),
      toTime: z.string().nullable(),
      lastOwners: z.array(z.string()),
      reason: z.string().optional(),
    }),
  ),
  silent: z.array(z.looseObject({ peer: z.string(), lastHeard: z.string().nullable() })),
});

function receiptOf(body: Buffer, addr: string): Receipt {
  try {
    const receipt: unknown = JSON.parse(body.toString());
    shownReceipt.parse(receipt);
    return receipt as Receipt;
  } catch (cause) {
    throw new LogvineError('LV_PROTOCOL', `${addr} sent a receipt that is none`, { cause });
  }
}

const MESSAGE_BYTES_MAX = 4096;

/** The error in an answer's body, its words made safe for a terminal. */
function errorOf(body: Buffer): LogvineError {
  const { code, message } = errorFields(body);
  const known = typeof code === 'string' && Object.hasOwn(ERROR_CODES, code);
  const words = typeof message === 'string' ? message : body.toString();
  const shown = visible(Buffer.from(words).subarray(0, MESSAGE_BYTES_MAX));
  return new LogvineError(known ? (code as ErrorCode) : 'LV_PROTOCOL', shown || 'unknown error');
}

function errorFields(body: Buffer): { code?: unknown; message?: unknown } {
  try {
    return (JSON.parse(body.toString()) as object | null) ?? {};
  } catch {
    return {};
  }
}

/** Cuts the body into frames: u32 length, a byte of kind, the body. Holds one frame at a time. */
async function* framesIn(
  body: ReadableStream<Uint8Array>,
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
