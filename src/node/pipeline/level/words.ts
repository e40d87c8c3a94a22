import { isWordByte } from '../time/digits.ts';
import { LEVELS, type Level, type LevelId } from './names.ts';

/** The words that name a level in running text. The first of them that a line has counts. */
const WORDS: readonly { word: string; level: Level }[] = [
  { word: 'trace', level: 'trace' },
  { word: 'debug', level: 'debug' },
  { word: 'fatal', level: 'fatal' },
  { word: 'critical', level: 'critical' },
  { word: 'error', level: 'error' },
  { word: 'err', level: 'error' },
  { word: 'warning', level: 'warn' },
  { word: 'warn', level: 'warn' },
  { word: 'info', level: 'info' },
];
const FOUND_MASK = (1 << WORDS.length) - 1;
/** The line may have a logfmt field that names a level: worth parsing. */
const FIELD_BIT = 1 << WORDS.length;
/** Words met, also as a part of another word, stand above the words found. */
const SEEN_SHIFT = WORDS.length + 1;

/**
 * The scan looks up two bytes at a time, so of any word some pairs are read whole: those at an even or those at an odd
 * distance from its start. `pairs` has one of each, the rarest in real logs, so that few look-ups match in vain.
 */
const STEMS: readonly { stem: string; pairs: readonly number[] }[] = [
  { stem: 'trace', pairs: [0, 1] },
  { stem: 'debug', pairs: [2, 3] },
  { stem: 'fatal', pairs: [0, 3] },
  { stem: 'critical', pairs: [0, 1] },
  { stem: 'err', pairs: [0, 1] },
  { stem: 'warn', pairs: [2, 1] },
  { stem: 'info', pairs: [2, 1] },
  // The ends of `level=`, `lvl=` and `severity=`, or of `severity` before `_text=`.
  { stem: 'evel=', pairs: [0, 3] },
  { stem: 'lvl=', pairs: [0, 1] },
  { stem: 'everity', pairs: [0, 5] },
];

interface Candidate {
  readonly letters: Uint8Array;
  /** From the stem's start to the pair. */
  readonly pairAt: number;
  /** The rests of the words with this stem; none for a stem of a field's name. */
  readonly words: readonly { tail: Uint8Array; bit: number }[];
}

/** Pair of bytes → id of its candidates, or 0. */
const PAIR_IDS = new Uint8Array(65_536);
const CANDIDATES: Candidate[][] = [[]];
/** By pair id: a letter that all its candidates have, as a distance from the pair. Most chance hits lack it. */
const PROBE_AT = new Int8Array(32);
const PROBE_LETTER = new Uint8Array(32);

for (const { stem, pairs } of STEMS) {
  const words = WORDS.flatMap(({ word }, index) =>
    word.startsWith(stem) ? [{ tail: Buffer.from(word.slice(stem.length)), bit: 1 << index }] : [],
  );
  for (const pairAt of pairs) addCandidate({ letters: Buffer.from(stem), pairAt, words });
}

function addCandidate(candidate: Candidate): void {
  const { letters, pairAt } = candidate;
  const spellings = pairsSpelling(letters[pairAt], letters[pairAt + 1]);
  const id = PAIR_IDS[spellings[0]] || CANDIDATES.push([]) - 1;
  const probeAt = pairAt + 2 < letters.length ? 2 : -1;
  const probeLetter = letters[pairAt + probeAt];
  const isNew = CANDIDATES[id].length === 0;
  if (!isNew && (PROBE_AT[id] !== probeAt || PROBE_LETTER[id] !== probeLetter)) {
    throw new Error(
      `words.ts: the stems of one pair differ in what is beside it: ${candidate.letters.toString()}`,
    );
  }
  CANDIDATES[id].push(candidate);
  PROBE_AT[id] = probeAt;
  PROBE_LETTER[id] = probeLetter;
  for (const pair of spellings) PAIR_IDS[pair] = id;
}

/** The pairs of bytes that spell two letters in any case. */
function pairsSpelling(first: number, second: number): number[] {
  return spellingsOf(first).flatMap((low) => spellingsOf(second).map((high) => low | (high << 8)));
}

function spellingsOf(letter: number): number[] {
  return [letter, String.fromCharCode(letter).toUpperCase().charCodeAt(0)];
}

/** A byte that is part of a word: an ASCII letter, digit or underscore, or a letter read as Latin-1, as Loki does. */
const IS_WORD = new Uint8Array(256);
for (let byte = 0; byte < 256; byte++) {
  IS_WORD[byte] = isWordByte(byte) || (byte >= 128 && /\p{L}/u.test(String.fromCharCode(byte))) ? 1 : 0;
}

