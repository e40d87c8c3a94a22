export { WorkerPool } from './pool.ts';
export type { TaskRunner } from './pool.ts';
export { serveTasks } from './serve.ts';
export type { Handled } from './serve.ts';
