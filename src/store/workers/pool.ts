import { Worker, type Transferable } from 'node:worker_threads';
import { LogvineError } from '../errors.ts';
import type { Clock, Timer } from '../host/index.ts';
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
  readonly priority: TaskOptions['priority'];
  readonly request: object;
  readonly transfer: readonly Transferable[];
  readonly signal: AbortSignal | undefined;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** What a worker says: first that it is ready, then one answer for each task. */
export interface WorkerAnswer {
  readonly ready?: true;
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
   * who writes it); with the signal's reason when that fires before it began, or for a 'read' some time before it ended.
   */
  run<Kind extends keyof Tasks & string>(
    kind: Kind,
    request: Tasks[Kind]['request'],
    options: TaskOptions,
  ): Promise<Tasks[Kind]['response']>;
}

/**
 * How long a 'read' that nobody waits for any more may go on: most end sooner, and a new worker costs more than their rest. Queries
 * can make a single task last for hours.
 */
const ABORTED_MS = 1_000;
/** Workers handle large buffers, which are outside of it; the default would grow to tens of megabytes a thread. */
const YOUNG_GENERATION_MB = 8;
/** How often it is looked at which workers are still needed, while there are any that might not be. */
const LOOK_MS = 30_000;
/** A worker that was busy for less of it between two looks can be missed for the moment that a new one takes to start. */
const CALM_BUSY_MS = LOOK_MS / 20;
/** A fresh worker has some 10 MiB; what heavy work leaves behind is not collected while there is nothing to do. */
const HEAP_BYTES_MAX = 48 * 1024 * 1024;

/** A worker thread; takes tasks once it is ready. */
interface Thread {
  readonly worker: Worker;
  isReady: boolean;
  task: Task | undefined;
  /** Stops waiting for the task's signal. */
  unwatch: () => void;
  /** When it began what it does, or the last look, if that was later. */
  sinceMs: number;
  /** How long it was busy since the last look, without what it does now. */
  busyMs: number;
  /** Whether it had a task since the last look. */
  wasUsed: boolean;
}

/**
 * Starts workers as they are needed, up to `count`. One that had nothing to do for half a minute is ended, down to the last; one
 * that had little to do and keeps much memory is ended too, and the last is replaced, so that there is one ready
 * for what comes. A worker with a task is ended only when nobody waits for that any more.
 */
export class WorkerPool<Tasks extends TaskMap> implements TaskRunner<Tasks> {
  readonly #entry: URL;
  readonly #data: unknown;
  readonly #clock: Clock;
  readonly #threads = new Set<Thread>();
  /** Ready and without a task; the last one is taken first, so that the others show that they are not needed. */
  readonly #idle: Thread[] = [];
  readonly #queues: [Task[], Task[]] = [[], []];
  readonly #count: number;
  #look: Timer | undefined;
  #closed = false;

  /** `entry` is the worker's module; `data` reaches it as `workerData`. */
  constructor(options: { entry: URL; count: number; data: unknown; clock: Clock }) {
    this.#entry = options.entry;
    this.#data = options.data;
    this.#count = options.count;
    this.#clock = options.clock;
  }

  get size(): number {
    return this.#count;
  }

