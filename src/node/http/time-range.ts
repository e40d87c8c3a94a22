import { LogvineError, type Instant, type TimeRange } from '../../store/index.ts';
import { parseDuration } from '../config/index.ts';

/** Loki's default of `since`, when neither `start` nor `since` is given. */
const SINCE_DEFAULT_MS = 3_600_000;
/** As far from 1970 as a Date goes: peers refuse a query about anything beyond. */
const TIME_MS_MAX = 8.64e15;
/** More digits than any moment has. */
const TEXT_LENGTH_MAX = 64;

/** `start`, `end`, `since` as Loki reads them: nanoseconds, seconds with a fraction, or RFC 3339. Throws LV_QUERY_INVALID. */
export function parseRange(parameters: Record<string, string | undefined>, nowMs: number): TimeRange {
  const to = parameters.end ? parseInstant(parameters.end, 'end') : { ms: nowMs, sub: 0 };
  if (parameters.start) {
    const from = parseInstant(parameters.start, 'start');
    if (from.ms > to.ms || (from.ms === to.ms && from.sub > to.sub)) {
      throw new LogvineError('LV_QUERY_INVALID', 'end timestamp must not be before or equal to start time');
    }
    return { from, to };
  }
  const sinceMs = parameters.since ? parseDuration(parameters.since) : SINCE_DEFAULT_MS;
  if (sinceMs === undefined) throw new LogvineError('LV_QUERY_INVALID', 'since is not a duration such as 1h');
  return { from: { ms: Math.max(-TIME_MS_MAX, to.ms - sinceMs), sub: to.sub }, to };
}

export function parseInstant(text: string, name: string): Instant {
  const instant = text.length <= TEXT_LENGTH_MAX ? readInstant(text) : undefined;
  if (instant && Math.abs(instant.ms) <= TIME_MS_MAX) return instant;
  const shown = text.length > TEXT_LENGTH_MAX ? `${text.slice(0, TEXT_LENGTH_MAX)}…` : text;
  throw new LogvineError(
    'LV_QUERY_INVALID',
    `${name} is neither nanoseconds, seconds nor RFC 3339: ${shown}`,
  );
}

function readInstant(text: string): Instant | undefined {
  if (/^-?\d+$/.test(text) && text.length <= 19) {
    // As Loki: up to ten digits are seconds, more are nanoseconds.
    if (text.replace('-', '').length <= 10) return { ms: Number(text) * 1000, sub: 0 };
    return fromNanoseconds(BigInt(text));
  }
  if (/^-?\d+\.\d+$/.test(text)) {
    const [whole, fraction] = text.replace('-', '').split('.');
    const nanoseconds = BigInt(whole) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0').slice(0, 9));
    return fromNanoseconds(text.startsWith('-') ? -nanoseconds : nanoseconds);
  }
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(text);
  const ms = match ? Date.parse(match[1] + match[3]) : Number.NaN;
  if (!match || Number.isNaN(ms)) return undefined;
  const nanoseconds = Number((match[2] ?? '').padEnd(9, '0'));
  return { ms: ms + Math.floor(nanoseconds / 1e6), sub: nanoseconds % 1e6 };
}

export function fromNanoseconds(nanoseconds: bigint): Instant {
  const ms = nanoseconds / 1_000_000n;
  const sub = nanoseconds % 1_000_000n;
  return sub < 0n
    ? { ms: Number(ms) - 1, sub: Number(sub) + 1_000_000 }
    : { ms: Number(ms), sub: Number(sub) };
}
