import { parentPort } from 'node:worker_threads';
import { messageOf } from '../errors.ts';
import type { WorkerAnswer } from './pool.ts';

/** What a handler gives back: the value, and the buffers in it that move to the main thread instead of being copied. */
export interface Handled<Value> {
  readonly value: Value;
  readonly transfer?: readonly ArrayBuffer[];
}

/** Runs in a worker: says that it is ready, and answers each task with its handler. */
export function serveTasks(handlers: Record<string, (request: never) => Handled<unknown>>): void {
  parentPort!.on('message', ({ kind, request }: { kind: string; request: never }) => {
    let answer: WorkerAnswer;
    let transfer: readonly ArrayBuffer[] = [];
    try {
      const handled = handlers[kind](request);
      answer = { value: handled.value };
      transfer = handled.transfer ?? [];
    } catch (error) {
      answer = { error: { code: (error as { code?: string }).code, message: messageOf(error) } };
    }
    try {
      parentPort!.postMessage(answer, transfer as ArrayBuffer[]);
    } catch (error) {
      const message = `an answer to ${kind} cannot be handed over: ${String(error)}`;
      parentPort!.postMessage({ error: { code: undefined, message } } satisfies WorkerAnswer);
    }
  });
  parentPort!.postMessage({ ready: true } satisfies WorkerAnswer);
}
