/** The levels that Logvine knows, as Loki names them. A level's id is its index here; 0 is none found. */
export const LEVELS = ['unknown', 'trace', 'debug', 'info', 'warn', 'error', 'critical', 'fatal'] as const;

export type Level = (typeof LEVELS)[number];

/** Index into LEVELS. */
export type LevelId = number;

export const UNKNOWN: LevelId = 0;

/** What names a level in a label, in structured metadata, and as a field of a line; the first one present counts. */
export const LEVEL_FIELDS = [
  'level',
  'LEVEL',
  'Level',
  'log.level',
  'severity',
  'SEVERITY',
  'Severity',
  'SeverityText',
  'lvl',
  'LVL',
  'Lvl',
  'severity_text',
  'Severity_Text',
  'SEVERITY_TEXT',
] as const;

const IDS_BY_SPELLING = new Map<string, LevelId>();
const SPELLINGS: Record<Level, string[]> = {
  unknown: [],
  trace: ['trace', 'trc'],
  debug: ['debug', 'dbg'],
  info: ['info', 'inf', 'information'],
  warn: ['warn', 'wrn', 'warning'],
  error: ['error', 'err'],
  critical: ['critical'],
  fatal: ['fatal'],
};
LEVELS.forEach((level, id) => SPELLINGS[level].forEach((spelling) => IDS_BY_SPELLING.set(spelling, id)));
const SPELLING_BYTES = [...IDS_BY_SPELLING].map(([spelling, id]) => ({ letters: Buffer.from(spelling), id }));

/** The level that a value spells in any case; UNKNOWN for every other value. */
export function levelIdOf(value: string): LevelId {
  return IDS_BY_SPELLING.get(value.toLowerCase()) ?? UNKNOWN;
}

/** The same for bytes, without making a string. */
export function levelIdOfBytes(bytes: Uint8Array, start: number, end: number): LevelId {
  for (const { letters, id } of SPELLING_BYTES) {
    if (equalsFolded(letters, bytes, start, end)) return id;
  }
  return UNKNOWN;
}

/** Whether `bytes[start…end)` is `lower` in any case; `lower` holds lower-case letters, dots and underscores. */
export function equalsFolded(lower: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start !== lower.length) return false;
  for (let index = 0; index < lower.length; index++) {
    const byte = bytes[start + index];
    const folded = byte >= 65 && byte <= 90 ? byte | 32 : byte;
    if (folded !== lower[index]) return false;
  }
  return true;
}
