import type { Command } from 'commander';
import { formatDuration, formatSize } from '../config/index.ts';
import { batches, isOrAre, plural } from '../words.ts';
import type { Io } from './io.ts';
import { getStatus, MEMBER_HEAD, memberRows, type NodeStatus } from './node-status.ts';
import { endpointOf, outputOption, withEndpoint, type EndpointOptions } from './options.ts';
import { table } from './output.ts';
import type { Services } from './services.ts';
import { visibleJson, visibleText } from './visible.ts';

export function registerStatus(program: Command, io: Io, services: Services): void {
  withEndpoint(program.command('status'))
    .description('show the mesh, what is owed, what is stored and what is tailed')
    .addOption(outputOption(['text', 'json'] as const))
    .action(async (options: EndpointOptions & { output: 'text' | 'json' }) => {
      const { status, answer } = await getStatus(await endpointOf(options, io, services));
      await io.write(options.output === 'json' ? `${visibleJson(answer)}\n` : statusText(status));
    });
}

export function statusText(status: NodeStatus): string {
  const { replication, store, origins, inputs } = status;
  const ratio = store.storedBytes > 0 ? ` (1 : ${(store.rawBytes / store.storedBytes).toFixed(1)})` : '';
  const debt =
    replication.batchesBelowK === 0
      ? 'nothing owed of its own batches'
      : `${batches(replication.batchesBelowK)} (${formatSize(replication.bytesBelowK)}) of its own, or of peers that are away, ` +
        `${isOrAre(replication.batchesBelowK)} below k`;
  const facts = [
    `peer     ${status.peer}, version ${status.version}, up ${formatDuration(status.uptimeSeconds * 1000)}`,
    `copies   k=${replication.k}, w=${replication.w}: ${debt}`,
    `stored   ${plural(store.entries, 'entry', 'entries')} in ${batches(store.batches)}, ${plural(store.segments, 'segment')}: ` +
      `${formatSize(store.rawBytes)} in ${formatSize(store.storedBytes)}${ratio}`,
  ];
  const { upkeep } = status;
  if (upkeep) facts.push(`upkeep   ${upkeepText(upkeep)}`);
  const sections = [
    facts.map((fact) => `${visibleText(fact)}\n`).join(''),
    ...problemsText(status),
    table(MEMBER_HEAD, memberRows(status)),
    table(
      ['ORIGIN', 'EPOCH', 'SEALED', 'DURABLE'],
      origins.map(({ peer, epoch, sealedSeq, durableSeq }) => [
        peer,
        ...[epoch, sealedSeq, durableSeq].map(String),
      ]),
    ),
    table(
      ['INPUT', 'SIZE', 'READ', 'DURABLE', 'PROBLEM'],
      inputs.map(({ path, sizeBytes, readBytes, durableBytes, problem }) => [
        path,
        ...[sizeBytes, readBytes, durableBytes].map(formatSize),
        problem ?? '',
      ]),
    ),
  ];
  return sections.join('\n');
}

function upkeepText({ toFetch, scrub, disk }: NonNullable<NodeStatus['upkeep']>): string {
  const left = toFetch.seconds === null ? '' : `, about ${formatDuration(toFetch.seconds * 1000)}`;
  const parts = [
    toFetch.batches === 0
      ? 'nothing to fetch'
      : `${batches(toFetch.batches)} (${formatSize(toFetch.bytes)}) to fetch${left}`,
    `${formatSize(scrub.bytes)} scrubbed, ${batches(scrub.rottenBatches)} rotten`,
  ];
  if (disk.freeBytes !== null) parts.push(`${formatSize(disk.freeBytes)} free`);
  return parts.join('; ');
}

/** What a person should look at, before everything else. */
function problemsText({ problems }: NodeStatus): string[] {
  if (problems.length === 0) return [];
  const lines = problems.map(({ code, message }) => visibleText(`PROBLEM  ${code}: ${message}`));
  return [lines.map((line) => `${line}\n`).join('')];
}
