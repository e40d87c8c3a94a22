const PATTERN =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?)?(Z|[+-]\d{2}:?\d{2})?$/;

export const TIME_ALLOWED =
  'now, a time such as 2026-01-31T12:00:00Z or "2026-01-31 12:00", or Unix seconds, ms or ns';

/**
 * Nanoseconds since 1970; undefined when `text` is no time. A time without a zone is this machine's. Digits are
 * seconds, milliseconds or nanoseconds by their number.
 */
export function parseTimeNs(text: string, nowMs: number): bigint | undefined {
  if (text === 'now') return BigInt(Math.floor(nowMs)) * 1_000_000n;
  if (/^\d{1,19}$/.test(text)) return unixNs(text);
  const found = PATTERN.exec(text);
  if (!found) return undefined;
  const [, year, month, day, hour = '00', minute = '00', second = '00', fraction = '', zone = ''] = found;
  const clock = [Number(hour), Number(minute), Number(second)] as const;
  if (clock[0] > 23 || clock[1] > 59 || clock[2] > 59) return undefined;
  const offset = zone.length === 5 ? `${zone.slice(0, 3)}:${zone.slice(3)}` : zone;
  const ms = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}${offset}`);
  // 31 February parses, as March: ask the calendar.
  const date = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day)));
  if (Number.isNaN(ms) || date.getUTCDate() !== Number(day)) return undefined;
  return BigInt(ms) * 1_000_000n + BigInt(fraction.padEnd(9, '0'));
}

/** Nanoseconds since 1970, `backMs` before `endNs`: 1970 when that would be earlier, since nothing is looked for there. */
export function startBefore(endNs: bigint, backMs: number): bigint {
  return notBefore1970(endNs - BigInt(backMs) * 1_000_000n);
}

export function notBefore1970(ns: bigint): bigint {
  return ns < 0n ? 0n : ns;
}

function unixNs(digits: string): bigint {
  const number = BigInt(digits);
  if (digits.length <= 11) return number * 1_000_000_000n;
  return digits.length <= 14 ? number * 1_000_000n : number;
}
