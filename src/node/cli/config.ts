import type { Command } from 'commander';
import { referenceTable, settingsText } from '../config/index.ts';
import type { Io } from './io.ts';
import { configOf, withConfig, type ConfigOptions } from './options.ts';

export function registerConfig(program: Command, io: Io): void {
  withConfig(program.command('config'))
    .description('print the configuration that run would use, and where each value comes from')
    .option('--reference', 'print the table of every key instead')
    .action(async (files: string[], options: ConfigOptions & { reference?: true }) => {
      if (options.reference) return io.write(`${referenceTable()}\n`);
      const { settings } = await configOf(io, options, files);
      await io.write(settingsText(settings));
    });
}
