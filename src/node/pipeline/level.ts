import {
  type Columns,
  type Labels,
  lineStart,
  type Metadata,
  parseLabelsKey,
  type StreamRows,
} from '../../store/index.ts';
import { levelOfJson, levelOfLogfmt, looksLikeJson } from './level/fields.ts';
import { LEVEL_FIELDS, type LevelId, levelIdOf, LEVELS, UNKNOWN } from './level/names.ts';
import { levelOfWords, mayHaveLevelField, scanWords } from './level/words.ts';
import type { StampForm } from './time/stamp.ts';

export { LEVELS, type Level, type LevelId } from './level/names.ts';

/** The structured metadata that carries an entry's level. */
export const LEVEL_NAME = 'detected_level';
/** What is longer is no level: each metadata set of a stream gets it. */
export const LEVEL_LENGTH_MAX = 32;
/** OpenTelemetry's severity as pushes carry it: ranges of four, from trace to fatal. */
const OTLP_SEVERITY = 'severity_number';
const OTLP_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'];
const SPACE = 32;

/**
 * The level of the line `bytes[start…end)`, an index into LEVELS, by the rules of Loki's distributor: a level field of
 * a JSON or logfmt line, else the first level word in the order trace, debug, fatal, critical, error, warn, info. `wordsFrom` passes over a
 * time stamp at the line's start.
 */
export function levelOfLine(bytes: Uint8Array, start: number, end: number, wordsFrom = start): LevelId {
  if (looksLikeJson(bytes, start, end)) {
    return levelOfJson(bytes, start, end) || levelOfWords(scanWords(bytes, start, end, wordsFrom));
  }
  const scan = scanWords(bytes, start, end, wordsFrom);
  if (mayHaveLevelField(scan)) {
    const level = levelOfLogfmt(bytes, start, end);
    if (level !== UNKNOWN) return level;
  }
  return levelOfWords(scan);
}

/**
 * The level letter that klog and Android's logcat write beside their stamps, as an index into LEVELS. Loki does not
 * read it; it only ever replaces `unknown`.
 */
export function levelOfForm(
  form: StampForm,
  bytes: Uint8Array,
  start: number,
  stampEnd: number,
  end: number,
): LevelId {
  if (form === 'klog') return levelOfLetter(bytes[start]);
  if (form !== 'android') return UNKNOWN;
  let at = stampEnd;
  while (at < end && (bytes[at] === SPACE || (bytes[at] >= 48 && bytes[at] <= 57))) at++;
  const isAlone = at + 1 < end && (bytes[at + 1] === SPACE || bytes[at + 1] === 47); // `D Tag`, `D/Tag`
  return isAlone ? levelOfLetter(bytes[at]) : UNKNOWN;
}

const LETTER_LEVELS: Record<string, LevelId> = {};
for (const [letter, level] of Object.entries({ V: 1, D: 2, I: 3, W: 4, E: 5, F: 7, A: 7 })) {
  LETTER_LEVELS[letter.charCodeAt(0)] = level;
}

function levelOfLetter(letter: number): LevelId {
  return LETTER_LEVELS[letter] ?? UNKNOWN;
}

/**
 * The level that labels or structured metadata name: Loki's spelling of a known one, any other value as it stands.
 * Undefined when none of the known names is there.
 */
export function levelOfLabels(labels: Labels | Metadata): string | undefined {
  for (const name of LEVEL_FIELDS) {
    const value = Object.hasOwn(labels, name) ? labels[name] : '';
    if (value !== '' && value.length <= LEVEL_LENGTH_MAX) return normalised(value);
  }
  return undefined;
}

/** The same, and what an entry's metadata alone can say: a level detected before, and OpenTelemetry's severity. */
export function levelOfEntry(labels: Labels, metadata: Metadata): string | undefined {
  if (Object.hasOwn(metadata, LEVEL_NAME)) return normalised(metadata[LEVEL_NAME]);
  const level = levelOfLabels(labels) ?? levelOfLabels(metadata);
  if (level !== undefined) return level;
  const severity = Object.hasOwn(metadata, OTLP_SEVERITY) ? metadata[OTLP_SEVERITY] : '';
  return severity === '' ? undefined : levelOfSeverity(severity);
}

