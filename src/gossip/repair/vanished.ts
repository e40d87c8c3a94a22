import {
  joinGone,
  segmentName,
  withoutHeld,
  type ExpiredRun,
  type ExpiredRuns,
  type Run,
  type SegmentId,
} from '../../store/index.ts';
import { areGoneRuns } from '../wire.ts';
import type { Vanished } from './inventory.ts';

/** Segments and runs in all: one peer could make all others remember them, and tell. */
const ITEMS_MAX = 10_000;
/** Of one segment. */
const RUNS_MAX = 1_000;

const keyOf = ({ origin, epoch }: Omit<SegmentId, 'index'>): string => `${origin}/${epoch}`;

/**
 * What was heard of, and nobody is known to hold any more: a disk was put back to an older state, or lost what was written. It exists, or
 * did (docs/decisions/0017).
 */
export class VanishedRuns {
  /** Run of an origin → segment. */
  readonly #byRun = new Map<string, Map<string, Vanished>>();
  #items = 0;
  #version = 0;
  #toldVersion = 0;
  #leftOut = 0;

  get isEmpty(): boolean {
    return this.#items === 0;
  }

  /** Changes when anything does. */
  get version(): number {
    return this.#version;
  }

  /** How often there was no room since nothing was remembered: what vanished then may be missing from answers without a word. */
  get leftOut(): number {
    return this.#leftOut;
  }

  *all(): IterableIterator<Vanished> {
    for (const segments of this.#byRun.values()) yield* segments.values();
  }

  of(id: Omit<SegmentId, 'index'>): readonly Vanished[] {
    return [...(this.#byRun.get(keyOf(id))?.values() ?? [])];
  }

  /** Runs of which something has vanished: any of their segments. */
  *runs(): IterableIterator<Vanished> {
    for (const segments of this.#byRun.values()) yield segments.values().next().value!;
  }

  add(one: Vanished): void {
    const gone = joinGone(this.#get(one)?.gone ?? [], one.gone);
    if (gone.length > RUNS_MAX || !areGoneRuns(gone) || !this.#set({ ...one, gone })) this.#leftOut++;
  }

  /** These of a segment are held by somebody after all. */
  turnedUp(id: SegmentId, runs: readonly Run[]): void {
    const one = this.#get(id);
    const left = one && withoutHeld(one.gone, runs);
    if (left && left !== one.gone) this.#set({ ...one, gone: left });
  }

  /** `all`: everything that is known to have expired; `news`: of it, what was not known before. */
  haveExpired(all: Pick<ExpiredRuns, 'runs'>, news: readonly ExpiredRun[]): void {
    for (const { origin, epoch } of new Map(news.map((run) => [keyOf(run), run])).values()) {
      const segments = this.of({ origin, epoch });
      const runs = segments.length > 0 ? all.runs(origin, epoch) : [];
      for (const one of segments) this.turnedUp(one, runs);
    }
  }

  /** True once after each change: what is on disk is older. */
  takeNews(): boolean {
    const hasNews = this.#toldVersion !== this.#version;
    this.#toldVersion = this.#version;
    return hasNews;
  }

  #get(id: SegmentId): Vanished | undefined {
    return this.#byRun.get(keyOf(id))?.get(segmentName(id));
  }

  /** False where there is no room for more. */
  #set(one: Vanished): boolean {
    const more = itemsIn(one) - itemsIn(this.#get(one));
    if (more > 0 && this.#items + more > ITEMS_MAX) return false;
    const key = keyOf(one);
    const segments = this.#byRun.get(key) ?? new Map<string, Vanished>();
    if (one.gone.length > 0) segments.set(segmentName(one), one);
    else segments.delete(segmentName(one));
    if (segments.size > 0) this.#byRun.set(key, segments);
    else this.#byRun.delete(key);
    this.#items += more;
    this.#version++;
    if (this.isEmpty) this.#leftOut = 0;
    return true;
  }
}

function itemsIn(one: Vanished | undefined): number {
  return one && one.gone.length > 0 ? 1 + one.gone.length : 0;
}
