import { z } from 'zod';
import { formatSize } from '../config/index.ts';
import { batches as batchesText, plural } from '../words.ts';
import { isPeerId } from './receipt.ts';
import { visibleText } from './visible.ts';

const FETCHED_ANEW = 'set aside; it is fetched anew from another holder';
const HELD_BY_NOBODY = 'set aside; nobody else who was asked holds it';
/** Findings of one kind that are printed. */
const SHOWN_MAX = 20;

const run = z.object({ origin: z.string(), epoch: z.number(), fromSeq: z.number(), toSeq: z.number() });
const batch = z.object({ origin: z.string(), epoch: z.number(), seq: z.number() });

/** What the command shows of a verdict; `--output json` prints all of it. */
export const verdictSchema = z.object({
  proven: z.boolean(),
  gapless: z.boolean(),
  unaltered: z.boolean(),
  enoughCopies: z.boolean(),
  from: z.string().nullable(),
  to: z.string().nullable(),
  origins: z.number(),
  epochs: z.number(),
  segments: z.number(),
  batches: z.number(),
  copies: z.number(),
  bytesRead: z.number(),
  copiesWanted: z.number(),
  batchesByCopies: z.record(z.string(), z.number()),
  unacknowledged: z.number(),
  acknowledgementUnknown: z.number(),
  expired: z.number(),
  lost: z.number(),
  missing: z.array(
    run.extend({ fromTime: z.string().nullable(), toTime: z.string().nullable(), proof: z.string() }),
  ),
  damaged: z.array(
    run.extend({
      peer: z.string(),
      path: z.string(),
      offset: z.number(),
      bytes: z.number(),
      problem: z.string(),
      quarantined: z.boolean(),
      heldElsewhere: z.boolean(),
    }),
  ),
  conflicts: z.array(
    batch.extend({ copies: z.array(z.object({ peer: z.string(), path: z.string(), hash: z.string() })) }),
  ),
  broken: z.array(batch.extend({ peer: z.string(), path: z.string(), problem: z.string() })),
  tooFewCopies: z.array(run.extend({ holders: z.array(z.string()) })),
  unreachable: z.array(z.object({ peer: z.string(), problem: z.string() })),
  notices: z.array(z.string()),
  omitted: z.number(),
  peers: z.object({ asked: z.number(), answered: z.number() }),
  durationMs: z.number(),
});
export type ShownVerdict = z.output<typeof verdictSchema>;

/** A verdict for people: what was looked at, what holds, and each finding with its place. */
export function verdictText(verdict: ShownVerdict, isColoured: boolean): string {
  const paint = (text: string, code: string): string => (isColoured ? `\x1b[${code}m${text}\x1b[0m` : text);
  const head = verdict.proven ? paint('PROVEN', '1;32') : paint('NOT PROVEN', '1;31');
  const lines = [`${head}: ${lookedAt(verdict)}`];
  const claim = (name: string, holds: boolean, text: string): void => {
    lines.push(`  ${holds ? paint('yes', '32') : paint('NO ', '31')}  ${name.padEnd(10)} ${text}`);
  };
  const { gapless, unaltered, enoughCopies, unreachable } = verdict;
  const but =
    verdict.lost === 0 ? '' : `, but for ${batchesText(verdict.lost)} that a person has accepted as lost`;
  claim(
    'gapless',
    gapless,
    gapless ? `every batch that was acknowledged is there${but}` : `batches are missing${but}`,
  );
  claim(
    'unaltered',
    unaltered,
    unaltered ? 'all copies match their hashes, signatures and chains' : 'copies differ from what was sealed',
  );
  claim('copies', enoughCopies, copiesText(verdict));
  if (unreachable.length > 0)
    claim('everybody', false, `${plural(unreachable.length, 'peer')} did not take part`);
  const details = [...findings(verdict)];
  if (details.length > 0) lines.push('', ...details);
  return lines.map((line) => `${line}\n`).join('');
}

function lookedAt({
  batches,
  origins,
  epochs,
  bytesRead,
  peers,
  durationMs,
  from,
  to,
}: ShownVerdict): string {
  const range =
    from === null && to === null ? '' : `, sealed ${from ?? 'at the beginning'} to ${to ?? 'now'}`;
  const whose = `${plural(origins, 'origin')} (${plural(epochs, 'run')})`;
  const effort = `${formatSize(bytesRead)} read on ${plural(peers.answered, 'disk')} in ${(durationMs / 1000).toFixed(1)} s`;
  return visibleText(`${batchesText(batches)} of ${whose}${range}; ${effort}`);
}

