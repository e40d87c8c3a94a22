import { LogvineError } from '../../store/index.ts';
import { encodeMessage, parseMessage } from '../repair/index.ts';
import type { Channel } from '../transport/index.ts';
import {
  coveragePage,
  scanRequest,
  SEGMENTS_MAX,
  workPage,
  type CoverageAnswer,
  type ScanMessage,
} from './messages.ts';

/** Segments and runs in one page: at their longest some 4 MiB. */
const PAGE_WEIGHT = 100_000;
const SEGMENT_WEIGHT = 10;

interface Page<Item> {
  readonly items: readonly Item[];
  /** Another page follows. */
  readonly more: boolean;
}

/** Cuts a list of segments into as many messages as it takes, and at least one. */
function* inPages<Item extends { readonly runs: readonly unknown[] }>(
  items: readonly Item[],
  weightMax: number,
): Generator<Page<Item>> {
  let start = 0;
  let weight = 0;
  for (const [at, { runs }] of items.entries()) {
    const added = SEGMENT_WEIGHT + runs.length;
    if (at > start && weight + added > weightMax) {
      yield { items: items.slice(start, at), more: true };
      start = at;
      weight = 0;
    }
    weight += added;
  }
  yield { items: items.slice(start), more: false };
}

/** The messages that say what a peer holds. */
export function* coveragePages(
  { overlapping, ...rest }: CoverageAnswer,
  weightMax = PAGE_WEIGHT,
): Generator<Buffer> {
  let first: Omit<CoverageAnswer, 'overlapping'> | undefined = rest;
  for (const { items, more } of inPages(overlapping, weightMax)) {
    yield encodeMessage({ first, overlapping: items, more });
    first = undefined;
  }
}

/** Puts together what `coveragePages` cut. */
export class CoveragePages {
  #answer: CoverageAnswer | undefined;

  /** The answer when it is whole. Throws LV_PROTOCOL. */
  add(bytes: Uint8Array): CoverageAnswer | undefined {
    const { first, overlapping, more } = parseMessage(coveragePage, bytes, 'coverage');
    if ((first === undefined) !== (this.#answer !== undefined)) throw outOfOrder('coverage');
    if (first) this.#answer = { ...first, overlapping: [] };
    const answer = this.#answer!;
    addBounded(answer.overlapping, overlapping, more, 'coverage');
    return more ? undefined : answer;
  }
}

/** The messages that ask a holder. */
export function* scanPages({ work, ...rest }: ScanMessage, weightMax = PAGE_WEIGHT): Generator<Buffer> {
  yield encodeMessage(rest);
  for (const { items, more } of inPages(work, weightMax)) yield encodeMessage({ work: items, more });
}

/** Reads what `scanPages` cut; undefined when the asker has gone. Rejects with LV_PROTOCOL. */
export async function receiveScan(channel: Pick<Channel, 'receive'>): Promise<ScanMessage | undefined> {
  const first = await channel.receive();
  if (!first) return undefined;
  const request = parseMessage(scanRequest, first, 'scan');
  const work: ScanMessage['work'] = [];
  for (;;) {
    const bytes = await channel.receive();
    if (!bytes) return undefined;
    const page = parseMessage(workPage, bytes, 'scan');
    addBounded(work, page.work, page.more, 'scan');
    if (!page.more) return { ...request, work };
  }
}

function addBounded<Item>(to: Item[], items: readonly Item[], more: boolean, what: string): void {
  if (to.length + items.length > SEGMENTS_MAX || (more && items.length === 0)) throw outOfOrder(what);
  for (const item of items) to.push(item);
}

function outOfOrder(what: string): LogvineError {
  return new LogvineError('LV_PROTOCOL', `the pages of a ${what} message do not fit together`);
}
