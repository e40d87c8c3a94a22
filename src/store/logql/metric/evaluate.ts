/**
 * Metric queries. `planMetric` says what has to be read: one leaf per range aggregation. Holders turn lines into the
 * partial of a leaf (`sampler`, `newPartial`), the coordinator merges the partials and calls `evaluateMetric`.
 */
import { labelsText, type Labels } from '../../batch/columns.ts';
import { LogvineError } from '../../errors.ts';
import type {
  BinaryExpr,
  Grouping,
  LabelReplace,
  LogExpr,
  Matcher,
  MetricExpr,
  RangeAggregation,
  VectorAggregation,
} from '../ast.ts';
import { ERROR_LABEL, PRESERVE_ERROR_LABEL } from '../labels.ts';
import type { PipelineOptions } from '../pipeline.ts';
import { compileAnchored } from '../regex.ts';
import { Grid, stepCount, type EvalTimes } from './grid.ts';
import { needsOf, selectionOf, type LeafNeeds } from './needs.ts';
import { RangePartial, tooManySeries, type PartialLimits } from './partial.ts';
import { compileSampler, type Sampler } from './sampler.ts';
import { aggregate, groupFinder, apply, applyNumber, applyVectors, sampleOf, type Sample } from './vector.ts';

export interface RangeLeaf {
  readonly aggregation: RangeAggregation;
  /** What selects and filters the lines. */
  readonly log: LogExpr;
  /** The labels that samples are reduced to where they are read. */
  readonly grouping: Grouping | undefined;
  /** Lines after this and up to `lastNs` are needed. */
  readonly afterNs: bigint;
  readonly lastNs: bigint;
  readonly needs: LeafNeeds;
  /** The part of `log` that rows can be selected by before `sampler` sees them. */
  readonly selection: LogExpr;
  newPartial(limits: PartialLimits): RangePartial;
  sampler(options: Omit<PipelineOptions, 'wanted'>): Sampler;
}

export interface MetricPlan {
  readonly expr: MetricExpr;
  readonly times: EvalTimes;
  readonly leaves: readonly RangeLeaf[];
}

/** A series of results: milliseconds since 1970 and value, in order of time. */
export interface ResultSeries {
  readonly labels: Labels;
  readonly points: readonly (readonly [ms: number, value: number])[];
}

export type MetricResult =
  | { readonly kind: 'scalar'; readonly ms: number; readonly value: number }
  | { readonly kind: 'vector' | 'matrix'; readonly series: readonly ResultSeries[] };

/** Throws LogvineError LV_QUERY_INVALID when the times make no sense or too many steps. */
export function planMetric(expr: MetricExpr, times: EvalTimes): MetricPlan {
  stepCount(times);
  const leaves: RangeLeaf[] = [];
  collectLeaves(expr, undefined, times, leaves);
  return { expr, times, leaves };
}

function collectLeaves(
  expr: MetricExpr,
  pushed: Grouping | undefined,
  times: EvalTimes,
  into: RangeLeaf[],
): void {
  switch (expr.kind) {
    case 'rangeAggregation':
      into.push(leafOf(expr, expr.grouping ?? pushed, times));
      return;
    case 'vectorAggregation':
      return collectLeaves(expr.inner, pushable(expr), times, into);
    case 'labelReplace':
      return collectLeaves(expr.inner, undefined, times, into);
    case 'binary':
      collectLeaves(expr.left, undefined, times, into);
      collectLeaves(expr.right, undefined, times, into);
  }
}

/** A sum over counts or sums may be taken where the lines are read. */
function pushable({ op, grouping, inner }: VectorAggregation): Grouping | undefined {
  const additive = ['count_over_time', 'rate', 'bytes_over_time', 'bytes_rate', 'sum_over_time'];
  if (op !== 'sum' || inner.kind !== 'rangeAggregation' || !additive.includes(inner.op)) return undefined;
  return grouping ?? { without: false, labels: [] };
}

function leafOf(aggregation: RangeAggregation, grouping: Grouping | undefined, times: EvalTimes): RangeLeaf {
  const { log, rangeMs, offsetNs, at } = aggregation.range;
  const grid = new Grid(at === undefined ? times : fixedTimes(at, times), rangeMs, BigInt(offsetNs));
  return {
    aggregation,
    log,
    grouping,
    afterNs: grid.afterNs,
    lastNs: grid.lastNs,
    needs: needsOf(aggregation, grouping),
    selection: selectionOf(log),
    newPartial: (limits) => new RangePartial(aggregation, grid, limits),
    sampler: (options) => compileSampler(aggregation, grouping, options),
  };
}

