import { z } from 'zod';
import { labelsText, LogvineError } from '../../store/index.ts';
import type { Receipt } from '../../gossip/index.ts';
import { formatDuration } from '../config/index.ts';
import { csvRow } from './csv.ts';
import { errorFrom, fetchLines, untilStopped, type Endpoint } from './http.ts';
import type { Io } from './io.ts';
import { localTime, table } from './output.ts';
import { ProgressLine } from './progress.ts';
import { printReceipt, receiptOf } from './receipt.ts';
import { visibleJson, visibleText } from './visible.ts';

export type MetricOutput = 'text' | 'json' | 'raw' | 'csv';

export interface MetricRequest {
  readonly query: string;
  /** Nanoseconds since 1970; without a start it is evaluated once, at the end. */
  readonly startNs: bigint | undefined;
  readonly endNs: bigint;
  /** Milliseconds between two points; undefined: the node chooses, and not less than a second. */
  readonly stepMs: number | undefined;
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
  await io.write(textOf(series, request, io.columns ?? COLUMNS_DEFAULT));
  await printReceipt(io, request.output, receipt);
  return receipt;
}

async function ask(io: Io, endpoint: Endpoint, request: MetricRequest): Promise<z.infer<typeof data>> {
  const { query, startNs, endNs, stepMs } = request;
  const parameters = new URLSearchParams({ query });
  if (startNs === undefined) parameters.set('time', String(endNs));
  else {
    parameters.set('start', String(startNs));
    parameters.set('end', String(endNs));
    if (stepMs !== undefined) parameters.set('step', `${stepMs}ms`);
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

function textOf(series: readonly Series[], request: MetricRequest, columns: number): string {
  switch (request.output) {
    case 'text':
      return request.startNs === undefined
        ? instantTable(series)
        : rangeTable(series, request.startNs, request, columns);
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
function rangeTable(
  series: readonly Series[],
  startNs: bigint,
  { endNs, stepMs = STEP_MS_MIN }: Pick<MetricRequest, 'endNs' | 'stepMs'>,
  columns: number,
): string {
  if (series.length === 0) return '';
  const names = series.map(({ labels: own }) => visibleText(labelsText(own)));
  const numbers = series.map(({ points }) => numbersOf(points));
  const head = ['MIN', 'MAX', 'LAST'];
  const numbersWidth = head.reduce(
    (sum, name, at) => sum + Math.max(name.length, ...numbers.map((row) => row[at].length)) + GAP,
    0,
  );
  const namesWidth = Math.max('SERIES'.length, ...names.map((name) => name.length)) + GAP;
  const left = columns - numbersWidth;
  // Names that leave no room for a course stand on lines of their own: they are not cut, they tell the series apart.
  const isBeside = left - namesWidth >= CELLS_MIN;
  const cellsMax = Math.min(CELLS_MAX, isBeside ? left - namesWidth : left);
  const axis = axisOf(startNs, endNs, stepMs, Math.max(CELLS_MIN, cellsMax));
  const rows = series.map(({ points }, at) => [sparkline(points, axis), ...numbers[at]]);
  const span = `${localTime(startNs)} to ${localTime(endNs)}, a column is ${formatDuration(axis.cellMs)}\n`;
  if (isBeside) {
    return (
      span +
      table(
        ['SERIES', 'COURSE', ...head],
        rows.map((row, at) => [names[at], ...row]),
      )
    );
  }
  const [titles, ...lines] = table(['COURSE', ...head], rows)
    .trimEnd()
    .split('\n');
  return `${span}${titles}\n${lines.map((line, at) => `${names[at]}\n${line}\n`).join('')}`;
}

/** The least, the greatest and the last value. */
function numbersOf(points: Series['points']): string[] {
  const known = points.map(([, value]) => numberOf(value)).filter((value) => !Number.isNaN(value));
  const least = known.reduce((a, b) => Math.min(a, b), Infinity);
  const most = known.reduce((a, b) => Math.max(a, b), -Infinity);
  return [least, most, numberOf(points[points.length - 1][1])].map(short);
}

/** Where nothing says how wide a line may be. */
const COLUMNS_DEFAULT = 120;
/** Spaces between the columns of a table. */
const GAP = 2;
const BARS = '▁▂▃▄▅▆▇█';
/** A course of fewer says nothing; of more, a node that chooses the step has no points for. */
const CELLS_MIN = 20;
const CELLS_MAX = 120;
const STEP_MS_MIN = 1_000;

/** The time that all series are drawn over: that which was asked for, whatever was found in it. */
interface Axis {
  /** Milliseconds since 1970. */
  readonly fromMs: number;
  readonly cellMs: number;
  readonly cells: number;
}

/** A cell a step; several steps a cell, where there are more than `cellsMax`. */
function axisOf(startNs: bigint, endNs: bigint, stepMs: number, cellsMax: number): Axis {
  const fromMs = Number(startNs) / 1e6;
  const steps = Math.floor(Number(endNs - startNs) / 1e6 / stepMs) + 1;
  const stepsPerCell = Math.ceil(steps / cellsMax);
  return { fromMs, cellMs: stepsPerCell * stepMs, cells: Math.ceil(steps / stepsPerCell) };
}

/** The greatest value of each stretch of time, from nothing to the series' greatest; a gap where there is none. */
function sparkline(points: Series['points'], { fromMs, cellMs, cells }: Axis): string {
  const greatest: (number | undefined)[] = Array.from({ length: cells });
  for (const [seconds, text] of points) {
    const value = numberOf(text);
    if (!Number.isFinite(value)) continue;
    // Seconds have a fraction, which is not exact: what is a hair before a cell belongs to it.
    const at = Math.min(cells - 1, Math.max(0, Math.floor((seconds * 1000 - fromMs) / cellMs + 0.001)));
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
