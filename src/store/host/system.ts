import { randomBytes } from 'node:crypto';
import type { Clock, Random } from './index.ts';

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, run) {
    const handle = setTimeout(run, delayMs);
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
};

export const systemRandom: Random = {
  bytes: (count) => randomBytes(count),
  unit: () => Math.random(),
};
