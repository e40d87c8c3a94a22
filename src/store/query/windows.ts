import type { Instant, Labels } from '../batch/index.ts';
import type { BatchEntry, Segment, SegmentId } from '../segment/index.ts';
import type { CompiledQuery } from './compile.ts';
import { mergeSources, sourceOf } from './merge.ts';
import { sliceRun, type EntryRun } from './run.ts';
import type { ScanRequest, ScanResult, SegmentScan, TimeRange } from './scan.ts';

/** Batches of one segment that a peer is asked to answer for. */
export interface SegmentWork {
  readonly segment: Segment;
  readonly runs: readonly (readonly [number, number])[];
}

export interface ScanJob {
  readonly query: string;
  readonly compiled: CompiledQuery;
  readonly range: TimeRange;
  readonly descending: boolean;
  readonly limit: number;
  readonly work: readonly SegmentWork[];
  /** Matching lines that are in no batch yet, sorted in the direction of the query. */
  readonly unsealed: EntryRun | undefined;
  readonly signal: AbortSignal;
  /** Runs one task on a worker. */
  scan(request: ScanRequest, signal: AbortSignal): Promise<ScanResult>;
  /** Tasks at once. */
  readonly parallel: number;
}

/** What became of the batches of a job. */
export interface ScanTally {
  batches: number;
  /** Ruled out by time, labels or a filter. */
  pruned: number;
  read: number;
  /** Not looked at, because the limit was reached before. */
  unneeded: number;
  bytesScanned: number;
}

export type ScanStep =
  | { readonly kind: 'run'; readonly run: EntryRun }
  /** These batches proved rotten; none of their lines in this step or a later one will come from here. */
  | { readonly kind: 'failed'; readonly id: SegmentId; readonly seqs: number[] }
  | { readonly kind: 'done'; readonly tally: ScanTally };

interface Scanning {
  readonly range: TimeRange;
  readonly results: Promise<TaskResult[]>;
}

interface Candidate {
  readonly segment: Segment;
  readonly index: number;
  readonly batch: BatchEntry;
}

const TASK_BYTES = 4 * 1024 * 1024;
const WINDOW_BYTES_FIRST = 1024 * 1024;
const WINDOW_BYTES_MAX = 1024 * 1024 * 1024;
/** How fast windows may grow; a filter rules most batches out for next to nothing. */
const GROWTH = 4;
const GROWTH_FILTERED = 32;
/** Matching bytes that a window should give: windows grow while they give less. */
const RESULT_BYTES_AIM = 12 * 1024 * 1024;

/**
 * Answers a log query over this peer's batches in time order and bounded memory: takes the range in windows of time from
 * its start (or end, when descending), each scanned in parallel by the workers and then sorted. Windows grow while they
 * give little, so that a rare word is one sweep, and a limit is reached without reading the rest.
 */
export async function* scanInWindows(job: ScanJob): AsyncGenerator<ScanStep> {
  const tally: ScanTally = { batches: 0, pruned: 0, read: 0, unneeded: 0, bytesScanned: 0 };
  const streams: ReadonlyMap<number, Labels>[] = [];
  const candidates: Candidate[] = [];
  for (const [index, { segment, runs }] of job.work.entries()) {
    const matching = matchingStreams(segment, job.compiled);
    streams.push(matching);
    for (const batch of batchesIn(segment, runs)) {
      tally.batches++;
      if (overlaps(batch, job.range) && batch.streams.some((stream) => matching.has(stream))) {
        candidates.push({ segment, index, batch });
      } else tally.pruned++;
    }
  }
  const seen = new Set<BatchEntry>();
  const read = new Set<BatchEntry>();
  const failed = new Set<BatchEntry>();
  let left = job.limit;
  const growth = job.compiled.neededLiterals.length > 0 ? GROWTH_FILTERED : GROWTH;
  let windowBytes = WINDOW_BYTES_FIRST * growth;
  const cursor = new WindowCursor(candidates, job);
  const scanNext = (): Scanning | undefined => {
    const window = cursor.next(windowBytes);
    if (!window) return undefined;
    const range = clip(job.range, window);
    const chosen = candidates.filter(({ batch }) => overlaps(batch, range) && !failed.has(batch));
    const results = scanChosen(job, chosen, streams, range, left);
    results.catch(() => undefined);
    return { range, results };
  };
  for (let scanning = scanNext(); scanning && left > 0;) {
    job.signal.throwIfAborted();
    const { range } = scanning;
    const runs: EntryRun[] = [];
    let resultBytes = 0;
    let rows = 0;
    for (const { task, result } of await scanning.results) {
      tally.bytesScanned += result.bytesScanned;
      for (const { batch } of task) seen.add(batch);
      for (const [at, seq] of result.read) read.add(find(task, at, seq).batch);
      for (const [at, seq] of result.failed) {
        const { batch, segment } = find(task, at, seq);
        if (failed.has(batch)) continue;
        failed.add(batch);
        yield { kind: 'failed', id: segment.id, seqs: [seq] };
      }
      if (!result.run) continue;
      runs.push(result.run);
      resultBytes += result.run.lines.length;
      rows += result.run.count;
    }
    const unsealed = job.unsealed && rowsWithin(job.unsealed, range);
    if (unsealed) runs.push(unsealed);
    windowBytes = nextWindowBytes(windowBytes, resultBytes, growth);
    // The workers go on with the next window while this one is merged and sent.
    scanning = rows < left ? scanNext() : undefined;
    const sources = runs.map((run) => sourceOf([run]));
    for await (const run of mergeSources(sources, { descending: job.descending, limit: left })) {
      left -= run.count;
      yield { kind: 'run', run };
    }
  }
  for (const { batch } of candidates) {
    if (failed.has(batch)) continue;
    if (read.has(batch)) tally.read++;
    else if (seen.has(batch)) tally.pruned++;
    else tally.unneeded++;
  }
  tally.batches -= failed.size;
  yield { kind: 'done', tally };
}

