import {
  checkEntries,
  decodeColumns,
  decodeLines,
  lineStart,
  openParts,
  parseHeader,
  readFrame,
  type Columns,
  type Instant,
  type Labels,
  type StreamPart,
} from '../batch/index.ts';
import { LogvineError } from '../errors.ts';
import type { DiskReader } from '../host/index.ts';
import { LIMITS } from '../limits.ts';
import { metadataBeside, type EvalTimes } from '../logql/index.ts';
import type { CompiledQuery } from './compile.ts';
import type { FirstBuckets } from './known-answers.ts';
import { checkIsBatch } from './open-batch.ts';
import type { PatternCount } from './patterns.ts';
import { neededOf, selectionsLeft } from './prune.ts';
import { mayHold, selectRows } from './rows.ts';
import { batchRank, RunBuilder, type EntryRun } from './run.ts';

/** Batches of one segment to scan, and the streams in it that the selector matched. */
export interface SegmentScan {
  readonly path: string;
  readonly origin: string;
  readonly epoch: number;
  readonly batches: readonly {
    readonly seq: number;
    readonly offset: number;
    readonly frameBytes: number;
    readonly headerBytes: number;
    readonly filterBytes: number;
    /** Streams whose metadata in this batch is known to be levels alone, so that a header tells all of it. */
    readonly plainStreams?: readonly number[];
    /** The selections of the query (the leaves of a metric query; 0 else) that its filter lets through, where that is known. */
    readonly passed?: readonly number[];
    /** What is found in its index is to be told: there is room to remember it. */
    readonly remember?: boolean;
    /** What a metric query finds in it is to be told, from where its buckets count: see `encodeAnswer`. */
    readonly answerFrom?: FirstBuckets;
  }[];
  /** Stream index within the segment → labels, for matching streams only. */
  readonly streams: ReadonlyMap<number, Labels>;
}

/** From inclusive, to exclusive. */
export interface TimeRange {
  readonly from: Instant;
  readonly to: Instant;
}

/** Which rows are wanted. */
export interface RowsWanted {
  readonly range: TimeRange;
  readonly descending: boolean;
  /** So many at most: the best ones in the direction. */
  readonly limit: number;
}

/** Wants the entries of a log query. */
export interface EntryScan extends RowsWanted {
  readonly kind: 'entries';
  readonly query: string;
  readonly segments: readonly SegmentScan[];
}

/** Wants the partial results of a metric query. */
export interface MetricScan {
  readonly kind: 'metric';
  readonly query: string;
  readonly times: EvalTimes;
  readonly segments: readonly SegmentScan[];
  /** For each leaf: selected lines that are in no batch yet. */
  readonly rows: readonly (EntryRun | undefined)[];
}

/** Wants to know which patterns the lines of a log query follow. */
export interface PatternScan {
  readonly kind: 'patterns';
  readonly query: string;
  readonly range: TimeRange;
  readonly stepMs: number;
  readonly segments: readonly SegmentScan[];
  readonly rows: EntryRun | undefined;
}

/** What a worker is asked for. */
export type ScanRequest = EntryScan | MetricScan | PatternScan;

interface ScanTold {
  /** Batches that were looked into (the others a filter ruled out): [index into `segments`, seq]. */
  readonly read: [number, number][];
  /** Batches that failed their checksums: [index into `segments`, seq]. */
  readonly failed: [number, number][];
  /** Filters that were read and are to be remembered. */
  readonly filters: [number, number, Uint8Array][];
  /** Uncompressed bytes that were searched. */
  bytesScanned: number;
}

export interface EntryScanResult extends ScanTold {
  readonly kind: 'entries';
  readonly run: EntryRun | undefined;
}

export interface MetricScanResult extends ScanTold {
  readonly kind: 'metric';
  /** See `encodeParts`. */
  readonly parts: Uint8Array[];
  /** Of those read: batches whose header told enough. */
  readonly fromIndex: [number, number][];
  /** Batches, and streams in them whose metadata proved to be levels alone. */
  readonly plain: [number, number, number[]][];
  /** What was found in batches that were wanted so, to be remembered; undefined: it is too much for that. */
  readonly answers: [number, number, Uint8Array | undefined][];
  /** What headers say of their streams, to be remembered. */
  readonly heads: [number, number, readonly StreamPart[]][];
}

export interface PatternScanResult extends ScanTold {
  readonly kind: 'patterns';
  readonly patterns: readonly PatternCount[];
}

export type ScanResult = EntryScanResult | MetricScanResult | PatternScanResult;

/**
 * Scans batches in a worker. Never throws for rot: it names the batch in `failed`. Throws LV_QUERY_TOO_LARGE where stages make
 * more of the lines than a worker should hold: a narrower range may give less.
 */
