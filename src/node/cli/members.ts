import type { Command } from 'commander';
import type { Io } from './io.ts';
import { getStatus, MEMBER_HEAD, memberRows } from './node-status.ts';
import { endpointOf, outputOption, withEndpoint, type EndpointOptions } from './options.ts';
import { table } from './output.ts';
import type { Services } from './services.ts';
import { visibleJson } from './visible.ts';

export function registerMembers(program: Command, io: Io, services: Services): void {
  withEndpoint(program.command('members'))
    .description('list the peers of the mesh as one of them (*) sees it')
    .addOption(outputOption(['text', 'json'] as const))
    .action(async (options: EndpointOptions & { output: 'text' | 'json' }) => {
      const { status, answer } = await getStatus(await endpointOf(options, io, services));
      const { members } = answer as { members: unknown };
      const text =
        options.output === 'json' ? `${visibleJson(members)}\n` : table(MEMBER_HEAD, memberRows(status));
      await io.write(text);
    });
}
