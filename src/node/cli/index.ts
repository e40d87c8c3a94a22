import { Command, CommanderError } from 'commander';
import { LogvineError, messageOf } from '../../store/index.ts';
import { VERSION } from '../version.ts';
import { registerAcceptLoss } from './accept-loss.ts';
import { registerConfig } from './config.ts';
import { registerInit } from './init.ts';
import { OutputClosed, type Io } from './io.ts';
import { registerLabels } from './labels.ts';
import { registerLeave } from './leave.ts';
import { registerMembers } from './members.ts';
import { registerQuery } from './query.ts';
import { registerRun } from './run.ts';
import { registerSeries } from './series.ts';
import { systemServices, type Services } from './services.ts';
import { registerStats } from './stats.ts';
import { registerStatus } from './status.ts';
import { registerTail } from './tail.ts';
import { registerVerify } from './verify.ts';
import { visibleText } from './visible.ts';

export { systemIo, type Io } from './io.ts';
export type { Services } from './services.ts';

const EXIT_ERROR = 1;
const EXIT_USAGE = 2;
/** What a shell reports of any program whose reader went away. It is not 0: that would say that the answer was whole. */
const EXIT_OUTPUT_CLOSED = 141;

/** Runs one command line (without `node` and the script) and returns the exit code: 0, 1 error, 2 usage, 3 incomplete. */
export async function main(
  argv: readonly string[],
  io: Io,
  services: Services = systemServices,
): Promise<number> {
  let code = 0;
  let printed = Promise.resolve();
  const program = new Command('logvine');
  program
    .description('A peer-to-peer log collector whose answers prove that they are complete')
    .version(VERSION)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => {
        printed = printed.then(() => io.write(text));
      },
      writeErr: (text) => io.report(text.trimEnd().split('\n').map(visibleText).join('\n')),
      outputError: (text, write) => write(`logvine: ${text.replace(/^error: /, '').replaceAll('\n(', ' (')}`),
    });
  const exit = (exitCode: number) => {
    code = exitCode;
  };
  registerRun(program, io, services, exit);
  registerInit(program, io);
  registerQuery(program, io, services, exit);
  registerTail(program, io, services, exit);
  registerLabels(program, io, services, exit);
  registerSeries(program, io, services, exit);
  registerStats(program, io, services, exit);
  registerStatus(program, io, services);
  registerMembers(program, io, services);
  registerVerify(program, io, services, exit);
  registerAcceptLoss(program, io, services, exit);
  registerLeave(program, io, services);
  registerConfig(program, io);
  try {
    await program.parseAsync(argv, { from: 'user' });
    await printed;
    return code;
  } catch (error) {
    // Help that was asked for is a CommanderError too, and may still be on its way out.
    const outcome = await printed.then(() => error).catch((late: unknown) => late);
    return exitCodeOf(outcome, io);
  }
}

function exitCodeOf(error: unknown, io: Io): number {
  if (error instanceof OutputClosed) return EXIT_OUTPUT_CLOSED;
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  // A message may carry words of a node, a file or a query: nothing in it may move the cursor.
  const message = messageOf(error).split('\n').map(visibleText).join('\n');
  io.report(error instanceof LogvineError ? `logvine: ${error.code} ${message}` : `logvine: ${message}`);
  return EXIT_ERROR;
}
