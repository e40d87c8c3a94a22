import type { Command } from 'commander';
import { z } from 'zod';
import { LogvineError } from '../../store/index.ts';
import { formatSize } from '../config/index.ts';
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
import { table } from './output.ts';
import type { Services } from './services.ts';
import { visibleJson } from './visible.ts';

const SINCE_DEFAULT_MS = 3_600_000;

const answer = z.object({
  streams: z.number(),
  chunks: z.number(),
  bytes: z.number(),
  entries: z.number(),
  logvine: z.unknown().optional(),
});

interface StatsOptions extends EndpointOptions {
  readonly since: number;
  readonly output: 'text' | 'json';
}

export function registerStats(
  program: Command,
  io: Io,
  services: Services,
  exit: (code: number) => void,
): void {
  withEndpoint(program.command('stats'))
    .description('say how much a query has to look at, before it runs')
    .argument('<logql>', 'the query; its selectors count, since filters are applied to what they match')
    .option('--since <duration>', 'how far back from now (default 1h)', parseDurationOption, SINCE_DEFAULT_MS)
    .addOption(outputOption(['text', 'json'] as const))
    .action(async (query: string, options: StatsOptions) => {
      const nowMs = io.clock.nowMs();
      const parameters = new URLSearchParams({
        query,
        start: nsText(nowMs - options.since),
        end: nsText(nowMs),
      });
      const endpoint = await endpointOf(options, io, services);
      const parsed = answer.safeParse(await getJson(endpoint, `/loki/api/v1/index/stats?${parameters}`));
      if (!parsed.success) throw new LogvineError('LV_PROTOCOL', 'the answer is not statistics');
      const { logvine, ...stats } = parsed.data;
      const { streams, chunks, bytes, entries } = stats;
      const row = [streams, chunks, entries].map(String);
      const text = table(['STREAMS', 'BATCHES', 'ENTRIES', 'BYTES'], [[...row, formatSize(bytes)]]);
      await io.write(options.output === 'json' ? `${visibleJson(stats)}\n` : text);
      exit(reportGaps(io, logvine) ? 0 : 3);
    });
}
