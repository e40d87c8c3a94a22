import type { Receipt } from './client.ts';
import { visibleText } from './visible.ts';

const MISSING_SHOWN_MAX = 50;

/** A receipt for people: one line when the answer is whole, else what is missing and who may have it. */
export function receiptText(receipt: Receipt): string {
  const { complete, expected, read, pruned, missing, silent } = receipt;
  const counts = `${read} batches read, ${pruned} pruned`;
  if (complete) return `complete: ${counts}`;
  const lines = [`INCOMPLETE: ${counts}, of ${expected} expected`];
  for (const run of missing.slice(0, MISSING_SHOWN_MAX)) lines.push(`  missing: ${missingText(run)}`);
  if (missing.length > MISSING_SHOWN_MAX) {
    lines.push(`  … and ${missing.length - MISSING_SHOWN_MAX} more: see --output json`);
  }
  for (const { peer, lastHeard } of silent) {
    const since = lastHeard === null ? '' : `, last heard from at ${lastHeard}`;
    lines.push(`  silent: origin ${peer}${since}: it may have lines that nobody else has`);
  }
  return lines.map(visibleText).join('\n');
}

function missingText(missing: Receipt['missing'][number]): string {
  const { origin, epoch, fromSeq, toSeq, fromTime, toTime, lastOwners, reason } = missing;
  const seqs = fromSeq === toSeq ? `seq ${fromSeq}` : `seq ${fromSeq}–${toSeq}`;
  const times = fromTime === null || toTime === null ? '' : `, ${fromTime} to ${toTime}`;
  const owners = lastOwners.length === 0 ? 'nobody known' : lastOwners.join(', ');
  const why = reason === 'corrupt' ? ' (every copy within reach is corrupt)' : '';
  return `origin ${origin} epoch ${epoch} ${seqs}${times}; last held by ${owners}${why}`;
}
