import { Worker, type Transferable } from 'node:worker_threads';
import { LogvineError } from '../errors.ts';
import { LIMITS } from '../limits.ts';

/**
 *   main thread                              worker threads (one task at a time each)
 *   ───────────                              ──────────────
 *   run(task) ── queue ──► postMessage ────► handlers[task.kind](task)
 *   promise  ◄───────────  { value } | { error } ◄─┘
 *
 * Tasks are whole batches of work (a batch to pack, some batches to scan), so that a message is rare beside its work.
 */
export interface TaskMap {
  [kind: string]: { request: object; response: unknown };
}

interface Task {
  readonly kind: string;
  readonly request: object;
  readonly transfer: readonly Transferable[];
  readonly signal: AbortSignal | undefined;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export interface WorkerAnswer {
  readonly value?: unknown;
  readonly error?: { code: string | undefined; message: string };
}

export interface TaskOptions {
  readonly priority: 'write' | 'read';
  readonly transfer?: readonly Transferable[];
  readonly signal?: AbortSignal;
}

/** Where tasks are run: the pool, or in a simulation the calling thread. */
export interface TaskRunner<Tasks extends TaskMap> {
  /** How many tasks run at once. */
  readonly size: number;
  /**
   * Runs one task. 'write' goes before 'read', so that queries never hold back what is to be made durable. Rejects with
   * what the handler threw, LV_CLOSED, or for a 'read' LV_OVERLOADED when too many wait (what is written is bounded by
   * who writes it); a task whose signal fires before it began rejects with the signal's reason.
   */
  run<Kind extends keyof Tasks & string>(
    kind: Kind,
    request: Tasks[Kind]['request'],
    options: TaskOptions,
  ): Promise<Tasks[Kind]['response']>;
}

/** Workers handle large buffers, which are outside of it; the default would grow to tens of megabytes a thread. */
const YOUNG_GENERATION_MB = 8;

export class WorkerPool<Tasks extends TaskMap> implements TaskRunner<Tasks> {
  readonly #entry: URL;
  readonly #data: unknown;
  readonly #idle: Worker[] = [];
  readonly #busy = new Map<Worker, Task>();
  readonly #queues: [Task[], Task[]] = [[], []];
  readonly #count: number;
  #closed = false;

  /** `entry` is the worker's module; `data` reaches it as `workerData`. */
  constructor(options: { entry: URL; count: number; data: unknown }) {
    this.#entry = options.entry;
    this.#data = options.data;
    this.#count = options.count;
  }

  get size(): number {
    return this.#count;
  }

  run<Kind extends keyof Tasks & string>(
    kind: Kind,
    request: Tasks[Kind]['request'],
    options: TaskOptions,
  ): Promise<Tasks[Kind]['response']> {
    if (this.#closed) return Promise.reject(new LogvineError('LV_CLOSED', 'the node is shutting down'));
    if (options.priority === 'read' && this.#queues[1].length >= LIMITS.workerTasksMax) {
      const message = 'too many queries wait for a thread: ask again later';
      return Promise.reject(new LogvineError('LV_OVERLOADED', message));
    }
    return new Promise((resolve, reject) => {
      const { transfer = [], signal } = options;
      this.#queues[options.priority === 'write' ? 0 : 1].push({
        kind,
        request,
        transfer,
        signal,
        resolve: resolve as (value: unknown) => void,
        reject,
      });
      this.#dispatch();
    });
  }

  #spawn(): void {
    const worker = new Worker(this.#entry, {
      workerData: this.#data,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    worker.on('message', (answer: WorkerAnswer) => {
      const task = this.#busy.get(worker);
      this.#busy.delete(worker);
      this.#idle.push(worker);
      if (answer.error) task?.reject(toError(answer.error));
      else task?.resolve(answer.value);
      this.#dispatch();
    });
    worker.on('error', (error) => {
      // A crashed worker takes its one task with it; the pool goes on with a fresh one.
      this.#busy.get(worker)?.reject(error instanceof Error ? error : new Error(String(error)));
      this.#busy.delete(worker);
      const at = this.#idle.indexOf(worker);
      if (at >= 0) this.#idle.splice(at, 1);
      this.#dispatch();
    });
    worker.unref();
    this.#idle.push(worker);
  }

  #dispatch(): void {
    for (;;) {
      const task = this.#queues[0][0] ?? this.#queues[1][0];
      if (!task || this.#closed) return;
      // Started when first needed: a thread costs tens of megabytes.
      if (this.#idle.length === 0 && this.#busy.size < this.#count) this.#spawn();
      if (this.#idle.length === 0) return;
      (this.#queues[0][0] ? this.#queues[0] : this.#queues[1]).shift();
      if (task.signal?.aborted) {
        task.reject(task.signal.reason as Error);
        continue;
      }
      const worker = this.#idle.pop()!;
      this.#busy.set(worker, task);
      worker.postMessage({ kind: task.kind, request: task.request }, task.transfer as Transferable[]);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    const closed = new LogvineError('LV_CLOSED', 'the node is shutting down');
    for (const queue of this.#queues) for (const task of queue.splice(0)) task.reject(closed);
    const workers = [...this.#idle, ...this.#busy.keys()];
    for (const task of this.#busy.values()) task.reject(closed);
    this.#busy.clear();
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

function toError(error: NonNullable<WorkerAnswer['error']>): Error {
  if (error.code?.startsWith('LV_')) return new LogvineError(error.code as 'LV_CLOSED', error.message);
  return new Error(error.message);
}
