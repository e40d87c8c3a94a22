const [QUOTE, BACKSLASH, COLON, COMMA, OPEN, CLOSE, OPEN_ARRAY, CLOSE_ARRAY] = Buffer.from('"\\:,{}[]');

/**
 * Walks the keys of a JSON object in the order in which they are written, entering objects within it down to a
 * depth. It checks only what it needs: a line that is broken ends the walk where it breaks. Nothing is allocated.
 */
export class JsonFields {
  /** The key without its quotes, as written. */
  keyStart = 0;
  keyEnd = 0;
  /** The value: without its quotes if it is a string; of an object or array, its first byte. */
  valueStart = 0;
  valueEnd = 0;
  isString = false;

  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  #end = 0;
  #depth = 0;
  #depthMax = 1;

  /** Starts at the `{` at or after `start`. `depthMax` 1 stays in the outermost object. */
  open(bytes: Uint8Array, start: number, end: number, depthMax: number): void {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
    this.#depth = 0;
    this.#depthMax = depthMax;
    if (this.#next() === OPEN) this.#enter();
  }

  /** Moves to the next key; false at the end of the object, or where the line stops being JSON. */
  next(): boolean {
    if (this.#depth === 0) return false;
    let byte = this.#next();
    while (byte === COMMA || byte === CLOSE) {
      this.#at++;
      if (byte === CLOSE && --this.#depth === 0) return false;
      byte = this.#next();
    }
    if (byte !== QUOTE || !this.#skipString()) return this.#stop();
    this.keyStart = this.valueStart;
    this.keyEnd = this.valueEnd;
    if (this.#next() !== COLON) return this.#stop();
    this.#at++;
    return this.#readValue();
  }

  #enter(): void {
    this.#depth++;
    this.#at++;
  }

  #stop(): false {
    this.#depth = 0;
    return false;
  }

  #readValue(): boolean {
    const byte = this.#next();
    this.isString = byte === QUOTE;
    if (byte === QUOTE) return this.#skipString() || this.#stop();
    this.valueStart = this.#at;
    if (byte === OPEN && this.#depth < this.#depthMax) {
      this.#enter();
    } else if (byte === OPEN || byte === OPEN_ARRAY) {
      if (!this.#skipBalanced()) return this.#stop();
    } else {
      this.#skipScalar();
    }
    this.valueEnd = this.#at;
    return true;
  }

  /** The next byte that is not white space; -1 at the end. */
  #next(): number {
    const bytes = this.#bytes;
    while (this.#at < this.#end && bytes[this.#at] <= 32) this.#at++;
    return this.#at < this.#end ? bytes[this.#at] : -1;
  }

  #skipScalar(): void {
    const bytes = this.#bytes;
    while (this.#at < this.#end) {
      const byte = bytes[this.#at];
      if (byte === COMMA || byte === CLOSE || byte === CLOSE_ARRAY || byte <= 32) return;
      this.#at++;
    }
  }

  #skipString(): boolean {
    const bytes = this.#bytes;
    const start = this.#at + 1;
    for (let at = start; at < this.#end; at++) {
      const byte = bytes[at];
      if (byte === BACKSLASH) {
        at++;
      } else if (byte === QUOTE) {
        this.valueStart = start;
        this.valueEnd = at;
        this.#at = at + 1;
        return true;
      }
    }
    return false;
  }

  #skipBalanced(): boolean {
    let open = 0;
    for (; this.#at < this.#end; this.#at++) {
      const byte = this.#bytes[this.#at];
      if (byte === QUOTE) {
        if (!this.#skipString()) return false;
        this.#at--;
      } else if (byte === OPEN || byte === OPEN_ARRAY) {
        open++;
      } else if ((byte === CLOSE || byte === CLOSE_ARRAY) && --open === 0) {
        this.#at++;
        return true;
      }
    }
    return false;
  }
}