const LEVEL_OF_FOUND = new Uint8Array(FOUND_MASK + 1);
for (let found = 1; found <= FOUND_MASK; found++) {
  const first = WORDS.findIndex((_, index) => (found & (1 << index)) !== 0);
  LEVEL_OF_FOUND[found] = LEVELS.indexOf(WORDS[first].level);
}

/** What a line's words say; ask `levelOfWords` and `mayHaveLevelField`. */
export type WordScan = number;

/**
 * Scans the words of `bytes[start…end)`. A word counts if it stands by itself where it is met first in the line: that
 * is Loki's rule, and it is case-blind. The bytes before `from` are known to hold no word.
 */
export function scanWords(bytes: Uint8Array, start: number, end: number, from: number): WordScan {
  let scan = 0;
  let at = from;
  for (const last = end - 7; at < last; at += 8) {
    const first = PAIR_IDS[bytes[at] | (bytes[at + 1] << 8)];
    const second = PAIR_IDS[bytes[at + 2] | (bytes[at + 3] << 8)];
    const third = PAIR_IDS[bytes[at + 4] | (bytes[at + 5] << 8)];
    const fourth = PAIR_IDS[bytes[at + 6] | (bytes[at + 7] << 8)];
    // Ordinary text mostly leaves here: one branch for eight bytes.
    if ((first | second | third | fourth) === 0) continue;
    if (first !== 0) scan = check(first, scan, bytes, at, start, end);
    if (second !== 0) scan = check(second, scan, bytes, at + 2, start, end);
    if (third !== 0) scan = check(third, scan, bytes, at + 4, start, end);
    if (fourth !== 0) scan = check(fourth, scan, bytes, at + 6, start, end);
  }
  for (; at + 1 < end; at += 2) {
    const id = PAIR_IDS[bytes[at] | (bytes[at + 1] << 8)];
    if (id !== 0) scan = check(id, scan, bytes, at, start, end);
  }
  return scan;
}

/** The level of the first word in Loki's order: an id, 0 for none. */
export function levelOfWords(scan: WordScan): LevelId {
  return LEVEL_OF_FOUND[scan & FOUND_MASK];
}

/** False only if no logfmt field of the line can name a level. */
export function mayHaveLevelField(scan: WordScan): boolean {
  return (scan & FIELD_BIT) !== 0;
}

/** Marks what the candidates for the pair at `at` turn out to be. */
function check(
  id: number,
  scan: WordScan,
  bytes: Uint8Array,
  at: number,
  start: number,
  end: number,
): WordScan {
  const probeAt = at + PROBE_AT[id];
  if (probeAt < start || (bytes[probeAt] | 32) !== PROBE_LETTER[id]) return scan;
  let result = scan;
  const candidates = CANDIDATES[id];
  for (let index = 0; index < candidates.length; index++) {
    const candidate = candidates[index];
    const stemAt = at - candidate.pairAt;
    if (stemAt < start || stemAt + candidate.letters.length > end) continue;
    if (!equalsAt(candidate.letters, bytes, stemAt)) continue;
    if (candidate.words.length === 0) result |= FIELD_BIT;
    else result = foundWords(candidate, result, bytes, stemAt, start, end);
  }
  return result;
}

/** Marks the words with this stem that the line has here for the first time. */
function foundWords(
  { letters, words }: Candidate,
  scan: WordScan,
  bytes: Uint8Array,
  at: number,
  start: number,
  end: number,
): WordScan {
  const stemEnd = at + letters.length;
  const isStart = at === start || IS_WORD[bytes[at - 1]] === 0;
  let result = scan;
  for (let index = 0; index < words.length; index++) {
    const { tail, bit } = words[index];
    const wordEnd = stemEnd + tail.length;
    const isSeen = (result & (bit << SEEN_SHIFT)) !== 0;
    if (isSeen || wordEnd > end || !equalsAt(tail, bytes, stemEnd)) continue;
    result |= bit << SEEN_SHIFT;
    if (isStart && (wordEnd === end || IS_WORD[bytes[wordEnd]] === 0)) result |= bit;
  }
  return result;
}

/** Whether lower-case letters stand at `at`, in any case. */
function equalsAt(letters: Uint8Array, bytes: Uint8Array, at: number): boolean {
  for (let index = 0; index < letters.length; index++) {
    if ((bytes[at + index] | 32) !== letters[index]) return false;
  }
  return true;
}
