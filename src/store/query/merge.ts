import { LIMITS } from '../limits.ts';
import { compareRows, lineOf, RunBuilder, type EntryRun } from './run.ts';

/** Copies rows between runs: keeps the translation of one run's table indexes into the builder's. */
class RowCopier {
  readonly #builder: RunBuilder;
  readonly #run: EntryRun;
  readonly #streams: number[] = [];
  readonly #metadata: number[] = [];
  constructor(builder: RunBuilder, run: EntryRun) {
    this.#builder = builder;
    this.#run = run;
  }

  copy(row: number): void {
    const { 0: run, 1: builder } = [this.#run, this.#builder];
    const stream = (this.#streams[run.streamIds[row]] ??= builder.stream(run.streams[run.streamIds[row]]));
    const metadata = (this.#metadata[run.metadataIds[row]] ??= builder.metadata(
      run.metadata[run.metadataIds[row]],
    ));
    const rank = builder.rank(run.ranks[run.rankIds[row]]);
    builder.add(run.ms[row], run.sub[row], stream, rank, metadata, lineOf(run, row));
  }
}

/** A sorted sequence of runs, as a peer sends them. */
export interface RunSource {
  /** The next run, or undefined at the end. */
  next(): Promise<EntryRun | undefined>;
}

interface Head {
  readonly source: RunSource;
  run: EntryRun;
  row: number;
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
    if (run) heads.push({ source, run, row: 0 });
  };
  await Promise.all(sources.map(admit));
  let left = options.limit;
  let builder = new RunBuilder();
  const order = (a: Head, b: Head): number => {
    const forward = compareRows(a.run, a.row, b.run, b.row);
    return descending ? -forward : forward;
  };
  while (left > 0) {
    for (let more = joining?.() ?? []; more.length > 0; more = joining?.() ?? [])
      await Promise.all(more.map(admit));
    if (heads.length === 0) break;
    heads.sort(order);
    const [head, second] = heads;
    if (!second && builder.count === 0 && head.row === 0 && head.run.count <= left) {
      // Nothing to merge with: the run goes on as it is.
      left -= head.run.count;
      yield head.run;
      head.row = head.run.count;
    } else {
      const copier = new RowCopier(builder, head.run);
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
        builder = new RunBuilder();
      }
    }
    if (head.row >= head.run.count) {
      heads.shift();
      await admit(head.source);
    }
  }
  if (builder.count > 0) yield builder.finish();
}

/** Sorted runs as one sorted sequence, when all are at hand. */
export function sourceOf(runs: readonly EntryRun[]): RunSource {
  let at = 0;
  return { next: () => Promise.resolve(runs[at++]) };
}

/** Part of a run: rows from `start` to `end`, in order. */
export function sliceRun(run: EntryRun, start: number, end: number): EntryRun {
  const builder = new RunBuilder();
  const copier = new RowCopier(builder, run);
  for (let row = start; row < end; row++) copier.copy(row);
  return builder.finish();
}
