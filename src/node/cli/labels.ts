import type { Command } from 'commander';
import { z } from 'zod';
import { inquire, withInquiry, type InquiryOptions } from './inquiry.ts';
import type { Io } from './io.ts';
import type { Services } from './services.ts';
import { visibleJson, visibleText } from './visible.ts';

const answer = z.object({ data: z.array(z.string()).nullish(), logvine: z.unknown().optional() });

export function registerLabels(
  program: Command,
  io: Io,
  services: Services,
  exit: (code: number) => void,
): void {
  withInquiry(program.command('labels'), '6h')
    .description('list label names, or the values of one')
    .argument('[name]', 'the label whose values to list')
    .action(async (name: string | undefined, options: InquiryOptions) => {
      const path = name === undefined ? 'labels' : `label/${encodeURIComponent(name)}/values`;
      const code = await inquire(io, services, options, { path, answer }, ({ data }) => {
        const values = data ?? [];
        const lines = options.output === 'json' ? [visibleJson(values)] : values.map(visibleText);
        return lines.map((line) => `${line}\n`).join('');
      });
      exit(code);
    });
}
