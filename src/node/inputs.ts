import type { Clock } from '../store/index.ts';
import type { Config } from './config/index.ts';
import {
  startStdin,
  startTail,
  systemTailDisk,
  type BlockSink,
  type Input,
  type SourcePosition,
  type TailLog,
  type TailSource,
} from './inputs/index.ts';

export interface InputsOptions {
  readonly config: Config;
  readonly batcher: BlockSink;
  readonly clock: Clock;
  readonly host: string;
  resume(source: string): string | undefined;
  remembered(): Iterable<readonly [source: string, position: string]>;
  readonly log: TailLog;
}

/** Everything that a node reads from this machine. */
export interface Inputs {
  all(): readonly Input[];
  onDurable(position: SourcePosition): void;
  close(): Promise<void>;
}

/** Starts what the configuration names. Throws LV_CONFIG_INVALID for a malformed glob. */
export function startInputs(options: InputsOptions): Inputs {
  const { config, batcher, clock, host, resume, remembered } = options;
  const log: TailLog = {
    info: (message) => options.log.info(message),
    warn: (message) => options.log.warn(message),
  };
  const { discoverServiceName } = config;
  const inputs: Input[] = [];
  const patterns: TailSource[] = [];
  for (const { paths, labels, exclude, timeZone } of config.tail) {
    const own = { ...config.labels, ...labels };
    if (paths.includes('-')) {
      const sink: Pick<BlockSink, 'write'> = {
        write: (block) => batcher.write(block.kind === 'raw' ? { ...block, timeZone } : block),
      };
      inputs.push(
        startStdin({ stream: process.stdin, sink, clock, log, host, labels: own, discoverServiceName }),
      );
    }
    for (const pattern of paths)
      if (pattern !== '-') patterns.push({ pattern, labels: own, exclude, timeZone });
  }
  // One for all of them: of the entries that lead to a file, the first one counts, and it is read once.
  if (patterns.length > 0) {
    inputs.push(
      startTail({
        patterns,
        sink: batcher,
        disk: systemTailDisk,
        clock,
        log,
        host,
        discoverServiceName,
        resume,
        remembered,
      }),
    );
  }
  return {
    all: () => inputs,
    onDurable(position) {
      for (const input of inputs) input.onDurable(position);
    },
    async close() {
      await Promise.all(inputs.map((input) => input.close()));
    },
  };
}