  /** Workers that run or are starting. */
  get threadCount(): number {
    return this.#threads.size;
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
      const { priority, transfer = [], signal } = options;
      this.#queues[priority === 'write' ? 0 : 1].push({
        kind,
        priority,
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
    const thread: Thread = {
      worker,
      isReady: false,
      task: undefined,
      unwatch: () => undefined,
      sinceMs: 0,
      busyMs: 0,
      wasUsed: false,
    };
    this.#threads.add(thread);
    worker.on('message', (answer: WorkerAnswer) => this.#onAnswer(thread, answer));
    worker.on('error', (error) =>
      this.#onGone(thread, error instanceof Error ? error : new Error(String(error))),
    );
    worker.on('exit', (code) => this.#onGone(thread, new Error(`a worker ended with ${code}`)));
    worker.unref();
  }

  #onAnswer(thread: Thread, answer: WorkerAnswer): void {
    // What a thread still said while it was ended.
    if (!this.#threads.has(thread)) return;
    const { task } = thread;
    if (answer.ready) thread.isReady = true;
    else thread.busyMs += this.#clock.monotonicMs() - thread.sinceMs;
    thread.task = undefined;
    thread.unwatch();
    this.#idle.push(thread);
    if (answer.error) task?.reject(toError(answer.error));
    else task?.resolve(answer.value);
    this.#lookLater();
    this.#dispatch();
  }

  /** A crashed worker takes its one task with it; the pool goes on with a fresh one. */
  #onGone(thread: Thread, error: Error): void {
    if (!this.#remove(thread)) return;
    // One that cannot even start would leave what waits for it waiting.
    const task = thread.isReady ? thread.task : this.#next();
    task?.reject(error);
    this.#dispatch();
  }

  /** A worker that goes on with a 'read' for long after its signal is ended in the middle of it. */
  #watch(thread: Thread, { priority, signal }: Task): void {
    if (priority !== 'read' || !signal) return;
    let timer: Timer | undefined;
    const aborted = (): void => {
      timer = this.#clock.after(ABORTED_MS, () => {
        void thread.worker.terminate();
        this.#onGone(thread, signal.reason as Error);
      });
    };
    signal.addEventListener('abort', aborted, { once: true });
    thread.unwatch = () => {
      signal.removeEventListener('abort', aborted);
      timer?.cancel();
      thread.unwatch = () => undefined;
    };
  }

  /** False when it was removed before. */
  #remove(thread: Thread): boolean {
    thread.unwatch();
    const at = this.#idle.indexOf(thread);
    if (at >= 0) this.#idle.splice(at, 1);
    return this.#threads.delete(thread);
  }

  /** Takes the next task out of its queue. */
  #next(): Task | undefined {
    return this.#queues[0].shift() ?? this.#queues[1].shift();
  }

  #dispatch(): void {
    while (!this.#closed && this.#idle.length > 0) {
      const task = this.#next();
      if (!task) return;
      if (task.signal?.aborted) {
        task.reject(task.signal.reason as Error);
        continue;
      }
      const thread = this.#idle.pop()!;
      thread.task = task;
      thread.wasUsed = true;
      thread.sinceMs = this.#clock.monotonicMs();
      this.#watch(thread, task);
      thread.worker.postMessage({ kind: task.kind, request: task.request }, task.transfer as Transferable[]);
    }
    if (this.#closed) return;
    // Started when first needed: a thread costs tens of megabytes. Who is free earlier takes the task.
    let starting = 0;
    for (const { isReady } of this.#threads) if (!isReady) starting++;
    const waiting = this.#queues[0].length + this.#queues[1].length;
    for (; starting < waiting && this.#threads.size < this.#count; starting++) this.#spawn();
  }

  #lookLater(): void {
    this.#look ??= this.#clock.after(LOOK_MS, () => {
      this.#look = undefined;
      this.#endSpare();
    });
  }

  #endSpare(): void {
    const nowMs = this.#clock.monotonicMs();
    let isOver = true;
    for (const thread of this.#threads) {
      if (thread.task) thread.busyMs += nowMs - thread.sinceMs;
      thread.sinceMs = nowMs;
      const { busyMs, wasUsed } = thread;
      thread.busyMs = 0;
      thread.wasUsed = thread.task !== undefined;
      if (wasUsed) isOver = false;
      if (!this.#idle.includes(thread)) continue;
      if (!wasUsed && this.#threads.size > 1) this.#end(thread);
      else if (busyMs < CALM_BUSY_MS) void this.#endIfLarge(thread);
    }
    if (!isOver) this.#lookLater();
  }

  async #endIfLarge(thread: Thread): Promise<void> {
    // It may end meanwhile.
    const heap = await thread.worker.getHeapStatistics().catch(() => undefined);
    if (!heap || heap.total_heap_size + heap.external_memory <= HEAP_BYTES_MAX) return;
    // It may have got a task meanwhile.
    if (this.#closed || !this.#idle.includes(thread)) return;
    this.#end(thread);
    if (this.#threads.size === 0) this.#spawn();
  }

  #end(thread: Thread): void {
    this.#remove(thread);
    void thread.worker.terminate();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#look?.cancel();
    const closed = new LogvineError('LV_CLOSED', 'the node is shutting down');
    for (const queue of this.#queues) for (const task of queue.splice(0)) task.reject(closed);
    const threads = [...this.#threads];
    this.#threads.clear();
    this.#idle.length = 0;
    for (const { task, unwatch } of threads) {
      unwatch();
      task?.reject(closed);
    }
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
  }
}

function toError(error: NonNullable<WorkerAnswer['error']>): Error {
  if (error.code?.startsWith('LV_')) return new LogvineError(error.code as 'LV_CLOSED', error.message);
  return new Error(error.message);
}
