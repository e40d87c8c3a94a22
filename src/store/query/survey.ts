import type { Labels } from '../batch/index.ts';
import type { BatchEntry, SegmentId, Stream } from '../segment/index.ts';
import {
  candidatesOf,
  intoTasks,
  namesOf,
  overlaps,
  runTasks,
  segmentsOf,
  settle,
  type Candidate,
  type SegmentWork,
} from './candidates.ts';
import type { KnownHeader } from './headers.ts';
import type { IndexMemory } from './index-memory.ts';
import type { KnownAnswers } from './known-answers.ts';
import { ProgressCounter, type Liveness, type ScanProgress } from './progress.ts';
import { pruneByMemory, type Needed } from './prune.ts';
import type { MetricScanResult, PatternScanResult, SegmentScan, TimeRange } from './scan.ts';
import { emptyTally, type ScanTally } from './windows.ts';

/** A question to all batches at once, in any order: aggregates and patterns. */
export interface SurveyJob<Result> {
  readonly work: readonly SegmentWork[];
  matchesStream(labels: Labels): boolean;
  isInTime(batch: BatchEntry): boolean;
  /** The stream labels that the answer may depend on; absent: all. */
  readonly seenLabels?: ReadonlySet<string>;
  /** What answers for most batches, or rules them out. */
  readonly mostly: 'headers' | 'filters' | 'lines';
  /** Lines that are in no batch yet, being taken in. */
  readonly unsealed: Promise<void>;
  /** What each selection of the query looks for. */
  readonly selections: readonly Needed[];
  readonly memory: IndexMemory;
  /** Takes in what a remembered header says, if that is enough; nothing of it else. */
  readonly takeHeader?: (header: KnownHeader) => boolean;
  /** What the same question has found before. */
  readonly answers?: KnownAnswers | undefined;
  readonly signal: AbortSignal;
  readonly alive: Liveness;
  /** Tasks at once. */
  readonly parallel: number;
  /** Runs one task on a worker. */
  readonly scan: (segments: SegmentScan[]) => Promise<Result>;
  /** Takes a task's result in. */
  readonly take: (result: Result) => void;
}

export type SurveyStep =
  | ScanProgress
  | { readonly kind: 'failed'; readonly id: SegmentId; readonly seqs: number[] };

/** Runs the job, names rotten batches, and returns what became of all. Nothing of a batch that failed was taken. */
export async function* surveyBatches<Result extends MetricScanResult | PatternScanResult>(
  job: SurveyJob<Result>,
): AsyncGenerator<SurveyStep, ScanTally> {
  const { answers, memory, mostly, parallel, takeHeader } = job;
  // In the turn in which the work was listed: a segment that is dropped names no streams any more.
  const found = candidatesOf(job.work, job.matchesStream, job.isInTime, job.seenLabels);
  const progress = new ProgressCounter(job.alive);
  yield* progress.during(job.unsealed);
  const { batches: candidates, streams, total } = found;
  const { batches, passed } = pruneByMemory(candidates, job.selections, memory);
  const tally = { ...emptyTally(), batches: total, pruned: total - batches.length };
  const failed: Candidate[] = [];
  progress.expect(batches.length);
  const unanswered = batches.filter(({ index, batch }) => {
    const parts = takeHeader && memory.partsOf(batch);
    const plain = parts ? batch.plainStreams : [];
    const labelsOf = (stream: number): Labels | undefined => streams[index].get(stream);
    const isPlain = (stream: number): boolean => plain.includes(stream);
    const isAnswered = (parts && takeHeader({ parts, labelsOf, isPlain })) || answers?.take(batch);
    return !isAnswered;
  });
  const answered = batches.length - unanswered.length;
  tally.read += answered;
  tally.fromIndex += answered;
  progress.advance(answered);
  const isLight = (batch: BatchEntry): boolean =>
    mostly === 'headers' || (mostly === 'filters' && !passed.has(batch));
  const isNews = (batch: BatchEntry): boolean =>
    mostly === 'headers' ? !memory.partsOf(batch) : mostly === 'filters' && !memory.filterOf(batch);
  const told = (batch: BatchEntry) => ({
    plainStreams: batch.plainStreams,
    answerFrom: answers?.wanted(batch),
    ...(passed.has(batch) && { passed: passed.get(batch) }),
    ...(isNews(batch) && memory.claim(batch) && { remember: true }),
  });
  const tasks = runTasks(intoTasks(unanswered, { isLight, parallel }), parallel, async (task) => {
    job.signal.throwIfAborted();
    const segments = segmentsOf(task, streams, told);
    const result = await job.scan(segments).finally(() => settle(task, segments, memory));
    job.take(result);
    const named = namesOf(task);
    for (const [at, seq, filter] of result.filters) memory.keepFilter(named(at, seq).batch, filter);
    for (const [at, seq] of result.failed) failed.push(named(at, seq));
    tally.read += result.read.length;
    tally.pruned += task.length - result.read.length - result.failed.length;
    tally.bytesScanned += result.bytesScanned;
    if (result.kind === 'metric') {
      tally.fromIndex += result.fromIndex.length;
      for (const [at, seq, answer] of result.answers) answers?.keep(named(at, seq).batch, answer);
      for (const [at, seq, parts] of result.heads) memory.keepParts(named(at, seq).batch, parts);
      for (const [at, seq, found] of result.plain) named(at, seq).batch.notePlain(found);
    }
    progress.advance(task.length);
  });
  yield* progress.during(tasks);
  for (const { segment, batch } of failed) yield { kind: 'failed', id: segment.id, seqs: [batch.seq] };
  return { ...tally, batches: total - failed.length };
}

/** Streams that have entries in batches of the range and are wanted, each once. A batch's streams are in its segment's record. */
export function streamsIn(
  work: readonly SegmentWork[],
  range: TimeRange,
  isWanted: (labels: Labels) => boolean,
): { streams: Stream[]; tally: ScanTally } {
  const isInTime = (batch: BatchEntry): boolean => overlaps(batch, range);
  const { batches, streams, total } = candidatesOf(work, isWanted, isInTime);
  /** By id: segments name the same streams again. */
  const found: Stream[] = [];
  const isWhole = work.map(({ segment: { record }, batches: asked }, index) => {
    if (
      asked.length < record.batches.length ||
      record.quarantined.length > 0 ||
      !Iterator.from(asked).every(isInTime)
    )
      return false;
    // Whatever it names has entries in one of its batches.
    for (const number of streams[index].keys()) add(found, record.streams[number]);
    return true;
  });
  for (const { index, batch, segment } of batches) {
    if (isWhole[index]) continue;
    for (const number of batch.streams)
      if (streams[index].has(number)) add(found, segment.record.streams[number]);
  }
  const read = batches.length;
  return {
    streams: Object.values(found),
    tally: { ...emptyTally(), batches: total, pruned: total - read, read, fromIndex: read },
  };
}

function add(found: Stream[], stream: Stream | undefined): void {
  if (stream) found[stream.id] = stream;
}
