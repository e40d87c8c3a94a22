import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Receipt } from '../../gossip/index.ts';
import { LIMITS, LogvineError, type TimeRange } from '../../store/index.ts';
import {
  isLog,
  parse,
  parseMatchers,
  printMatchers,
  rangesOf,
  type EvalTimes,
  type Matcher,
  type MetricResult,
} from '../../store/logql/index.ts';
import { metricAnswer, warningsOf } from './loki.ts';
import { nsOf, rangeTimes, type LokiContext, type Route } from './loki-query.ts';
import { deadlineOf } from './native-routes.ts';
import { Parameters } from './parameters.ts';
import { parseRange } from './time-range.ts';

/** A question about what there is: its parameters, its range, and the signal that ends it. */
export interface Inquiry {
  readonly parameters: Parameters;
  readonly range: TimeRange;
  readonly signal: AbortSignal;
}

export function inquiryOf({ clock }: LokiContext, request: FastifyRequest, reply: FastifyReply): Inquiry {
  const parameters = new Parameters(request);
  const range = parseRange(parameters.range(), clock.nowMs());
  return { parameters, range, signal: deadlineOf(reply, clock) };
}

/** Answers other than a query's carry the receipt beside their data. */
export function withReceipt(body: object, receipt: Receipt): object {
  return { ...body, ...warningsOf(receipt), logvine: receipt };
}

/** Of an answer made of several, the receipt that is incomplete, if one is. */
function weakest(first: Receipt, ...others: readonly Receipt[]): Receipt {
  return [first, ...others].find(({ complete }) => !complete) ?? first;
}

/** Label names, label values and series. */
export function addLabelRoutes(route: Route, context: LokiContext): void {
  const { coordinator, admission } = context;

  function seriesOf({ range, signal }: Inquiry, selectors: readonly string[]) {
    return admission.run(signal, () => coordinator.series({ selectors, range, signal }));
  }

  function labelsOf({ range, signal, parameters }: Inquiry, valuesOf?: readonly string[]) {
    const selectors = selectorsOf(parameters);
    return admission.run(signal, () => coordinator.labels({ selectors, range, signal, valuesOf }));
  }

  async function labels(request: FastifyRequest, reply: FastifyReply): Promise<object> {
    const { labels: found, receipt } = await labelsOf(inquiryOf(context, request, reply), []);
    const data = [...found.all.keys()].sort();
    return withReceipt({ status: 'success', data }, receipt);
  }
  route('labels', labels);
  route('label', labels);

  route('label/:name/values', async (request, reply) => {
    const { name } = request.params as { name: string };
    const { labels: found, receipt } = await labelsOf(inquiryOf(context, request, reply), [name]);
    const data = [...(found.all.get(name) ?? [])].sort();
    return withReceipt({ status: 'success', data }, receipt);
  });

  route('series', async (request, reply) => {
    const inquiry = inquiryOf(context, request, reply);
    const { parameters } = inquiry;
    const selectors = [...parameters.all('match'), ...parameters.all('match[]')];
    const { series, receipt } = await seriesOf(inquiry, selectors.map(selectorOf));
    return withReceipt({ status: 'success', data: series }, receipt);
  });

  route('detected_labels', async (request, reply) => {
    const { labels: found, receipt } = await labelsOf(inquiryOf(context, request, reply));
    return withReceipt({ detectedLabels: detectedLabels(found.all) }, receipt);
  });

  route('index/stats', async (request, reply) => {
    const inquiry = inquiryOf(context, request, reply);
    const { range, signal } = inquiry;
    const selector = selectorOf(inquiry.parameters.query());
    const found = await seriesOf(inquiry, [selector]);
    const { result, receipt } = await admission.run(signal, () =>
      coordinator.metric({ ...bytesAndEntries(selector, range), signal }),
    );
    const total = (of: string): number =>
      (result.kind === 'vector' && result.series.find(({ labels: { what } }) => what === of)?.points[0][1]) ||
      0;
    const [bytes, entries] = ['bytes', 'entries'].map(total);
    const body = { streams: found.series.length, chunks: found.receipt.read, bytes, entries };
    return withReceipt(body, weakest(receipt, found.receipt));
  });
}

