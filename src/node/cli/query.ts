import { Option, type Command } from 'commander';
import { fetchEntriesTo } from './entries.ts';
import type { Io } from './io.ts';
import {
  endpointOf,
  outputOption,
  parseCount,
  parseDurationOption,
  timeOption,
  withEndpoint,
  type EndpointOptions,
} from './options.ts';
import { OUTPUTS, type Output } from './output.ts';
import type { Services } from './services.ts';

const SINCE_DEFAULT_MS = 3_600_000;
const LIMIT_DEFAULT = 100;

interface QueryOptions extends EndpointOptions {
  readonly since?: number;
  readonly from?: bigint;
  readonly to?: bigint;
  readonly limit: number;
  readonly direction?: 'forward' | 'backward';
  readonly output: Output;
}

export function registerQuery(
  program: Command,
  io: Io,
  services: Services,
  exit: (code: number) => void,
): void {
  const nowMs = io.clock.nowMs();
  const parseTime = timeOption(nowMs);
  withEndpoint(program.command('query'))
    .description('print entries, and whether they are all there are (exit code 0: complete, 3: incomplete)')
    .argument('<logql>', 'what to find, such as \'{job="nginx"} |= "error"\'')
    .addOption(
      new Option('--since <duration>', 'how far back from now (default 1h)')
        .argParser(parseDurationOption)
        .conflicts(['from', 'to']),
    )
    .option('--from <time>', 'from this time on', parseTime)
    .option('--to <time>', 'up to before this time (default now)', parseTime)
    .option('--limit <n>', 'most entries to print; 0 is all', parseCount, LIMIT_DEFAULT)
    .addOption(
      new Option(
        '--direction <order>',
        'oldest first (forward) or newest first (backward); default backward, forward with --limit 0',
      ).choices(['forward', 'backward']),
    )
    .addOption(outputOption(OUTPUTS))
    .action(async (query: string, options: QueryOptions, command: Command) => {
      const { limit, from, to, since, direction, output } = options;
      if (to !== undefined && from === undefined) command.error("option '--to' needs '--from'");
      const endNs = to ?? BigInt(Math.ceil(nowMs)) * 1_000_000n;
      const startNs = from ?? endNs - BigInt(since ?? SINCE_DEFAULT_MS) * 1_000_000n;
      if (startNs >= endNs) command.error("option '--from' is not before '--to'");
      const receipt = await fetchEntriesTo(io, services, output, {
        ...(await endpointOf(options, io, services)),
        query,
        startNs,
        endNs,
        limit,
        direction: direction ?? (limit === 0 ? 'forward' : 'backward'),
      });
      exit(receipt === undefined || receipt.complete ? 0 : 3);
    });
}
