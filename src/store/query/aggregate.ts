import {
  gramsOf,
  lineStart,
  COUNTED_LEVELS,
  type Columns,
  type Labels,
  type Lines,
  type Metadata,
  type StreamPart,
} from '../batch/index.ts';
import type { DiskReader } from '../host/index.ts';
import type { RangePartial } from '../logql/index.ts';
import { overlaps } from './candidates.ts';
import type { CompiledLeaf, CompiledMetric } from './compile-metric.ts';
import { OpenBatch } from './open-batch.ts';
import { encodeParts } from './parts.ts';
import { selectRows } from './rows.ts';
import type { EntryRun } from './run.ts';
import { isRot, mayMatch, type MetricScan, type MetricScanResult } from './scan.ts';

/**
 * Turns batches into partial results in a worker. A stream's part of a batch is answered from the least that tells enough:
 *
 *   header    all its entries lie in one bucket of the grid, and their labels are told by the stream's and by level counts
 *   columns   times, lengths and metadata, when no stage looks at lines
 *   search    the lines, when the selected ones are alike to the leaf in all but their number or length
 *   lines     else: the rows that the leading line filters select, through the sampler
 *
 * Never throws for rot: it names the batch in `failed`, and nothing of it is in the partials.
 */
export function aggregateBatches(
  request: MetricScan,
  metric: CompiledMetric,
  reader: DiskReader,
): MetricScanResult {
  const partials = metric.newPartials();
  const literals = metric.leaves.map(({ neededLiterals }) =>
    neededLiterals.map((group) => group.map(gramsOf)),
  );
  const result: MetricScanResult = {
    kind: 'metric',
    parts: [],
    read: [],
    fromIndex: [],
    plain: [],
    failed: [],
    bytesScanned: 0,
  };
  for (const [at, segment] of request.segments.entries()) {
    for (const batch of segment.batches) {
      try {
        const leaves = metric.leaves.filter((_leaf, i) => mayMatch(segment.path, batch, literals[i], reader));
        if (leaves.length === 0) continue;
        const opened = new OpenBatch(segment, batch, reader);
        // All of it is read before any of it counts: a rotten batch is counted by who has it whole.
        const additions = leaves.map((leaf) =>
          additionsOf(leaf, partials[metric.leaves.indexOf(leaf)], opened),
        );
        for (const add of additions.flat()) add();
        result.read.push([at, batch.seq]);
        if (!opened.isFrameRead) result.fromIndex.push([at, batch.seq]);
        if (opened.plain.length > 0) result.plain.push([at, batch.seq, opened.plain]);
        result.bytesScanned += opened.bytesScanned;
      } catch (error) {
        if (!isRot(error)) throw error;
        result.failed.push([at, batch.seq]);
      }
    }
  }
  for (const [i, leaf] of metric.leaves.entries()) addRows(leaf, partials[i], request.rows[i]);
  result.parts.push(...encodeParts(partials.map((partial) => partial.parts())));
  return result;
}

type Addition = () => void;

function additionsOf(leaf: CompiledLeaf, partial: RangePartial, batch: OpenBatch): Addition[] {
  const additions: Addition[] = [];
  for (const [at, part] of batch.header.streams.entries()) {
    const labels = batch.labelsOf(part);
    if (!labels || !leaf.matchesStream(labels) || !overlaps(part, leaf.range)) continue;
    const { kind } = leaf.leaf.needs;
    if (kind === 'rows' && isOneGroup(leaf, partial, labels, part, batch.isPlain(part))) {
      const adds = addsOf(leaf, batch.searchable(at));
      if (adds > 0) additions.push(() => addGroup(leaf, partial, labels, NO_METADATA, part.min, adds));
      continue;
    }
    if (kind !== 'columns') {
      const columns = batch.lines(at);
      const add = kind === 'rows' ? addSelected : addLines;
      additions.push(() => add(leaf, partial, labels, columns));
      continue;
    }
    const groups = groupsInHeader(leaf, partial, labels, part, batch.isPlain(part));
    if (groups) {
      additions.push(() => {
        for (const { metadata, adds } of groups) addGroup(leaf, partial, labels, metadata, part.min, adds);
      });
    } else {
      const columns = batch.columns(at);
      additions.push(() => addColumns(leaf, partial, labels, columns));
    }
  }
  return additions;
}

