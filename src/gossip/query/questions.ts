import {
  type AnswerMemory,
  compileMetric,
  decodeParts,
  encodeParts,
  HeaderSums,
  isAnsweredByHeaders,
  KnownAnswers,
  labelsKey,
  labelsText,
  LIMITS,
  neededOf,
  overlaps,
  PARTS_PLANNED_MAX,
  PatternTree,
  scanInWindows,
  streamsIn,
  surveyBatches,
  type CompiledQuery,
  type EntryRun,
  type EntryScan,
  type IndexMemory,
  type Labels,
  type Liveness,
  type MetricScan,
  type MetricScanResult,
  type PatternScan,
  type PatternScanResult,
  type ScanRequest,
  type ScanResult,
  type ScanTally,
  type SegmentWork,
  type Stream,
  type TimeRange,
} from '../../store/index.ts';
import {
  compileMatchers,
  parseMatchers,
  type EvalTimes,
  type RangePartial,
} from '../../store/logql/index.ts';
import { encodeMessage } from '../repair/index.ts';
import { LabelValues } from './label-values.ts';
import type { QuestionOf } from './messages.ts';

/** What a holder answers its questions with. */
export interface Answerer {
  readonly parallel: number;
  compile(query: string): CompiledQuery;
  scan(request: ScanRequest, signal: AbortSignal): Promise<ScanResult>;
  /** Matching lines of this peer that are in no written batch yet, sorted. The snapshot is taken in the call's turn. */
  unsealed(
    query: string,
    range: TimeRange,
    descending: boolean,
    limit: number,
    signal: AbortSignal,
  ): Promise<EntryRun | undefined>;
  unsealedLabels(): Labels[];
}

/** One holder's part of a query. */
export interface Part {
  readonly range: TimeRange;
  readonly work: readonly SegmentWork[];
  /** Also lines that are in no batch yet. */
  readonly isFresh: boolean;
  readonly signal: AbortSignal;
  /** One of each for all questions. */
  readonly memory: IndexMemory;
  readonly answers: AnswerMemory;
  readonly alive: Liveness;
}

/** What a holder says on the way to its answer; the tally comes last. */
export type AnswerStep =
  | { readonly kind: 'run'; readonly run: EntryRun }
  | { readonly kind: 'found'; readonly bytes: Uint8Array }
  | { readonly kind: 'progress'; readonly done: number; readonly of: number }
  | { readonly kind: 'failed'; readonly id: SegmentWork['segment']['id']; readonly seqs: number[] }
  | { readonly kind: 'done'; readonly tally: ScanTally };

/** Asks for one kind of scan and gives its result back as that kind. */
async function scanFor<Request extends ScanRequest>(
  answerer: Answerer,
  request: Request,
  signal: AbortSignal,
): Promise<Extract<ScanResult, { kind: Request['kind'] }>> {
  return (await answerer.scan(request, signal)) as Extract<ScanResult, { kind: Request['kind'] }>;
}

export async function* answerEntries(
  answerer: Answerer,
  { query, descending, limit }: QuestionOf<'entries'>,
  { range, work, isFresh, signal, memory, alive }: Part,
): AsyncGenerator<AnswerStep> {
  // Asked for in the turn in which the work was listed: no line can go from unsealed to sealed between the two.
  const fresh = isFresh ? answerer.unsealed(query, range, descending, limit, signal) : undefined;
  fresh?.catch(() => undefined);
  const compiled = answerer.compile(query);
  yield* scanInWindows({
    query,
    compiled,
    range,
    descending,
    limit,
    work,
    unsealed: fresh,
    signal,
    scan: (request: EntryScan) => scanFor(answerer, request, signal),
    parallel: answerer.parallel,
    memory,
    alive,
  });
}

/** Partial results of every leaf. */
export async function* answerMetric(
  answerer: Answerer,
  question: QuestionOf<'metric'>,
  { work, isFresh, signal, memory, answers, alive }: Part,
): AsyncGenerator<AnswerStep> {
  const { query } = question;
  const times = timesOf(question);
  // No template runs in this thread: what `now` is doesn't matter.
  const metric = compileMetric(query, times, () => 0);
  const fresh = metric.leaves.map(({ selection, range }) =>
    isFresh ? answerer.unsealed(selection, range, false, Infinity, signal) : Promise.resolve(undefined),
  );
  const partials = metric.newPartials();
  const scan = (part: Pick<MetricScan, 'segments' | 'rows'>) =>
    scanFor<MetricScan>(answerer, { kind: 'metric', query, times, ...part }, signal);
  const take = ({ parts }: MetricScanResult): void => {
    for (const bytes of parts) addParts(partials, bytes);
  };
  const unsealed = Promise.all(fresh).then(async (rows) => {
    if (rows.some((run) => run !== undefined)) take(await scan({ segments: [], rows }));
  });
  unsealed.catch(() => undefined);
  const isIndexed = metric.leaves.every(
    ({ leaf, neededLiterals }) => leaf.needs.kind === 'columns' || neededLiterals.length > 0,
  );
  const sums = isAnsweredByHeaders(metric) ? new HeaderSums(metric, partials, PARTS_PLANNED_MAX) : undefined;
  const { parallel } = answerer;
  const tally = yield* surveyBatches({
    work,
    unsealed,
    matchesStream: metric.matchesStream,
    isInTime: metric.isInTime,
    seenLabels: metric.seenLabels,
    mostly: sums ? 'headers' : isIndexed ? 'filters' : 'lines',
    selections: metric.leaves.map(neededOf),
    memory,
    takeHeader: sums && ((header) => sums.add(header)),
    answers: KnownAnswers.of(query, partials, answers),
    signal,
    alive,
    parallel,
    scan: (segments) => scan({ segments, rows: [] }),
    take,
  });
  sums?.finish();
  for (const bytes of encodeParts(partials.map((partial) => partial.parts()))) yield { kind: 'found', bytes };
  yield { kind: 'done', tally };
}

