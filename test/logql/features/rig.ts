/** Small hand-made logs through what a holder and a coordinator run: compiled query, selected rows, partials, evaluation. */
import assert from 'node:assert/strict';
import { labelsText, lineStart, type Columns, type Labels } from '../../../src/store/batch/index.ts';
import { evaluateMetric, type EvalTimes } from '../../../src/store/logql/index.ts';
import {
  compileMetric,
  compileQuery,
  lineOf,
  RunBuilder,
  scanColumns,
} from '../../../src/store/query/index.ts';
import { selectRows } from '../../../src/store/query/rows.ts';
import { columnsFrom } from '../../store/material.ts';

/** One row of docs/logql.md: `name` is what the row's last column says. */
export interface Feature {
  readonly name: string;
  readonly run: () => void;
}

export interface Entry {
  readonly line: string;
  readonly stream?: Labels;
  readonly metadata?: Labels;
  readonly ms?: number;
  readonly sub?: number;
}

/** The time of an entry that says none, and when queries are asked: 2024-02-29T23:05:09.007Z. */
export const T = Date.UTC(2024, 1, 29, 23, 5, 9, 7);
/** What templates take for now: 2026-11-21T12:00:00Z. */
const NOW_MS = Date.UTC(2026, 10, 21, 12);
const STREAM: Labels = { app: 'api' };
const ALL = {
  range: { from: { ms: -1e12, sub: 0 }, to: { ms: 1e14, sub: 0 } },
  descending: false,
  limit: Infinity,
};
const NO_LIMITS = { seriesMax: 1000, numbersMax: 100_000 };

function streamsOf(entries: readonly Entry[]): { labels: Labels; columns: Columns }[] {
  const streams = new Map<string, { labels: Labels; entries: Entry[] }>();
  for (const entry of entries) {
    const labels = entry.stream ?? STREAM;
    const key = labelsText(labels);
    if (!streams.has(key)) streams.set(key, { labels, entries: [] });
    streams.get(key)!.entries.push(entry);
  }
  return [...streams.values()].map((stream) => ({
    labels: stream.labels,
    columns: columnsFrom(
      stream.entries.map(({ line, metadata = {}, ms = T, sub = 5 }) => ({
        ms,
        sub,
        line: Buffer.from(line),
        metadata,
      })),
    ),
  }));
}

interface Seen {
  readonly line: string;
  /** Stream labels, structured metadata and parsed ones together. */
  readonly labels: Labels;
}

/** The answer of a whole log query, in the order of the entries. */
export function ask(query: string, entries: readonly Entry[]): Seen[] {
  const compiled = compileQuery(query, () => NOW_MS);
  const builder = new RunBuilder();
  const rank = builder.rank('origin/1/1');
  for (const { labels, columns } of streamsOf(entries)) {
    if (compiled.matchesStream(labels)) scanColumns(columns, labels, rank, ALL, compiled, builder);
  }
  const run = builder.finish();
  return Array.from({ length: run.count }, (_, row) => ({
    line: Buffer.from(lineOf(run, row)).toString('utf8'),
    labels: { ...run.streams[run.streamIds[row]], ...run.metadata[run.metadataIds[row]] },
  }));
}

/** The lines that pass `{app="api"} <stages>`, as they come out. */
export function kept(stages: string, ...lines: string[]): string[] {
  return ask(
    `{app="api"} ${stages}`,
    lines.map((line) => ({ line })),
  ).map(({ line }) => line);
}

/** The labels that one line has after the stages, without the stream's own `app="api"`; undefined when dropped. */
export function labelsAfter(
  stages: string,
  line: string,
  stream: Labels = {},
  metadata: Labels = {},
): Labels | undefined {
  const [seen] = ask(`{app="api"} ${stages}`, [{ line, stream: { ...STREAM, ...stream }, metadata }]);
  if (seen === undefined) return undefined;
  const { app, ...labels } = seen.labels;
  return app === 'api' || app === undefined ? labels : { app, ...labels };
}

/** Does a line with these labels pass the label filter? */
export function passes(filter: string, stream: Labels, line = ''): boolean {
  return ask(`{app="api"} | ${filter}`, [{ line, stream: { ...STREAM, ...stream } }]).length === 1;
}

/** What `line_format` makes of a line. */
export function formatted(template: string, stream: Labels = {}, line = 'The Line'): string | undefined {
  const query = `{app="api"} | line_format ${JSON.stringify(template)}`;
  return ask(query, [{ line, stream: { ...STREAM, ...stream } }])[0]?.line;
}

const nanoseconds = (ms: number): bigint => BigInt(ms) * 1_000_000n;

function evaluate(query: string, entries: readonly Entry[], times: EvalTimes) {
  const metric = compileMetric(query, times, () => NOW_MS);
  const partials = metric.plan.leaves.map((leaf) => leaf.newPartial(NO_LIMITS));
  for (const { labels, columns } of streamsOf(entries)) {
    for (const [i, leaf] of metric.leaves.entries()) {
      if (!leaf.matchesStream(labels)) continue;
      const { sampler } = leaf;
      for (const row of selectRows(columns, leaf.lineFilters)) {
        const line = Buffer.from(columns.lines.subarray(lineStart(columns, row), columns.ends[row]));
        const metadata = columns.metadata[columns.metadataIds[row]];
        if (!sampler.process(line, labels, metadata, columns.ms[row], columns.sub[row])) continue;
        partials[i].add(sampler.key, sampler.labels, columns.ms[row], columns.sub[row], sampler.value);
      }
    }
  }
  return evaluateMetric(metric.plan, partials);
}

/** An instant query's answer: `{a="b"} 1` for each series of a vector, `1` for a scalar. */
export function at(ms: number, query: string, entries: readonly Entry[] = []): string[] {
  const result = evaluate(query, entries, { startNs: nanoseconds(ms), endNs: nanoseconds(ms), stepNs: 0n });
  if (result.kind === 'scalar') return [String(result.value)];
  assert.equal(result.kind, 'vector');
  return result.series.map(({ labels, points }) => `${labelsText(labels)} ${points[0][1]}`);
}

/** A range query's answer: `{a="b"} 1@0 2@60`, with the seconds after `fromMs`. */
export function over(
  [fromMs, toMs, stepMs]: readonly [number, number, number],
  query: string,
  entries: readonly Entry[] = [],
): string[] {
  const result = evaluate(query, entries, {
    startNs: nanoseconds(fromMs),
    endNs: nanoseconds(toMs),
    stepNs: nanoseconds(stepMs),
  });
  assert.equal(result.kind, 'matrix');
  return result.series.map(({ labels, points }) =>
    [labelsText(labels), ...points.map(([ms, value]) => `${value}@${(ms - fromMs) / 1000}`)].join(' '),
  );
}

/** The message that a query is refused with. */
export function refusal(query: string): string {
  try {
    compileQuery(query, () => NOW_MS);
  } catch (error) {
    return (error as Error).message;
  }
  throw new assert.AssertionError({ message: `${query} is accepted` });
}
