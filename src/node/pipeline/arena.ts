/**
 * Memory that lines wait in until their batch is on disk. It is shared, so that handing a batch to a worker copies
 * nothing, and used again, so that the collector has nothing to do however fast lines come.
 */
const CHUNK_BYTES = 1.5 * 1024 * 1024;
const FREE_CHUNKS_MAX = 12;

export class Arena {
  readonly #free: SharedArrayBuffer[] = [];
  /** Readers whose views would show other lines if their memory were used again. */
  #readers = 0;
  #bytesInUse = 0;

  /** Of chunks that were taken and not given back; one is taken for however little a batch has. */
  get bytesInUse(): number {
    return this.#bytesInUse;
  }

  take(bytes: number): SharedArrayBuffer {
    this.#bytesInUse += Math.max(bytes, CHUNK_BYTES);
    if (bytes > CHUNK_BYTES) return new SharedArrayBuffer(bytes);
    return this.#free.pop() ?? new SharedArrayBuffer(CHUNK_BYTES);
  }

  /** Gives chunks back; with a reader about they go to the collector instead. */
  giveBack(chunks: readonly SharedArrayBuffer[]): void {
    for (const { byteLength } of chunks) this.#bytesInUse -= byteLength;
    if (this.#readers > 0) return;
    for (const chunk of chunks) {
      if (chunk.byteLength === CHUNK_BYTES && this.#free.length < FREE_CHUNKS_MAX) this.#free.push(chunk);
    }
  }

  /** Keeps every chunk that is in use now unchanged while `read` runs. */
  async reading<T>(read: () => Promise<T>): Promise<T> {
    this.#readers++;
    try {
      return await read();
    } finally {
      this.#readers--;
    }
  }
}

/** Fills chunks of an arena one after the other. */
export class ArenaWriter {
  readonly chunks: SharedArrayBuffer[] = [];
  readonly #arena: Arena;
  #used = 0;

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  copy(bytes: Uint8Array): Buffer {
    let chunk = this.chunks.at(-1);
    if (!chunk || chunk.byteLength - this.#used < bytes.length) {
      chunk = this.#arena.take(bytes.length);
      this.chunks.push(chunk);
      this.#used = 0;
    }
    const copy = Buffer.from(chunk, this.#used, bytes.length);
    copy.set(bytes);
    this.#used += bytes.length;
    return copy;
  }
}
