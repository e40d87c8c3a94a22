import type { Command } from 'commander';
import { z } from 'zod';
import { labelsText, type Labels } from '../../store/index.ts';
import { inquire, withInquiry, type InquiryOptions } from './inquiry.ts';
import type { Io } from './io.ts';
import type { Services } from './services.ts';
import { visibleJson, visibleText } from './visible.ts';

const answer = z.object({ data: z.array(z.record(z.string(), z.string())), logvine: z.unknown().optional() });

export function registerSeries(
  program: Command,
  io: Io,
  services: Services,
  exit: (code: number) => void,
): void {
  withInquiry(program.command('series'), '6h')
    .description('list the streams that selectors match, by their labels')
    .argument('[selectors...]', 'which streams, such as \'{job="nginx"}\'; all when there is none')
    .action(async (selectors: string[], options: InquiryOptions) => {
      const print =
        options.output === 'json' ? visibleJson : (labels: Labels) => visibleText(labelsText(labels));
      const parameters = selectors.map((selector) => ['match[]', selector]);
      const code = await inquire(io, services, options, { path: 'series', parameters, answer }, ({ data }) =>
        data
          .map((labels) => `${print(labels)}\n`)
          .sort()
          .join(''),
      );
      exit(code);
    });
}
