import {
  lineStart,
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
import {
  addGroup,
  groupsInHeader,
  HeaderSums,
  isAnsweredByHeaders,
  liesInOneBucket,
  NO_METADATA,
  PARTS_REMEMBERED_MAX,
  seenMetadata,
} from './headers.ts';
import { encodeAnswer } from './known-answers.ts';
import { OpenBatch } from './open-batch.ts';
import { encodeParts } from './parts.ts';
import { neededOf, selectionsLeft } from './prune.ts';
import { selectRows } from './rows.ts';
import type { EntryRun } from './run.ts';
import { isRot, type MetricScan, type MetricScanResult } from './scan.ts';

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
  const selections = metric.leaves.map(neededOf);
  const sums = isAnsweredByHeaders(metric) ? new HeaderSums(metric, partials, Infinity) : undefined;
  const result: MetricScanResult = {
    kind: 'metric',
    parts: [],
    read: [],
    fromIndex: [],
    plain: [],
    answers: [],
    heads: [],
    failed: [],
    filters: [],
    bytesScanned: 0,
  };
  let isLarge = false;
  for (const [at, segment] of request.segments.entries()) {
    for (const batch of segment.batches) {
      let own: readonly RangePartial[] | undefined;
      let opened: OpenBatch;
      let additions: Addition[] | undefined;
      try {
        const found = (filter: Uint8Array) => result.filters.push([at, batch.seq, filter]);
        const left = selectionsLeft(segment, batch, selections, reader, found);
        if (left.length === 0) continue;
        opened = new OpenBatch(segment, batch, reader);
        // All of it is read before any of it counts: a rotten batch is counted by who has it whole.
        if (!sums?.add(opened)) {
          own = batch.answerFrom && !isLarge ? metric.newPartials() : undefined;
          additions = [];
          for (const leaf of left)
            additions.push(...additionsOf(metric.leaves[leaf], (own ?? partials)[leaf], opened));
        }
      } catch (error) {
        if (!isRot(error)) throw error;
        result.failed.push([at, batch.seq]);
        continue;
      }
      // What the query's stages make of its lines says nothing about its bytes.
      for (const add of additions ?? []) add();
      if (additions && own) {
        const answer = encodeAnswer(own, batch.answerFrom!);
        isLarge = answer === undefined;
        result.answers.push([at, batch.seq, answer]);
        for (const [leaf, partial] of partials.entries()) partial.absorb(own[leaf]);
      }
      result.read.push([at, batch.seq]);
      if (!opened.isFrameRead) result.fromIndex.push([at, batch.seq]);
      if (opened.plain.length > 0) result.plain.push([at, batch.seq, opened.plain]);
      const { streams } = opened.header;
      if (batch.remember && sums && streams.length <= PARTS_REMEMBERED_MAX)
        result.heads.push([at, batch.seq, streams]);
      result.bytesScanned += opened.bytesScanned;
    }
  }
  sums?.finish();
  for (const [i, leaf] of metric.leaves.entries()) addRows(leaf, partials[i], request.rows[i]);
  result.parts.push(...encodeParts(partials.map((partial) => partial.parts())));
  return result;
}

type Addition = () => void;

function additionsOf(leaf: CompiledLeaf, partial: RangePartial, batch: OpenBatch): Addition[] {
  const additions: Addition[] = [];
  for (const [at, part] of batch.header.streams.entries()) {
    const labels = batch.labelsOf(part.stream);
    if (!labels || !leaf.matchesStream(labels) || !overlaps(part, leaf.range)) continue;
    const { kind } = leaf.leaf.needs;
    if (kind === 'rows' && isOneGroup(leaf, partial, labels, part, batch.isPlain(part.stream))) {
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
    const groups = groupsInHeader(leaf, partial, labels, part, batch.isPlain(part.stream));
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
