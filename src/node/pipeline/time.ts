import { JsonFields } from './json.ts';
import { StampReader, type StampForm } from './time/stamp.ts';
import { zoneNamed } from './time/zone.ts';

const [QUOTE, EQUALS, SPACE, OPEN_BRACKET, OPEN_BRACE] = Buffer.from('"= [{');
/** How far into a line a stamp that is not at its start is looked for. */
const SEARCH_BYTES_MAX = 256;
const SEARCH_WORDS_MAX = 6;
const JSON_KEYS = ['time', 'ts', 'timestamp', '@timestamp'].map((name) => Buffer.from(name));
const LOGFMT_KEYS = ['time', 'ts', 'timestamp', 't'].map((name) => Buffer.from(name));
/** 1971: what lies before it is a clock that was not set. */
const PLAUSIBLE_MS_MIN = 31_536_000_000;

/** What `TimeReader.read` found. */
export type TimeFound = 'own' | 'none' | 'implausible';

/**
 * Finds the time of log lines: a stamp at the start of the line, or in the place where access logs, logfmt and JSON
 * have it. After 'own', `ms`, `sub`, `stampEnd` and `form` tell what was read.
 */
export class TimeReader {
  /** Where the line goes on behind a stamp at its start; the line's start when there is none. */
  textStart = 0;

  readonly #stamp: StampReader;
  readonly #json = new JsonFields();

  /**
   * `timeZone`: of stamps that name none: an IANA name, `UTC` or `local`. `readAtMs`: when the lines were read; a
   * stamp without a year is not more than a day after it. Throws LV_CONFIG_INVALID for an unknown zone.
   */
  constructor(timeZone: string, readAtMs: number) {
    this.#stamp = new StampReader(zoneNamed(timeZone), readAtMs);
  }

  /** Milliseconds since 1970, UTC. */
  get ms(): number {
    return this.#stamp.ms;
  }

  /** Nanoseconds within the millisecond. */
  get sub(): number {
    return this.#stamp.sub;
  }

  /** The byte after the stamp. */
  get stampEnd(): number {
    return this.#stamp.end;
  }

  get form(): StampForm {
    return this.#stamp.form;
  }

  /** Reads the time of the line `bytes[start…end)`; `bytes` holds at least one byte more. */
  read(bytes: Uint8Array, start: number, end: number): TimeFound {
    this.textStart = start;
    // The rest of a stack trace is indented; no stamp begins with white space.
    if (end - start < 10 || bytes[start] <= SPACE) return 'none';
    if (bytes[start] === OPEN_BRACE) {
      if (!this.#readJson(bytes, start, end)) return 'none';
    } else if (this.#stamp.read(bytes, start, end)) {
      this.textStart = this.#stamp.end;
    } else if (!this.#search(bytes, start, end)) {
      return 'none';
    }
    return this.#stamp.ms >= PLAUSIBLE_MS_MIN ? 'own' : 'implausible';
  }

  #readJson(bytes: Uint8Array, start: number, end: number): boolean {
    const json = this.#json;
    json.open(bytes, start, end, 1);
    while (json.next()) {
      if (!isOneOf(JSON_KEYS, bytes, json.keyStart, json.keyEnd)) continue;
      if (this.#stamp.read(bytes, json.valueStart, json.valueEnd)) return true;
    }
    return false;
  }

  /** Access logs (`host ident user [10/Oct/2000:13:55:36 -0700]`) and logfmt (`level=info ts=…`): at a word's start. */
  #search(bytes: Uint8Array, start: number, end: number): boolean {
    const searchEnd = Math.min(end, start + SEARCH_BYTES_MAX);
    let words = 0;
    let isQuoted = false;
    let wordStart = start;
    for (let at = start; at < searchEnd; at++) {
      const byte = bytes[at];
      if (byte === QUOTE) {
        isQuoted = !isQuoted;
      } else if (isQuoted) {
        continue;
      } else if (byte === SPACE) {
        if (++words > SEARCH_WORDS_MAX) return false;
        wordStart = at + 1;
      } else if (byte === OPEN_BRACKET && at === wordStart) {
        if (this.#stamp.read(bytes, at, end)) return true;
      } else if (byte === EQUALS && isOneOf(LOGFMT_KEYS, bytes, wordStart, at)) {
        return this.#stamp.read(bytes, bytes[at + 1] === QUOTE ? at + 2 : at + 1, end);
      }
    }
    return false;
  }
}

function isOneOf(names: readonly Buffer[], bytes: Uint8Array, start: number, end: number): boolean {
  const length = end - start;
  for (const name of names) {
    if (name.length !== length) continue;
    let matched = 0;
    while (matched < length && name[matched] === bytes[start + matched]) matched++;
    if (matched === length) return true;
  }
  return false;
}
