export const DAY_MS = 86_400_000;

const DAYS_IN_MONTH = [0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

function isLeapYear(year: number): boolean {
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
}

/** Milliseconds from 1970 to the start of a day in UTC; NaN when there is no such day. Years 0…9999, months 1…12. */
export function dayStartMs(year: number, month: number, day: number): number {
  if (!(year >= 0 && year <= 9999) || !(month >= 1 && month <= 12)) return NaN;
  if (!(day >= 1 && day <= DAYS_IN_MONTH[month])) return NaN;
  if (month === 2 && day === 29 && !isLeapYear(year)) return NaN;
  // Years that start in March put the leap day last, which makes the days before a month a straight line.
  const marchYear = month > 2 ? year : year - 1;
  const monthsFromMarch = (month + 9) % 12;
  const leapDays = Math.floor(marchYear / 4) - Math.floor(marchYear / 100) + Math.floor(marchYear / 400);
  const daysBeforeMonth = Math.floor((153 * monthsFromMarch + 2) / 5);
  return (marchYear * 365 + leapDays + daysBeforeMonth + day - 719_469) * DAY_MS;
}

/** The start of the latest such day that is not after `notAfterMs`; NaN when the month has no such day. */
export function latestDayStartMs(month: number, day: number, notAfterMs: number): number {
  const newest = new Date(notAfterMs).getUTCFullYear();
  // Two 29ths of February are at most eight years apart.
  for (let year = newest; year >= newest - 8; year--) {
    const startMs = dayStartMs(year, month, day);
    if (startMs <= notAfterMs) return startMs;
  }
  return NaN;
}

const MONTHS = new Map<number, number>();
const WEEKDAYS = new Set<number>();
'jan feb mar apr may jun jul aug sep oct nov dec'
  .split(' ')
  .forEach((name, index) => MONTHS.set(packed(Buffer.from(name), 0), index + 1));
for (const name of 'mon tue wed thu fri sat sun'.split(' ')) WEEKDAYS.add(packed(Buffer.from(name), 0));

/** Three bytes as one number, letters lowered. */
function packed(bytes: Uint8Array, at: number): number {
  return ((bytes[at] | 32) << 16) | ((bytes[at + 1] | 32) << 8) | bytes[at + 2] | 32;
}

/** 1…12 for an English month's first three letters at `at`, else 0. */
export function monthAt(bytes: Uint8Array, at: number): number {
  return MONTHS.get(packed(bytes, at)) ?? 0;
}

export function isWeekdayAt(bytes: Uint8Array, at: number): boolean {
  return WEEKDAYS.has(packed(bytes, at));
}