const NO_METADATA: Metadata = {};
const OF_LEVEL: readonly Metadata[] = COUNTED_LEVELS.map((level) => ({ detected_level: level }));
const NO_LINE = Buffer.alloc(0);

interface Group {
  readonly metadata: Metadata;
  readonly adds: number;
}

/** Of a part's metadata the leaf sees nothing, at most the level, or more. */
function seenMetadata(
  { leaf: { needs } }: CompiledLeaf,
  labels: Labels,
  isPlain: boolean,
): 'nothing' | 'level' | 'more' {
  if (needs.kind === 'lines') return 'more';
  // What the stream itself says is not overruled by metadata; and of metadata the header knows the level alone.
  const unknown = needs.labels && [...needs.labels].filter((name) => !Object.hasOwn(labels, name));
  if (!isPlain && (unknown === undefined || unknown.some((name) => name !== 'detected_level'))) return 'more';
  return unknown === undefined || unknown.includes('detected_level') ? 'level' : 'nothing';
}

function liesInOneBucket({ grid }: RangePartial, { min, max }: StreamPart): boolean {
  const bucket = grid.bucket(min.ms, min.sub);
  return bucket !== -1 && bucket === grid.bucket(max.ms, max.sub);
}

/** Are all entries of the part alike to the leaf, so that neither times nor metadata have to be decoded? */
function isOneGroup(
  leaf: CompiledLeaf,
  partial: RangePartial,
  labels: Labels,
  part: StreamPart,
  isPlain: boolean,
): boolean {
  return liesInOneBucket(partial, part) && seenMetadata(leaf, labels, isPlain) === 'nothing';
}

/** What the selected lines add. */
function addsOf({ leaf: { needs }, lineFilters }: CompiledLeaf, lines: Lines): number {
  const rows = selectRows(lines, lineFilters);
  if (needs.kind === 'lines' || needs.adds === 'count') return rows.length;
  let bytes = 0;
  for (const row of rows) bytes += lines.ends[row] - lineStart(lines, row);
  return bytes;
}

/** The entries of a part by what their metadata is as far as the leaf can see, when the header tells; else undefined. */
function groupsInHeader(
  leaf: CompiledLeaf,
  partial: RangePartial,
  labels: Labels,
  part: StreamPart,
  isPlain: boolean,
): Group[] | undefined {
  const { needs } = leaf.leaf;
  if (needs.kind !== 'columns' || !liesInOneBucket(partial, part)) return undefined;
  const seen = seenMetadata(leaf, labels, isPlain);
  if (seen === 'more') return undefined;
  if (seen === 'nothing') {
    const adds = needs.adds === 'count' ? part.entries : part.linesBytes - part.entries;
    return [{ metadata: NO_METADATA, adds }];
  }
  // The last count is of entries with any other level, or none.
  if (needs.adds === 'bytes' || part.levels[part.levels.length - 1] > 0) return undefined;
  return OF_LEVEL.map((metadata, level) => ({ metadata, adds: part.levels[level] })).filter(
    ({ adds }) => adds > 0,
  );
}

/** Entries that differ in nothing that the leaf can see. */
function addGroup(
  { sampler }: CompiledLeaf,
  partial: RangePartial,
  labels: Labels,
  metadata: Metadata,
  { ms, sub }: { ms: number; sub: number },
  adds: number,
): void {
  if (sampler.process(NO_LINE, labels, metadata, ms, sub))
    partial.add(sampler.key, sampler.labels, ms, sub, adds);
}

