import type { Command } from 'commander';
import { z } from 'zod';
import { labelsText, LogvineError } from '../../store/index.ts';
import { getJson } from './http.ts';
import { nsText, reportGaps } from './inquiry.ts';
import type { Io } from './io.ts';
import {
  endpointOf,
  outputOption,
  parseDurationOption,
  withEndpoint,
  type EndpointOptions,
} from './options.ts';
import type { Services } from './services.ts';
import { visibleJson, visibleText } from './visible.ts';

const SINCE_DEFAULT_MS = 6 * 3_600_000;

const answer = z.object({ data: z.array(z.record(z.string(), z.string())), logvine: z.unknown().optional() });

interface SeriesOptions extends EndpointOptions {
  readonly since: number;
  readonly output: 'text' | 'json';
}

export function registerSeries(
  program: Command,
  io: Io,
  services: Services,
  exit: (code: number) => void,
): void {
  withEndpoint(program.command('series'))
    .description('list the streams that selectors match, by their labels')
    .argument('[selectors...]', 'which streams, such as \'{job="nginx"}\'; all when there is none')
    .option('--since <duration>', 'how far back to look (default 6h)', parseDurationOption, SINCE_DEFAULT_MS)
    .addOption(outputOption(['text', 'json'] as const))
    .action(async (selectors: string[], options: SeriesOptions) => {
      const nowMs = io.clock.nowMs();
      const parameters = new URLSearchParams({ start: nsText(nowMs - options.since), end: nsText(nowMs) });
      for (const selector of selectors) parameters.append('match[]', selector);
      const endpoint = await endpointOf(options, io, services);
      const parsed = answer.safeParse(await getJson(endpoint, `/loki/api/v1/series?${parameters}`));
      if (!parsed.success) throw new LogvineError('LV_PROTOCOL', 'the answer is not a list of series');
      const { data, logvine } = parsed.data;
      const print =
        options.output === 'json'
          ? visibleJson
          : (labels: Record<string, string>) => visibleText(labelsText(labels));
      await io.write(
        data
          .map((labels) => `${print(labels)}\n`)
          .sort()
          .join(''),
      );
      exit(reportGaps(io, logvine) ? 0 : 3);
    });
}
