import { Option, type Command } from 'commander';
import type { MissedByTail } from './client.ts';
import { fetchEntriesTo } from './entries.ts';
import type { Io } from './io.ts';
import {
  endpointOf,
  outputOption,
  parseDurationOption,
  withEndpoint,
  type EndpointOptions,
} from './options.ts';
import { OUTPUTS, type Output } from './output.ts';
import { watchReach } from './reach.ts';
import type { Services } from './services.ts';
import { startBefore } from './time.ts';
import { visibleText } from './visible.ts';
import { shortPeer } from '../words.ts';

interface TailOptions extends EndpointOptions {
  readonly since: number;
  readonly output: Output;
}

export function registerTail(
  program: Command,
  io: Io,
  services: Services,
  exit: (code: number) => void,
): void {
  withEndpoint(program.command('tail'))
    .description('print entries of the whole mesh as they are written, until Ctrl-C')
    .argument('<logql>', 'what to follow, such as \'{job="nginx"}\'')
    .addOption(
      new Option('--since <duration>', 'begin this far back')
        .argParser(parseDurationOption)
        .default(0, 'now'),
    )
    .addOption(outputOption(OUTPUTS))
    .action(async (query: string, options: TailOptions) => {
      const endpoint = await endpointOf(options, io, services);
      const stopWatching = watchReach(io, endpoint);
      try {
        const receipt = await fetchEntriesTo(io, services, options.output, {
          ...endpoint,
          query,
          startNs: startBefore(BigInt(Math.floor(io.clock.nowMs())) * 1_000_000n, options.since),
          endNs: undefined,
          limit: 0,
          direction: 'forward',
          onMissed: (missed) => missedTexts(missed).forEach((text) => io.report(text)),
        });
        exit(receipt === undefined || receipt.complete ? 0 : 3);
      } finally {
        stopWatching();
      }
    });
}

function* missedTexts({ count, unheard }: MissedByTail): Generator<string> {
  if (count > 0) {
    const pieces = count === 1 ? '1 piece' : `${count.toLocaleString('en-US')} pieces`;
    yield `INCOMPLETE: lines came faster than they were read; ${pieces} of one or more are not shown, and found with logvine query`;
  }
  for (const { peer, fromMs, toMs } of unheard) {
    const name = visibleText(shortPeer(peer));
    const from = new Date(fromMs).toISOString();
    if (toMs === undefined)
      yield `INCOMPLETE: ${name} cannot be followed; what it reads since ${from} is not shown`;
    else
      yield `INCOMPLETE: ${name} could not be followed from ${from} to ${new Date(toMs).toISOString()}; what it read then is found with logvine query`;
  }
}