/** Adds entries by metadata and bucket, since no stage sees more of them. */
class GroupCounter {
  readonly #columns: Columns;
  readonly #isBytes: boolean;
  readonly #partial: RangePartial;
  readonly #flush: (row: number, adds: number) => void;
  /** By metadata: the bucket that is being filled, a row of it, and what it adds. */
  readonly #buckets: Int32Array;
  readonly #rows: Uint32Array;
  readonly #adds: Float64Array;

  constructor(leaf: CompiledLeaf, partial: RangePartial, labels: Labels, columns: Columns) {
    const { needs } = leaf.leaf;
    const { ms, sub, metadata, metadataIds } = columns;
    this.#columns = columns;
    this.#partial = partial;
    this.#isBytes = needs.kind !== 'lines' && needs.adds === 'bytes';
    this.#buckets = new Int32Array(metadata.length).fill(-1);
    this.#rows = new Uint32Array(metadata.length);
    this.#adds = new Float64Array(metadata.length);
    this.#flush = (row, adds) =>
      addGroup(leaf, partial, labels, metadata[metadataIds[row]], { ms: ms[row], sub: sub[row] }, adds);
  }

  add(row: number): void {
    const { ms, sub, ends, metadataIds } = this.#columns;
    const id = metadataIds[row];
    const bucket = this.#partial.grid.bucket(ms[row], sub[row]);
    if (bucket !== this.#buckets[id]) {
      this.#finish(id);
      this.#buckets[id] = bucket;
      this.#rows[id] = row;
      this.#adds[id] = 0;
    }
    this.#adds[id] += this.#isBytes ? ends[row] - lineStart(this.#columns, row) : 1;
  }

  #finish(id: number): void {
    if (this.#buckets[id] !== -1) this.#flush(this.#rows[id], this.#adds[id]);
  }

  finish(): void {
    for (let id = 0; id < this.#buckets.length; id++) this.#finish(id);
  }
}

function addColumns(leaf: CompiledLeaf, partial: RangePartial, labels: Labels, columns: Columns): void {
  const counter = new GroupCounter(leaf, partial, labels, columns);
  for (let row = 0; row < columns.count; row++) counter.add(row);
  counter.finish();
}

function addSelected(leaf: CompiledLeaf, partial: RangePartial, labels: Labels, columns: Columns): void {
  const counter = new GroupCounter(leaf, partial, labels, columns);
  for (const row of selectRows(columns, leaf.lineFilters)) counter.add(row);
  counter.finish();
}

function addLines(leaf: CompiledLeaf, partial: RangePartial, labels: Labels, columns: Columns): void {
  const { ms, sub, ends, metadataIds, metadata } = columns;
  const lines = Buffer.from(columns.lines.buffer, columns.lines.byteOffset, columns.lines.byteLength);
  for (const row of selectRows(columns, leaf.lineFilters)) {
    if (partial.grid.bucket(ms[row], sub[row]) === -1) continue;
    const line = lines.subarray(lineStart(columns, row), ends[row]);
    addSample(leaf, partial, labels, metadata[metadataIds[row]], line, ms[row], sub[row]);
  }
}

/** Lines that are in no batch yet, selected by the leading line filters already. */
function addRows(leaf: CompiledLeaf, partial: RangePartial, run: EntryRun | undefined): void {
  if (!run) return;
  const lines = Buffer.from(run.lines.buffer, run.lines.byteOffset, run.lines.byteLength);
  for (let row = 0; row < run.count; row++) {
    const line = lines.subarray(lineStart(run, row), run.ends[row]);
    const labels = run.streams[run.streamIds[row]];
    addSample(leaf, partial, labels, run.metadata[run.metadataIds[row]], line, run.ms[row], run.sub[row]);
  }
}

function addSample(
  { sampler }: CompiledLeaf,
  partial: RangePartial,
  labels: Labels,
  metadata: Metadata,
  line: Buffer,
  ms: number,
  sub: number,
): void {
  if (!sampler.process(line, labels, metadata, ms, sub)) return;
  partial.add(sampler.key, sampler.labels, ms, sub, sampler.value);
}
