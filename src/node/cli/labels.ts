import type { Command } from 'commander';
import { z } from 'zod';
import { LogvineError } from '../../store/index.ts';
import { getJson } from './http.ts';
import type { Io } from './io.ts';
import {
  endpointOf,
  outputOption,
  parseDurationOption,
  withEndpoint,
  type EndpointOptions,
} from './options.ts';
import { nsText, reportGaps } from './inquiry.ts';
import type { Services } from './services.ts';
import { visibleJson, visibleText } from './visible.ts';

const SINCE_DEFAULT_MS = 6 * 3_600_000;

const answer = z.object({ data: z.array(z.string()).nullish(), logvine: z.unknown().optional() });

interface LabelsOptions extends EndpointOptions {
  readonly since: number;
  readonly output: 'text' | 'json';
}

export function registerLabels(
  program: Command,
  io: Io,
  services: Services,
  exit: (code: number) => void,
): void {
  withEndpoint(program.command('labels'))
    .description('list label names, or the values of one')
    .argument('[name]', 'the label whose values to list')
    .option('--since <duration>', 'how far back to look (default 6h)', parseDurationOption, SINCE_DEFAULT_MS)
    .addOption(outputOption(['text', 'json'] as const))
    .action(async (name: string | undefined, options: LabelsOptions) => {
      const nowMs = io.clock.nowMs();
      const range = `start=${nsText(nowMs - options.since)}&end=${nsText(nowMs)}`;
      const path = name === undefined ? 'labels' : `label/${encodeURIComponent(name)}/values`;
      const body = await getJson(await endpointOf(options, io, services), `/loki/api/v1/${path}?${range}`);
      const parsed = answer.safeParse(body);
      if (!parsed.success) throw new LogvineError('LV_PROTOCOL', 'the answer is not a list of labels');
      const values = parsed.data.data ?? [];
      const lines = options.output === 'json' ? [visibleJson(values)] : values.map(visibleText);
      await io.write(lines.map((line) => `${line}\n`).join(''));
      exit(reportGaps(io, parsed.data.logvine) ? 0 : 3);
    });
}
