import { LIMITS } from '../limits.ts';
import { lineStart } from '../batch/index.ts';
import { compareRows, RunBuilder, runBytes, sliceRun, type EntryRun } from './run.ts';

const SETS_SENT_WHOLE_MAX = 256;
const CHUNK_ROWS_MAX = 64 * 1024;

/** Copies rows between runs: keeps the translation of one run's table indexes into the builder's. */
class RowCopier {
  readonly #builder: RunBuilder;
  readonly #run: EntryRun;
  readonly #streams: number[] = [];
  readonly #metadata: number[] = [];
  readonly #ranks: number[] = [];
  constructor(builder: RunBuilder, run: EntryRun) {
    this.#builder = builder;
    this.#run = run;
  }

  copy(row: number): void {
    const [run, builder] = [this.#run, this.#builder];
    const id = run.streamIds[row];
    const stream = (this.#streams[id] ??= builder.stream(run.streams[id], run.parsedNames?.[id]));
    const metadata = (this.#metadata[run.metadataIds[row]] ??= builder.metadata(
      run.metadata[run.metadataIds[row]],
    ));
    const rank = (this.#ranks[run.rankIds[row]] ??= builder.rank(run.ranks[run.rankIds[row]]));
    builder.add(
      run.ms[row],
      run.sub[row],
      stream,
      rank,
      metadata,
      run.lines,
      lineStart(run, row),
      run.ends[row],
    );
  }
}

/** A sorted sequence of runs, as a peer sends them. */
export interface RunSource {
  /** The next run, or undefined at the end. */
  next(): Promise<EntryRun | undefined>;
}

interface Head {
  readonly source: RunSource;
  readonly run: EntryRun;
  /** Its rows are copied one by one: each piece of it would carry all its label sets. */
  readonly hasHeavySets: boolean;
  row: number;
  /** Into the run that is being built. */
  copier: RowCopier | undefined;
}

/**
 * Merges sorted sources into one sorted sequence of runs of about `queryChunkBytes`. `limit` rows at most. `joining`
 * gives sources that were added since, asked before each step: a replacement for one that failed.
 */
export async function* mergeSources(
  sources: readonly RunSource[],
  options: { descending: boolean; limit: number; joining?: () => RunSource[] },
): AsyncGenerator<EntryRun> {
  const { descending, joining } = options;
  const heads: Head[] = [];
  const admit = async (source: RunSource): Promise<void> => {
    const run = await source.next();
    if (run) heads.push({ source, run, hasHeavySets: hasHeavySets(run), row: 0, copier: undefined });
  };
  const admitAll = async (admitted: readonly RunSource[]): Promise<void> => {
    await Promise.all(admitted.map(admit));
    heads.sort(order);
  };
  let left = options.limit;
  let builder = new RunBuilder();
  const begin = (): void => {
    builder = new RunBuilder();
    for (const head of heads) head.copier = undefined;
  };
  const inOrder = (a: EntryRun, rowA: number, b: EntryRun, rowB: number): number => {
    const forward = compareRows(a, rowA, b, rowB);
    return descending ? -forward : forward;
  };
  const order = (a: Head, b: Head): number => inOrder(a.run, a.row, b.run, b.row);
  await admitAll(sources);
  while (left > 0) {
    for (let more = joining?.() ?? []; more.length > 0; more = joining?.() ?? []) await admitAll(more);
    if (heads.length === 0) break;
    const [head, second] = heads;
    const rows = Math.min(head.run.count - head.row, left);
    const isAllBefore = !second || inOrder(head.run, head.row + rows - 1, second.run, second.row) <= 0;
    if (isAllBefore && !head.hasHeavySets) {
      // All of it comes before whatever the others have: it goes on uncopied.
      if (builder.count > 0) yield builder.finish();
      begin();
      left -= rows;
      yield* inChunks(head.run, head.row, head.row + rows);
      head.row += rows;
    } else {
      const copier = (head.copier ??= new RowCopier(builder, head.run));
      do {
        copier.copy(head.row++);
        left--;
      } while (
        left > 0 &&
        head.row < head.run.count &&
        builder.bytes < LIMITS.queryChunkBytes &&
        (!second || order(head, second) <= 0)
      );
      if (builder.bytes >= LIMITS.queryChunkBytes) {
        yield builder.finish();
        begin();
      }
    }
    if (head.row >= head.run.count) {
      heads.shift();
      await admitAll([head.source]);
    } else settleFirst(heads, order);
  }
  if (builder.count > 0) yield builder.finish();
}

/** Moves the first head, which has gone on, to where it now belongs among the others, which are in order. */
function settleFirst(heads: Head[], order: (a: Head, b: Head) => number): void {
  const [head] = heads;
  let at = 0;
  for (; at + 1 < heads.length && order(heads[at + 1], head) < 0; at++) heads[at] = heads[at + 1];
  heads[at] = head;
}

/** Sorted runs as one sorted sequence, when all are at hand. */
export function sourceOf(runs: readonly EntryRun[]): RunSource {
  let at = 0;
  return { next: () => Promise.resolve(runs[at++]) };
}

/** So many label sets, or such large ones, that a piece of the run should not carry those of other pieces. */
function hasHeavySets(run: EntryRun): boolean {
  if (run.streams.length + run.metadata.length > SETS_SENT_WHOLE_MAX) return true;
  return runBytes(run) - run.lines.length > LIMITS.queryChunkBytes;
}

/** Rows of a run in pieces that fit a message. */
function* inChunks(run: EntryRun, from: number, to: number): IterableIterator<EntryRun> {
  for (let at = from; at < to;) {
    const bytesEnd = lineStart(run, at) + LIMITS.queryChunkBytes;
    let end = Math.min(to, at + CHUNK_ROWS_MAX);
    while (end > at + 1 && run.ends[end - 1] > bytesEnd) end = at + ((end - at) >>> 1);
    yield at === 0 && end === run.count ? run : sliceRun(run, at, end);
    at = end;
  }
}