function find(task: readonly Candidate[], index: number, seq: number): Candidate {
  return task.find((candidate) => candidate.index === index && candidate.batch.seq === seq)!;
}

function nextWindowBytes(windowBytes: number, resultBytes: number, growth: number): number {
  const perByte = Math.max(resultBytes / windowBytes, RESULT_BYTES_AIM / WINDOW_BYTES_MAX);
  return Math.min(windowBytes * growth, RESULT_BYTES_AIM / perByte);
}

/** Streams of a segment that the selector matches. Labels are told once a segment, so this is done once, too. */
function matchingStreams(segment: Segment, query: CompiledQuery): Map<number, Labels> {
  const matching = new Map<number, Labels>();
  for (const [stream, labels] of segment.record.labels.entries()) {
    if (labels && query.matchesStream(labels)) matching.set(stream, labels);
  }
  return matching;
}

function* batchesIn(
  segment: Segment,
  runs: readonly (readonly [number, number])[],
): IterableIterator<BatchEntry> {
  for (const [from, to] of runs) {
    for (const batch of segment.record.batches) if (batch.seq >= from && batch.seq <= to) yield batch;
  }
}

function overlaps({ min, max }: { min: Instant; max: Instant }, { from, to }: TimeRange): boolean {
  const beforeStart = max.ms < from.ms || (max.ms === from.ms && max.sub < from.sub);
  const afterEnd = min.ms > to.ms || (min.ms === to.ms && min.sub >= to.sub);
  return !beforeStart && !afterEnd;
}

/** Whole milliseconds, `fromMs` inclusive, `toMs` exclusive. */
interface Window {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Walks the range in windows that hold about a wanted number of raw bytes, judging by each batch's span and size. */
class WindowCursor {
  readonly #candidates: readonly Candidate[];
  readonly #descending: boolean;
  #fromMs: number;
  #toMs: number;

  constructor(candidates: readonly Candidate[], job: ScanJob) {
    this.#candidates = candidates;
    this.#descending = job.descending;
    const { range, unsealed } = job;
    let first = Infinity;
    let last = -Infinity;
    for (const { batch } of candidates) {
      first = Math.min(first, batch.min.ms);
      last = Math.max(last, batch.max.ms);
    }
    if (unsealed && unsealed.count > 0) {
      first = Math.min(first, unsealed.ms[0], unsealed.ms[unsealed.count - 1]);
      last = Math.max(last, unsealed.ms[0], unsealed.ms[unsealed.count - 1]);
    }
    this.#fromMs = Math.max(first, range.from.ms);
    this.#toMs = Math.min(last, range.to.ms) + 1;
  }

