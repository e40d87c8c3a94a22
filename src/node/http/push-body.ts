import type { IncomingMessage } from 'node:http';
import { LIMITS, LogvineError, messageOf, type Clock } from '../../store/index.ts';
import { pushInvalid } from './push-limits.ts';

/** Bytes of one push that count as in flight, from its first byte until its lines wait for their batch. */
export interface Lease {
  /** Counts `bytes` instead of what was counted before. */
  resize(bytes: number): void;
  release(): void;
}

/** A request costs more than its body: this bounds how many there are at once. */
const REQUEST_BYTES = 16 * 1024;
/** Of a body that says how long it is, so much counts before it has come. */
const STATED_BYTES_MAX = 1024 * 1024;

/** Bounds the memory of all pushes at once (I11). */
export class PushBudget {
  readonly #bytesMax: number;
  readonly #waiting: (() => void)[] = [];
  #bytes = 0;

  constructor(bytesMax: number = LIMITS.pushBytesInFlightMax) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Throws LV_OVERLOADED when that much more is not allowed now. */
  take(bytes: number): Lease {
    if (this.#bytes + bytes > this.#bytesMax) throw tooMuch();
    let counted = 0;
    const resize = (to: number): void => {
      this.#bytes += to - counted;
      counted = to;
      if (this.#bytes <= this.#bytesMax) for (const go of this.#waiting.splice(0)) go();
    };
    resize(bytes);
    return { resize, release: () => resize(0) };
  }

  /** Counts more for a lease that is being filled. Throws LV_OVERLOADED when it does not fit. */
  grow(lease: Lease, from: number, to: number): void {
    if (this.#bytes + to - from > this.#bytesMax) throw tooMuch();
    lease.resize(to);
  }

  /** Resolves when no more is in flight than is allowed: decoding may have made more of what came in. */
  async room(): Promise<void> {
    while (this.#bytes > this.#bytesMax) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}

export interface ReceivedBody {
  /** In memory of its own, so that it can be handed to another thread. */
  readonly body: Uint8Array<ArrayBuffer>;
  readonly lease: Lease;
}

/**
 * Receives the body of a push. Rejects with LV_PUSH_INVALID when it is longer than allowed, LV_OVERLOADED when too much
 * is in flight already, and with LV_PUSH_INVALID when the connection breaks or takes too long. What is refused is read and
 * thrown away, within bounds: most clients look at the answer only once they have sent everything.
 */
export async function receiveBody(
  request: IncomingMessage,
  budget: PushBudget,
  clock: Clock,
): Promise<ReceivedBody> {
  let isLate = false;
  const late = clock.after(LIMITS.pushBodyMs, () => {
    isLate = true;
    request.destroy(new Error('it took too long'));
  });
  let lease: Lease | undefined;
  const chunks = request[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  try {
    const stated = Number(request.headers['content-length'] ?? 0);
    if (stated > LIMITS.pushBytesMax) throw tooLong();
    const expected = Math.min(stated, STATED_BYTES_MAX);
    lease = budget.take(Math.max(expected, REQUEST_BYTES));
    return { body: await fill(chunks, expected, stated, budget, lease), lease };
  } catch (error) {
    lease?.release();
    if (!(error instanceof LogvineError)) throw brokenOff(error, isLate);
    await discard(chunks);
    throw error;
  } finally {
    late.cancel();
  }
}

/** Reads everything into memory of its own: of `expected` bytes at first, of `stated` ones when more than that has come. */
async function fill(
  chunks: AsyncIterator<Buffer>,
  expected: number,
  stated: number,
  budget: PushBudget,
  lease: Lease,
): Promise<Uint8Array<ArrayBuffer>> {
  let body = new Uint8Array(expected);
  let length = 0;
  for (;;) {
    const { done, value: chunk } = await chunks.next();
    if (done) return length === body.length ? body : body.slice(0, length);
    const needed = length + chunk.length;
    if (needed > LIMITS.pushBytesMax) throw tooLong();
    if (needed > body.length) {
      const wanted = needed <= stated ? stated : Math.max(needed, body.length * 2);
      const capacity = Math.min(wanted, LIMITS.pushBytesMax);
      budget.grow(lease, Math.max(body.length, REQUEST_BYTES), Math.max(capacity, REQUEST_BYTES));
      const grown = new Uint8Array(capacity);
      grown.set(body.subarray(0, length));
      body = grown;
    }
    body.set(chunk, length);
    length = needed;
  }
}

async function discard(chunks: AsyncIterator<Buffer>): Promise<void> {
  for (let bytes = 0; bytes <= 2 * LIMITS.pushBytesMax;) {
    const { done, value } = await chunks.next();
    if (done) return;
    bytes += value.length;
  }
}

function tooMuch(): LogvineError {
  return new LogvineError('LV_OVERLOADED', 'too many pushes are in flight: send again later, and slower');
}

/** No fault of this node's, and the client may not be there any more to be told. */
function brokenOff(cause: unknown, isLate: boolean): LogvineError {
  const error = pushInvalid(`the body ended before its time: ${messageOf(cause)}`, cause);
  return Object.assign(error, { statusCode: isLate ? 408 : 400 });
}

function tooLong(): LogvineError {
  const message = `the body is longer than ${LIMITS.pushBytesMax} bytes: push smaller batches`;
  return Object.assign(new LogvineError('LV_PUSH_INVALID', message), { statusCode: 413 });
}
