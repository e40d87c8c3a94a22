import { workerData } from 'node:worker_threads';
import { serveTasks } from '../../../src/store/workers/index.ts';

// The worker of pool.test.ts.

if (workerData === 'cannot start') throw new Error('cannot start');

let hoard: unknown[] = [];
let number = 0;

serveTasks({
  /** How many tasks this worker did before. */
  count: () => ({ value: number++ }),
  /** Sets the second flag, and waits for the first. */
  wait({ flag }: { flag: Int32Array }) {
    number++;
    Atomics.store(flag, 1, 1);
    Atomics.wait(flag, 0, 0);
    return { value: undefined };
  },
  hoard({ items }: { items: number }) {
    number++;
    hoard = Array.from({ length: items }, (_, item) => ({ item }));
    return { value: hoard.length };
  },
  fail() {
    throw new Error('a handler failed');
  },
  /** Dies after its answer. */
  dieLater() {
    setImmediate(() => process.exit(3));
    return { value: undefined };
  },
  die(): never {
    process.exit(3);
  },
});
