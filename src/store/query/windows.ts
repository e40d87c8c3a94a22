import type { BatchEntry, SegmentId } from '../segment/index.ts';
import {
  candidatesOf,
  intoTasks,
  namesOf,
  overlaps,
  runTasks,
  segmentsOf,
  settle,
  type Candidate,
  type Candidates,
  type SegmentWork,
} from './candidates.ts';
import type { CompiledQuery } from './compile.ts';
import type { IndexMemory } from './index-memory.ts';
import { mergeSources, sourceOf } from './merge.ts';
import { ProgressCounter, type Liveness, type ScanProgress } from './progress.ts';
import { neededOf, pruneByMemory, type Unpruned } from './prune.ts';
import { runBytes, sliceRun, type EntryRun } from './run.ts';
import type { EntryScan, EntryScanResult, TimeRange } from './scan.ts';

export interface ScanJob {
  readonly query: string;
  readonly compiled: CompiledQuery;
  readonly range: TimeRange;
  readonly descending: boolean;
  readonly limit: number;
  readonly work: readonly SegmentWork[];
  /** Matching lines that are in no batch yet, sorted in the direction of the query. */
  readonly unsealed: Promise<EntryRun | undefined> | undefined;
  readonly signal: AbortSignal;
  /** Runs one task on a worker. */
  scan(request: EntryScan, signal: AbortSignal): Promise<EntryScanResult>;
  /** Tasks at once. */
  readonly parallel: number;
  readonly memory: IndexMemory;
  readonly alive: Liveness;
}

/** What became of the batches of a job. */
export interface ScanTally {
  batches: number;
  /** Ruled out by time, labels or a filter. */
  pruned: number;
  read: number;
  /** Not looked at, because the limit was reached before. */
  unneeded: number;
  /** Of those read: answered from their headers alone, or from what was found in them before. */
  fromIndex: number;
  /** Uncompressed bytes that were searched. */
  bytesScanned: number;
}

export type ScanStep =
  | ScanProgress
  | { readonly kind: 'run'; readonly run: EntryRun }
  /** These batches proved rotten; none of their lines in this step or a later one will come from here. */
  | { readonly kind: 'failed'; readonly id: SegmentId; readonly seqs: number[] }
  | { readonly kind: 'done'; readonly tally: ScanTally };

interface Scanning {
  readonly window: Window;
  readonly range: TimeRange;
  /** Undefined: there are so many that the window is to be taken in parts. */
  readonly results: Promise<TaskResult[] | undefined>;
}

const WINDOW_BYTES_FIRST = 1024 * 1024;
const WINDOW_BYTES_MAX = 1024 * 1024 * 1024;
/** How fast windows may grow; a filter rules most batches out for next to nothing. */
const GROWTH = 4;
const GROWTH_FILTERED = 32;
/** Matching bytes that a window should give: windows grow while they give less. */
const RESULT_BYTES_AIM = 12 * 1024 * 1024;
/** What a window may give before it is given up for a narrower one: those after empty windows are wide. */
const RESULT_BYTES_MAX = 8 * RESULT_BYTES_AIM;

/**
 * Answers a log query over this peer's batches in time order and bounded memory: takes the range in windows of time from
 * its start (or end, when descending), each scanned in parallel by the workers and then sorted. Windows grow while they
 * give little, so that a rare word is one sweep, and a limit is reached without reading the rest.
 */
