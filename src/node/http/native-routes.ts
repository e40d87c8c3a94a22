import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply } from 'fastify';
import type { Receipt } from '../../gossip/index.ts';
import { LIMITS, LogvineError, messageOf, type Clock, type EntryRun } from '../../store/index.ts';
import { Admission } from './admission.ts';
import { ENTRIES_CONTENT_TYPE, entriesStream } from './native.ts';
import { metricsText } from './metrics.ts';
import { Parameters } from './parameters.ts';
import { RANGE_ALWAYS } from '../follow.ts';
import { MissedCounter } from '../missed.ts';
import type { ServerOptions } from './server.ts';
import { parseRange } from './time-range.ts';

const LEAVE_CHECK_MS = 500;
const HEADERS_AFTER_MS = 100;
/** A tail that begins so shortly ago has no past. */
const FROM_NOW_MS = 500;

/** Logvine's own paths: what the command and the page use. */
export function addNativeRoutes(app: FastifyInstance, options: ServerOptions): void {
  const { clock, coordinator, follow, reporter } = options;
  // Of its own: an answer that is not bounded holds its place as long as its reader takes.
  const admission = new Admission();
  let tails = 0;

  app.get('/ready', async (_request, reply) => reply.type('text/plain').send('ready\n'));
  app.get('/api/v1/status', async () => reporter.status());
  app.get('/metrics', async (_request, reply) =>
    reply.type('text/plain; version=0.0.4; charset=utf-8').send(metricsText(reporter.status())),
  );

  app.get('/api/v1/query', async (request, reply) => {
    const parameters = new Parameters(request);
    const limit = parameters.limit(0, Number.MAX_SAFE_INTEGER);
    const gone = signalOf(reply);
    // All there is takes as long as its reader takes.
    const signal = limit === 0 ? gone : deadlineOf(reply, clock);
    const runs = coordinator.entries({
      query: parameters.query(),
      range: parseRange(parameters.range(), clock.nowMs()),
      descending: parameters.descending(),
      limit: limit === 0 ? Number.MAX_SAFE_INTEGER : limit,
      signal,
    });
    const answer = await started(admission.stream(signal, runs), gone, clock);
    return reply.type(ENTRIES_CONTENT_TYPE).send(entriesStream(answer, clock));
  });

  app.get('/api/v1/tail', async (request, reply) => {
    if (tails >= LIMITS.tailsAtOnceMax)
      throw new LogvineError('LV_OVERLOADED', `${tails} tails run at this peer already, and no more may`);
    const parameters = new Parameters(request);
    const signal = signalOf(reply);
    tails++;
    signal.addEventListener('abort', () => tails--, { once: true });
    const followed = Promise.withResolvers<void>();
    const missed = new MissedCounter();
    const onMissed = missed.merge.bind(missed);
    const live = follow.everywhere(parameters.query(), signal, onMissed, followed.resolve);
    const runs = withHistory(live, followed.promise, parameters, signal);
    const answer = await started(runs, signal, clock);
    return reply.type(ENTRIES_CONTENT_TYPE).send(entriesStream(answer, clock, () => missed.take()));
  });

  /** What was written since `start`, then what is being written. What was read where they meet may come twice. */
  async function* withHistory(
    live: AsyncGenerator<EntryRun, undefined>,
    followed: Promise<void>,
    parameters: Parameters,
    signal: AbortSignal,
  ): AsyncGenerator<EntryRun, Receipt | undefined> {
    const askedMs = clock.nowMs();
    const { start } = parameters.range();
    // Followed from now on: what is written while the past is searched comes after it.
    const first = live.next();
    if (start !== undefined) {
      await whenFollowed(followed, first);
      const nowMs = clock.nowMs();
      const range = { ...parseRange({ start }, nowMs), to: RANGE_ALWAYS.to };
      if (range.from.ms < askedMs - FROM_NOW_MS) {
        const query = parameters.query();
        yield* coordinator.entries({
          query,
          range,
          descending: false,
          limit: Number.MAX_SAFE_INTEGER,
          signal,
        });
      }
    }
    return yield* resume(first, live);
  }

  app.post('/api/v1/accept-loss', async (request) => {
    const parameters = new Parameters(request);
    return options.losses.losses(parameters.get('accept') === 'true', parameters.all('never-back'));
  });

  app.post('/api/v1/leave', async (_request, reply) => {
    let hasLeft = false;
    const left = options.leave().then(() => (hasLeft = true));
    // It fails also when nobody watches any more.
    left.catch((error: unknown) => options.log('error', `leaving: ${messageOf(error)}`));
    async function* progress(): AsyncGenerator<string> {
      while (!hasLeft) {
        const told = options.leaveProgress();
        if (told) yield `${JSON.stringify(told)}\n`;
        await Promise.race([left, new Promise<void>((resolve) => clock.after(LEAVE_CHECK_MS, resolve))]);
      }
      yield `${JSON.stringify({ left: true })}\n`;
    }
    return reply.type('application/x-ndjson').send(Readable.from(progress()));
  });
}

/** Resolves when nothing is missed between the past, asked for from here on, and what is followed. Rejects as `first` does. */
export async function whenFollowed(
  followed: Promise<void>,
  first: Promise<IteratorResult<EntryRun>>,
): Promise<void> {
  await Promise.race([followed, first.then(({ done }) => (done ? undefined : followed))]);
}

/** Fires when the client has gone. */
export function signalOf(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  // The response's end, not the connection's: that one may carry many requests.
  reply.raw.once('close', () => controller.abort(new LogvineError('LV_CLOSED', 'the client has gone')));
  return controller.signal;
}

/** Fires also with LV_QUERY_TIMEOUT, once the query has taken longer than any may. */
export function deadlineOf(reply: FastifyReply, clock: Clock): AbortSignal {
  const controller = new AbortController();
  const timer = clock.after(LIMITS.queryTimeoutMs, () => {
    const message = `the query took longer than ${LIMITS.queryTimeoutMs / 1000} s: ask for less, or a shorter range`;
    controller.abort(new LogvineError('LV_QUERY_TIMEOUT', message));
  });
  reply.raw.once('close', () => timer.cancel());
  return AbortSignal.any([signalOf(reply), controller.signal]);
}

/**
 * Ends `items` once its reader has gone. Who passes them on does that as well, but not before it was asked for something
 * itself: a generator that has not begun ends without a look at what it would have read.
 */
export function endWhenGone(gone: AbortSignal, items: AsyncGenerator<unknown, unknown>): void {
  const end = (): void => void items.return(undefined).catch(() => undefined);
  if (gone.aborted) end();
  else gone.addEventListener('abort', end, { once: true });
}

/** Runs a query up to its first result, so that what is wrong with it becomes a status and not a broken body. */
async function started(
  runs: AsyncGenerator<EntryRun, Receipt | undefined>,
  gone: AbortSignal,
  clock: Clock,
): Promise<AsyncGenerator<EntryRun, Receipt | undefined>> {
  const first = runs.next();
  endWhenGone(gone, runs);
  // An error comes at once; a query that finds nothing for a while must not hold its headers back.
  await Promise.race([first, new Promise<void>((resolve) => clock.after(HEADERS_AFTER_MS, resolve))]);
  return resume(first, runs);
}

async function* resume(
  first: Promise<IteratorResult<EntryRun, Receipt | undefined>>,
  runs: AsyncGenerator<EntryRun, Receipt | undefined>,
): AsyncGenerator<EntryRun, Receipt | undefined> {
  try {
    const step = await first;
    if (step.done) return step.value;
    yield step.value;
    return yield* runs;
  } finally {
    await runs.return(undefined);
  }
}
