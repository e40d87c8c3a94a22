import type { Command } from 'commander';
import { z } from 'zod';
import { LogvineError } from '../../store/index.ts';
import { formatSize } from '../config/index.ts';
import { errorFrom, fetchLines, untilStopped, type Endpoint } from './http.ts';
import type { Io } from './io.ts';
import {
  endpointOf,
  outputOption,
  rangeOf,
  withEndpoint,
  withRange,
  type EndpointOptions,
  type RangeOptions,
} from './options.ts';
import { ProgressLine } from './progress.ts';
import type { Services } from './services.ts';
import { verdictSchema, verdictText } from './verdict.ts';
import { visibleJson } from './visible.ts';

const answerLine = z.union([
  z.object({
    progress: z.object({
      bytes: z.number(),
      bytesTotal: z.number(),
      segments: z.number(),
      peers: z.number(),
    }),
  }),
  z.object({ verdict: verdictSchema }),
  z.object({ error: z.object({ code: z.string().optional(), message: z.string() }) }),
]);

interface VerifyOptions extends EndpointOptions, RangeOptions {
  readonly output: 'text' | 'json';
}

export function registerVerify(
  program: Command,
  io: Io,
  services: Services,
  exit: (code: number) => void,
): void {
  const nowMs = io.clock.nowMs();
  const command = withEndpoint(program.command('verify')).description(
    'prove that no batch of the mesh was altered or removed (exit code 0: proven, 3: not)',
  );
  withRange(command, nowMs, {
    since: 'only what was sealed this far back from now (default everything)',
    from: 'only what was sealed from this time on',
    to: 'only what was sealed before this time',
  })
    .addOption(outputOption(['text', 'json'] as const))
    .action(async (options: VerifyOptions, command: Command) => {
      const { output, from, to } = options;
      if (to !== undefined && from === undefined) command.error("option '--to' needs '--from'");
      const { startNs, endNs } = rangeOf(command, options, nowMs);
      const parameters = new URLSearchParams();
      if (startNs !== undefined) {
        parameters.set('start', String(startNs));
        parameters.set('end', String(endNs));
      }
      const { verdict, answer } = await verify(io, await endpointOf(options, io, services), parameters);
      const isColoured = io.isTerminal && !io.env.NO_COLOR;
      await io.write(output === 'json' ? `${visibleJson(answer)}\n` : verdictText(verdict, isColoured));
      exit(verdict.proven ? 0 : 3);
    });
}

async function verify(io: Io, endpoint: Endpoint, parameters: URLSearchParams) {
  const abort = untilStopped(io, 'stopped before everything was verified');
  const line = new ProgressLine(io);
  try {
    for await (const answer of fetchLines(endpoint, 'GET', `/api/v1/verify?${parameters}`, abort.signal)) {
      const parsed = answerLine.safeParse(answer);
      if (!parsed.success) throw new LogvineError('LV_PROTOCOL', `${endpoint.addr} answered something else`);
      if ('progress' in parsed.data) await show(line, parsed.data.progress);
      else if ('error' in parsed.data) throw errorFrom(parsed.data.error);
      else return { verdict: parsed.data.verdict, answer: (answer as { verdict: unknown }).verdict };
    }
  } catch (error) {
    if (abort.signal.aborted) throw abort.signal.reason;
    throw error;
  } finally {
    await line.clear();
    abort.abort();
  }
  throw new LogvineError('LV_PROTOCOL', `${endpoint.addr} broke off before its verdict: ask again`);
}

async function show(
  line: ProgressLine,
  { bytes, bytesTotal, peers }: { bytes: number; bytesTotal: number; peers: number },
): Promise<void> {
  const disks = `${peers} ${peers === 1 ? 'disk' : 'disks'}`;
  await line.show(bytes, bytesTotal, `${formatSize(bytes)} of ${formatSize(bytesTotal)} on ${disks}`);
}
