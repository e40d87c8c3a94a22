import { COUNTED_LEVELS, type Instant, type Labels, type Metadata, type StreamPart } from '../batch/index.ts';
import type { RangePartial } from '../logql/index.ts';
import { overlaps } from './candidates.ts';
import type { CompiledLeaf, CompiledMetric } from './compile-metric.ts';

/** Batches of more streams are not remembered: they say little of each for much memory. */
export const PARTS_REMEMBERED_MAX = 64;
/** Remembered parts that one question adds up in the thread that plans, which has other things to do; workers add up the rest. */
export const PARTS_PLANNED_MAX = 16_384;

export const NO_METADATA: Metadata = {};
const OF_LEVEL: readonly Metadata[] = COUNTED_LEVELS.map((level) => ({ detected_level: level }));
const NO_LINE = Buffer.alloc(0);

/** May headers alone answer for most batches? */
export function isAnsweredByHeaders({ leaves }: CompiledMetric): boolean {
  return leaves.every(({ leaf }) => leaf.needs.kind === 'columns');
}

/** Entries of a part that are alike to the leaf. */
interface Group {
  readonly metadata: Metadata;
  readonly adds: number;
}

/** Of a part's metadata the leaf sees nothing, at most the level, or more. */
export function seenMetadata(
  { leaf: { needs } }: CompiledLeaf,
  labels: Labels,
  isPlain: boolean,
): 'nothing' | 'level' | 'more' {
  if (needs.kind === 'lines') return 'more';
  // What the stream itself says is not overruled by metadata; and of metadata the header knows the level alone.
  const unknown = needs.labels && [...needs.labels].filter((name) => !Object.hasOwn(labels, name));
  // A stream's own `detected_level` makes that of metadata one of another name.
  const isShadowed = Object.hasOwn(labels, 'detected_level') && unknown !== undefined && unknown.length > 0;
  const isMore = !isPlain && (unknown === undefined || unknown.some((name) => name !== 'detected_level'));
  if (isMore || isShadowed) return 'more';
  return unknown === undefined || unknown.includes('detected_level') ? 'level' : 'nothing';
}

export function liesInOneBucket({ grid }: RangePartial, { min, max }: StreamPart): boolean {
  const bucket = grid.bucket(min.ms, min.sub);
  return bucket !== -1 && bucket === grid.bucket(max.ms, max.sub);
}

/** Of a part, of whose metadata the leaf sees so much: does the header tell what the leaf wants to know? */
function isToldByHeader(
  { leaf: { needs } }: CompiledLeaf,
  partial: RangePartial,
  part: StreamPart,
  seen: ReturnType<typeof seenMetadata>,
): boolean {
  if (needs.kind !== 'columns' || seen === 'more' || !liesInOneBucket(partial, part)) return false;
  // The last count is of entries with any other level, or none.
  return seen === 'nothing' || (needs.adds === 'count' && part.levels[part.levels.length - 1] === 0);
}

/** What all entries of a part add. */
function addsOfAll({ leaf: { needs } }: CompiledLeaf, { entries, linesBytes }: StreamPart): number {
  return needs.kind !== 'lines' && needs.adds === 'bytes' ? linesBytes - entries : entries;
}

/** The entries of a part by what their metadata is as far as the leaf can see, when the header tells; else undefined. */
export function groupsInHeader(
  leaf: CompiledLeaf,
  partial: RangePartial,
  labels: Labels,
  part: StreamPart,
  isPlain: boolean,
): Group[] | undefined {
  const seen = seenMetadata(leaf, labels, isPlain);
  if (!isToldByHeader(leaf, partial, part, seen)) return undefined;
  if (seen === 'nothing') return [{ metadata: NO_METADATA, adds: addsOfAll(leaf, part) }];
  return OF_LEVEL.map((metadata, level) => ({ metadata, adds: part.levels[level] })).filter(
    ({ adds }) => adds > 0,
  );
}

/** Entries that differ in nothing that the leaf can see. */
export function addGroup(
  { sampler }: CompiledLeaf,
  partial: RangePartial,
  labels: Labels,
  metadata: Metadata,
  { ms, sub }: Instant,
  adds: number,
): void {
  if (sampler.process(NO_LINE, labels, metadata, ms, sub))
    partial.add(sampler.key, sampler.labels, ms, sub, adds);
}

/** What a header says, and what is known of the streams that it names. */
export interface KnownHeader {
  readonly parts: readonly StreamPart[];
  /** Undefined for streams that are not asked for. */
  labelsOf(stream: number): Labels | undefined;
  /** Is the metadata of this stream levels alone? */
  isPlain(stream: number): boolean;
}

