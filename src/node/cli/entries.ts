import { LogvineError } from '../../store/index.ts';
import type { EntryRequest, Receipt } from './client.ts';
import type { Io } from './io.ts';
import { entryFormat, type Output } from './output.ts';
import { receiptText } from './receipt.ts';
import type { Services } from './services.ts';
import { visibleJson } from './visible.ts';

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
  const abort = new AbortController();
  io.onStop(() => abort.abort(new LogvineError('LV_CLOSED', 'stopped before the answer was whole')));
  const format = entryFormat(output, io.isTerminal && !io.env.NO_COLOR);
  const entries = services.fetchEntries({ ...request, signal: abort.signal });
  try {
    let next = await entries.next();
    while (!next.done) {
      if (next.value.length > 0) await io.write(format(next.value));
      next = await entries.next();
    }
    const receipt = next.value;
    if (output === 'json') await io.write(`${visibleJson({ receipt })}\n`);
    else io.report(receiptText(receipt));
    return receipt;
  } catch (error) {
    if (abort.signal.aborted) {
      if (request.endNs === undefined) return undefined;
      throw abort.signal.reason;
    }
    throw error;
  } finally {
    // When stdout closed early: the node can stop searching.
    abort.abort();
  }
}
