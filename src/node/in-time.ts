import type { Clock } from '../store/index.ts';

/** What `result` brings; undefined when it takes longer than `ms`. It goes on, and may be asked again. */
export async function inTime<Result>(
  result: Promise<Result>,
  ms: number,
  clock: Clock,
): Promise<Result | undefined> {
  const late = Promise.withResolvers<undefined>();
  const timer = clock.after(ms, () => late.resolve(undefined));
  try {
    return await Promise.race([result, late.promise]);
  } finally {
    timer.cancel();
  }
}
