import { Option, type Command } from 'commander';
import { isLog, parse, type Expr } from '../../store/logql/index.ts';
import { stageAgainstContext } from './context.ts';
import { fetchContextTo, fetchEntriesTo } from './entries.ts';
import type { Io } from './io.ts';
import {
  endpointOf,
  outputOption,
  parseCount,
  parseDurationOption,
  rangeOf,
  withEndpoint,
  withRange,
  type EndpointOptions,
  type RangeOptions,
} from './options.ts';
import { printMetric } from './metric.ts';
import { OUTPUTS, type Output } from './output.ts';
import type { Services } from './services.ts';
import { startBefore } from './time.ts';

const SINCE_DEFAULT_MS = 3_600_000;
const LIMIT_DEFAULT = 100;

interface QueryOptions extends EndpointOptions, RangeOptions {
  readonly step?: number;
  readonly limit: number;
  readonly context?: number;
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
  const command = withEndpoint(program.command('query'))
    .description(
      'print entries or numbers, and whether they are all there are (exit code 0: complete, 3: incomplete). A metric query ' +
        'is evaluated now; with --since, --from or --step over the range',
    )
    .argument('<logql>', 'what to find or count, such as \'{job="nginx"} |= "error"\'');
  withRange(command, nowMs, {
    since: 'how far back from now (default 1h)',
    from: 'from this time on',
    to: 'up to before this time (default now)',
  })
    .option(
      '--step <duration>',
      'time between the points of a metric query over a range',
      parseDurationOption,
    )
    .option('--limit <n>', 'most entries to print; 0 is all', parseCount, LIMIT_DEFAULT)
    .addOption(
      new Option('--context <n>', 'lines to print around each entry, from its own stream')
        .argParser(parseCount)
        .conflicts(['direction']),
    )
    .addOption(
      new Option(
        '--direction <order>',
        'oldest first (forward) or newest first (backward); default backward, forward with --limit 0',
      ).choices(['forward', 'backward']),
    )
    .addOption(outputOption(OUTPUTS))
    .action(async (query: string, options: QueryOptions, command: Command) => {
      const { limit, from, to, since, step, direction, output, context } = options;
      const expr = parsed(query);
      const isMetric = expr !== undefined && !isLog(expr);
      const isRange = since !== undefined || from !== undefined || step !== undefined;
      if (to !== undefined && from === undefined && !isMetric) command.error("option '--to' needs '--from'");
      if (step !== undefined && !isMetric) command.error("option '--step' is for metric queries");
      if (context !== undefined && isMetric) command.error("option '--context' is for log queries");
      const stage = context === undefined || expr === undefined ? undefined : stageAgainstContext(expr);
      if (stage !== undefined)
        command.error(`option '--context' shows lines as they were written, not after ${stage}`);
      const { endNs, ...range } = rangeOf(command, options, nowMs);
      const startNs = range.startNs ?? startBefore(endNs, SINCE_DEFAULT_MS);
      const endpoint = await endpointOf(options, io, services);
      if (isMetric) {
        const request = { query, startNs: isRange ? startNs : undefined, endNs, stepMs: step, output };
        const { complete } = await printMetric(io, endpoint, request);
        exit(complete ? 0 : 3);
        return;
      }
      const request = {
        ...endpoint,
        query,
        startNs,
        endNs,
        limit,
        direction: direction ?? (limit === 0 ? 'forward' : 'backward'),
      } as const;
      if (context !== undefined) {
        exit((await fetchContextTo(io, services, output, request, context)) ? 0 : 3);
        return;
      }
      const receipt = await fetchEntriesTo(io, services, output, request);
      exit(receipt === undefined || receipt.complete ? 0 : 3);
    });
}

/** What cannot be parsed is for the node to refuse. */
function parsed(query: string): Expr | undefined {
  try {
    return parse(query);
  } catch {
    return undefined;
  }
}
