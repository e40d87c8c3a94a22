import { setLabel, type Instant, type Labels } from '../batch/index.ts';
import type { BatchEntry, BatchView, Segment, Stream, StreamList } from '../segment/index.ts';
import type { IndexMemory } from './index-memory.ts';
import type { BatchToScan, SegmentScan, TimeRange } from './scan.ts';

/** Batches of one segment that a peer is asked to answer for. */
export interface SegmentWork {
  readonly segment: Segment;
  /** As they stood when the work was taken: one that proves rotten to another query meanwhile has to be named here, too. */
  readonly batches: BatchView;
}

export function workOf(segment: Segment, runs: readonly (readonly [number, number])[]): SegmentWork {
  return { segment, batches: segment.record.batches.between(runs) };
}

/** A batch that has to be looked into. */
export interface Candidate {
  readonly segment: Segment;
  /** Place of its segment in the job's work. */
  readonly index: number;
  readonly batch: BatchEntry;
}

export interface Candidates {
  readonly batches: Candidate[];
  /** Per segment of the work: the streams that are asked for, with the labels that the query sees of them. */
  readonly streams: readonly ReadonlyMap<number, Labels>[];
  /** All batches of the work, those ruled out by time or labels included. */
  readonly total: number;
}

/** Rules out by time and labels, without reading anything. `seenLabels`: all that the query sees of a stream's labels. */
export function candidatesOf(
  work: readonly SegmentWork[],
  matchesStream: (labels: Labels) => boolean,
  isInTime: (batch: BatchEntry) => boolean,
  seenLabels?: ReadonlySet<string>,
): Candidates {
  const selection = new Selection(matchesStream, seenLabels);
  const streams: ReadonlyMap<number, Labels>[] = [];
  const batches: Candidate[] = [];
  let total = 0;
  for (const [index, { segment, batches: asked }] of work.entries()) {
    const matching = matchingStreams(segment, selection);
    streams.push(matching);
    total += asked.length;
    if (matching.size === 0) continue;
    for (const batch of asked)
      if (isInTime(batch) && holdsAny(batch.streams, matching)) batches.push({ segment, index, batch });
  }
  return { batches, streams, total };
}

/** Asks about each stream once, however many segments name it. For one turn: an id may become another stream's. */
class Selection {
  readonly #matches: (labels: Labels) => boolean;
  readonly #seen: readonly string[] | undefined;
  /** By the stream's id. */
  readonly #verdicts: (Labels | false)[] = [];
  /** By the values of the labels that are seen. */
  readonly #reduced = new Map<string, Labels>();

  constructor(matches: (labels: Labels) => boolean, seen: ReadonlySet<string> | undefined) {
    this.#matches = matches;
    this.#seen = seen && [...seen].sort();
  }

