import type { Command } from 'commander';
import { z } from 'zod';
import { formatSize } from '../config/index.ts';
import { inquire, withInquiry, type InquiryOptions } from './inquiry.ts';
import type { Io } from './io.ts';
import { table } from './output.ts';
import type { Services } from './services.ts';
import { visibleJson } from './visible.ts';

const answer = z.object({
  streams: z.number(),
  chunks: z.number(),
  bytes: z.number(),
  entries: z.number(),
  logvine: z.unknown().optional(),
});

export function registerStats(
  program: Command,
  io: Io,
  services: Services,
  exit: (code: number) => void,
): void {
  withInquiry(program.command('stats'), '1h')
    .description('say how much a query has to look at, before it runs')
    .argument('<logql>', 'the query; its selectors count, since filters are applied to what they match')
    .action(async (query: string, options: InquiryOptions) => {
      const question = { path: 'index/stats', parameters: [['query', query]], answer };
      const code = await inquire(io, services, options, question, ({ streams, chunks, bytes, entries }) => {
        const stats = { streams, chunks, bytes, entries };
        if (options.output === 'json') return `${visibleJson(stats)}\n`;
        const row = [streams, chunks, entries].map(String);
        return table(['STREAMS', 'BATCHES', 'ENTRIES', 'BYTES'], [[...row, formatSize(bytes)]]);
      });
      exit(code);
    });
}
