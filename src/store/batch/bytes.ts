/** Varints over doubles: values up to 2^53, no BigInt. Little-endian base 128, as in protocol buffers. */

export class ByteWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(capacity = 1024) {
    this.#buffer = Buffer.allocUnsafe(capacity);
  }

  get length(): number {
    return this.#length;
  }

  /** Makes room for `count` more bytes; the loops below rely on it. */
  reserve(count: number): void {
    const needed = this.#length + count;
    if (needed <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }

  varint(value: number): void {
    this.reserve(10);
    const buffer = this.#buffer;
    let at = this.#length;
    while (value >= 0x10000000) {
      buffer[at++] = (value % 128) | 0x80;
      value = Math.floor(value / 128);
    }
    while (value >= 0x80) {
      buffer[at++] = (value & 0x7f) | 0x80;
      value >>>= 7;
    }
    buffer[at++] = value;
    this.#length = at;
  }

  zigzag(value: number): void {
    this.varint(value < 0 ? -value * 2 - 1 : value * 2);
  }

  bytes(value: Uint8Array): void {
    this.varint(value.length);
    this.reserve(value.length);
    this.#buffer.set(value, this.#length);
    this.#length += value.length;
  }

  /** Bytes whose length the reader knows. */
  raw(value: Uint8Array): void {
    this.reserve(value.length);
    this.#buffer.set(value, this.#length);
    this.#length += value.length;
  }

  text(value: string): void {
    this.bytes(Buffer.from(value, 'utf8'));
  }

  finish(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }
}

/** Reads what ByteWriter wrote. Throws RangeError past the end or on an overlong number: callers turn it into LV_FRAME_CORRUPT. */
export class ByteReader {
  readonly #buffer: Uint8Array;
  #at: number;
  readonly #end: number;

  constructor(buffer: Uint8Array, start = 0, end = buffer.length) {
    this.#buffer = buffer;
    this.#at = start;
    this.#end = end;
  }

  get position(): number {
    return this.#at;
  }

  get done(): boolean {
    return this.#at >= this.#end;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (let count = 0; count < 8; count++) {
      if (this.#at >= this.#end) throw new RangeError('varint past the end');
      const byte = this.#buffer[this.#at++];
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
      scale *= 128;
    }
    throw new RangeError('varint too long');
  }

  zigzag(): number {
    const value = this.varint();
    return value % 2 === 1 ? -(value + 1) / 2 : value / 2;
  }

  /** Fills `into`. Throws RangeError with `problem` for a value above `max`, which has to fit its elements. */
  varints(into: Uint32Array, max: number, problem: string): void {
    const buffer = this.#buffer;
    let at = this.#at;
    // A varint of one or two bytes is read here, any other one, or one near the end, by `varint`.
    const lastPair = this.#end - 2;
    for (let i = 0; i < into.length; i++) {
      let value: number;
      if (at <= lastPair && (buffer[at] < 0x80 || buffer[at + 1] < 0x80)) {
        value = buffer[at++];
        if (value >= 0x80) value += buffer[at++] * 0x80 - 0x80;
      } else {
        this.#at = at;
        value = this.varint();
        at = this.#at;
      }
      if (value > max) throw new RangeError(problem);
      into[i] = value;
    }
    this.#at = at;
  }

  /** Fills `into` with running sums of zigzag deltas. */
  sums(into: Float64Array): void {
    const buffer = this.#buffer;
    let at = this.#at;
    const lastPair = this.#end - 2;
    let sum = 0;
    for (let i = 0; i < into.length; i++) {
      if (at <= lastPair && (buffer[at] < 0x80 || buffer[at + 1] < 0x80)) {
        let value = buffer[at++];
        if (value >= 0x80) value += buffer[at++] * 0x80 - 0x80;
        sum += (value >>> 1) ^ -(value & 1);
      } else {
        this.#at = at;
        sum += this.zigzag();
        at = this.#at;
      }
      into[i] = sum;
    }
    this.#at = at;
  }

  /** Passes over so many varints without a look at their values. */
  skipVarints(count: number): void {
    const buffer = this.#buffer;
    const end = this.#end;
    let at = this.#at;
    for (let left = count; left > 0; at++) {
      if (at >= end) throw new RangeError('varint past the end');
      if (buffer[at] < 0x80) left--;
    }
    this.#at = at;
  }

  bytes(lengthMax: number): Buffer {
    const length = this.varint();
    if (length > lengthMax || this.#at + length > this.#end) throw new RangeError('bytes past the end');
    const start = this.#at;
    this.#at += length;
    return Buffer.from(this.#buffer.buffer, this.#buffer.byteOffset + start, length);
  }

  /** Passes over what `bytes` or `text` would read. */
  skip(lengthMax: number): void {
    const length = this.varint();
    if (length > lengthMax || this.#at + length > this.#end) throw new RangeError('bytes past the end');
    this.#at += length;
  }

  text(lengthMax: number): string {
    return this.bytes(lengthMax).toString('utf8');
  }

  /** A count of things that each take at least one byte, so that a lying count cannot make a huge array. */
  count(max: number): number {
    const value = this.varint();
    if (value > max || value > this.#end - this.#at) throw new RangeError('count too large');
    return value;
  }
}
