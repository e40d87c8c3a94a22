import type { Command } from 'commander';
import { loadConfig, referenceTable, settingsText } from '../config/index.ts';
import type { Io } from './io.ts';
import { flagsOf, withConfig, type ConfigOptions } from './options.ts';

export function registerConfig(program: Command, io: Io): void {
  withConfig(program.command('config'))
    .description('print the configuration that run would use, and where each value comes from')
    .option('--reference', 'print the table of every key instead')
    .action(async (files: string[], options: ConfigOptions & { reference?: true }) => {
      if (options.reference) return io.write(`${referenceTable()}\n`);
      const { settings, warnings } = await loadConfig({
        configFile: options.config ?? (io.env.LOGVINE_CONFIG || undefined),
        flags: flagsOf(options, files),
        env: io.env,
        workingDirectory: io.workingDirectory,
        disk: io.disk,
      });
      for (const warning of warnings) io.report(`logvine: warning: ${warning}`);
      await io.write(settingsText(settings));
    });
}
