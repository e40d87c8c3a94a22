/** Lines to samples: the pipeline, unwrap, and the labels that the aggregation keeps. */
import { labelsText, type Labels, type Metadata } from '../../batch/columns.ts';
import type { Grouping, RangeAggregation, Stage, UnwrapConversion } from '../ast.ts';
import { compileLabelFilter, filteredLabels } from '../label-filter.ts';
import type { LabelState } from '../labels.ts';
import { parseBytes, parseFloatGo, parseGoDurationNs } from '../numbers.ts';
import { compilePipeline, type PipelineOptions } from '../pipeline.ts';

/** Made once, used for many lines; it holds the last sample. */
export interface Sampler {
  /** Takes a line; false when it gives no sample. Time as in Columns. */
  process(line: Buffer, stream: Labels, metadata: Metadata, ms: number, sub: number): boolean;
  readonly value: number;
  readonly labels: Labels;
  /** `labelsText` of the labels. */
  readonly key: string;
}

const CONVERT: Readonly<Record<UnwrapConversion | 'none', (text: string) => number>> = {
  none: parseFloatGo,
  bytes: parseBytes,
  duration: (text) => parseGoDurationNs(text) / 1e9,
  duration_seconds: (text) => parseGoDurationNs(text) / 1e9,
};

const NO_LABELS: Labels = Object.freeze({});

/** `grouping` is the aggregation's own, or that of the sum around it. */
export function compileSampler(
  aggregation: RangeAggregation,
  grouping: Grouping | undefined,
  options: Omit<PipelineOptions, 'wanted'>,
): Sampler {
  const { unwrap, log } = aggregation.range;
  const wanted = wantedLabels(aggregation, grouping);
  const pipeline = compilePipeline(log.stages, { ...options, ...(wanted && { wanted }) });
  const { state } = pipeline;
  const keep = labelKeeper(grouping, unwrap?.label);
  const isBytes = aggregation.op === 'bytes_over_time' || aggregation.op === 'bytes_rate';
  const filters = (unwrap?.filters ?? []).map(compileLabelFilter);
  const convert = CONVERT[unwrap?.conversion ?? 'none'];
  const sampler = {
    value: 1,
    labels: NO_LABELS,
    key: '{}',
    process(line: Buffer, stream: Labels, metadata: Metadata, ms: number, sub: number): boolean {
      if (!pipeline.process(line, stream, metadata, ms, sub)) return false;
      if (unwrap !== undefined) {
        const value = unwrapped(state.labels, unwrap.label, convert);
        if (value === undefined || !filters.every((passes) => passes(state.labels))) return false;
        sampler.value = value;
      } else if (isBytes) {
        sampler.value = pipeline.line.length;
      }
      const series = keep(state.labels, stream, metadata);
      sampler.labels = series.labels;
      sampler.key = series.key;
      return true;
    },
  };
  return sampler;
}

/** Undefined without the label; 0, and an error, when it is no number. */
function unwrapped(labels: LabelState, name: string, convert: (text: string) => number): number | undefined {
  const text = labels.get(name);
  if (text === undefined || text === '') return undefined;
  try {
    return convert(text);
  } catch (error) {
    labels.fail('SampleExtractionErr', (error as Error).message);
    return 0;
  }
}

interface SeriesName {
  readonly labels: Labels;
  readonly key: string;
}

/** The labels that are left, with their text; remembered per stream and metadata where no stage changed them. */
function labelKeeper(
  grouping: Grouping | undefined,
  unwrapLabel: string | undefined,
): (labels: LabelState, stream: Labels, metadata: Metadata) => SeriesName {
  const known = new WeakMap<Labels, WeakMap<Metadata, SeriesName>>();
  const none: SeriesName = { labels: NO_LABELS, key: labelsText(NO_LABELS) };
  const isSingle = grouping !== undefined && !grouping.without && grouping.labels.length === 0;
  const select = selector(grouping, unwrapLabel);
  const byNames = grouping !== undefined && !grouping.without ? namedByValues(grouping.labels) : undefined;
  return (labels, stream, metadata) => {
    if (isSingle && labels.error === '') return none;
    if (labels.changed && labels.error === '' && byNames) return byNames(labels);
    if (labels.changed) return named(labels.error === '' ? select(labels.all()) : labels.all());
    let ofStream = known.get(stream);
    if (ofStream === undefined) known.set(stream, (ofStream = new WeakMap()));
    let name = ofStream.get(metadata);
    if (name === undefined) ofStream.set(metadata, (name = named(select(labels.all()))));
    return name;
  };
}

/** Beyond it, names are forgotten and made anew. */
const NAMES_REMEMBERED_MAX = 10_000;

/** The series of a `by`: its name is made once for each row of values. */
function namedByValues(names: readonly string[]): (labels: LabelState) => SeriesName {
  const known = new Map<string, SeriesName>();
  return (labels) => {
    // Lengths keep values apart; the last one has what is left, so that a single value is its own key.
    let key = '';
    for (let i = 0; i < names.length; i++) {
      const value = labels.get(names[i]) ?? '';
      key += i + 1 < names.length ? `${value.length} ${value}` : value;
    }
    let series = known.get(key);
    if (series === undefined) {
      if (known.size >= NAMES_REMEMBERED_MAX) known.clear();
      const pairs = names.map((name) => [name, labels.get(name) ?? ''] as const);
      series = named(Object.fromEntries(pairs.filter(([, value]) => value !== '')));
      // A value may be a piece of a line, which the table must not keep alive.
      known.set(Buffer.from(key, 'utf16le').toString('utf16le'), series);
    }
    return series;
  };
}

function named(labels: Labels): SeriesName {
  return { labels, key: labelsText(labels) };
}

function selector(
  grouping: Grouping | undefined,
  unwrapLabel: string | undefined,
): (labels: Labels) => Labels {
  const by = grouping !== undefined && !grouping.without && grouping.labels.length > 0;
  const names = new Set(grouping?.labels);
  if (!by && unwrapLabel !== undefined) names.add(unwrapLabel);
  if (!by && names.size === 0) return (labels) => labels;
  return (labels) =>
    Object.fromEntries(
      Object.entries(labels).filter(([name, value]) => names.has(name) === by && value !== ''),
    );
}

/** The labels that parsers need to set; undefined when that is all of them. */
function wantedLabels(
  aggregation: RangeAggregation,
  grouping: Grouping | undefined,
): Set<string> | undefined {
  if (grouping === undefined || grouping.without) return undefined;
  const { log, unwrap } = aggregation.range;
  if (log.stages.some(readsAnyLabel)) return undefined;
  const wanted = new Set(grouping.labels);
  for (const stage of log.stages) {
    if (stage.kind === 'labelFilter') for (const name of filteredLabels(stage.filter)) wanted.add(name);
  }
  if (unwrap !== undefined) {
    wanted.add(unwrap.label);
    for (const filter of unwrap.filters) for (const name of filteredLabels(filter)) wanted.add(name);
  }
  return wanted;
}

/** Stages whose result may depend on labels that they do not name. */
function readsAnyLabel(stage: Stage): boolean {
  return stage.kind === 'lineFormat' || stage.kind === 'labelFormat' || stage.kind === 'unpack';
}
