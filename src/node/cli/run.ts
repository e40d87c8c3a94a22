import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Command } from 'commander';
import type { RunningNode } from '../node.ts';
import { OutputClosed, type Io } from './io.ts';
import { configOf, withConfig, type ConfigOptions } from './options.ts';
import type { Services } from './services.ts';

/** A terminal, npm and a supervising process may each pass on the same Ctrl-C. */
const SAME_SIGNAL_MS = 500;
/** Closing waits for peers, and a connection may never end: then the disk is safe all the same. */
const CLOSE_TIMEOUT_MS = 30_000;

/** When a node without work is at rest after its start. */
const START_SETTLED_MS = 3_000;

export function registerRun(
  program: Command,
  io: Io,
  services: Services,
  exit: (code: number) => void,
): void {
  withConfig(program.command('run'))
    .description('run a node: tail files, keep batches, answer queries')
    .action(async (files: string[], options: ConfigOptions) => {
      const { config } = await configOf(io, options, files);
      const stopped = firstStop(io);
      // A start may take long, and needs no end: it may be cut off anywhere, and acknowledges nothing before it is over.
      const start = (): Promise<RunningNode | void> => Promise.race([services.startNode(config), stopped]);
      let node = await start();
      if (!node) return exit(0);
      const settled = io.clock.after(START_SETTLED_MS, releaseStartMemory);
      await sayReady(node, io);
      // Whoever answers next may remember a later run still.
      while (await Promise.race([stopped.then(() => false), node.outdated.then(() => true)])) {
        await closesInTime(node.close(), io);
        node = await start();
        if (!node) return exit(0);
        await sayReady(node, io);
      }
      settled.cancel();
      exit((await closesInTime(node.close(), io)) ? 0 : 1);
    });
}

async function sayReady({ ready }: RunningNode, io: Io): Promise<void> {
  try {
    await io.write(`logvine ready http=${ready.httpUrl} mesh=${ready.meshAddress} peer=${ready.peer}\n`);
  } catch (error) {
    // Whoever started the node needs not listen.
    if (!(error instanceof OutputClosed)) throw error;
  }
}

/** Loading the code leaves some 40 MB behind that an idle node would keep for hours: one collection gives them back. */
function releaseStartMemory(): void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (options: { type: string; flavor: string }) => void;
  collect({ type: 'major', flavor: 'last-resort' });
}

/** Resolves at the first signal, after which a later one ends the process at once. */
function firstStop(io: Io): Promise<void> {
  return new Promise((resolve) => {
    let firstAtMs: number | undefined;
    io.onStop(() => {
      const nowMs = io.clock.monotonicMs();
      if (firstAtMs === undefined) {
        firstAtMs = nowMs;
        io.report('logvine: stopping; once more to stop at once');
        resolve();
      } else if (nowMs - firstAtMs > SAME_SIGNAL_MS) {
        io.exit(1);
      }
    });
  });
}

async function closesInTime(closed: Promise<void>, io: Io): Promise<boolean> {
  const late = Promise.withResolvers<'late'>();
  const timer = io.clock.after(CLOSE_TIMEOUT_MS, () => late.resolve('late'));
  try {
    const isLate = (await Promise.race([closed, late.promise])) === 'late';
    if (isLate) io.report(`logvine: still closing after ${CLOSE_TIMEOUT_MS / 1000} s, stopping at once`);
    return !isLate;
  } finally {
    timer.cancel();
  }
}
