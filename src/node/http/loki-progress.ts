import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { messageOf } from '../../store/index.ts';
import { metricAnswer } from './loki.ts';
import { metricAsked, type LokiContext } from './loki-query.ts';

/** Often enough for a bar that moves. */
const PROGRESS_EVERY_MS = 200;

/**
 * `GET /api/v1/metric`: a metric query for the command, as lines of JSON: `{progress: {done, of}}` in batches while it runs,
 * then `{answer}` as `query` or `query_range` gives it, or `{error: {code, message}}`. With `time` it is evaluated once, else
 * over `start` to `end`.
 */
export function addProgressRoute(app: FastifyInstance, context: LokiContext): void {
  app.get('/api/v1/metric', async (request: FastifyRequest, reply: FastifyReply) => {
    const lines = answerInLines(context, request, reply);
    return reply.type('application/x-ndjson').send(Readable.from(lines));
  });
}

async function* answerInLines(
  context: LokiContext,
  request: FastifyRequest,
  reply: FastifyReply,
): AsyncGenerator<string> {
  const { clock, coordinator, admission } = context;
  let progress = { done: 0, of: 0 };
  let isOver = false;
  const ask = async (): Promise<object> => {
    const { query, times, signal } = metricAsked(context, request, reply);
    const onProgress = (done: number, of: number): void => {
      progress = { done, of };
    };
    return admission.run(signal, async () => {
      const { result, receipt } = await coordinator.metric({ query, times, signal, onProgress });
      return { answer: metricAnswer(result, receipt) };
    });
  };
  const last = ask()
    .catch((error: unknown) => ({
      error: { code: (error as { code?: string }).code, message: messageOf(error) },
    }))
    .finally(() => {
      isOver = true;
    });
  for (;;) {
    await Promise.race([last, new Promise<void>((resolve) => clock.after(PROGRESS_EVERY_MS, resolve))]);
    if (isOver) break;
    yield `${JSON.stringify({ progress })}\n`;
  }
  yield `${JSON.stringify(await last)}\n`;
}