export function timesOf({ startNs, endNs, stepNs }: QuestionOf<'metric'>): EvalTimes {
  return { startNs: BigInt(startNs), endNs: BigInt(endNs), stepNs: BigInt(stepNs) };
}

/** Throws LV_PROTOCOL, and LV_QUERY_TOO_LARGE at the bounds of a partial. */
export function addParts(partials: readonly RangePartial[], bytes: Uint8Array): void {
  for (const { leaf, series } of decodeParts(bytes, partials.length))
    partials[leaf].merge([series], labelsText);
}

export async function* answerPatterns(
  answerer: Answerer,
  { query, stepMs }: QuestionOf<'patterns'>,
  { range, work, isFresh, signal, memory, alive }: Part,
): AsyncGenerator<AnswerStep> {
  const fresh = isFresh ? answerer.unsealed(query, range, false, Infinity, signal) : undefined;
  const compiled = answerer.compile(query);
  const tree = new PatternTree();
  const scan = (part: Pick<PatternScan, 'segments' | 'rows'>) =>
    scanFor<PatternScan>(answerer, { kind: 'patterns', query, range, stepMs, ...part }, signal);
  const take = ({ patterns }: PatternScanResult): void => {
    for (const { pattern, level, samples } of patterns) tree.add(pattern, level, samples);
  };
  const unsealed = Promise.resolve(fresh).then(async (rows) => {
    if (rows) take(await scan({ segments: [], rows }));
  });
  unsealed.catch(() => undefined);
  const tally = yield* surveyBatches({
    work,
    unsealed,
    matchesStream: compiled.matchesStream,
    isInTime: (batch) => overlaps(batch, range),
    mostly: compiled.neededLiterals.length > 0 ? 'filters' : 'lines',
    selections: [neededOf(compiled)],
    memory,
    signal,
    alive,
    parallel: answerer.parallel,
    scan: (segments) => scan({ segments, rows: undefined }),
    take,
  });
  yield { kind: 'found', bytes: encodeMessage(tree.patterns()) };
  yield { kind: 'done', tally };
}

/** Streams that have entries in the range, as far as the index tells: nothing is read. */
function wantedStreams(
  answerer: Answerer,
  selectors: readonly string[],
  { range, work, isFresh }: Part,
): { found: Pick<Stream, 'key' | 'labels'>[]; tally: ScanTally } {
  const matchers = selectors.map((selector) => compileMatchers(parseMatchers(selector, true)));
  const isWanted = (labels: Labels): boolean =>
    matchers.length === 0 || matchers.some((matches) => matches(labels));
  const { streams, tally } = streamsIn(work, range, isWanted);
  if (!isFresh) return { found: streams, tally };
  const fresh = answerer.unsealedLabels().filter(isWanted);
  return { found: [...streams, ...fresh.map((labels) => ({ key: labelsKey(labels), labels }))], tally };
}

/** Label sets, one a line. */
export function* answerSeries(
  answerer: Answerer,
  { selectors }: QuestionOf<'series'>,
  part: Part,
): Generator<AnswerStep> {
  const { found, tally } = wantedStreams(answerer, selectors, part);
  const keys = new Set(found.map(({ key }) => key));
  for (const lines of inChunks(keys)) yield { kind: 'found', bytes: Buffer.from(lines.join('\n')) };
  yield { kind: 'done', tally };
}

/** Label names, and the values that are asked for. */
export function* answerLabels(
  answerer: Answerer,
  { selectors, valuesOf }: QuestionOf<'labels'>,
  part: Part,
): Generator<AnswerStep> {
  const { found, tally } = wantedStreams(answerer, selectors, part);
  const values = new LabelValues();
  for (const { labels } of found)
    for (const name of Object.keys(labels))
      values.add(name, valuesOf?.includes(name) === false ? undefined : labels[name]);
  for (const [name, known] of values.all) {
    yield { kind: 'found', bytes: encodeMessage([name, []]) };
    for (const chunk of inChunks(known)) yield { kind: 'found', bytes: encodeMessage([name, chunk]) };
  }
  yield { kind: 'done', tally };
}

/** Texts in lists of about `queryChunkBytes`. */
function* inChunks(texts: Iterable<string>): Generator<string[]> {
  let chunk: string[] = [];
  let length = 0;
  for (const text of texts) {
    chunk.push(text);
    length += text.length;
    if (length < LIMITS.queryChunkBytes) continue;
    yield chunk;
    [chunk, length] = [[], 0];
  }
  if (chunk.length > 0) yield chunk;
}
