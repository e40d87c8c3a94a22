import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import type { SealedRange, Verdict, VerifyProgress } from '../../gossip/index.ts';
import { messageOf, type Clock } from '../../store/index.ts';
import { endWhenGone, signalOf } from './native-routes.ts';
import { Parameters } from './parameters.ts';
import type { ServerOptions } from './server.ts';
import { parseRange } from './time-range.ts';

/**
 * `GET /api/v1/verify`: JSON lines, `{"progress":…}` twice a second and `{"verdict":…}` as the last one, or `{"error":…}`.
 * `start` and `end`, or `since`, as in queries; they are about when batches were sealed, and without them all are verified.
 */
export function addVerifyRoute(app: FastifyInstance, { verifier, clock }: ServerOptions): void {
  app.get('/api/v1/verify', async (request, reply) => {
    const range = rangeOf(new Parameters(request), clock);
    const gone = signalOf(reply);
    const steps = verifier.run(range, gone);
    // What is wrong at once becomes a status and not a broken body.
    const first = await steps.next();
    endWhenGone(gone, steps);
    return reply.type('application/x-ndjson').send(Readable.from(linesOf(first, steps)));
  });
}

function rangeOf(parameters: Parameters, clock: Clock): SealedRange {
  const given = parameters.range();
  if (given.start === undefined && given.end === undefined && given.since === undefined) {
    return { fromMs: -Infinity, toMs: Infinity };
  }
  const { from, to } = parseRange(given, clock.nowMs());
  return { fromMs: from.ms, toMs: to.ms };
}

async function* linesOf(
  first: IteratorResult<VerifyProgress, Verdict>,
  steps: AsyncGenerator<VerifyProgress, Verdict>,
): AsyncGenerator<string> {
  try {
    let step = first;
    for (; !step.done; step = await steps.next()) yield `${JSON.stringify({ progress: step.value })}\n`;
    yield `${JSON.stringify({ verdict: step.value })}\n`;
  } catch (error) {
    const { code } = error as { code?: string };
    yield `${JSON.stringify({ error: { code, message: messageOf(error) } })}\n`;
  } finally {
    await steps.return(undefined as never);
  }
}
