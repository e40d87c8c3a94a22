import { labelsKey, parseLabelsKey, setLabel, type Labels } from '../batch/index.ts';

/** A stream as this peer knows it: one object, however many segments name it. */
export interface Stream {
  /** Small and dense among the streams that are in use; another stream may get it once this one is not. */
  readonly id: number;
  /** See `labelsKey`. */
  readonly key: string;
  readonly labels: Labels;
}

interface Used extends Stream {
  /** Segments, and the open one's writer, that hold it. */
  uses: number;
}

/** Values that are looked up to be kept once. Forgetting them costs memory for those that come again, and nothing else. */
const VALUES_MAX = 65_536;

/**
 * The streams that the segments of one peer name, each kept once: a hundred thousand streams are named again in every
 * segment, and labels of different streams share most of their values.
 */
export class StreamPool {
  readonly #streams = new Map<string, Used>();
  readonly #values = new Map<string, string>();
  readonly #freeIds: number[] = [];

  /** Streams in use. */
  get size(): number {
    return this.#streams.size;
  }

  has(key: string): boolean {
    return this.#streams.has(key);
  }

  /** The stream with these labels. Each call is one use, to be given back with `release`. */
  take(labels: Labels): Stream {
    return this.#take(labelsKey(labels), labels);
  }

  /** As `take`, by what `labelsKey` gave. Throws RangeError on anything else. */
  takeKey(key: string): Stream {
    return this.#take(key, undefined);
  }

  #take(key: string, labels: Labels | undefined): Stream {
    let stream = this.#streams.get(key);
    if (!stream) {
      const own = this.#sharing(labels ?? parseLabelsKey(key));
      // As many ids as streams were given out; none is free when all of those are in use.
      stream = { id: this.#freeIds.pop() ?? this.#streams.size, key, labels: own, uses: 0 };
      this.#streams.set(key, stream);
    }
    stream.uses++;
    return stream;
  }

  release({ key }: Pick<Stream, 'key'>): void {
    const used = this.#streams.get(key);
    if (!used || --used.uses > 0) return;
    this.#streams.delete(key);
    this.#freeIds.push(used.id);
  }

  /** A copy whose values are those of other streams where they are equal. */
  #sharing(labels: Labels): Labels {
    const own: Record<string, string> = {};
    for (const name of Object.keys(labels).sort()) setLabel(own, name, this.#shared(labels[name]));
    return own;
  }

  #shared(value: string): string {
    const known = this.#values.get(value);
    if (known !== undefined) return known;
    if (this.#values.size >= VALUES_MAX) this.#values.clear();
    this.#values.set(value, value);
    return value;
  }
}
