import { Readable } from 'node:stream';
import { encodeRun, messageOf, type Clock, type EntryRun } from '../../store/index.ts';
import type { Receipt } from '../../gossip/index.ts';
import { Awaited } from '../awaited.ts';
import type { Missed } from '../missed.ts';

/**
 * The body of `GET /api/v1/query`: frames of a u32 (LE) length and a byte of kind. Unlike JSON it carries lines of any
 * bytes, and an answer that breaks off is seen to: it has no receipt. Kinds that a client doesn't know say nothing to it.
 */
export const FRAME_RUN = 1;
export const FRAME_RECEIPT = 2;
export const FRAME_ERROR = 3;
/** Empty: the answer begins, or goes on being looked for. A quiet tail would else be cut off, by clients and by proxies. */
const FRAME_ALIVE = 4;
/**
 * `{count, unheard}`: pieces of one or more lines that a tail was too slow for, before what comes after it; and when peers could
 * not be followed.
 */
export const FRAME_MISSED = 5;
const ALIVE_EVERY_MS = 15_000;
export const ENTRIES_CONTENT_TYPE = 'application/vnd.logvine.entries';

function frame(kind: number, body: Uint8Array): Buffer {
  const head = Buffer.allocUnsafe(5);
  head.writeUInt32LE(body.length + 1, 0);
  head[4] = kind;
  return Buffer.concat([head, body]);
}

async function* framesOf(
  runs: AsyncGenerator<EntryRun, Receipt | undefined>,
  clock: Clock,
  takeMissed: () => Missed | undefined,
): AsyncGenerator<Buffer> {
  const alive = frame(FRAME_ALIVE, Buffer.alloc(0));
  try {
    // Sends the headers, too.
    yield alive;
    let next = new Awaited(runs.next());
    for (;;) {
      const step = await next.within(ALIVE_EVERY_MS, clock);
      const missed = takeMissed();
      if (missed) {
        const { count, unheard } = missed;
        yield frame(FRAME_MISSED, Buffer.from(JSON.stringify({ count, unheard })));
      }
      if (step === undefined) {
        yield alive;
        continue;
      }
      if (step.done) {
        if (step.value) yield frame(FRAME_RECEIPT, Buffer.from(JSON.stringify(step.value)));
        return;
      }
      yield frame(FRAME_RUN, encodeRun(step.value));
      next = new Awaited(runs.next());
    }
  } catch (error) {
    const code = (error as { code?: string }).code ?? 'LV_PROTOCOL';
    yield frame(FRAME_ERROR, Buffer.from(JSON.stringify({ code, message: messageOf(error) })));
  } finally {
    await runs.return(undefined);
  }
}

/**
 * A stream that runs the query as fast as its reader reads, and stops it when the reader goes. `takeMissed`: what was missed
 * since it was last asked.
 */
export function entriesStream(
  runs: AsyncGenerator<EntryRun, Receipt | undefined>,
  clock: Clock,
  takeMissed: () => Missed | undefined = () => undefined,
): Readable {
  return Readable.from(framesOf(runs, clock, takeMissed), { objectMode: false, highWaterMark: 1 });
}
