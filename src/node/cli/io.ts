import {
  systemClock,
  systemDisk,
  systemRandom,
  type Clock,
  type Disk,
  type Random,
} from '../../store/index.ts';
import type { Environment } from '../config/index.ts';

/** The process around a command, so that a test can be one. */
export interface Io {
  readonly env: Environment;
  readonly workingDirectory: string;
  /** Whether stdout is a terminal. */
  readonly isTerminal: boolean;
  /** Its width in characters; undefined when stdout is no terminal. */
  readonly columns: number | undefined;
  readonly clock: Clock;
  readonly disk: Disk;
  readonly random: Random;
  /** Writes to stdout; resolves once it is out. Rejects with OutputClosed when nobody reads any more. */
  write(bytes: string | Uint8Array): Promise<void>;
  /** Writes one line to stderr. */
  report(line: string): void;
  /** Calls `stop` for every SIGINT, SIGTERM or SIGHUP from now on. */
  onStop(stop: () => void): void;
  /** Ends the process now, whatever is still open. */
  exit(code: number): void;
}

/** The reader of stdout has gone (`| head`): no error, there is just nobody left to tell. */
export class OutputClosed extends Error {}

export function systemIo(): Io {
  // Each write sees its own error; without a listener the same error would end the process.
  process.stdout.on('error', () => {});
  process.stderr.on('error', () => {});
  return {
    env: process.env,
    workingDirectory: process.cwd(),
    isTerminal: process.stdout.isTTY,
    // A terminal that does not know its width says 0.
    columns: process.stdout.columns || undefined,
    clock: systemClock,
    disk: systemDisk,
    random: systemRandom,
    write: (bytes) =>
      new Promise((resolve, reject) => {
        process.stdout.write(bytes, (error) => {
          if (!error) return resolve();
          const isGone = ['EPIPE', 'ERR_STREAM_DESTROYED'].includes(
            (error as NodeJS.ErrnoException).code ?? '',
          );
          reject(isGone ? new OutputClosed('stdout is closed') : error);
        });
      }),
    report: (line) => void process.stderr.write(`${line}\n`),
    onStop(stop) {
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
    },
    exit: (code) => process.exit(code),
  };
}
