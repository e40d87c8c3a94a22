import { setFlagsFromString } from 'node:v8';
import { serveTasks, systemClock, systemDiskReader } from '../store/index.ts';
import { createHandlers } from './handlers.ts';

// A worker thread's composition root: packs batches and scans them. See store/workers/pool.ts for the boundary.

// A regular expression that backtracks too much goes on in V8's linear engine, so that no query can hang a worker.
setFlagsFromString('--enable-experimental-regexp-engine-on-excessive-backtracks');

serveTasks(createHandlers(systemDiskReader(), systemClock));