function fixedTimes(at: NonNullable<RangeAggregation['range']['at']>, times: EvalTimes): EvalTimes {
  let ns = times.endNs;
  if (at.kind === 'time') ns = BigInt(Math.round(at.seconds * 1000)) * 1_000_000n;
  else if (at.kind === 'start') ns = times.startNs;
  return { startNs: ns, endNs: ns, stepNs: 0n };
}

/** A value at each step: a number, or a vector. */
type Value = number | readonly Sample[];
/** At the step that the leaves are at. */
type StepFunction = () => Value;

export interface ResultLimits {
  readonly seriesMax: number;
  readonly pointsMax: number;
}

/** `partials` belong to `plan.leaves`, in order. Throws LogvineError LV_QUERY_INVALID and LV_QUERY_TOO_LARGE in Loki's words. */
export function evaluateMetric(
  plan: MetricPlan,
  partials: readonly RangePartial[],
  limits: ResultLimits = { seriesMax: Infinity, pointsMax: Infinity },
): MetricResult {
  const evaluation = evaluateByStep(plan, partials, limits);
  for (;;) {
    const step = evaluation.next();
    if (step.done) return step.value;
  }
}

/** The same, yielding after each step and after so many numbers, so that a long evaluation need not hold up its thread. */
export function* evaluateByStep(
  plan: MetricPlan,
  partials: readonly RangePartial[],
  limits: ResultLimits,
): Generator<undefined, MetricResult> {
  const { times } = plan;
  const queue = [...partials];
  const leaves: LeafValues[] = [];
  const valueOf = compile(plan.expr, queue, leaves);
  function* at(step: number): Generator<undefined, Value> {
    for (const leaf of leaves) yield* leaf.moveTo(step);
    return valueOf();
  }
  const startMs = Number(times.startNs / 1_000_000n);
  const instant = times.stepNs === 0n;
  const first = yield* at(0);
  if (instant && typeof first === 'number') return { kind: 'scalar', ms: startMs, value: first };
  if (instant) {
    const samples = ordersByValue(plan.expr) ? toVector(first) : [...toVector(first)].sort(byKey);
    if (samples.length > limits.seriesMax) throw tooManySeries(limits.seriesMax);
    return {
      kind: 'vector',
      series: samples.map(({ labels, value }) => ({ labels, points: [[startMs, value]] })),
    };
  }
  const series = new Map<string, { labels: Labels; points: [number, number][] }>();
  const steps = stepCount(times);
  let points = 0;
  for (let step = 0; step < steps; step++) {
    const ms = Number((times.startNs + times.stepNs * BigInt(step)) / 1_000_000n);
    for (const { key, labels, value } of toVector(step === 0 ? first : yield* at(step))) {
      let one = series.get(key);
      if (one === undefined) series.set(key, (one = { labels, points: [] }));
      one.points.push([ms, value]);
      points++;
    }
    if (series.size > limits.seriesMax) throw tooManySeries(limits.seriesMax);
    if (points > limits.pointsMax) {
      throw new LogvineError(
        'LV_QUERY_TOO_LARGE',
        `the answer has more than ${limits.pointsMax} points: use a larger step, a shorter range or fewer series`,
      );
    }
    yield undefined;
  }
  return { kind: 'matrix', series: [...series].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one) };
}

function byKey(a: Sample, b: Sample): number {
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
}

function toVector(value: Value): readonly Sample[] {
  return typeof value === 'number' ? [sampleOf({}, value)] : value;
}

function ordersByValue(expr: MetricExpr): boolean {
  switch (expr.kind) {
    case 'vectorAggregation':
      return expr.op === 'sort' || expr.op === 'sort_desc' || ordersByValue(expr.inner);
    case 'labelReplace':
      return ordersByValue(expr.inner);
    case 'binary':
      return ordersByValue(expr.left) || ordersByValue(expr.right);
    default:
      return false;
  }
}