function selectorsOf(parameters: Parameters): string[] {
  const query = parameters.query();
  return query === '' ? [] : [selectorOf(query)];
}

/** The selector of what may be a whole query: what follows it doesn't matter to what there is. */
export function selectorOf(text: string): string {
  return printMatchers(matchersOf(text));
}

function matchersOf(text: string): Matcher[] {
  if (/^\s*\{[^}]*\}\s*$/.test(text)) return parseMatchers(text, true);
  const expr = parse(text);
  const logs = isLog(expr) ? [expr] : rangesOf(expr).map(({ log }) => log);
  if (logs.length === 0) throw new LogvineError('LV_QUERY_INVALID', 'only label matchers are supported');
  return [...logs[0].matchers];
}

/** Always of interest, whatever their values look like. */
const STATIC_LABELS = ['cluster', 'namespace', 'instance', 'pod', 'service_name', 'host'];
const IS_ID = /^(?:\d+(?:\.\d+)?|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})$/i;

/** Labels and how many values each has; without those that only number things, as Loki leaves them out. */
function detectedLabels(
  values: ReadonlyMap<string, ReadonlySet<string>>,
): { label: string; cardinality: number }[] {
  return [...values]
    .filter(
      ([label, found]) => STATIC_LABELS.includes(label) || ![...found].every((value) => IS_ID.test(value)),
    )
    .map(([label, found]) => ({ label, cardinality: found.size }))
    .sort((a, b) => (a.label < b.label ? -1 : 1));
}

/** A selector over all of a range, seen from its end. */
function overRange(selector: string, { from, to }: TimeRange) {
  const [startNs, endNs] = [nsOf(from), nsOf(to)];
  const rangeMs = (endNs - startNs + 999_999n) / 1_000_000n;
  // A range's end is excluded, a window's is included.
  const at = endNs - 1n;
  const window = `${selector}[${rangeMs > 0n ? rangeMs : 1n}ms]`;
  return { window, times: { startNs: at, endNs: at, stepNs: 0n } };
}

/** Both totals in one query, so that each batch is looked into once: series that a label `what` tells apart. */
function bytesAndEntries(selector: string, range: TimeRange) {
  const { window, times } = overRange(selector, range);
  const named = (op: string, what: string): string =>
    `label_replace(sum(${op}(${window})), "what", "${what}", "", "")`;
  const query = `${named('bytes_over_time', 'bytes')} or ${named('count_over_time', 'entries')}`;
  return { query, times };
}

const VOLUMES_DEFAULT = 100;
const VOLUMES_MAX = 10_000;

