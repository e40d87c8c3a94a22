import type { FastifyInstance } from 'fastify';
import { LIMITS } from '../../store/index.ts';
import { parse, pretty, STEPS_MAX } from '../../store/logql/index.ts';
import { VERSION } from '../version.ts';
import { Admission } from './admission.ts';
import { addFieldRoutes } from './loki-fields.ts';
import { addLabelRoutes, addVolumeRoutes } from './loki-labels.ts';
import { addProgressRoute } from './loki-progress.ts';
import { answerInstant, answerRange, type LokiContext, type Route } from './loki-query.ts';
import { addLokiTail } from './loki-tail.ts';
import { Parameters } from './parameters.ts';
import type { ServerOptions } from './server.ts';

/** Loki's paths, for Grafana and logcli; each by GET and by POST with a form. */
export function addLokiRoutes(app: FastifyInstance, options: ServerOptions): void {
  const { clock, coordinator } = options;
  const context: LokiContext = { clock, coordinator, admission: new Admission() };
  const route: Route = (path, answer) => {
    app.route({ method: ['GET', 'POST'], url: `/loki/api/v1/${path}`, handler: answer });
  };
  route('query_range', (request, reply) => answerRange(context, request, reply));
  route('query', (request, reply) => answerInstant(context, request, reply));
  addLabelRoutes(route, context);
  addVolumeRoutes(route, context);
  addFieldRoutes(route, context);
  addLokiTail(app, options);
  addProgressRoute(app, context);

  route('format_query', async (request) => ({
    status: 'success',
    data: pretty(parse(new Parameters(request).query())),
  }));

  app.get('/loki/api/v1/status/buildinfo', async () => ({
    version: VERSION,
    revision: '',
    branch: '',
    buildUser: '',
    buildDate: '',
    goVersion: '',
  }));

  app.get('/loki/api/v1/drilldown-limits', async () => ({
    version: VERSION,
    pattern_ingester_enabled: true,
    limits: {
      discover_log_levels: options.config.discoverLogLevels,
      discover_service_name: [],
      log_level_fields: [],
      max_entries_limit_per_query: LIMITS.queryLimitMax,
      max_line_size: LIMITS.lineBytesMax,
      max_query_length: 0,
      max_query_lookback: 0,
      max_query_range: 0,
      max_query_series: LIMITS.querySeriesMax,
      max_points: STEPS_MAX,
      query_timeout: `${LIMITS.queryTimeoutMs / 1000}s`,
      retention_period: '0s',
      volume_enabled: true,
      volume_max_series: LIMITS.queryPartialSeriesMax,
    },
  }));
}
