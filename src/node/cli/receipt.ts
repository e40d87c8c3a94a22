import { z } from 'zod';
import type { Receipt } from '../../gossip/index.ts';
import { LogvineError } from '../../store/index.ts';
import { batches, plural } from '../words.ts';
import type { Io } from './io.ts';
import { visibleJson, visibleText } from './visible.ts';

export const missingRun = z.looseObject({
  origin: z.string(),
  epoch: z.number(),
  fromSeq: z.number(),
  toSeq: z.number(),
  fromTime: z.string().nullable(),
  toTime: z.string().nullable(),
  lastOwners: z.array(z.string()),
  reason: z.string().optional(),
});

/** What the commands show of a receipt; a node may say more, and `--output json` prints all of it. */
const shownReceipt = z.looseObject({
  complete: z.boolean(),
  expected: z.number(),
  read: z.number(),
  pruned: z.number(),
  lost: z.number(),
  missing: z.array(missingRun),
  silent: z.array(z.looseObject({ peer: z.string(), lastHeard: z.string().nullable() })),
});

/** A receipt as a node sent it. Throws LV_PROTOCOL when it is none. */
export function receiptOf(value: unknown, addr: string): Receipt {
  const parsed = shownReceipt.safeParse(value);
  if (parsed.success) return value as Receipt;
  throw new LogvineError('LV_PROTOCOL', `${addr} sent a receipt that is none`);
}

/** The receipt after an answer: on stderr, with what `note` says of the answer; with `json` the last line of stdout. */
export async function printReceipt(io: Io, output: string, receipt: Receipt, note = ''): Promise<void> {
  if (output === 'json') await io.write(`${visibleJson({ receipt })}\n`);
  else io.report(receiptText(receipt, note));
}

/** Whole means that nothing is hidden, not that all of it was printed: an answer that stopped at its limit says so. */
export function limitNote(
  printed: number,
  { limit, direction }: { readonly limit: number; readonly direction: 'forward' | 'backward' },
  item = 'line',
  more = 'see --limit',
): string {
  if (limit === 0 || printed < limit) return '';
  const end = direction === 'backward' ? 'newest' : 'oldest';
  const these = limit === 1 ? `this is the ${end} ${item}` : `these are the ${end} ${plural(limit, item)}`;
  return `${these}, and there may be more: ${more}`;
}

export const MISSING_SHOWN_MAX = 50;

/** A receipt for people: one line when the answer is whole, else what is missing and who may have it. */
export function receiptText(receipt: Receipt, note = ''): string {
  const { complete, expected, read, pruned, lost, missing, silent } = receipt;
  const gone = lost === 0 ? '' : `, ${lost.toLocaleString('en-US')} lost for good`;
  const counts = `${batches(read)} read, ${pruned.toLocaleString('en-US')} pruned${gone}`;
  const noted = note === '' ? '' : `; ${note}`;
  if (complete) return `complete: ${counts}${noted}`;
  const lines = [`INCOMPLETE: ${counts}, of ${expected.toLocaleString('en-US')} expected${noted}`];
  for (const run of missing.slice(0, MISSING_SHOWN_MAX)) lines.push(`  missing: ${missingText(run)}`);
  if (missing.length > MISSING_SHOWN_MAX) {
    lines.push(`  … and ${missing.length - MISSING_SHOWN_MAX} more: see --output json`);
  }
  for (const { peer, lastHeard } of silent) {
    const since = lastHeard === null ? '' : `, last heard from at ${lastHeard}`;
    lines.push(
      isPeerId(peer)
        ? `  silent: origin ${peer}${since}: it may have lines that nobody else has`
        : `  silent: ${peer}: none has answered yet, and what they have is not here`,
    );
  }
  return lines.map(visibleText).join('\n');
}

/** A node that has not found the mesh yet names its peers in words, since it does not know them. */
export function isPeerId(peer: string): boolean {
  return !peer.includes(' ');
}

export function missingText(
  missing: Omit<Receipt['missing'][number], 'reason'> & { readonly reason?: string | undefined },
): string {
  const { origin, epoch, fromSeq, toSeq, fromTime, toTime, lastOwners, reason } = missing;
  const seqs = fromSeq === toSeq ? `seq ${fromSeq}` : `seq ${fromSeq}–${toSeq}`;
  const times = fromTime === null || toTime === null ? '' : `, ${fromTime} to ${toTime}`;
  const owners = lastOwners.length === 0 ? 'nobody known' : lastOwners.join(', ');
  const why = reason === 'corrupt' ? ' (every copy within reach is corrupt)' : '';
  return `origin ${origin} epoch ${epoch} ${seqs}${times}; last held by ${owners}${why}`;
}
