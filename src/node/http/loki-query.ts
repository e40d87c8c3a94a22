import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Coordinator } from '../../gossip/index.ts';
import { LIMITS, LogvineError, type Clock, type Instant } from '../../store/index.ts';
import { alignTimes, isLog, parse, type EvalTimes } from '../../store/logql/index.ts';
import { parseDuration } from '../config/index.ts';
import type { Admission } from './admission.ts';
import { LokiStreams, metricAnswer } from './loki.ts';
import { deadlineOf } from './native-routes.ts';
import { Parameters } from './parameters.ts';
import { parseInstant, parseRange } from './time-range.ts';

/** What Loki's paths answer with. */
export interface LokiContext {
  readonly clock: Clock;
  readonly coordinator: Coordinator;
  readonly admission: Admission;
}

/** Answers a path below `/loki/api/v1/`, by GET and by POST. */
export type Route = (
  path: string,
  answer: (request: FastifyRequest, reply: FastifyReply) => Promise<object>,
) => void;

const LIMIT_DEFAULT = 100;
const NS_PER_MS = 1_000_000n;
/** Loki's default step makes about this many points. */
const POINTS_DEFAULT = 250;

/** `query_range`: entries of a log query, or a matrix. */
export async function answerRange(
  context: LokiContext,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<object> {
  const { clock, coordinator, admission } = context;
  const parameters = new Parameters(request);
  const query = parameters.query();
  const range = parseRange(parameters.range(), clock.nowMs());
  if (!isLog(parse(query))) {
    const times = alignTimes(rangeTimes(range.from, range.to, parameters.get('step')));
    return answerMetric(context, reply, query, times);
  }
  // Loki minds the step of a log query, too.
  rangeTimes(range.from, range.to, parameters.get('step'));
  const streams = streamsOf(request, parameters);
  const signal = deadlineOf(reply, clock);
  return admission.run(signal, async () => {
    const { descending, limit, intervalNs } = streams.options;
    // With an interval it is not known how many have to be read.
    const wanted = intervalNs > 0n ? Number.MAX_SAFE_INTEGER : limit;
    const isEnough = (): boolean => streams.entries >= limit;
    const runs = coordinator.entries({ query, range, descending, limit: wanted, isEnough, signal });
    for (;;) {
      const step = await runs.next();
      if (step.done) return streams.answer(step.value);
      streams.add(step.value);
    }
  });
}

function answerMetric(
  { clock, coordinator, admission }: LokiContext,
  reply: FastifyReply,
  query: string,
  times: EvalTimes,
): Promise<object> {
  const signal = deadlineOf(reply, clock);
  return admission.run(signal, async () => {
    const { result, receipt } = await coordinator.metric({ query, times, signal });
    return metricAnswer(result, receipt);
  });
}

function streamsOf(request: FastifyRequest, parameters: Parameters): LokiStreams {
  const interval = parameters.get('interval');
  const limit = parameters.limit(LIMIT_DEFAULT, LIMITS.queryLimitMax);
  if (limit === 0) throw new LogvineError('LV_QUERY_INVALID', 'limit must be a positive value');
  return new LokiStreams({
    categorize: wantsCategories(request.headers),
    descending: parameters.descending(),
    intervalNs: interval ? parseStep(interval, 'interval') : 0n,
    limit,
  });
}

export function wantsCategories(headers: FastifyRequest['headers']): boolean {
  return String(headers['x-loki-response-encoding-flags'] ?? '').includes('categorize-labels');
}

/** `query`: a vector or a scalar. */
export async function answerInstant(
  context: LokiContext,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<object> {
  const parameters = new Parameters(request);
  const query = parameters.query();
  const time = parameters.get('time');
  const at = nsOf(time ? parseInstant(time, 'time') : { ms: context.clock.nowMs(), sub: 0 });
  if (isLog(parse(query))) {
    throw new LogvineError(
      'LV_QUERY_INVALID',
      'log queries are not supported as an instant query type, please change your query to a range query type',
    );
  }
  return answerMetric(context, reply, query, { startNs: at, endNs: at, stepNs: 0n });
}

/** A metric query, at one `time` or over a range. Throws LV_QUERY_INVALID. */
export function metricAsked(
  { clock }: LokiContext,
  request: FastifyRequest,
  reply: FastifyReply,
): { query: string; times: EvalTimes; signal: AbortSignal } {
  const parameters = new Parameters(request);
  const query = parameters.query();
  const time = parameters.get('time');
  const signal = deadlineOf(reply, clock);
  if (time) {
    const at = nsOf(parseInstant(time, 'time'));
    return { query, times: { startNs: at, endNs: at, stepNs: 0n }, signal };
  }
  const range = parseRange(parameters.range(), clock.nowMs());
  return { query, times: alignTimes(rangeTimes(range.from, range.to, parameters.get('step'))), signal };
}

/** The steps from `from` to `to`, without a `step` in about 250. Throws LV_QUERY_INVALID. */
export function rangeTimes(from: Instant, to: Instant, step: string | undefined): EvalTimes {
  const [startNs, endNs] = [nsOf(from), nsOf(to)];
  const seconds = Math.floor(Number((endNs - startNs) / NS_PER_MS) / 1000 / POINTS_DEFAULT);
  const stepNs = step ? parseStep(step, 'step') : BigInt(Math.max(1, seconds)) * 1_000n * NS_PER_MS;
  return { startNs, endNs, stepNs };
}

/** Seconds with a fraction, or a duration such as 30s. Throws LV_QUERY_INVALID. */
export function parseStep(text: string, name: string): bigint {
  const isSeconds = /^-?(?:\d+\.?\d*|\.\d+)$/.test(text);
  const ms = isSeconds ? Number(text) * 1000 : parseDuration(text);
  if (ms === undefined || !Number.isFinite(ms)) {
    throw new LogvineError(
      'LV_QUERY_INVALID',
      `${name} ${text} is neither seconds nor a duration such as 30s`,
    );
  }
  if (ms <= 0) {
    throw new LogvineError(
      'LV_QUERY_INVALID',
      'zero or negative query resolution step widths are not accepted. Try a positive integer',
    );
  }
  return BigInt(Math.round(ms * 1e6));
}

export function nsOf({ ms, sub }: Instant): bigint {
  return BigInt(Math.floor(ms)) * NS_PER_MS + BigInt(sub);
}
