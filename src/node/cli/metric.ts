import { z } from 'zod';
import { labelsText, LogvineError } from '../../store/index.ts';
import type { Receipt } from '../../gossip/index.ts';
import { csvRow } from './csv.ts';
import { errorFrom, fetchLines, untilStopped, type Endpoint } from './http.ts';
import type { Io } from './io.ts';
import { localTimeMs, table } from './output.ts';
import { ProgressLine } from './progress.ts';
import { printReceipt, receiptOf } from './receipt.ts';
import { visibleJson, visibleText } from './visible.ts';

export type MetricOutput = 'text' | 'json' | 'raw' | 'csv';

export interface MetricRequest {
  readonly query: string;
  /** Nanoseconds since 1970; without a start it is evaluated once, at the end. */
  readonly startNs: bigint | undefined;
  readonly endNs: bigint;
  /** A duration such as 30s. */
  readonly step: string | undefined;
  readonly output: MetricOutput;
}

const sample = z.tuple([z.number(), z.string()]);
const labels = z.record(z.string(), z.string());
const stats = z.object({ logvine: z.unknown() });
const data = z.discriminatedUnion('resultType', [
  z.object({ resultType: z.literal('scalar'), result: sample, stats }),
  z.object({
    resultType: z.literal('vector'),
    result: z.array(z.object({ metric: labels, value: sample })),
    stats,
  }),
  z.object({
    resultType: z.literal('matrix'),
    result: z.array(z.object({ metric: labels, values: z.array(sample).min(1) })),
    stats,
  }),
]);
const line = z.union([
  z.object({ progress: z.object({ done: z.number(), of: z.number() }) }),
  z.object({ error: z.object({ code: z.string().optional(), message: z.string() }) }),
  z.object({ answer: z.object({ data }) }),
]);

interface Series {
  readonly labels: Record<string, string>;
  /** Seconds since 1970, and the value as Loki writes it. */
  readonly points: readonly (readonly [number, string])[];
}

/** Runs a metric query and prints it; the receipt goes to stderr, with `json` to the last line of stdout. */
export async function printMetric(io: Io, endpoint: Endpoint, request: MetricRequest): Promise<Receipt> {
  const answer = await ask(io, endpoint, request);
  const receipt = receiptOf(answer.stats.logvine, endpoint.addr);
  const series = seriesOf(answer);
  await io.write(textOf(series, answer.resultType === 'matrix', request.output));
  await printReceipt(io, request.output, receipt);
  return receipt;
}

async function ask(io: Io, endpoint: Endpoint, request: MetricRequest): Promise<z.infer<typeof data>> {
  const { query, startNs, endNs, step } = request;
  const parameters = new URLSearchParams({ query });
  if (startNs === undefined) parameters.set('time', String(endNs));
  else {
    parameters.set('start', String(startNs));
    parameters.set('end', String(endNs));
    if (step !== undefined) parameters.set('step', step);
  }
  const abort = untilStopped(io);
  const progress = new ProgressLine(io);
  try {
    for await (const value of fetchLines(endpoint, 'GET', `/api/v1/metric?${parameters}`, abort.signal)) {
      const said = line.safeParse(value);
      if (!said.success) throw new LogvineError('LV_PROTOCOL', 'the answer is not that of a metric query');
      if ('answer' in said.data) return said.data.answer.data;
      if ('error' in said.data) throw errorFrom(said.data.error);
      const { done, of } = said.data.progress;
      await progress.show(done, of, `${done} of ${of} batches`);
    }
  } finally {
    await progress.clear();
    abort.abort();
  }
  throw new LogvineError('LV_PROTOCOL', `${endpoint.addr} broke off its answer`);
}

function seriesOf(answer: z.infer<typeof data>): Series[] {
  switch (answer.resultType) {
    case 'scalar':
      return [{ labels: {}, points: [answer.result] }];
    case 'vector':
      return answer.result.map(({ metric, value }) => ({ labels: metric, points: [value] }));
    case 'matrix':
      return answer.result.map(({ metric, values }) => ({ labels: metric, points: values }));
  }
}