/** Takes the partials of its leaves from the front of `queue`. */
function compile(expr: MetricExpr, queue: RangePartial[], leaves: LeafValues[]): StepFunction {
  switch (expr.kind) {
    case 'number':
      return () => expr.value;
    case 'vector':
      return () => [sampleOf({}, expr.value)];
    case 'rangeAggregation': {
      const leaf = new LeafValues(expr, queue.shift() as RangePartial);
      leaves.push(leaf);
      return expr.op === 'absent_over_time' ? compileAbsent(expr, leaf) : () => leaf.samples;
    }
    case 'vectorAggregation': {
      const inner = compile(expr.inner, queue, leaves);
      const groups = groupFinder(expr.grouping);
      return () => aggregate(expr, toVector(inner()), groups);
    }
    case 'labelReplace':
      return compileLabelReplace(expr, compile(expr.inner, queue, leaves));
    case 'binary':
      return compileBinary(expr, compile(expr.left, queue, leaves), compile(expr.right, queue, leaves));
  }
}

/** Numbers gone over between two yields: some milliseconds. */
const NUMBERS_PER_TURN = 20_000;

/** What a range aggregation gives at one step after another. */
class LeafValues {
  readonly #series: ReturnType<RangePartial['finish']>;
  readonly #isFixed: boolean;
  #step = -1;
  samples: readonly Sample[] = [];

  constructor({ range }: RangeAggregation, partial: RangePartial) {
    this.#series = partial.finish();
    this.#isFixed = range.at !== undefined;
    for (const { labels, key } of this.#series) refuseErrors(labels, key);
  }

  *moveTo(step: number): Generator<undefined, void> {
    const own = this.#isFixed ? 0 : step;
    if (own === this.#step) return;
    this.#step = own;
    const samples: Sample[] = [];
    let numbers = 0;
    for (const { key, labels, windows } of this.#series) {
      numbers += windows.moveTo(own);
      if (windows.value !== undefined) samples.push({ key, labels, value: windows.value });
      if (numbers < NUMBERS_PER_TURN) continue;
      numbers = 0;
      yield undefined;
    }
    this.samples = samples;
  }
}

function compileAbsent({ range }: RangeAggregation, leaf: LeafValues): StepFunction {
  const absent = [sampleOf(absentLabels(range.log.matchers), 1)];
  return () => (leaf.samples.length > 0 ? [] : absent);
}

/** A line that a stage failed on must be filtered out, or the numbers would be wrong in silence. */
function refuseErrors(labels: Labels, key: string): void {
  const error = Object.hasOwn(labels, ERROR_LABEL) ? labels[ERROR_LABEL] : '';
  if (error === '' || labels[PRESERVE_ERROR_LABEL] === 'true') return;
  throw new LogvineError(
    'LV_QUERY_INVALID',
    `pipeline error: '${error}' for series: '${key}'.\n` +
      `Use a label filter to intentionally skip this error. (e.g | __error__!="${error}").\n` +
      'To skip all potential errors you can match empty errors.(e.g __error__="")\n' +
      'The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__="" )\n',
  );
}

/** The labels that the selector pins to one value. */
function absentLabels(matchers: readonly Matcher[]): Labels {
  const once = matchers.filter(({ name }) => matchers.filter((other) => other.name === name).length === 1);
  return Object.fromEntries(once.filter(({ op }) => op === '=').map(({ name, value }) => [name, value]));
}

function compileLabelReplace(
  { target, replacement, source, regex }: LabelReplace,
  inner: StepFunction,
): StepFunction {
  const compiled = compileAnchored(regex);
  const known = new Map<string, { labels: Labels; key: string }>();
  const replaced = (labels: Labels): Labels => {
    const value = labels[source] ?? '';
    if (!compiled.testText(value)) return labels;
    const text = compiled.replaceAll(value, replacement);
    const rest = Object.entries(labels).filter(([name]) => name !== target);
    return Object.fromEntries(text === '' ? rest : [...rest, [target, text]]);
  };
  return () =>
    toVector(inner()).map((sample) => {
      let result = known.get(sample.key);
      if (result === undefined) {
        const labels = replaced(sample.labels);
        known.set(sample.key, (result = { labels, key: labelsText(labels) }));
      }
      return { ...result, value: sample.value };
    });
}

function compileBinary(expr: BinaryExpr, left: StepFunction, right: StepFunction): StepFunction {
  return () => {
    const a = left();
    const b = right();
    if (typeof a === 'number') {
      return typeof b === 'number' ? apply(expr.op, a, b) : applyNumber(expr, b, a, true);
    }
    return typeof b === 'number' ? applyNumber(expr, a, b, false) : applyVectors(expr, a, b);
  };
}