export function scanBatches(request: EntryScan, query: CompiledQuery, reader: DiskReader): EntryScanResult {
  const builder = new RunBuilder();
  const selections = [neededOf(query)];
  const read: [number, number][] = [];
  let bytesScanned = 0;
  const failed: [number, number][] = [];
  const filters: EntryScanResult['filters'] = [];
  for (const [index, segment] of request.segments.entries()) {
    for (const batch of segment.batches) {
      let selected: Selected;
      try {
        const found = (filter: Uint8Array) => filters.push([index, batch.seq, filter]);
        if (selectionsLeft(segment, batch, selections, reader, found).length === 0) continue;
        selected = selectFrom(query, segment, batch, reader);
      } catch (error) {
        if (!isRot(error)) throw error;
        failed.push([index, batch.seq]);
        continue;
      }
      // Nothing is added before all is read: of a rotten batch no line is served. What the query's stages make of its lines says
      // nothing about its bytes.
      const rank = builder.rank(batchRank(segment.origin, segment.epoch, batch.seq));
      for (const { columns, rows, labels } of selected.parts)
        addRows(columns, rows, labels, rank, request, query, builder);
      bytesScanned += selected.bytesScanned;
      read.push([index, batch.seq]);
    }
  }
  const order = builder.sorted(request.descending).subarray(0, request.limit);
  const run = order.length > 0 ? builder.finish(order) : undefined;
  return { kind: 'entries', run, read, bytesScanned, failed, filters };
}

/** Bytes that are not what was written, or gone. Too many open files, or a failing query, say nothing about them. */
export function isRot(error: unknown): boolean {
  const { code } = error as { code?: string };
  return error instanceof RangeError || code === 'LV_FRAME_CORRUPT' || code === 'EIO' || code === 'ENOENT';
}

export type BatchToScan = SegmentScan['batches'][number];

/** What the leading line filters let through of a batch. */
interface Selected {
  readonly parts: readonly { columns: Columns; rows: Uint32Array; labels: Labels }[];
  /** Uncompressed bytes that were searched. */
  readonly bytesScanned: number;
}

function selectFrom(
  query: CompiledQuery,
  segment: SegmentScan,
  batch: BatchToScan,
  reader: DiskReader,
): Selected {
  const bytes = reader.readAt(segment.path, batch.offset, batch.frameBytes);
  const frame = readFrame(bytes);
  if (!frame) throw new RangeError('checksum');
  const header = parseHeader(frame.header, { withoutLabels: true });
  checkIsBatch(header, segment, batch);
  const wanted: number[] = [];
  for (const [part, stream] of header.streams.entries()) {
    if (segment.streams.has(stream.stream)) wanted.push(part);
  }
  let bytesScanned = 0;
  const parts: { columns: Columns; rows: Uint32Array; labels: Labels }[] = [];
  for (const opened of openParts(header, frame.payload, wanted)) {
    const { part, lines } = opened;
    bytesScanned += lines.length;
    if (!mayHold(lines, query.lineFilters)) continue;
    // Times and metadata are decoded where lines were found.
    const { columns: encoded } = opened;
    const searched = decodeLines(encoded, lines);
    checkEntries(header, part, searched);
    const rows = selectRows(searched, query.lineFilters);
    if (rows.length === 0) continue;
    const labels = segment.streams.get(header.streams[part].stream)!;
    parts.push({ columns: decodeColumns(encoded, lines), rows, labels });
  }
  return { parts, bytesScanned };
}

/** Adds the rows of one stream that match. Also used for lines that are not sealed yet. Throws LV_QUERY_TOO_LARGE as `scanBatches`. */
export function scanColumns(
  columns: Columns,
  labels: Labels,
  rank: number,
  wanted: RowsWanted,
  query: CompiledQuery,
  builder: RunBuilder,
): void {
  addRows(columns, selectRows(columns, query.lineFilters), labels, rank, wanted, query, builder);
}

function addRows(
  columns: Columns,
  rows: Uint32Array,
  labels: Labels,
  rank: number,
  wanted: RowsWanted,
  query: CompiledQuery,
  builder: RunBuilder,
): void {
  const { ms, sub, ends, metadataIds } = columns;
  const { from, to } = wanted.range;
  const stream = query.process ? -1 : builder.stream(labels);
  const metadata = query.process
    ? undefined
    : columns.metadata.map((set) => builder.metadata(metadataBeside(labels, set)));
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i];
    const at = ms[row];
    if (at < from.ms || (at === from.ms && sub[row] < from.sub)) continue;
    if (at > to.ms || (at === to.ms && sub[row] >= to.sub)) continue;
    const start = lineStart(columns, row);
    if (!query.process) {
      builder.add(at, sub[row], stream, rank, metadata![metadataIds[row]], columns.lines, start, ends[row]);
      continue;
    }
    const line = columns.lines.subarray(start, ends[row]);
    const entry = query.process(line, labels, columns.metadata[metadataIds[row]], at, sub[row]);
    if (entry) {
      const { labels: own, parsed, metadata: set } = entry;
      const copy = Buffer.from(entry.line);
      builder.add(
        at,
        sub[row],
        builder.stream(own, parsed),
        rank,
        builder.metadata(set),
        copy,
        0,
        copy.length,
      );
      if (builder.bytes > LIMITS.queryBufferBytesMax) keepBest(builder, wanted);
    }
  }
}

/** A stage can make megabytes of a line: what is beyond the limit has to go before all are through. */
function keepBest(builder: RunBuilder, { descending, limit }: RowsWanted): void {
  if (builder.count > limit) builder.keep(builder.sorted(descending).subarray(0, limit));
  // It takes a sort each time, and so has to make room for many more.
  if (builder.bytes <= LIMITS.queryBufferBytesMax / 2) return;
  throw new LogvineError(
    'LV_QUERY_TOO_LARGE',
    'the lines that the query makes weigh too much: ask for fewer, or a shorter range',
  );
}