  next(bytes: number): Window | undefined {
    if (!(this.#fromMs < this.#toMs)) return undefined;
    let low = 1;
    let high = this.#toMs - this.#fromMs;
    // The widest window that is estimated to hold no more than the wanted bytes, but at least a millisecond.
    if (this.#estimate(high) > bytes) {
      while (low < high) {
        const middle = Math.ceil((low + high) / 2);
        if (this.#estimate(middle) > bytes) high = middle - 1;
        else low = middle;
      }
    } else low = high;
    const width = Math.max(1, low);
    const window = this.#window(width);
    if (this.#descending) this.#toMs = window.fromMs;
    else this.#fromMs = window.toMs;
    return window;
  }

  #window(width: number): Window {
    return this.#descending
      ? { fromMs: this.#toMs - width, toMs: this.#toMs }
      : { fromMs: this.#fromMs, toMs: this.#fromMs + width };
  }

  #estimate(width: number): number {
    const { fromMs, toMs } = this.#window(width);
    let bytes = 0;
    for (const { batch } of this.#candidates) {
      const start = Math.max(batch.min.ms, fromMs);
      const end = Math.min(batch.max.ms + 1, toMs);
      if (start < end) bytes += (batch.rawBytes * (end - start)) / (batch.max.ms + 1 - batch.min.ms);
    }
    return bytes;
  }
}

function clip(range: TimeRange, { fromMs, toMs }: Window): TimeRange {
  return {
    from: range.from.ms >= fromMs ? range.from : { ms: fromMs, sub: 0 },
    to: range.to.ms < toMs ? range.to : { ms: toMs, sub: 0 },
  };
}

interface TaskResult {
  readonly task: readonly Candidate[];
  readonly result: ScanResult;
}

async function scanChosen(
  job: ScanJob,
  chosen: readonly Candidate[],
  streams: readonly ReadonlyMap<number, Labels>[],
  range: TimeRange,
  limit: number,
): Promise<TaskResult[]> {
  const tasks = intoTasks(chosen, job);
  const results: TaskResult[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < tasks.length) {
      const at = next++;
      const task = tasks[at];
      const { query, descending } = job;
      const segments = segmentsOf(task, streams);
      const result = await job.scan({ query, range, descending, limit, segments }, job.signal);
      results[at] = { task, result: byWorkIndex(result, task) };
    }
  };
  await Promise.all(Array.from({ length: Math.min(job.parallel, tasks.length) }, lane));
  return results;
}

/** The worker counts the segments of its task; the job counts those of all its work. */
function byWorkIndex(result: ScanResult, task: readonly Candidate[]): ScanResult {
  const indexes = [...new Set(task.map(({ index }) => index))];
  const named = (pairs: readonly [number, number][]): [number, number][] =>
    pairs.map(([at, seq]) => [indexes[at], seq]);
  return { ...result, read: named(result.read), failed: named(result.failed) };
}

/** Batches grouped so that a task is worth its message; more of them where a filter will rule most out. */
function intoTasks(chosen: readonly Candidate[], job: ScanJob): Candidate[][] {
  const filtered = job.compiled.neededLiterals.length > 0;
  const share = Math.ceil(chosen.length / (job.parallel * 4));
  const tasks: Candidate[][] = [];
  let task: Candidate[] = [];
  let bytes = 0;
  for (const candidate of chosen) {
    task.push(candidate);
    bytes += candidate.batch.rawBytes;
    if (filtered ? task.length >= Math.max(4, Math.min(share, 64)) : bytes >= TASK_BYTES) {
      tasks.push(task);
      task = [];
      bytes = 0;
    }
  }
  if (task.length > 0) tasks.push(task);
  return tasks;
}

function segmentsOf(
  task: readonly Candidate[],
  streams: readonly ReadonlyMap<number, Labels>[],
): SegmentScan[] {
  const bySegment = new Map<number, Candidate[]>();
  for (const candidate of task) {
    const group = bySegment.get(candidate.index);
    if (group) group.push(candidate);
    else bySegment.set(candidate.index, [candidate]);
  }
  return [...bySegment].map(([index, group]) => ({
    path: group[0].segment.path,
    origin: group[0].segment.id.origin,
    epoch: group[0].segment.id.epoch,
    batches: group.map(({ batch }) => ({
      seq: batch.seq,
      offset: batch.offset,
      frameBytes: batch.frameBytes,
      headerBytes: batch.headerBytes,
      filterBytes: batch.filterBytes,
    })),
    streams: streams[index],
  }));
}

function rowsWithin(run: EntryRun, { from, to }: TimeRange): EntryRun | undefined {
  const inside = (row: number): boolean => {
    const at = run.ms[row];
    if (at < from.ms || (at === from.ms && run.sub[row] < from.sub)) return false;
    return at < to.ms || (at === to.ms && run.sub[row] < to.sub);
  };
  let start = 0;
  while (start < run.count && !inside(start)) start++;
  let end = start;
  while (end < run.count && inside(end)) end++;
  return start < end ? sliceRun(run, start, end) : undefined;
}
