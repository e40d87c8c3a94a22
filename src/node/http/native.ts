import { Readable } from 'node:stream';
import { encodeRun, messageOf, type EntryRun } from '../../store/index.ts';
import type { Receipt } from '../../gossip/index.ts';

/**
 * The body of `GET /api/v1/query`: frames of a u32 (LE) length and a byte of kind. Unlike JSON it carries lines of any
 * bytes, and an answer that breaks off is seen to: it has no receipt.
 */
export const FRAME_RUN = 1;
export const FRAME_RECEIPT = 2;
export const FRAME_ERROR = 3;
export const ENTRIES_CONTENT_TYPE = 'application/vnd.logvine.entries';

function frame(kind: number, body: Uint8Array): Buffer {
  const head = Buffer.allocUnsafe(5);
  head.writeUInt32LE(body.length + 1, 0);
  head[4] = kind;
  return Buffer.concat([head, body]);
}

async function* framesOf(runs: AsyncGenerator<EntryRun, Receipt | undefined>): AsyncGenerator<Buffer> {
  try {
    for (;;) {
      const step = await runs.next();
      if (step.done) {
        if (step.value) yield frame(FRAME_RECEIPT, Buffer.from(JSON.stringify(step.value)));
        return;
      }
      yield frame(FRAME_RUN, encodeRun(step.value));
    }
  } catch (error) {
    const code = (error as { code?: string }).code ?? 'LV_PROTOCOL';
    yield frame(FRAME_ERROR, Buffer.from(JSON.stringify({ code, message: messageOf(error) })));
  } finally {
    await runs.return(undefined);
  }
}

/** A stream that runs the query as fast as its reader reads, and stops it when the reader goes. */
export function entriesStream(runs: AsyncGenerator<EntryRun, Receipt | undefined>): Readable {
  return Readable.from(framesOf(runs), { objectMode: false, highWaterMark: 1 });
}
