import { LogvineError } from '../../store/index.ts';
import { encodeMessage, parseMessage } from '../repair/index.ts';
import type { Channel } from '../transport/index.ts';
import { coveragePage, scanRequest, workPage, type CoverageAnswer, type ScanMessage } from './messages.ts';

/** Segments and runs in one page: at their longest some 4 MiB. */
const PAGE_WEIGHT = 100_000;
/** In all pages: of segments with a run each, some 270,000. */
const WEIGHT_MAX = 3_000_000;
const SEGMENT_WEIGHT = 10;

interface Weighed {
  readonly runs: readonly unknown[];
  readonly rotten?: readonly unknown[] | undefined;
  readonly vanished?: readonly unknown[] | undefined;
}

/** Runs with times are some five times as long. */
const weightOf = ({ runs, rotten = [], vanished = [] }: Weighed): number =>
  SEGMENT_WEIGHT + runs.length + 5 * (rotten.length + vanished.length);

interface Page<Item> {
  readonly items: readonly Item[];
  /** Another page follows. */
  readonly more: boolean;
}

/** Cuts a list of segments into as many messages as it takes, and at least one. */
function* inPages<Item extends Weighed>(items: readonly Item[], weightMax: number): Generator<Page<Item>> {
  let start = 0;
  let weight = 0;
  for (const [at, item] of items.entries()) {
    const added = weightOf(item);
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
  readonly #bound = new WeightBound('coverage');

  /** The answer when it is whole. Throws LV_PROTOCOL. */
  add(bytes: Uint8Array): CoverageAnswer | undefined {
    const { first, overlapping, more } = parseMessage(coveragePage, bytes, 'coverage');
    if ((first === undefined) !== (this.#answer !== undefined)) throw outOfOrder('coverage');
    if (first) this.#answer = { ...first, overlapping: [] };
    const answer = this.#answer!;
    this.#bound.add(overlapping, more);
    for (const item of overlapping) answer.overlapping.push(item);
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
  const bound = new WeightBound('scan');
  for (;;) {
    const bytes = await channel.receive();
    if (!bytes) return undefined;
    const page = parseMessage(workPage, bytes, 'scan');
    bound.add(page.work, page.more);
    for (const item of page.work) work.push(item);
    if (!page.more) return { ...request, work };
  }
}

/** However many pages a peer sends, they hold no more than this. */
class WeightBound {
  readonly #what: string;
  #weight = 0;

  constructor(what: string) {
    this.#what = what;
  }

  /** Throws LV_PROTOCOL. */
  add(items: readonly Weighed[], more: boolean): void {
    for (const item of items) this.#weight += weightOf(item);
    if (this.#weight > WEIGHT_MAX || (more && items.length === 0)) throw outOfOrder(this.#what);
  }
}

function outOfOrder(what: string): LogvineError {
  return new LogvineError('LV_PROTOCOL', `the pages of a ${what} message do not fit together`);
}