/** How many bytes which streams, or labels, have. */
export function addVolumeRoutes(route: Route, context: LokiContext): void {
  const { coordinator, admission } = context;

  async function volumes(request: FastifyRequest, reply: FastifyReply, isRange: boolean): Promise<object> {
    const { parameters, range, signal } = inquiryOf(context, request, reply);
    const matchers = matchersOf(parameters.query());
    if (!['', 'series', 'labels'].includes(parameters.get('aggregateBy') ?? ''))
      throw new LogvineError('LV_QUERY_INVALID', 'invalid aggregation option');
    const selector = printMatchers(matchers);
    const limit = parameters.limit(VOLUMES_DEFAULT, VOLUMES_MAX) || VOLUMES_DEFAULT;
    const targets = targetsOf(parameters, matchers);
    const seriesMax = LIMITS.queryPartialSeriesMax;
    return admission
      .run(signal, async () => {
        const { names, receipts } = targets
          ? { names: targets, receipts: [] }
          : await labelNames(selector, range, signal);
        const ask = async (by: readonly string[]) => {
          if (!isRange) {
            const { window, times } = overRange(selector, range);
            const query = `sum by (${by.join(',')}) (bytes_over_time(${window}))`;
            return coordinator.metric({ query, times, signal, seriesMax });
          }
          const times = volumeTimes(rangeTimes(range.from, range.to, parameters.get('step')));
          const query = `sum by (${by.join(',')}) (bytes_over_time(${selector}[${times.stepNs / 1_000_000n || 1n}ms]))`;
          return coordinator.metric({ query, times, signal, seriesMax });
        };
        const { result, receipt } = await ask(names);
        if (result.kind === 'scalar') throw new LogvineError('LV_QUERY_INVALID', 'a volume has streams');
        const isByLabel = parameters.get('aggregateBy') === 'labels';
        const shown = largest(isByLabel ? byLabel(result, names) : labelled(result), limit, range.to.ms);
        return { shown, receipt: weakest(receipt, ...receipts) };
      })
      .then(({ shown, receipt }) => metricAnswer(shown, receipt));
  }
  route('index/volume', (request, reply) => volumes(request, reply, false));
  route('index/volume_range', (request, reply) => volumes(request, reply, true));

  async function labelNames(selector: string, range: TimeRange, signal: AbortSignal) {
    const selectors = [selector];
    const { labels, receipt } = await coordinator.labels({ selectors, range, signal, valuesOf: [] });
    // A pushed label may have a name that LogQL cannot say.
    const names = [...labels.all.keys()].filter((name) => /^[a-zA-Z_]\w*$/.test(name)).sort();
    return { names, receipts: [receipt] };
  }
}

/** Steps from one multiple of the step to the next, each seen from its last nanosecond, as Loki cuts a range. */
function volumeTimes({ startNs, endNs, stepNs }: EvalTimes): EvalTimes {
  const first = (startNs / stepNs + 1n) * stepNs;
  const last = ((endNs + stepNs - 1n) / stepNs) * stepNs;
  return { startNs: first - 1n, endNs: (last > first ? last : first) - 1n, stepNs };
}

/** Labels to sum by: those asked for, else those of the selector; undefined: every label of the streams. */
function targetsOf(parameters: Parameters, matchers: readonly Matcher[]): string[] | undefined {
  const asked = (parameters.get('targetLabels') ?? '').split(',').filter((name) => name !== '');
  if (asked.length > 0) return asked;
  if (parameters.get('aggregateBy') === 'labels' || matchers.length === 0) return undefined;
  return [...new Set(matchers.map(({ name }) => name))];
}

type Vector = Exclude<MetricResult, { kind: 'scalar' }>;

/** Sums by label name, whatever its value. */
function byLabel({ kind, series }: Vector, names: readonly string[]): Vector {
  const summed = names.map((name) => {
    const points = new Map<number, number>();
    for (const { labels, points: own } of series) {
      if (!Object.hasOwn(labels, name)) continue;
      for (const [ms, value] of own) points.set(ms, (points.get(ms) ?? 0) + value);
    }
    return { labels: { [name]: '' }, points: [...points].sort(([a], [b]) => a - b) };
  });
  return { kind, series: summed.filter(({ points }) => points.length > 0) };
}

/** What has none of the labels that are asked for has no volume. */
function labelled({ kind, series }: Vector): Vector {
  return { kind, series: series.filter(({ labels }) => Object.keys(labels).length > 0) };
}

/** The series with most, their last points not after the end that was asked for. */
function largest({ kind, series }: Vector, limit: number, endMs: number): Vector {
  const total = ({ points }: Vector['series'][number]): number =>
    points.reduce((sum, [, value]) => sum + value, 0);
  const most = [...series].sort((a, b) => total(b) - total(a)).slice(0, limit);
  const shown = (ms: number): number => (kind === 'vector' || ms > endMs ? endMs : ms);
  return {
    kind,
    series: most.map(({ labels, points }) => ({
      labels,
      points: points.map(([ms, value]) => [shown(ms), value]),
    })),
  };
}
