import type { Command } from 'commander';
import { z } from 'zod';
import { LogvineError } from '../../store/index.ts';
import { plural } from '../words.ts';
import { getJson } from './http.ts';
import type { Io } from './io.ts';
import { endpointOf, outputOption, withEndpoint, type EndpointOptions } from './options.ts';
import { missingRun, missingText, MISSING_SHOWN_MAX } from './receipt.ts';
import type { Services } from './services.ts';
import { visibleJson, visibleText } from './visible.ts';

const lossesSchema = z.looseObject({
  missing: z.array(missingRun),
  outOfReach: z.array(z.string()),
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
      await io.write(output === 'json' ? `${visibleJson(answer)}\n` : textOf(parsed.data));
      const isDone = parsed.data.missing.length === 0 || parsed.data.told > 0;
      exit(isDone ? 0 : 3);
    });
}

function textOf({ missing, outOfReach, told }: z.output<typeof lossesSchema>): string {
  if (missing.length === 0) return 'nothing is missing\n';
  const batches = missing.reduce((sum, { fromSeq, toSeq }) => sum + toSeq - fromSeq + 1, 0);
  const count = plural(batches, 'batch', 'batches');
  const lines = [told > 0 ? `lost for good: ${count}` : `on no disk within reach: ${count}`];
  for (const run of missing.slice(0, MISSING_SHOWN_MAX)) lines.push(`  ${missingText(run)}`);
  if (missing.length > MISSING_SHOWN_MAX) {
    lines.push(`  … and ${missing.length - MISSING_SHOWN_MAX} more: see --output json`);
  }
  if (told > 0) lines.push(`remembered by ${plural(told, 'peer')}`);
  else if (outOfReach.length === 0) lines.push('accept it with --yes');
  else {
    lines.push('these peers are down, and may have it; start them, or name them with --never-back:');
    for (const peer of outOfReach) lines.push(`  ${peer}`);
  }
  return `${lines.map(visibleText).join('\n')}\n`;
}