function normalised(value: string): string {
  const id = levelIdOf(value);
  return id === UNKNOWN ? value : LEVELS[id];
}

function levelOfSeverity(text: string): string {
  if (!/^[+-]?\d+$/.test(text)) return 'info';
  const severity = Number(text);
  if (severity === 0) return 'unknown';
  return OTLP_LEVELS[Math.max(0, Math.ceil(severity / 4) - 1)] ?? 'unknown';
}

/** `metadata` with the level, names sorted. */
export function metadataWithLevel(metadata: Metadata, level: string): Metadata {
  const names = [...new Set([...Object.keys(metadata), LEVEL_NAME])].sort();
  return Object.fromEntries(names.map((name) => [name, name === LEVEL_NAME ? level : metadata[name]]));
}

/**
 * Gives each entry the structured metadata `detected_level`, as Loki does for pushes: from the entry's own
 * `detected_level`, a level label of its stream, its metadata, its severity number or its line, the first that tells.
 */
export function withLevels(columns: Columns, labels: Labels): Columns {
  const levels = new LevelSets(columns);
  levels.fill(0, columns.count, levelOfLabels(labels));
  return levels.columns();
}

/** What a key with a level label has in it. */
const LEVEL_LABEL = new RegExp(`"(?:${LEVEL_FIELDS.join('|').replaceAll('.', '\\.')})":`);

/** `withLevels` for entries of many streams. */
export function withLevelsOfStreams({ keys, rowEnds, columns }: StreamRows): StreamRows {
  const levels = new LevelSets(columns);
  let start = 0;
  for (let at = 0; at < keys.length; at++) {
    const ofLabels = LEVEL_LABEL.test(keys[at]) ? levelOfLabels(parseLabelsKey(keys[at])) : undefined;
    levels.fill(start, rowEnds[at], ofLabels);
    start = rowEnds[at];
  }
  return { keys, rowEnds, columns: levels.columns() };
}

/** The metadata sets of columns, each with every level that entries with it have. */
class LevelSets {
  readonly #columns: Columns;
  readonly #metadataIds: Uint32Array;
  readonly #sets: Metadata[] = [];
  readonly #idsByText = new Map<string, number>();
  /** By set and level. */
  readonly #ids: Map<string, number>[];
  /** What a set tells before the labels of its stream do, and after them. */
  readonly #first: (string | undefined)[];
  readonly #then: (string | undefined)[];

  constructor(columns: Columns) {
    this.#columns = columns;
    this.#metadataIds = new Uint32Array(columns.count);
    this.#ids = columns.metadata.map(() => new Map<string, number>());
    this.#first = columns.metadata.map((set) =>
      Object.hasOwn(set, LEVEL_NAME) ? normalised(set[LEVEL_NAME]) : undefined,
    );
    this.#then = columns.metadata.map((set) => levelOfEntry({}, set));
  }

  /** `ofLabels`: the level that the labels of these rows' stream name. */
  fill(start: number, end: number, ofLabels: string | undefined): void {
    const columns = this.#columns;
    for (let row = start; row < end; row++) {
      const set = columns.metadataIds[row];
      const level =
        this.#first[set] ??
        ofLabels ??
        this.#then[set] ??
        LEVELS[levelOfLine(columns.lines, lineStart(columns, row), columns.ends[row])];
      const id = this.#ids[set].get(level);
      this.#metadataIds[row] = id ?? this.#add(set, level);
    }
  }

  #add(set: number, level: string): number {
    const levelled = metadataWithLevel(this.#columns.metadata[set], level);
    // Two sets may have become one: one with the level of its own, one that got it.
    const text = JSON.stringify(levelled);
    let id = this.#idsByText.get(text);
    if (id === undefined) this.#idsByText.set(text, (id = this.#sets.push(levelled) - 1));
    this.#ids[set].set(level, id);
    return id;
  }

  columns(): Columns {
    return { ...this.#columns, metadataIds: this.#metadataIds, metadata: this.#sets };
  }
}
