import { JsonFields } from '../json.ts';
import { equalsFolded, LEVEL_FIELDS, type LevelId, levelIdOfBytes, UNKNOWN } from './names.ts';

const [QUOTE, BACKSLASH, EQUALS, OPEN, CLOSE] = Buffer.from('"\\={}');
const SPACE = 32;
/** Loki looks for a level in the outermost object and in those directly within it. */
const JSON_DEPTH_MAX = 2;

const JSON_KEYS: readonly Buffer[] = LEVEL_FIELDS.map((name) => Buffer.from(name));
/** In logfmt the case doesn't matter: the names without their other spellings, still in order of rank. */
const LOGFMT_KEYS: readonly Buffer[] = [...new Set(LEVEL_FIELDS.map((name) => name.toLowerCase()))].map(
  (name) => Buffer.from(name),
);
const json = new JsonFields();

/** Whether a line begins with `{` and ends with `}`, white space aside. */
export function looksLikeJson(bytes: Uint8Array, start: number, end: number): boolean {
  let first = start;
  while (first < end && isSpace(bytes[first])) first++;
  if (first === end || bytes[first] !== OPEN) return false;
  let last = end - 1;
  while (last > first && isSpace(bytes[last])) last--;
  return bytes[last] === CLOSE;
}

function isSpace(byte: number): boolean {
  return byte === SPACE || (byte >= 9 && byte <= 13);
}

/** The level that the first level field of a JSON line names: UNKNOWN when it names none or there is no such field. */
export function levelOfJson(bytes: Uint8Array, start: number, end: number): LevelId {
  json.open(bytes, start, end, JSON_DEPTH_MAX);
  while (json.next()) {
    if (json.isString && isJsonKey(bytes, json.keyStart, json.keyEnd)) {
      return levelIdOfBytes(bytes, json.valueStart, json.valueEnd);
    }
  }
  return UNKNOWN;
}

function isJsonKey(bytes: Uint8Array, start: number, end: number): boolean {
  const first = bytes[start] | 32;
  if (first !== 108 && first !== 115) return false; // l, s
  const length = end - start;
  for (const key of JSON_KEYS) {
    if (key.length !== length) continue;
    let matched = 0;
    while (matched < length && key[matched] === bytes[start + matched]) matched++;
    if (matched === length) return true;
  }
  return false;
}

/**
 * The level that a line's logfmt fields name: of several level fields the one that ranks first. As Loki's decoder
 * does, it stops where the line stops being logfmt and keeps what came before.
 */
export function levelOfLogfmt(bytes: Uint8Array, start: number, end: number): LevelId {
  let rank = LOGFMT_KEYS.length;
  let level = UNKNOWN;
  let at = start;
  while (rank > 0) {
    while (at < end && bytes[at] <= SPACE) at++;
    const keyStart = at;
    while (at < end && bytes[at] > SPACE && bytes[at] !== EQUALS && bytes[at] !== QUOTE) at++;
    const keyEnd = at;
    if (keyEnd === keyStart || (at < end && bytes[at] === QUOTE)) break;
    let valueStart = at;
    let valueEnd = at;
    if (at < end && bytes[at] === EQUALS) {
      valueStart = at + 1;
      valueEnd = logfmtValueEnd(bytes, valueStart, end);
      if (valueEnd < 0) break;
      at = valueEnd;
      if (valueEnd > valueStart && bytes[valueStart] === QUOTE) {
        valueStart++;
        valueEnd--;
      }
    }
    const keyRank = logfmtRank(bytes, keyStart, keyEnd);
    if (keyRank < rank) {
      rank = keyRank;
      level = levelIdOfBytes(bytes, valueStart, valueEnd);
    }
  }
  return level;
}

/** The end of the value at `at`, with its quotes; -1 if it is not one. */
function logfmtValueEnd(bytes: Uint8Array, at: number, end: number): number {
  let next = at;
  if (next < end && bytes[next] === QUOTE) {
    for (next++; next < end; next++) {
      if (bytes[next] === BACKSLASH) next++;
      else if (bytes[next] === QUOTE) return next + 1;
    }
    return -1;
  }
  for (; next < end && bytes[next] > SPACE; next++) {
    if (bytes[next] === EQUALS || bytes[next] === QUOTE) return -1;
  }
  return next;
}

function logfmtRank(bytes: Uint8Array, start: number, end: number): number {
  const first = bytes[start] | 32;
  if (first !== 108 && first !== 115) return LOGFMT_KEYS.length; // l, s
  for (let rank = 0; rank < LOGFMT_KEYS.length; rank++) {
    if (equalsFolded(LOGFMT_KEYS[rank], bytes, start, end)) return rank;
  }
  return LOGFMT_KEYS.length;
}
