import type { Clock } from '../../store/host/index.ts';

/** Runs `work`; rejects with `late()` when it has not settled after `timeoutMs`. The work itself is not stopped. */
export async function withDeadline<Result>(
  clock: Clock,
  timeoutMs: number,
  late: () => Error,
  work: () => Promise<Result>,
): Promise<Result> {
  const overdue = Promise.withResolvers<never>();
  const timer = clock.after(timeoutMs, () => overdue.reject(late()));
  try {
    return await Promise.race([work(), overdue.promise]);
  } finally {
    timer.cancel();
  }
}
