import { COUNTED_LEVELS, type Instant, type Labels, type Metadata, type StreamPart } from '../batch/index.ts';
import type { RangePartial } from '../logql/index.ts';
import { overlaps } from './candidates.ts';
import type { CompiledLeaf, CompiledMetric } from './compile-metric.ts';

/** Batches of more streams are not remembered: they say little of each for much memory. */
export const PARTS_REMEMBERED_MAX = 64;
/** Remembered parts that one question adds up in the thread that plans, which has other things to do; workers add up the rest. */
const PARTS_ADDED_MAX = 16_384;

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
  if (!isPlain && (unknown === undefined || unknown.some((name) => name !== 'detected_level'))) return 'more';
  return unknown === undefined || unknown.includes('detected_level') ? 'level' : 'nothing';
}

export function liesInOneBucket({ grid }: RangePartial, { min, max }: StreamPart): boolean {
  const bucket = grid.bucket(min.ms, min.sub);
  return bucket !== -1 && bucket === grid.bucket(max.ms, max.sub);
}

/** The entries of a part by what their metadata is as far as the leaf can see, when the header tells; else undefined. */
export function groupsInHeader(
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

/** What a remembered header says, and what is known of the streams that it names. */
export interface KnownHeader {
  readonly parts: readonly StreamPart[];
  /** Undefined for streams that are not asked for. */
  labelsOf(stream: number): Labels | undefined;
  /** Is the metadata of this stream levels alone? */
  isPlain(stream: number): boolean;
}

/** Entries of one stream that are alike to a leaf and lie in one bucket. */
interface Sum {
  readonly bucket: number;
  readonly at: Instant;
  adds: number;
}

/** Adds up what remembered headers tell of many batches, before the partials see it: entries of a stream are mostly alike. */
export class HeaderSums {
  readonly #metric: CompiledMetric;
  readonly #partials: readonly RangePartial[];
  /** For each leaf, by labels and metadata. */
  readonly #sums: readonly Map<Labels, Map<Metadata, Sum>>[];
  #partsLeft = PARTS_ADDED_MAX;

  constructor(metric: CompiledMetric, partials: readonly RangePartial[]) {
    this.#metric = metric;
    this.#partials = partials;
    this.#sums = partials.map(() => new Map());
  }

  /** False when the header doesn't tell enough, or enough was added here; nothing of it is added then. */
  add({ parts, labelsOf, isPlain }: KnownHeader): boolean {
    if (parts.length > this.#partsLeft) return false;
    this.#partsLeft -= parts.length;
    const found: { leaf: number; labels: Labels; at: Instant; groups: Group[] }[] = [];
    for (const part of parts) {
      const labels = labelsOf(part.stream);
      if (!labels) continue;
      for (const [i, leaf] of this.#metric.leaves.entries()) {
        if (!leaf.matchesStream(labels) || !overlaps(part, leaf.range)) continue;
        const groups = groupsInHeader(leaf, this.#partials[i], labels, part, isPlain(part.stream));
        if (!groups) return false;
        found.push({ leaf: i, labels, at: part.min, groups });
      }
    }
    for (const { leaf, labels, at, groups } of found) {
      for (const { metadata, adds } of groups) this.#sum(leaf, labels, metadata, at, adds);
    }
    return true;
  }

  #sum(leaf: number, labels: Labels, metadata: Metadata, at: Instant, adds: number): void {
    let ofStream = this.#sums[leaf].get(labels);
    if (!ofStream) this.#sums[leaf].set(labels, (ofStream = new Map<Metadata, Sum>()));
    const sum = ofStream.get(metadata);
    const bucket = this.#partials[leaf].grid.bucket(at.ms, at.sub);
    if (sum?.bucket === bucket) {
      sum.adds += adds;
      return;
    }
    if (sum) this.#flush(leaf, labels, metadata, sum);
    ofStream.set(metadata, { bucket, at, adds });
  }

  #flush(leaf: number, labels: Labels, metadata: Metadata, { at, adds }: Sum): void {
    addGroup(this.#metric.leaves[leaf], this.#partials[leaf], labels, metadata, at, adds);
  }

  /** To be called once, after the last `add`. Throws LV_QUERY_TOO_LARGE at the bounds of a partial. */
  finish(): void {
    for (const [leaf, streams] of this.#sums.entries()) {
      for (const [labels, sums] of streams) {
        for (const [metadata, sum] of sums) this.#flush(leaf, labels, metadata, sum);
      }
    }
  }
}
