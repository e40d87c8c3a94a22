/** Operations on instant vectors: aggregation over series, and binary operators. */
import { labelsText, type Labels } from '../../batch/columns.ts';
import { LogvineError } from '../../errors.ts';
import type { BinaryExpr, BinaryOp, Grouping, VectorAggregation, VectorMatching } from '../ast.ts';

export interface Sample {
  readonly labels: Labels;
  /** `labelsText` of the labels. */
  readonly key: string;
  readonly value: number;
}

export function sampleOf(labels: Labels, value: number): Sample {
  return { labels, key: labelsText(labels), value };
}

function only(labels: Labels, names: readonly string[]): Labels {
  return Object.fromEntries(Object.entries(labels).filter(([name]) => names.includes(name)));
}

function without(labels: Labels, names: readonly string[]): Labels {
  return names.length === 0
    ? labels
    : Object.fromEntries(Object.entries(labels).filter(([name]) => !names.includes(name)));
}

function groupLabels(labels: Labels, grouping: Grouping | undefined): Labels {
  if (grouping === undefined) return {};
  return grouping.without ? without(labels, grouping.labels) : only(labels, grouping.labels);
}

interface GroupName {
  readonly labels: Labels;
  readonly key: string;
}

/** The group of a sample, found once for each series. */
export function groupFinder(grouping: Grouping | undefined): (sample: Sample) => GroupName {
  const known = new Map<string, GroupName>();
  return (sample) => {
    let group = known.get(sample.key);
    if (group === undefined) {
      const labels = groupLabels(sample.labels, grouping);
      known.set(sample.key, (group = { labels, key: labelsText(labels) }));
    }
    return group;
  };
}

export function aggregate(
  expr: VectorAggregation,
  vector: readonly Sample[],
  groupOf: (sample: Sample) => GroupName,
): Sample[] {
  const groups = new Map<string, { labels: Labels; samples: Sample[] }>();
  for (const sample of vector) {
    const { key, labels } = groupOf(sample);
    let group = groups.get(key);
    if (group === undefined) groups.set(key, (group = { labels, samples: [] }));
    group.samples.push(sample);
  }
  const out: Sample[] = [];
  for (const [key, { labels, samples }] of groups) {
    if (isSelection(expr)) out.push(...select(expr, samples));
    else
      out.push({
        labels,
        key,
        value: reduce(
          expr,
          samples.map(({ value }) => value),
        ),
      });
  }
  return out;
}

function isSelection({ op }: VectorAggregation): boolean {
  return op === 'topk' || op === 'bottomk' || op === 'approx_topk' || op === 'sort' || op === 'sort_desc';
}

/** The samples in order of value, no number last; equal ones in order of their labels. */
function select({ op, param }: VectorAggregation, samples: readonly Sample[]): Sample[] {
  const sign = op === 'bottomk' || op === 'sort' ? 1 : -1;
  const ordered = [...samples].sort((a, b) => {
    if (Number.isNaN(a.value) || Number.isNaN(b.value))
      return Number(Number.isNaN(a.value)) - Number(Number.isNaN(b.value));
    return a.value === b.value ? (a.key < b.key ? -1 : 1) : sign * (a.value < b.value ? -1 : 1);
  });
  return param === undefined ? ordered : ordered.slice(0, param);
}

function reduce({ op }: VectorAggregation, values: readonly number[]): number {
  switch (op) {
    case 'sum':
      return values.reduce((a, b) => a + b);
    case 'count':
      return values.length;
    case 'min':
      return values.reduce((a, b) => (b < a || Number.isNaN(a) ? b : a));
    case 'max':
      return values.reduce((a, b) => (b > a || Number.isNaN(a) ? b : a));
    case 'avg':
      return mean(values);
    case 'stddev':
      return Math.sqrt(variance(values));
    default:
      return variance(values);
  }
}

function mean(values: readonly number[]): number {
  let result = 0;
  for (const [i, value] of values.entries()) {
    if (!Number.isFinite(result) && !Number.isNaN(result) && (value === result || Number.isFinite(value)))
      continue;
    result += (value - result) / (i + 1);
  }
  return result;
}

function variance(values: readonly number[]): number {
  let average = 0;
  let squares = 0;
  for (const [i, value] of values.entries()) {
    const delta = value - average;
    average += delta / (i + 1);
    squares += delta * (value - average);
  }
  return squares / values.length;
}

