import { Option, type Command } from 'commander';
import { z } from 'zod';
import { ERROR_CODES, LogvineError, type ErrorCode } from '../../store/index.ts';
import { formatSize } from '../config/index.ts';
import { fetchLines } from './http.ts';
import type { Io } from './io.ts';
import {
  endpointOf,
  outputOption,
  parseDurationOption,
  timeOption,
  withEndpoint,
  type EndpointOptions,
} from './options.ts';
import type { Services } from './services.ts';
import { verdictSchema, verdictText } from './verdict.ts';
import { visibleJson, visibleText } from './visible.ts';

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
type Progress = Extract<z.output<typeof answerLine>, { progress: unknown }>['progress'];

interface VerifyOptions extends EndpointOptions {
  readonly since?: number;
  readonly from?: bigint;
  readonly to?: bigint;
  readonly output: 'text' | 'json';
}

export function registerVerify(
  program: Command,
  io: Io,
  services: Services,
  exit: (code: number) => void,
): void {
  const nowMs = io.clock.nowMs();
  const parseTime = timeOption(nowMs);
  withEndpoint(program.command('verify'))
    .description('prove that no batch of the mesh was altered or removed (exit code 0: proven, 3: not)')
    .addOption(
      new Option('--since <duration>', 'only what was sealed this far back from now (default everything)')
        .argParser(parseDurationOption)
        .conflicts(['from', 'to']),
    )
    .option('--from <time>', 'only what was sealed from this time on', parseTime)
    .option('--to <time>', 'only what was sealed before this time', parseTime)
    .addOption(outputOption(['text', 'json'] as const))
    .action(async (options: VerifyOptions, command: Command) => {
      const { from, to, since, output } = options;
      if (to !== undefined && from === undefined) command.error("option '--to' needs '--from'");
      const endNs = to ?? BigInt(Math.ceil(nowMs)) * 1_000_000n;
      const startNs = since === undefined ? from : endNs - BigInt(since) * 1_000_000n;
      if (startNs !== undefined && startNs >= endNs) command.error("option '--from' is not before '--to'");
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

async function verify(io: Io, endpoint: Awaited<ReturnType<typeof endpointOf>>, parameters: URLSearchParams) {
  const abort = new AbortController();
  io.onStop(() => abort.abort(new LogvineError('LV_CLOSED', 'stopped before everything was verified')));
  const line = new ProgressLine(io);
  try {
    for await (const answer of fetchLines(endpoint, 'GET', `/api/v1/verify?${parameters}`, abort.signal)) {
      const parsed = answerLine.safeParse(answer);
      if (!parsed.success) throw new LogvineError('LV_PROTOCOL', `${endpoint.addr} answered something else`);
      if ('progress' in parsed.data) await line.show(parsed.data.progress);
      else if ('error' in parsed.data) throw errorOf(parsed.data.error);
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

function errorOf({ code, message }: { code?: string | undefined; message: string }): LogvineError {
  const known = code !== undefined && Object.hasOwn(ERROR_CODES, code);
  return new LogvineError(known ? (code as ErrorCode) : 'LV_PROTOCOL', visibleText(message));
}

/** One line of a terminal that is written over; nothing in a pipe. */
class ProgressLine {
  readonly #io: Io;
  #isShown = false;

  constructor(io: Io) {
    this.#io = io;
  }

  async show({ bytes, bytesTotal, peers }: Progress): Promise<void> {
    if (!this.#io.isTerminal) return;
    const share = bytesTotal > 0 ? Math.min(1, bytes / bytesTotal) : 0;
    const bar = '█'.repeat(Math.round(share * 24)).padEnd(24, '░');
    const from = `${peers} ${peers === 1 ? 'disk' : 'disks'}`;
    const text = `verifying ${bar} ${Math.floor(share * 100)} %  ${formatSize(bytes)} of ${formatSize(bytesTotal)} on ${from}`;
    this.#isShown = true;
    await this.#io.write(`\r\x1b[2K${text}`);
  }

  async clear(): Promise<void> {
    if (this.#isShown) await this.#io.write('\r\x1b[2K').catch(() => undefined);
    this.#isShown = false;
  }
}