function textOf(series: readonly Series[], isRange: boolean, output: MetricOutput): string {
  switch (output) {
    case 'text':
      return isRange ? rangeTable(series) : instantTable(series);
    case 'json':
      return series.map((one) => `${visibleJson({ labels: one.labels, points: one.points })}\n`).join('');
    case 'raw':
      return eachPoint(series, ({ labels: names }, [seconds, value]) =>
        [visibleText(labelsText(names)), seconds, value].join('\t'),
      );
    case 'csv':
      return csvOf(series);
  }
}

function eachPoint(
  series: readonly Series[],
  format: (one: Series, point: Series['points'][number]) => string,
): string {
  return series.flatMap((one) => one.points.map((point) => `${format(one, point)}\n`)).join('');
}

/** A column for each label. */
function csvOf(series: readonly Series[]): string {
  const names = [...new Set(series.flatMap(({ labels: own }) => Object.keys(own)))].sort();
  const rows = eachPoint(series, ({ labels: own }, [seconds, value]) =>
    csvRow([isoTime(seconds), ...names.map((name) => own[name] ?? ''), value]),
  );
  return `${csvRow(['time', ...names, 'value'])}\n${rows}`;
}

function isoTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString();
}

function instantTable(series: readonly Series[]): string {
  if (series.length === 0) return '';
  return table(
    ['SERIES', 'VALUE'],
    series.map(({ labels: names, points }) => [labelsText(names), points[0][1]]),
  );
}

/** A line a series: its course, and its numbers. */
function rangeTable(series: readonly Series[]): string {
  if (series.length === 0) return '';
  const axis = axisOf(series);
  const rows = series.map(({ labels: names, points }) => {
    const values = points.map(([, value]) => numberOf(value));
    const known = values.filter((value) => !Number.isNaN(value));
    const least = known.reduce((a, b) => Math.min(a, b), Infinity);
    const most = known.reduce((a, b) => Math.max(a, b), -Infinity);
    const last = points[points.length - 1][1];
    return [labelsText(names), sparkline(points, axis), short(least), short(most), short(numberOf(last))];
  });
  const span = `${localTimeMs(axis.from * 1000)} to ${localTimeMs(axis.to * 1000)}\n`;
  return span + table(['SERIES', 'COURSE', 'MIN', 'MAX', 'LAST'], rows);
}

const BARS = '▁▂▃▄▅▆▇█';
const CELLS_MAX = 60;

/** The time that all series are drawn over. */
interface Axis {
  /** Seconds since 1970. */
  readonly from: number;
  readonly to: number;
  readonly cells: number;
}

function axisOf(series: readonly Series[]): Axis {
  const times = [...new Set(series.flatMap(({ points }) => points.map(([seconds]) => seconds)))].sort(
    (a, b) => a - b,
  );
  const [from, to] = [times[0], times[times.length - 1]];
  let gap = Infinity;
  for (let i = 1; i < times.length; i++) gap = Math.min(gap, times[i] - times[i - 1]);
  return { from, to, cells: Math.min(CELLS_MAX, Math.round((to - from) / gap) + 1) };
}

/** The greatest value of each stretch of time, from nothing to the series' greatest; a gap where there is none. */
function sparkline(points: Series['points'], { from, to, cells }: Axis): string {
  const greatest: (number | undefined)[] = Array.from({ length: cells });
  for (const [seconds, text] of points) {
    const value = numberOf(text);
    if (!Number.isFinite(value)) continue;
    const at = cells === 1 ? 0 : Math.round(((seconds - from) / (to - from)) * (cells - 1));
    greatest[at] = Math.max(greatest[at] ?? -Infinity, value);
  }
  const found = greatest.filter((value) => value !== undefined);
  const low = Math.min(0, ...found);
  const high = Math.max(low, ...found);
  return greatest
    .map((value) => {
      if (value === undefined) return ' ';
      const share = high > low ? (value - low) / (high - low) : 0;
      return BARS[Math.min(BARS.length - 1, Math.floor(share * BARS.length))];
    })
    .join('');
}

function numberOf(text: string): number {
  if (text === '+Inf') return Infinity;
  return text === '-Inf' ? -Infinity : Number(text);
}

/** Six digits are enough to compare by eye. */
function short(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(6))) : String(value);
}