/** The value of two numbers, or undefined where a comparison filters. Comparisons answer 1 or 0 otherwise. */
export function apply(op: BinaryOp, left: number, right: number): number {
  switch (op) {
    case '+':
      return left + right;
    case '-':
      return left - right;
    case '*':
      return left * right;
    case '/':
      return right === 0 ? Number.NaN : left / right;
    case '%':
      return right === 0 ? Number.NaN : left % right;
    case '^':
      return left === 1 ? 1 : left ** right;
    case '==':
      return Number(left === right);
    case '!=':
      return Number(left !== right);
    case '>':
      return Number(left > right);
    case '>=':
      return Number(left >= right);
    case '<':
      return Number(left < right);
    case '<=':
      return Number(left <= right);
    default:
      return Number.NaN;
  }
}

function isComparison(op: BinaryOp): boolean {
  return ['==', '!=', '>', '>=', '<', '<='].includes(op);
}

/** A vector and a number; a comparison keeps the vector's value. */
export function applyNumber(
  expr: BinaryExpr,
  vector: readonly Sample[],
  number: number,
  numberLeft: boolean,
): Sample[] {
  const filters = isComparison(expr.op) && !expr.bool;
  const out: Sample[] = [];
  for (const sample of vector) {
    const value = numberLeft ? apply(expr.op, number, sample.value) : apply(expr.op, sample.value, number);
    if (!filters) out.push({ ...sample, value });
    else if (value === 1) out.push(sample);
  }
  return out;
}

function signature(labels: Labels, matching: VectorMatching | undefined): string {
  if (matching === undefined) return labelsText(labels);
  return labelsText(matching.on ? only(labels, matching.labels) : without(labels, matching.labels));
}

export function applyVectors(expr: BinaryExpr, left: readonly Sample[], right: readonly Sample[]): Sample[] {
  const { op, matching } = expr;
  const sign = (sample: Sample) => (matching === undefined ? sample.key : signature(sample.labels, matching));
  if (op === 'and' || op === 'unless') {
    const present = new Set(right.map(sign));
    return left.filter((sample) => present.has(sign(sample)) === (op === 'and'));
  }
  if (op === 'or') {
    const present = new Set(left.map(sign));
    return [...left, ...right.filter((sample) => !present.has(sign(sample)))];
  }
  return matching?.group === 'right'
    ? joined(expr, right, left, sign, true)
    : joined(expr, left, right, sign, false);
}

/** `many` may have several samples per match if a group says so, `one` never; `swapped`: the operator's left side is `one`. */
function joined(
  expr: BinaryExpr,
  many: readonly Sample[],
  one: readonly Sample[],
  sign: (sample: Sample) => string,
  swapped: boolean,
): Sample[] {
  const bySignature = new Map<string, Sample>();
  for (const sample of one) {
    const name = sign(sample);
    if (bySignature.has(name)) {
      throw new LogvineError(
        'LV_QUERY_INVALID',
        `found duplicate series on the ${swapped ? 'left' : 'right'} hand-side;many-to-many matching not allowed: ` +
          'matching labels must be unique on one side',
      );
    }
    bySignature.set(name, sample);
  }
  const filters = isComparison(expr.op) && !expr.bool;
  const seen = new Set<string>();
  const out: Sample[] = [];
  for (const sample of many) {
    const name = sign(sample);
    const other = bySignature.get(name);
    if (other === undefined) continue;
    const labels = resultLabels(sample.labels, other.labels, expr.matching);
    const key = labelsText(labels);
    const grouped = expr.matching?.group !== undefined;
    const mark = grouped ? `${name}\n${key}` : name;
    if (seen.has(mark)) {
      throw new LogvineError(
        'LV_QUERY_INVALID',
        grouped
          ? 'multiple matches for labels: grouping labels must ensure unique matches'
          : 'multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)',
      );
    }
    seen.add(mark);
    const [a, b] = swapped ? [other.value, sample.value] : [sample.value, other.value];
    const value = apply(expr.op, a, b);
    if (!filters) out.push({ labels, key, value });
    else if (value === 1) out.push({ labels, key, value: a });
  }
  return out;
}

function resultLabels(many: Labels, one: Labels, matching: VectorMatching | undefined): Labels {
  if (matching === undefined) return many;
  if (matching.group === undefined) {
    return matching.on ? only(many, matching.labels) : without(many, matching.labels);
  }
  const labels: Record<string, string> = { ...without(many, matching.include) };
  for (const name of matching.include)
    if (Object.hasOwn(one, name) && one[name] !== '') labels[name] = one[name];
  return labels;
}
