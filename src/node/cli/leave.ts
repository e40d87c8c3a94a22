import type { Command } from 'commander';
import { z } from 'zod';
import type { Remaining } from '../../gossip/index.ts';
import { LogvineError } from '../../store/index.ts';
import { plural } from '../words.ts';
import { fetchLines, untilStopped } from './http.ts';
import type { Io } from './io.ts';
import { endpointOf, withEndpoint, type EndpointOptions } from './options.ts';
import type { Services } from './services.ts';

/** A line of the answer: what is mended first, how much is still to be handed over, or that all of it is and the node has gone. */
const progress = z.union([
  z.object({ left: z.literal(true) }),
  z.object({ damaged: z.number() }),
  z.object({ segments: z.number(), copiesNeeded: z.number(), peersInReach: z.number() }),
]);

export function registerLeave(program: Command, io: Io, services: Services): void {
  withEndpoint(program.command('leave'))
    .description('have a node hand over everything it keeps, then go')
    .action(async (options: EndpointOptions) => {
      const { signal } = untilStopped(io, 'no longer watching; the node goes on leaving');
      const endpoint = await endpointOf(options, io, services);
      for await (const line of fetchLines(endpoint, 'POST', '/api/v1/leave', signal)) {
        const parsed = progress.safeParse(line);
        if (!parsed.success)
          throw new LogvineError('LV_PROTOCOL', `${endpoint.addr} answered something else`);
        if ('left' in parsed.data) return io.write('left: every batch is elsewhere\n');
        io.report(
          `leaving: ${'damaged' in parsed.data ? mends(parsed.data.damaged) : waitsFor(parsed.data)}`,
        );
      }
      throw new LogvineError(
        'LV_PROTOCOL',
        `${endpoint.addr} stopped answering before it had left: ask again`,
      );
    });
}

/** For up to a minute: what is sound behind damage may be the only copy. */
function mends(segments: number): string {
  return segments === 0
    ? 'looking at what others have'
    : `${plural(segments, 'damaged segment')} to mend first`;
}

function waitsFor({ segments, copiesNeeded, peersInReach }: Remaining): string {
  if (segments === 0) return 'no other peer answers';
  const amount = plural(segments, 'segment');
  if (peersInReach >= copiesNeeded) return `${amount} to hand over`;
  return (
    `${amount} to hand over: each has to be at ${plural(copiesNeeded, 'other peer')}, of which ${peersInReach} ${peersInReach === 1 ? 'is' : 'are'} in reach; ` +
    'those that are down are waited for until they return, are replaced or are given up'
  );
}