  /** The labels that are seen of a stream that matches, else false. */
  labelsOf({ id, labels }: Stream): Labels | false {
    return (this.#verdicts[id] ??= this.#matches(labels) && this.#reduce(labels));
  }

  /** One object for all streams that look alike, so that a task carries it once. */
  #reduce(labels: Labels): Labels {
    if (!this.#seen) return labels;
    let key = '';
    for (const name of this.#seen) {
      // Lengths keep values apart.
      if (Object.hasOwn(labels, name)) key += `${labels[name].length} ${labels[name]}`;
      else key += '-';
    }
    let reduced = this.#reduced.get(key);
    if (!reduced) {
      const own: Record<string, string> = {};
      for (const name of this.#seen) if (Object.hasOwn(labels, name)) setLabel(own, name, labels[name]);
      this.#reduced.set(key, (reduced = own));
    }
    return reduced;
  }
}

/** Streams of a segment that the selector matches, by their numbers in it. */
function matchingStreams({ record }: Segment, selection: Selection): Map<number, Labels> {
  const matching = new Map<number, Labels>();
  for (const [number, stream] of record.streams.entries()) {
    const labels = stream && selection.labelsOf(stream);
    if (labels) matching.set(number, labels);
  }
  return matching;
}

/** A batch may hold thousands of streams, of which few are asked for: then those are looked up. */
const LOOKUP_STEPS = 16;

function holdsAny(list: StreamList, wanted: ReadonlyMap<number, Labels>): boolean {
  if (wanted.size * LOOKUP_STEPS > list.length) {
    for (const stream of list) if (wanted.has(stream)) return true;
    return false;
  }
  for (const stream of wanted.keys()) if (includesSorted(list, stream)) return true;
  return false;
}

function includesSorted(list: StreamList, stream: number): boolean {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (list[middle] < stream) low = middle + 1;
    else high = middle;
  }
  return list[low] === stream;
}

export function overlaps(
  { min, max }: { readonly min: Instant; readonly max: Instant },
  { from, to }: TimeRange,
): boolean {
  const beforeStart = max.ms < from.ms || (max.ms === from.ms && max.sub < from.sub);
  const afterEnd = min.ms > to.ms || (min.ms === to.ms && min.sub >= to.sub);
  return !beforeStart && !afterEnd;
}

const TASK_BYTES = 4 * 1024 * 1024;
/** Batches of a task of which an index will rule most out. */
const TASK_BATCHES_MIN = 4;
const TASK_BATCHES_MAX = 64;

/** How batches are made into tasks. */
export interface Grouping {
  /** Whether an index may answer for this batch, or rule it out, as it does for most. */
  isLight(batch: BatchEntry): boolean;
  readonly parallel: number;
}

/** Batches grouped so that a task is worth its message, and that few to be scanned are shared out evenly. */
export function intoTasks(chosen: readonly Candidate[], { isLight, parallel }: Grouping): Candidate[][] {
  const share = Math.ceil(chosen.length / (parallel * 4));
  const lightBatches = Math.max(TASK_BATCHES_MIN, Math.min(share, TASK_BATCHES_MAX));
  let scannedBytes = 0;
  for (const { batch } of chosen) if (!isLight(batch)) scannedBytes += batch.rawBytes;
  const taskBytes = Math.min(TASK_BYTES, scannedBytes / (parallel * 2));
  const tasks: Candidate[][] = [];
  let task: Candidate[] = [];
  /** The share of a task that is filled. */
  let filled = 0;
  for (const candidate of chosen) {
    const { batch } = candidate;
    task.push(candidate);
    filled += isLight(batch) ? 1 / lightBatches : batch.rawBytes / taskBytes;
    // Sums of fractions come out a little short.
    if (filled > 0.999) {
      tasks.push(task);
      task = [];
      filled = 0;
    }
  }
  if (task.length > 0) tasks.push(task);
  return tasks;
}

/** A task as a worker takes it. `told`: what is known of each batch besides where it is. */
export function segmentsOf(
  task: readonly Candidate[],
  streams: Candidates['streams'],
  told: (batch: BatchEntry) => Pick<BatchToScan, 'plainStreams' | 'passed' | 'remember' | 'answerFrom'>,
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
      ...told(batch),
    })),
    streams: streamsOf(group, streams[index]),
  }));
}

/** After a task: what it was to tell of is told, or another may be asked. */
export function settle(
  task: readonly Candidate[],
  segments: readonly SegmentScan[],
  memory: IndexMemory,
): void {
  const named = namesOf(task);
  for (const [at, { batches }] of segments.entries()) {
    for (const { seq, remember } of batches) if (remember) memory.settle(named(at, seq).batch);
  }
}

/** A segment may have very many streams: a task gets those that its own batches hold. */
function streamsOf(
  group: readonly Candidate[],
  matching: ReadonlyMap<number, Labels>,
): ReadonlyMap<number, Labels> {
  const own = new Map<number, Labels>();
  for (const { batch } of group) {
    const { streams } = batch;
    if (matching.size * LOOKUP_STEPS < streams.length) {
      for (const [stream, labels] of matching) if (includesSorted(streams, stream)) own.set(stream, labels);
      continue;
    }
    for (const stream of streams) {
      const labels = matching.get(stream);
      if (labels) own.set(stream, labels);
    }
  }
  return own;
}

/** Finds a task's batches by what a worker calls them: the place of the segment in its request, and the seq. */
export function namesOf(task: readonly Candidate[]): (segment: number, seq: number) => Candidate {
  const indexes = [...new Set(task.map(({ index }) => index))];
  return (segment, seq) => {
    const index = indexes[segment];
    return task.find((candidate) => candidate.index === index && candidate.batch.seq === seq)!;
  };
}

/** Runs every task, `parallel` at once; results in the order of the tasks. After an error no task is begun. */
export async function runTasks<Task, Result>(
  tasks: readonly Task[],
  parallel: number,
  run: (task: Task) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < tasks.length) {
      const at = next++;
      try {
        results[at] = await run(tasks[at]);
      } catch (error) {
        next = tasks.length;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(parallel, tasks.length) }, lane));
  return results;
}
