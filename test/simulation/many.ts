import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import type { SimulationOptions, SimulationResult } from './simulation.ts';

/** A run, and the CPU time that it took. */
export interface Finished {
  readonly result: SimulationResult;
  readonly cpuSeconds: number;
}

/**
 * Runs many simulations on all cores, one process each, and calls `finished` with each in the order in which they end.
 * Stops early when it returns false.
 */
export async function simulateMany(
  runs: Iterable<SimulationOptions>,
  finished: (run: Finished) => boolean,
  processes = availableParallelism(),
): Promise<void> {
  const queue = runs[Symbol.iterator]();
  let stopped = false;

  const work = async (child: ChildProcess): Promise<void> => {
    for (;;) {
      const next = stopped ? undefined : queue.next();
      if (!next || next.done) break;
      child.send(next.value);
      const done = new AbortController();
      const { signal } = done;
      const answer = await Promise.race([
        once(child, 'message', { signal }).then(([message]) => message as Finished),
        once(child, 'exit', { signal }).then(() => undefined),
      ]);
      done.abort();
      if (!answer) throw new Error(`the process that simulated seed ${next.value.seed} ended`);
      if (!finished(answer)) stopped = true;
    }
    child.kill();
  };
  const children = Array.from({ length: processes }, () =>
    // What lives between two events is little, and much of it is short-lived.
    fork(new URL('./child.ts', import.meta.url), { execArgv: ['--max-semi-space-size=32'] }),
  );
  try {
    await Promise.all(children.map(work));
  } finally {
    for (const child of children) child.kill();
  }
}