function copiesText({
  batchesByCopies,
  copiesWanted,
  unacknowledged,
  acknowledgementUnknown,
  expired,
}: ShownVerdict): string {
  const parts = Object.entries(batchesByCopies)
    .sort(([a], [b]) => Number(b) - Number(a))
    .map(([copies, batches]) => `${batchesText(batches)} on ${plural(Number(copies), 'disk')}`);
  if (unacknowledged > 0) parts.push(`${batchesText(unacknowledged)} not acknowledged yet`);
  if (expired > 0) parts.push(`${batchesText(expired)} expired`);
  const unknown =
    acknowledgementUnknown === 0
      ? ''
      : `, among them ${batchesText(acknowledgementUnknown)} whose acknowledgement is not known (its origin is out of reach)`;
  return visibleText(`${parts.join(', ') || 'nothing stored'} (${copiesWanted} wanted)${unknown}`);
}

function* findings(verdict: ShownVerdict): Generator<string> {
  yield* listed('missing', verdict.missing, ({ proof, fromTime, toTime, ...run }) => {
    const times = `sealed between ${fromTime ?? 'the beginning'} and ${toTime ?? 'now'}`;
    return [runText(run), `nobody has it, and ${proof}`, ...((fromTime ?? toTime) ? [times] : [])];
  });
  yield* listed(
    'damaged',
    verdict.damaged,
    ({ peer, path, offset, bytes, problem, quarantined, heldElsewhere, ...run }) => [
      runText(run),
      `on peer ${peer}`,
      `${path} at offset ${offset}, ${bytes} bytes`,
      problem,
      ...(quarantined ? [heldElsewhere ? FETCHED_ANEW : HELD_BY_NOBODY] : []),
    ],
  );
  yield* listed('conflict', verdict.conflicts, ({ copies, ...id }) => [
    `${batchText(id)} has ${new Set(copies.map(({ hash }) => hash)).size} contents`,
    ...copies.map(({ peer, path, hash }) => `${hash.slice(0, 12)}… on peer ${peer}, ${path}`),
  ]);
  yield* listed('broken', verdict.broken, ({ peer, path, problem, ...id }) => [
    batchText(id),
    ...(peer === '' ? [] : [`on peer ${peer}, ${path}`]),
    problem,
  ]);
  yield* listed('too few', verdict.tooFewCopies, ({ holders, ...run }) => [
    runText(run),
    holders.length === 0 ? 'on no disk' : `only on ${holders.join(', ')}`,
  ]);
  yield* listed('away', verdict.unreachable, ({ peer, problem }) => [
    `${isPeerId(peer) ? `peer ${peer}` : peer}: ${problem}`,
  ]);
  yield* listed('note', verdict.notices, (text) => [text]);
  if (verdict.omitted > 0) yield `… and ${verdict.omitted} findings more than a verdict names`;
}

const NAME_WIDTH = 9;

/** Each finding is a line, and indented lines that say more of it. */
function* listed<Item>(
  name: string,
  items: readonly Item[],
  text: (item: Item) => readonly string[],
): Generator<string> {
  for (const item of items.slice(0, SHOWN_MAX)) {
    for (const [at, line] of text(item).entries()) {
      yield visibleText(`${(at === 0 ? name : '').padEnd(NAME_WIDTH)}${line}`);
    }
  }
  if (items.length > SHOWN_MAX) {
    yield `${name.padEnd(NAME_WIDTH)}… and ${items.length - SHOWN_MAX} more: see --output json`;
  }
}

function runText({ origin, epoch, fromSeq, toSeq }: z.output<typeof run>): string {
  const seqs = fromSeq === toSeq ? `batch ${fromSeq}` : `batches ${fromSeq}–${toSeq}`;
  return `${seqs} of origin ${origin} epoch ${epoch}`;
}

function batchText({ origin, epoch, seq }: z.output<typeof batch>): string {
  return runText({ origin, epoch, fromSeq: seq, toSeq: seq });
}