/** Entries that are alike to a leaf and lie in one bucket. */
interface Sum {
  readonly bucket: number;
  readonly at: Instant;
  adds: number;
}

/** What a leaf makes of streams with these labels. */
interface LabelSums {
  readonly isWanted: boolean;
  readonly seen: ReturnType<typeof seenMetadata>;
  /** The same where the metadata is levels alone. */
  readonly seenIfPlain: ReturnType<typeof seenMetadata>;
  readonly byMetadata: Map<Metadata, Sum>;
}

/** Adds up what the headers of many batches tell, before the partials see it: entries are mostly alike. */
export class HeaderSums {
  readonly #metric: CompiledMetric;
  readonly #partials: readonly RangePartial[];
  /** For each leaf. */
  readonly #sums: readonly Map<Labels, LabelSums>[];
  #partsLeft: number;

  /** Takes no more than so many parts. */
  constructor(metric: CompiledMetric, partials: readonly RangePartial[], partsMax: number) {
    this.#metric = metric;
    this.#partials = partials;
    this.#sums = partials.map(() => new Map());
    this.#partsLeft = partsMax;
  }

  /** False when the header doesn't tell enough, or too much was added; nothing of it is added then. */
  add(header: KnownHeader): boolean {
    if (header.parts.length > this.#partsLeft) return false;
    for (const leaf of this.#sums.keys()) {
      for (const part of header.parts) if (!this.#isTold(leaf, header, part)) return false;
    }
    this.#partsLeft -= header.parts.length;
    for (const leaf of this.#sums.keys()) for (const part of header.parts) this.#addPart(leaf, header, part);
    return true;
  }

  /** Undefined when the leaf has nothing to do with the part. */
  #sumsOf(leaf: number, header: KnownHeader, part: StreamPart): LabelSums | undefined {
    const labels = header.labelsOf(part.stream);
    if (!labels) return undefined;
    const compiled = this.#metric.leaves[leaf];
    let sums = this.#sums[leaf].get(labels);
    if (!sums) {
      sums = {
        isWanted: compiled.matchesStream(labels),
        seen: seenMetadata(compiled, labels, false),
        seenIfPlain: seenMetadata(compiled, labels, true),
        byMetadata: new Map(),
      };
      this.#sums[leaf].set(labels, sums);
    }
    return sums.isWanted && overlaps(part, compiled.range) ? sums : undefined;
  }

  #isTold(leaf: number, header: KnownHeader, part: StreamPart): boolean {
    const sums = this.#sumsOf(leaf, header, part);
    if (!sums) return true;
    const seen = seenOf(sums, header, part);
    return isToldByHeader(this.#metric.leaves[leaf], this.#partials[leaf], part, seen);
  }

  #addPart(leaf: number, header: KnownHeader, part: StreamPart): void {
    const sums = this.#sumsOf(leaf, header, part);
    if (!sums) return;
    if (seenOf(sums, header, part) === 'nothing') {
      this.#sum(leaf, header, part, sums, NO_METADATA, addsOfAll(this.#metric.leaves[leaf], part));
      return;
    }
    for (let level = 0; level < OF_LEVEL.length; level++) {
      const adds = part.levels[level];
      if (adds > 0) this.#sum(leaf, header, part, sums, OF_LEVEL[level], adds);
    }
  }

  #sum(
    leaf: number,
    header: KnownHeader,
    part: StreamPart,
    { byMetadata }: LabelSums,
    metadata: Metadata,
    adds: number,
  ): void {
    const { min } = part;
    const bucket = this.#partials[leaf].grid.bucket(min.ms, min.sub);
    const sum = byMetadata.get(metadata);
    if (sum?.bucket === bucket) {
      sum.adds += adds;
      return;
    }
    if (sum) this.#flush(leaf, header.labelsOf(part.stream)!, metadata, sum);
    byMetadata.set(metadata, { bucket, at: min, adds });
  }

  #flush(leaf: number, labels: Labels, metadata: Metadata, { at, adds }: Sum): void {
    addGroup(this.#metric.leaves[leaf], this.#partials[leaf], labels, metadata, at, adds);
  }

  /** To be called once, after the last `add`. Throws LV_QUERY_TOO_LARGE at the bounds of a partial. */
  finish(): void {
    for (const [leaf, ofLeaf] of this.#sums.entries()) {
      for (const [labels, { byMetadata }] of ofLeaf) {
        for (const [metadata, sum] of byMetadata) this.#flush(leaf, labels, metadata, sum);
      }
    }
  }
}

function seenOf(
  { seen, seenIfPlain }: LabelSums,
  header: KnownHeader,
  { stream }: StreamPart,
): ReturnType<typeof seenMetadata> {
  return seen !== seenIfPlain && header.isPlain(stream) ? seenIfPlain : seen;
}
