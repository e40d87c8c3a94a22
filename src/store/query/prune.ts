import {
  filterMayContain,
  gramsOf,
  parseHeader,
  PREAMBLE_BYTES,
  readFilter,
  readHead,
} from '../batch/index.ts';
import type { DiskReader } from '../host/index.ts';
import type { BatchEntry } from '../segment/index.ts';
import type { Candidate } from './candidates.ts';
import type { CompiledSelection } from './compile.ts';
import type { IndexMemory } from './index-memory.ts';
import { checkIsBatch } from './open-batch.ts';
import type { BatchToScan, SegmentScan } from './scan.ts';

/** What a selection's lines have to contain: and-ed groups of or-ed literals, each as `gramsOf`. */
export type Needed = readonly (readonly Int32Array[])[];

export function neededOf({ neededLiterals }: Pick<CompiledSelection, 'neededLiterals'>): Needed {
  return neededLiterals.map((group) => group.map(gramsOf));
}

/** Which of the selections may have lines in a batch with this filter. */
function passing(filter: Uint8Array, selections: readonly Needed[]): number[] {
  const passed: number[] = [];
  for (const [at, needed] of selections.entries()) {
    if (needed.every((group) => group.some((grams) => filterMayContain(filter, grams)))) passed.push(at);
  }
  return passed;
}

/** Candidates without those that remembered filters rule out. */
export interface Unpruned {
  readonly batches: Candidate[];
  /** Which selections a batch's filter lets through, where it is remembered. */
  readonly passed: ReadonlyMap<BatchEntry, readonly number[]>;
}

/** Rules out by the filters that are remembered, without reading anything. */
export function pruneByMemory(
  candidates: readonly Candidate[],
  selections: readonly Needed[],
  memory: IndexMemory,
): Unpruned {
  const batches: Candidate[] = [];
  const passed = new Map<BatchEntry, readonly number[]>();
  const isSelective = selections.some((needed) => needed.length > 0);
  for (const candidate of candidates) {
    const { batch } = candidate;
    const filter = isSelective ? memory.filterOf(batch) : undefined;
    if (filter) {
      const left = passing(filter, selections);
      if (left.length === 0) continue;
      passed.set(batch, left);
    }
    batches.push(candidate);
  }
  return { batches, passed };
}

/**
 * In a worker: which of the selections may have lines in the batch, by its filter, or by what is known of that already. `found`
 * gets the bits of a filter that was read and is to be remembered. Throws RangeError where another batch stands in its place.
 */
export function selectionsLeft(
  segment: SegmentScan,
  batch: BatchToScan,
  selections: readonly Needed[],
  reader: DiskReader,
  found: (filter: Uint8Array) => void,
): readonly number[] {
  if (batch.passed) return batch.passed;
  const all = [...selections.keys()];
  if (selections.every((needed) => needed.length === 0)) return all;
  const headBytes = PREAMBLE_BYTES + batch.headerBytes;
  const stored = reader.readAt(segment.path, batch.offset, headBytes + batch.filterBytes);
  const head = readHead(stored);
  if (!head) return all;
  checkIsBatch(parseHeader(head.header, { withoutLabels: true }), segment, batch);
  const filter = readFilter(stored.subarray(headBytes));
  // A rotten filter rules nothing out; reading the batch then shows the rot.
  if (!filter) return all;
  if (batch.remember) found(Uint8Array.from(filter));
  return passing(filter, selections);
}
