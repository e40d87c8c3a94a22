import type { Receipt } from '../../gossip/index.ts';
import { LogvineError, type Timer } from '../../store/index.ts';
import type { EntryRequest, ReceivedEntry } from './client.ts';
import { CONTEXT_HITS_MAX, withContext } from './context.ts';
import { untilStopped, type Endpoint } from './http.ts';
import type { Io } from './io.ts';
import { entryFormat, type Output } from './output.ts';
import { ProgressLine } from './progress.ts';
import { limitNote, printReceipt } from './receipt.ts';
import type { Services } from './services.ts';

/**
 * Prints what a request brings: entries on stdout, then the receipt (stderr; with `json` the last line of stdout).
 * Undefined when Ctrl-C ended a request that follows; ending any other is LV_CLOSED.
 */
export async function fetchEntriesTo(
  io: Io,
  services: Services,
  output: Output,
  request: Omit<EntryRequest, 'signal'>,
): Promise<Receipt | undefined> {
  const abort = untilStopped(io);
  const format = entryFormat(output, io.isTerminal && !io.env.NO_COLOR);
  const entries = services.fetchEntries({ ...request, signal: abort.signal });
  // What follows has no end to come nearer to.
  const stopTicking = request.endNs === undefined ? undefined : tick(io);
  let printed = 0;
  try {
    let next = await entries.next();
    while (!next.done) {
      await stopTicking?.();
      if (next.value.length > 0) await io.write(format(next.value));
      printed += next.value.length;
      next = await entries.next();
    }
    await stopTicking?.();
    const receipt = next.value;
    await printReceipt(io, output, receipt, limitNote(printed, request));
    return receipt;
  } catch (error) {
    if (abort.signal.aborted) {
      if (request.endNs === undefined) return undefined;
      throw abort.signal.reason;
    }
    throw error;
  } finally {
    await stopTicking?.();
    // When stdout closed early: the node can stop searching.
    abort.abort();
  }
}

/**
 * Prints each hit with `lines` lines of its stream on both sides; groups that do not touch are parted by `--`, as grep does.
 * Hits are marked in text. False when anything that was asked for was incomplete.
 */
export async function fetchContextTo(
  io: Io,
  services: Services,
  output: Output,
  request: Omit<EntryRequest, 'signal'> & Endpoint & { readonly endNs: bigint },
  lines: number,
): Promise<boolean> {
  const abort = untilStopped(io);
  const limit = request.limit === 0 ? CONTEXT_HITS_MAX : Math.min(request.limit, CONTEXT_HITS_MAX);
  // Of all that was asked: the first that was incomplete, else that of the hits.
  let worst: Receipt | undefined;
  const onReceipt = (receipt: Receipt): void => {
    if (worst === undefined || (worst.complete && !receipt.complete)) worst = receipt;
  };
  const asked = { ...request, limit, signal: abort.signal };
  const hits: ReceivedEntry[] = [];
  try {
    const entries = services.fetchEntries(asked);
    for (let next = await entries.next(); ; next = await entries.next()) {
      if (next.done) {
        onReceipt(next.value);
        break;
      }
      for (const hit of next.value) hits.push(hit);
    }
    const format = entryFormat(output, io.isTerminal && !io.env.NO_COLOR);
    let isFirst = true;
    for await (const group of withContext(services, request, asked, hits, lines, onReceipt)) {
      if (!isFirst && output === 'text') await io.write('--\n');
      isFirst = false;
      for (const { entry, isHit } of group) {
        if (output === 'text') await io.write(isHit ? '> ' : '  ');
        await io.write(format([entry]));
      }
    }
  } catch (error) {
    abort.signal.throwIfAborted();
    throw error;
  } finally {
    abort.abort(new LogvineError('LV_CLOSED', 'the query is over'));
  }
  if (worst === undefined) throw new LogvineError('LV_PROTOCOL', `${request.addr} sent no receipt`);
  const more = limit === CONTEXT_HITS_MAX ? '--context takes no more' : undefined;
  const note = limitNote(hits.length, asked, 'hit', more);
  await printReceipt(io, output, worst, note);
  return worst.complete;
}

const TICK_MS = 1_000;

/** Shows on a terminal that the first entries are still looked for. The returned function ends that and clears the line. */
function tick(io: Io): () => Promise<void> {
  const progress = new ProgressLine(io);
  let isOver = false;
  let shown = Promise.resolve();
  const again = (): Timer =>
    io.clock.after(TICK_MS, () => {
      if (isOver) return;
      shown = progress.say('searching').catch(() => undefined);
      timer = again();
    });
  let timer = again();
  return async () => {
    isOver = true;
    timer.cancel();
    await shown;
    await progress.clear();
  };
}
