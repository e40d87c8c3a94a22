import type { Labels } from '../batch/index.ts';
import { LIMITS } from '../limits.ts';
import type { PartialSeries, RangePartial } from '../logql/index.ts';
import type { BatchEntry } from '../segment/index.ts';

/** A table entry and a typed array. Measured: some 250 bytes. */
const ANSWER_BYTES = 256;
/** The table of a segment's answers. */
const LIST_BYTES = 256;
/** A series in the tables of a record, besides its labels. */
const SERIES_BYTES = 256;
const NUMBER_BYTES = 8;
/** With less room it counts as full: any answer fits, see `encodeAnswer`. */
const ROOM_BYTES = 128 * 1024;

/** What one question found in each batch, for when it is asked again. A batch never changes, so neither does this. */
export class AnswerRecord {
  /** A batch's answer was too large to be remembered: the others' will be, too. */
  isLarge = false;
  /** As estimated. */
  bytes: number;
  /** False once others have made it give way. */
  isKept = true;
  readonly #series: { readonly leaf: number; readonly labels: Labels; readonly key: string }[] = [];
  /** By leaf and `labelsText` of the labels: place in `#series`. */
  readonly #places = new Map<string, number>();
  /** By list and row of the batch. For each bucket of each series: its place, the bucket from the batch's first, the length of the state, the state. */
  readonly #answers = new WeakMap<object, Map<number, Float64Array>>();

  constructor(question: string) {
    this.bytes = SERIES_BYTES + 2 * question.length;
  }

  /** Adds the batch's answer to the partials, if it is known. `firsts`: in each leaf's grid, the bucket that the batch begins in. */
  take(batch: BatchEntry, partials: readonly RangePartial[], firsts: readonly number[]): boolean {
    const answer = this.#answers.get(batch.list)?.get(batch.row);
    if (!answer) return false;
    for (let at = 0; at < answer.length;) {
      const { leaf, labels, key } = this.#series[answer[at]];
      const stateAt = at + 3;
      const end = stateAt + answer[at + 2];
      partials[leaf].addState(key, labels, firsts[leaf] + answer[at + 1], [...answer.subarray(stateAt, end)]);
      at = end;
    }
    return true;
  }

  /** Buckets count from the one that the batch begins in. `keyOf` is `labelsText`. */
  keep(
    batch: BatchEntry,
    parts: readonly { readonly leaf: number; readonly series: PartialSeries }[],
    keyOf: (labels: Labels) => string,
  ): void {
    let answers = this.#answers.get(batch.list);
    if (!answers) {
      this.#answers.set(batch.list, (answers = new Map()));
      this.bytes += LIST_BYTES;
    }
    if (answers.has(batch.row)) return;
    const numbers: number[] = [];
    for (const { leaf, series } of parts) {
      const place = this.#placeOf(leaf, series.labels, keyOf(series.labels));
      for (const [i, bucket] of series.buckets.entries())
        numbers.push(place, bucket, series.states[i].length, ...series.states[i]);
    }
    answers.set(batch.row, Float64Array.from(numbers));
    this.bytes += ANSWER_BYTES + numbers.length * NUMBER_BYTES;
  }

  #placeOf(leaf: number, labels: Labels, key: string): number {
    const name = `${leaf} ${key}`;
    let place = this.#places.get(name);
    if (place === undefined) {
      place = this.#series.push({ leaf, labels, key }) - 1;
      this.#places.set(name, place);
      this.bytes += SERIES_BYTES + 4 * name.length;
    }
    return place;
  }
}

/**
 * Records of metric questions, kept where questions are planned: what a dashboard asks all day reads only the batches that are
 * new. One for all queries of a peer. What was asked longest ago makes room.
 */
export class AnswerMemory {
  readonly #bytesMax: number;
  /** The one used last comes last. */
  readonly #records = new Map<string, AnswerRecord>();
  #bytes = 0;

  constructor(bytesMax: number = LIMITS.answerMemoryBytesMax) {
    this.#bytesMax = bytesMax;
  }

  /** Bytes that are kept, as estimated; never above the bound. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The record of a question, an empty one if it is new. */
  recordOf(question: string): AnswerRecord {
    let record = this.#records.get(question);
    if (record) this.#records.delete(question);
    else {
      record = new AnswerRecord(question);
      this.#bytes += record.bytes;
    }
    this.#records.set(question, record);
    this.#makeRoom(0, record);
    return record;
  }

  /** Is there room for one more answer in the record, if all others give way? */
  hasRoomIn(record: AnswerRecord): boolean {
    return record.isKept && !record.isLarge && record.bytes + ROOM_BYTES <= this.#bytesMax;
  }

  /** Remembers it, if there is room. */
  keep(record: AnswerRecord, ...answer: Parameters<AnswerRecord['keep']>): void {
    if (!this.hasRoomIn(record)) return;
    this.#makeRoom(ROOM_BYTES, record);
    const before = record.bytes;
    record.keep(...answer);
    this.#bytes += record.bytes - before;
  }

  #makeRoom(bytes: number, except: AnswerRecord): void {
    for (const [question, record] of this.#records) {
      if (this.#bytes + bytes <= this.#bytesMax) return;
      if (record === except) continue;
      this.#records.delete(question);
      this.#bytes -= record.bytes;
      record.isKept = false;
    }
  }
}
