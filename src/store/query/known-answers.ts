import { labelsText } from '../batch/index.ts';
import type { RangeOp, RangePartial } from '../logql/index.ts';
import type { BatchEntry } from '../segment/index.ts';
import type { AnswerMemory, AnswerRecord } from './answer-memory.ts';
import { decodeParts, encodeParts } from './parts.ts';

/** Larger answers are not remembered: they may say as much as the batch's lines do. */
const ANSWER_BYTES_MAX = 2 * 1024;
/** Batches whose answers one question adds up in the thread that plans, which has other things to do. */
const ANSWERS_PLANNED_MAX = 32_768;
/** Their states hold times from the grid's start, and so mean something else in another grid. */
const TIMED: readonly RangeOp[] = ['first_over_time', 'last_over_time', 'rate_counter'];
/** In a template either may be the time of asking: `date` is, of what is no time. */
const NOW = /\b(?:now|date)\b/;

/** Where in the grid of each leaf a batch begins: what is found in it is said from there. */
export type FirstBuckets = readonly number[];

/** What earlier askings of a metric question found in batches, and what this one finds for later ones. */
export class KnownAnswers {
  readonly #partials: readonly RangePartial[];
  readonly #memory: AnswerMemory;
  /** Of batches that lie in one bucket: they add the same whatever the grid is. */
  readonly #narrow: AnswerRecord;
  /** Of others, in grids whose buckets begin at the same times; undefined when some times are in no bucket. */
  readonly #wide: AnswerRecord | undefined;
  #plannedLeft = ANSWERS_PLANNED_MAX;

  private constructor(question: string, partials: readonly RangePartial[], memory: AnswerMemory) {
    this.#partials = partials;
    this.#memory = memory;
    this.#narrow = memory.recordOf(question);
    const grids = partials.map(({ grid }) => grid.phase);
    if (!grids.includes(undefined)) this.#wide = memory.recordOf(`${grids.join()} ${question}`);
  }

  /** Undefined for a question whose answers hold for one asking alone. */
  static of(
    question: string,
    partials: readonly RangePartial[],
    memory: AnswerMemory,
  ): KnownAnswers | undefined {
    const isRepeatable =
      partials.length > 0 &&
      !NOW.test(question) &&
      partials.every(({ aggregation }) => !TIMED.includes(aggregation.op));
    return isRepeatable ? new KnownAnswers(question, partials, memory) : undefined;
  }

  /** Adds what is known of the batch to the partials; false when nothing is. */
  take(batch: BatchEntry): boolean {
    const place = this.#plannedLeft > 0 ? this.#placeOf(batch) : undefined;
    if (!place?.record.take(batch, this.#partials, place.firsts)) return false;
    this.#plannedLeft--;
    return true;
  }

  /** Set when what is found in the batch is to be told, and from where its buckets count. */
  wanted(batch: BatchEntry): FirstBuckets | undefined {
    const place = this.#placeOf(batch);
    return place && this.#memory.hasRoomIn(place.record) ? place.firsts : undefined;
  }

  /** `answer` is `encodeAnswer`'s; undefined: it is too large. */
  keep(batch: BatchEntry, answer: Uint8Array | undefined): void {
    const record = this.#placeOf(batch)?.record;
    if (!record) return;
    if (!answer) record.isLarge = true;
    else this.#memory.keep(record, batch, decodeParts(answer, this.#partials.length), labelsText);
  }

  /** Undefined for a batch of which this asking may leave out entries that another takes. */
  #placeOf({ min, max }: BatchEntry): { record: AnswerRecord; firsts: FirstBuckets } | undefined {
    const firsts: number[] = [];
    let isNarrow = true;
    for (const { grid } of this.#partials) {
      const first = grid.bucket(min.ms, min.sub);
      const last = grid.bucket(max.ms, max.sub);
      if (first === -1 || last === -1) return undefined;
      firsts.push(first);
      if (first !== last) isNarrow = false;
    }
    const record = isNarrow ? this.#narrow : this.#wide;
    return record && { record, firsts };
  }
}

/** In a worker: what was found in one batch, as it is remembered; undefined when that is too much. */
export function encodeAnswer(
  partials: readonly RangePartial[],
  firsts: FirstBuckets,
): Uint8Array | undefined {
  const chunks = encodeParts(
    partials.map(function* (partial, leaf) {
      for (const { labels, buckets, states } of partial.parts())
        yield { labels, buckets: buckets.map((bucket) => bucket - firsts[leaf]), states };
    }),
  );
  let answer: Uint8Array = new Uint8Array(0);
  for (const chunk of chunks) {
    if (answer.length + chunk.length > ANSWER_BYTES_MAX) return undefined;
    answer = Uint8Array.from(chunk);
  }
  return answer;
}
