import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { LIMITS, type Labels, type TimeRange } from '../../store/index.ts';
import { compileMatchers, parseMatchers } from '../../store/logql/index.ts';
import { VERSION } from '../report.ts';
import { LokiStreams } from './loki.ts';
import { deadlineOf } from './native-routes.ts';
import { Parameters } from './parameters.ts';
import type { ServerOptions } from './server.ts';
import { parseInstant, parseRange } from './time-range.ts';

const LIMIT_DEFAULT = 100;

/** Loki's paths, for Grafana and logcli. */
export function addLokiRoutes(app: FastifyInstance, { clock, coordinator }: ServerOptions): void {
  const route = (
    path: string,
    answer: (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>,
  ): void => {
    app.route({ method: ['GET', 'POST'], url: `/loki/api/v1/${path}`, handler: answer });
  };

  async function entries(
    request: FastifyRequest,
    reply: FastifyReply,
    parameters: Parameters,
    range: TimeRange,
  ): Promise<object> {
    const flags = String(request.headers['x-loki-response-encoding-flags'] ?? '');
    const streams = new LokiStreams(flags.includes('categorize-labels'));
    const runs = coordinator.entries({
      query: parameters.query(),
      range,
      descending: parameters.descending(),
      limit: Math.max(1, parameters.limit(LIMIT_DEFAULT, LIMITS.queryLimitMax)),
      signal: deadlineOf(reply, clock),
    });
    for (;;) {
      const step = await runs.next();
      if (step.done) return streams.answer(step.value);
      streams.add(step.value);
    }
  }

  route('query_range', (request, reply) => {
    const parameters = new Parameters(request);
    return entries(request, reply, parameters, parseRange(parameters.range(), clock.nowMs()));
  });

  route('query', (request, reply) => {
    const parameters = new Parameters(request);
    const time = parameters.get('time');
    const to = time ? parseInstant(time, 'time') : { ms: clock.nowMs(), sub: 0 };
    return entries(request, reply, parameters, { from: { ms: to.ms - 3_600_000, sub: to.sub }, to });
  });

  /** Streams with entries in the range that one of the selectors matches. */
  async function seriesOf(parameters: Parameters, selectors: readonly string[]): Promise<Labels[]> {
    const matching = selectors.map((selector) => compileMatchers(parseMatchers(selector, true)));
    const range = parseRange(parameters.range(), clock.nowMs());
    const series = await coordinator.series(range);
    return matching.length === 0
      ? series
      : series.filter((labels) => matching.some((matches) => matches(labels)));
  }

  function selectorsOf(parameters: Parameters): string[] {
    const query = parameters.get('query');
    return query ? [query] : [];
  }

  async function labels(request: FastifyRequest): Promise<object> {
    const parameters = new Parameters(request);
    const series = await seriesOf(parameters, selectorsOf(parameters));
    return { status: 'success', data: [...new Set(series.flatMap((labels) => Object.keys(labels)))].sort() };
  }
  route('labels', labels);
  route('label', labels);

  route('label/:name/values', async (request) => {
    const { name } = request.params as { name: string };
    const parameters = new Parameters(request);
    const series = await seriesOf(parameters, selectorsOf(parameters));
    const values = new Set(series.flatMap((labels) => (Object.hasOwn(labels, name) ? [labels[name]] : [])));
    return { status: 'success', data: [...values].sort() };
  });

  route('series', async (request) => {
    const parameters = new Parameters(request);
    const selectors = [...parameters.all('match'), ...parameters.all('match[]')];
    return { status: 'success', data: await seriesOf(parameters, selectors) };
  });

  app.get('/loki/api/v1/status/buildinfo', async () => ({
    version: VERSION,
    revision: '',
    branch: '',
    buildUser: '',
    buildDate: '',
    goVersion: '',
  }));
}