export async function* scanInWindows(job: ScanJob): AsyncGenerator<ScanStep> {
  // In the turn in which the work was listed: a segment that is dropped names no streams any more.
  const found = candidatesOf(job.work, job.compiled.matchesStream, (batch) => overlaps(batch, job.range));
  const progress = new ProgressCounter(job.alive);
  const fresh = job.unsealed && (yield* progress.during(job.unsealed));
  const unpruned = pruneByMemory(found.batches, [neededOf(job.compiled)], job.memory);
  const candidates = unpruned.batches;
  const tally = emptyTally();
  tally.batches = found.total;
  tally.pruned = found.total - candidates.length;
  progress.expect(candidates.length);
  const seen = new Set<BatchEntry>();
  const read = new Set<BatchEntry>();
  const failed = new Set<BatchEntry>();
  let left = job.limit;
  const growth = job.compiled.neededLiterals.length > 0 ? GROWTH_FILTERED : GROWTH;
  let windowBytes = WINDOW_BYTES_FIRST * growth;
  const cursor = new WindowCursor(candidates, fresh, job);
  const scanNext = (): Scanning | undefined => {
    const window = cursor.next(windowBytes);
    if (!window) return undefined;
    const range = clip(job.range, window);
    const chosen = candidates.filter(({ batch }) => overlaps(batch, range) && !failed.has(batch));
    const bytesMax = window.toMs - window.fromMs > 1 ? RESULT_BYTES_MAX : Infinity;
    const scan = {
      job,
      tally,
      chosen,
      streams: found.streams,
      passed: unpruned.passed,
      range,
      limit: left,
      bytesMax,
    };
    const results = scanChosen(scan, progress);
    results.catch(() => undefined);
    return { window, range, results };
  };
  for (let scanning = scanNext(); scanning && left > 0;) {
    job.signal.throwIfAborted();
    const { range } = scanning;
    const results = yield* progress.during(scanning.results);
    job.signal.throwIfAborted();
    if (!results) {
      windowBytes /= RESULT_BYTES_MAX / RESULT_BYTES_AIM;
      cursor.goBack(scanning.window);
      scanning = scanNext();
      continue;
    }
    const runs: EntryRun[] = [];
    let resultBytes = 0;
    let rows = 0;
    for (const { task, result } of results) {
      const named = namesOf(task);
      for (const { batch } of task) seen.add(batch);
      for (const [at, seq, filter] of result.filters) job.memory.keepFilter(named(at, seq).batch, filter);
      for (const [at, seq] of result.read) read.add(named(at, seq).batch);
      for (const [at, seq] of result.failed) {
        const { batch, segment } = named(at, seq);
        if (failed.has(batch)) continue;
        failed.add(batch);
        yield { kind: 'failed', id: segment.id, seqs: [seq] };
      }
      if (!result.run) continue;
      runs.push(result.run);
      resultBytes += runBytes(result.run);
      rows += result.run.count;
    }
    const unsealed = fresh && rowsWithin(fresh, range);
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

export function emptyTally(): ScanTally {
  return { batches: 0, pruned: 0, read: 0, unneeded: 0, fromIndex: 0, bytesScanned: 0 };
}

function nextWindowBytes(windowBytes: number, resultBytes: number, growth: number): number {
  const perByte = Math.max(resultBytes / windowBytes, RESULT_BYTES_AIM / WINDOW_BYTES_MAX);
  return Math.min(windowBytes * growth, RESULT_BYTES_AIM / perByte);
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

  constructor(
    candidates: readonly Candidate[],
    unsealed: EntryRun | undefined,
    { descending, range }: Pick<ScanJob, 'descending' | 'range'>,
  ) {
    this.#candidates = candidates;
    this.#descending = descending;
    let first = Infinity;
    let last = -Infinity;
    for (const { batch } of candidates) {
      first = Math.min(first, batch.minMs);
      last = Math.max(last, batch.maxMs);
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

  /** To where a window began that was the last. */
  goBack({ fromMs, toMs }: Window): void {
    if (this.#descending) this.#toMs = toMs;
    else this.#fromMs = fromMs;
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
      const { minMs, maxMs } = batch;
      const start = Math.max(minMs, fromMs);
      const end = Math.min(maxMs + 1, toMs);
      if (start < end) bytes += (batch.rawBytes * (end - start)) / (maxMs + 1 - minMs);
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
  readonly result: EntryScanResult;
}

interface WindowScan {
  readonly job: ScanJob;
  readonly tally: ScanTally;
  readonly chosen: readonly Candidate[];
  readonly streams: Candidates['streams'];
  readonly passed: Unpruned['passed'];
  readonly range: TimeRange;
  readonly limit: number;
  readonly bytesMax: number;
}

/** Resolves to undefined, and begins nothing more, once more than `bytesMax` are found, or more in a task than that may hold. */
async function scanChosen(
  { job, tally, chosen, streams, passed, range, limit, bytesMax }: WindowScan,
  progress: ProgressCounter,
): Promise<TaskResult[] | undefined> {
  const { query, descending, parallel, signal, memory } = job;
  const isFiltered = job.compiled.neededLiterals.length > 0;
  const isLight = (batch: BatchEntry): boolean => isFiltered && !passed.has(batch);
  const told = (batch: BatchEntry) => ({
    ...(passed.has(batch) && { passed: passed.get(batch) }),
    ...(isLight(batch) && !memory.filterOf(batch) && memory.claim(batch) && { remember: true }),
  });
  let bytes = 0;
  const results = await runTasks(intoTasks(chosen, { isLight, parallel }), parallel, async (task) => {
    if (bytes > bytesMax) return undefined;
    const segments = segmentsOf(task, streams, told);
    const request: EntryScan = { kind: 'entries', query, range, descending, limit, segments };
    let result: EntryScanResult;
    try {
      result = await job.scan(request, signal);
    } catch (error) {
      if (bytesMax === Infinity || (error as { code?: string }).code !== 'LV_QUERY_TOO_LARGE') throw error;
      bytes = Infinity;
      return undefined;
    } finally {
      settle(task, segments, memory);
    }
    progress.advance(task.length);
    tally.bytesScanned += result.bytesScanned;
    if (result.run) bytes += runBytes(result.run);
    return bytes > bytesMax ? undefined : { task, result };
  });
  return bytes > bytesMax ? undefined : (results as TaskResult[]);
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
