import type { Command } from 'commander';
import { z } from 'zod';
import { LogvineError } from '../../store/index.ts';
import { batches, plural } from '../words.ts';
import { getJson } from './http.ts';
import type { Io } from './io.ts';
import { endpointOf, outputOption, withEndpoint, type EndpointOptions } from './options.ts';
import { missingRun, missingText, MISSING_SHOWN_MAX } from './receipt.ts';
import type { Services } from './services.ts';
import { visibleJson, visibleText } from './visible.ts';

const lossesSchema = z.looseObject({
  missing: z.array(missingRun),
  omitted: z.number(),
  outOfReach: z.array(z.string()),
  remembering: z.number(),
  told: z.number(),
});

interface AcceptLossOptions extends EndpointOptions {
  readonly neverBack: readonly string[];
  readonly yes: boolean;
  readonly output: 'text' | 'json';
}

export function registerAcceptLoss(
  program: Command,
  io: Io,
  services: Services,
  exit: (code: number) => void,
): void {
  withEndpoint(program.command('accept-loss'))
    .description(
      'list the batches that no disk has any more; with --yes, count them as lost for good, so that answers are complete again',
    )
    .option(
      '--never-back <peer>',
      'a peer that is down and whose disk is gone as well; may be given several times',
      (peer: string, before: readonly string[]) => [...before, peer],
      [],
    )
    .option('--yes', 'accept the loss', false)
    .addOption(outputOption(['text', 'json'] as const))
    .action(async ({ neverBack, yes, output, ...endpoint }: AcceptLossOptions) => {
      const parameters = new URLSearchParams(neverBack.map((peer) => ['never-back', peer]));
      if (yes) parameters.set('accept', 'true');
      const { addr, ...rest } = await endpointOf(endpoint, io, services);
      const answer = await getJson({ addr, ...rest }, `/api/v1/accept-loss?${parameters}`, 'POST');
      const parsed = lossesSchema.safeParse(answer);
      if (!parsed.success) throw new LogvineError('LV_PROTOCOL', `${addr} answered something else`);
      const { missing, omitted, outOfReach, remembering } = parsed.data;
      // Nothing is missing, and the peers that were named are still waited for.
      const isOpen = missing.length > 0 || outOfReach.length > 0 || neverBack.length > 0;
      await io.write(output === 'json' ? `${visibleJson(answer)}\n` : textOf(parsed.data, isOpen));
      exit(!isOpen || (remembering > 0 && omitted === 0) ? 0 : 3);
    });
}

function textOf(losses: z.output<typeof lossesSchema>, isOpen: boolean): string {
  const { missing, omitted, outOfReach, remembering, told } = losses;
  const isAccepted = remembering > 0;
  const count = missing.reduce((sum, { fromSeq, toSeq }) => sum + toSeq - fromSeq + 1, 0);
  const lines: string[] = [];
  if (count === 0) lines.push('nothing is missing');
  else lines.push(`${isAccepted ? 'lost for good' : 'on no disk within reach'}: ${batches(count)}`);
  for (const run of missing.slice(0, MISSING_SHOWN_MAX)) lines.push(`  ${missingText(run)}`);
  if (missing.length > MISSING_SHOWN_MAX) {
    lines.push(`  … and ${missing.length - MISSING_SHOWN_MAX} more: see --output json`);
  }
  if (omitted > 0)
    lines.push(`and ${plural(omitted, 'run')} of batches more: ask again once these are accepted`);
  if (isAccepted)
    lines.push(`accepted, and remembered by ${remembering} of ${plural(told, 'peer')} within reach`);
  else if (outOfReach.length > 0) {
    lines.push(
      'out of reach; they may have more. Start them, or name those that never come back with --never-back:',
    );
    for (const peer of outOfReach) lines.push(`  ${peer}`);
  } else if (isOpen) lines.push('accept it with --yes');
  return `${lines.map(visibleText).join('\n')}\n`;
}
