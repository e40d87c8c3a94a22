import { DAY_MS, dayStartMs, isWeekdayAt, latestDayStartMs, monthAt } from './calendar.ts';
import { isDigit, isWordByte, NOT_DIGITS, twoDigits } from './digits.ts';
import type { Zone } from './zone.ts';

const [SPACE, COMMA, PLUS, MINUS, DOT, SLASH, COLON, LESS, GREATER, OPEN_BRACKET] = Buffer.from(' ,+-./:<>[');
const [LETTER_T, LETTER_U, LETTER_C, LETTER_Z] = Buffer.from('TUCZ');
const KLOG_LETTERS = new Set(Buffer.from('IWEF'));
const MINUTE_MS = 60_000;
/** Nanoseconds that the last digit of a fraction of n digits stands for, n from 0 to 9. */
const FRACTION_UNIT_NS = [1e9, 1e8, 1e7, 1e6, 1e5, 1e4, 1e3, 1e2, 10, 1];
/** Numbers taken for seconds since 1970: from 2001 to 2100. Smaller and larger ones are counters and ids. */
const EPOCH_SECONDS_MIN = 1_000_000_000;
const EPOCH_SECONDS_MAX = 4_102_444_800;

/** Forms that carry a level letter at a place of their own. */
export type StampForm = 'plain' | 'klog' | 'android';

/**
 * Reads the time stamps of log lines. After a read that returned true, `ms`, `sub`, `end` and `form` tell what was
 * read; after false they mean nothing. Nothing is allocated.
 *
 * `end` bounds what belongs to the line; the array must hold at least one byte more (a line's `\n`).
 */
export class StampReader {
  /** Milliseconds since 1970, UTC. */
  ms = 0;
  /** Nanoseconds within the millisecond. */
  sub = 0;
  /** The byte after the stamp. */
  end = 0;
  form: StampForm = 'plain';

  readonly #zone: Zone;
  /** Stamps without a whole year are not after this. */
  readonly #latestMs: number;
  /** Milliseconds into the day (for an epoch: into the second). */
  #clockMs = 0;
  /** The last date that was looked up: most lines have the day of the line before. */
  #dayKey = -1;
  #dayMs = NaN;
  #yearlessKey = -1;
  #yearlessMs = NaN;

  /** `zone`: of stamps that name none. `readAtMs`: when the lines were read, for stamps without a whole year. */
  constructor(zone: Zone, readAtMs: number) {
    this.#zone = zone;
    this.#latestMs = readAtMs + DAY_MS;
  }

  /** Reads a stamp of any known form that starts at `at`, perhaps behind `[` or a syslog priority. */
  read(bytes: Uint8Array, at: number, end: number): boolean {
    const first = bytes[at];
    if (isDigit(first)) return this.#readDigits(bytes, at, end);
    if (first === OPEN_BRACKET) return this.#readBare(bytes, at + 1, end);
    if (first === LESS) return this.#readPriority(bytes, at, end);
    return this.#readLetters(bytes, at, end);
  }

  /** A number since 1970 in seconds (10 digits, with a fraction or not), ms (13), µs (16) or ns (19 digits). */
  readEpoch(bytes: Uint8Array, at: number, end: number): boolean {
    let seconds = 0;
    let next = at;
    for (; next < end && next < at + 10 && isDigit(bytes[next]); next++)
      seconds = seconds * 10 + bytes[next] - 48;
    if (next < at + 10 || seconds < EPOCH_SECONDS_MIN || seconds > EPOCH_SECONDS_MAX) return false;
    this.#clockMs = 0;
    this.end = this.#readFraction(bytes, next, end);
    const digits = this.end - next;
    if (digits % 3 !== 0) return false;
    if (digits === 0 && next + 1 < end && bytes[next] === DOT && isDigit(bytes[next + 1])) {
      this.end = this.#readFraction(bytes, next + 1, end);
    }
    if (this.end < end && isWordByte(bytes[this.end])) return false;
    this.ms = seconds * 1000 + this.#clockMs;
    this.form = 'plain';
    return true;
  }

  #readBare(bytes: Uint8Array, at: number, end: number): boolean {
    return isDigit(bytes[at]) ? this.#readDigits(bytes, at, end) : this.#readLetters(bytes, at, end);
  }

  #readDigits(bytes: Uint8Array, at: number, end: number): boolean {
    if (end - at < 10) return false;
    const fifth = bytes[at + 4];
    if (fifth === MINUS || fifth === SLASH) return this.#readYearFirst(bytes, at, end, fifth);
    const third = bytes[at + 2];
    if (third === SLASH || third === MINUS || third === SPACE) {
      if (!isDigit(bytes[at + 3])) return this.#readNamedMonth(bytes, at, end, third);
      return third === SLASH ? this.#readShortYear(bytes, at, end) : this.#readAndroid(bytes, at, end);
    }
    return bytes[at + 6] === SPACE ? this.#readCompact(bytes, at, end) : this.readEpoch(bytes, at, end);
  }

  /** `2015-10-18T18:01:47.978Z`, `2015-10-18 18:01:47,978`, `2024/01/02 15:04:05`. */
  #readYearFirst(bytes: Uint8Array, at: number, end: number, separator: number): boolean {
    if (end - at < 16 || bytes[at + 7] !== separator) return false;
    const between = bytes[at + 10];
    if (between !== SPACE && (between & ~32) !== LETTER_T) return false;
    const dayMs = this.#day(yearAt(bytes, at), twoDigits(bytes, at + 5), twoDigits(bytes, at + 8));
    return this.#readClock(bytes, at + 11, end) && this.#finish(bytes, end, dayMs);
  }

  /** `10/Oct/2000:13:55:36 -0700`, `03-Jan-2024 10:00:00.123`, `03 Jan 2024 10:00:00`. */
  #readNamedMonth(bytes: Uint8Array, at: number, end: number, separator: number): boolean {
    if (end - at < 17 || bytes[at + 6] !== separator) return false;
    if (bytes[at + 11] !== COLON && bytes[at + 11] !== SPACE) return false;
    const dayMs = this.#day(yearAt(bytes, at + 7), monthAt(bytes, at + 3), twoDigits(bytes, at));
    return this.#readClock(bytes, at + 12, end) && this.#finish(bytes, end, dayMs);
  }

  /** `17/06/09 20:10:40`: yy/MM/dd. */
  #readShortYear(bytes: Uint8Array, at: number, end: number): boolean {
    if (end - at < 14 || bytes[at + 5] !== SLASH || bytes[at + 8] !== SPACE) return false;
    const dayMs = this.#dayOfCentury(bytes, at, at + 3, at + 6);
    return this.#readClock(bytes, at + 9, end) && this.#finish(bytes, end, dayMs);
  }

  /** `081109 203615`: yyMMdd HHmmss. */
  #readCompact(bytes: Uint8Array, at: number, end: number): boolean {
    if (end - at < 13 || (end - at > 13 && isWordByte(bytes[at + 13]))) return false;
    const dayMs = this.#dayOfCentury(bytes, at, at + 2, at + 4);
    const hour = twoDigits(bytes, at + 7);
    if (!this.#setClock(hour, twoDigits(bytes, at + 9), twoDigits(bytes, at + 11))) return false;
    this.end = at + 13;
    return this.#finishLocal(dayMs);
  }

  /** `03-17 16:13:38.811`: no year. */
  #readAndroid(bytes: Uint8Array, at: number, end: number): boolean {
    if (end - at < 14 || bytes[at + 2] !== MINUS || bytes[at + 5] !== SPACE) return false;
    if (!this.#readClock(bytes, at + 6, end)) return false;
    return this.#finishYearless(twoDigits(bytes, at), twoDigits(bytes, at + 3), 'android');
  }

  #readLetters(bytes: Uint8Array, at: number, end: number): boolean {
    if (end - at < 14) return false;
    if (isDigit(bytes[at + 1])) return this.#readKlog(bytes, at, end);
    const fourth = bytes[at + 3];
    if (fourth !== SPACE) return false;
    const month = monthAt(bytes, at);
    if (month === 0) return isWeekdayAt(bytes, at) && this.#readAsctime(bytes, at + 4, end);
    if (bytes[at + 6] !== SPACE || !this.#readClock(bytes, at + 7, end)) return false;
    return this.#finishYearless(month, paddedDay(bytes, at + 4), 'plain');
  }

  /** `I0102 15:04:05.123456`: no year. */
  #readKlog(bytes: Uint8Array, at: number, end: number): boolean {
    if (!KLOG_LETTERS.has(bytes[at]) || bytes[at + 5] !== SPACE) return false;
    if (!this.#readClock(bytes, at + 6, end)) return false;
    return this.#finishYearless(twoDigits(bytes, at + 1), twoDigits(bytes, at + 3), 'klog');
  }

  /** `Dec 04 04:47:44.123456 2005`, behind the weekday. */
  #readAsctime(bytes: Uint8Array, at: number, end: number): boolean {
    if (end - at < 20 || bytes[at + 6] !== SPACE) return false;
    if (!this.#readClock(bytes, at + 7, end)) return false;
    const year = this.end + 1;
    if (end - year < 4 || bytes[this.end] !== SPACE) return false;
    this.end = year + 4;
    return this.#finishLocal(this.#day(yearAt(bytes, year), monthAt(bytes, at), paddedDay(bytes, at + 4)));
  }

  /** `<34>` before RFC 3164, `<34>1 ` before RFC 5424. */
  #readPriority(bytes: Uint8Array, at: number, end: number): boolean {
    let next = at + 1;
    while (next < at + 4 && next < end && isDigit(bytes[next])) next++;
    if (next === at + 1 || next >= end || bytes[next] !== GREATER) return false;
    next++;
    const isVersioned = end - next > 2 && isDigit(bytes[next]) && bytes[next + 1] === SPACE;
    return this.#readBare(bytes, isVersioned ? next + 2 : next, end);
  }

  /** `15:04`, `15:04:05`, `15:04:05.123456789`, `15:04:05,123`. Sets the clock, `sub` and `end`. */
  #readClock(bytes: Uint8Array, at: number, end: number): boolean {
    if (end - at < 5 || bytes[at + 2] !== COLON) return false;
    const hour = twoDigits(bytes, at);
    const minute = twoDigits(bytes, at + 3);
    if (end - at < 8 || bytes[at + 5] !== COLON) {
      this.end = at + 5;
      return this.#setClock(hour, minute, 0);
    }
    if (!this.#setClock(hour, minute, twoDigits(bytes, at + 6))) return false;
    this.end = at + 8;
    const separator = bytes[at + 8];
    if (end - at > 9 && (separator === DOT || separator === COMMA) && isDigit(bytes[at + 9])) {
      this.end = this.#readFraction(bytes, at + 9, end);
    }
    return true;
  }

  /** A second of 60 is a leap second. */
  #setClock(hour: number, minute: number, second: number): boolean {
    this.#clockMs = (hour * 60 + minute) * MINUTE_MS + second * 1000;
    this.sub = 0;
    return hour < 24 && minute < 60 && second <= 60;
  }

  /** Adds the digits at `at` to the clock as a fraction of a second; beyond nine they are skipped. Returns their end. */
  #readFraction(bytes: Uint8Array, at: number, end: number): number {
    let next = at;
    let value = 0;
    const bound = Math.min(end, at + 9);
    for (; next < bound && isDigit(bytes[next]); next++) value = value * 10 + bytes[next] - 48;
    const nanoseconds = value * FRACTION_UNIT_NS[next - at];
    const ms = Math.floor(nanoseconds / 1e6);
    this.#clockMs += ms;
    this.sub = nanoseconds - ms * 1e6;
    while (next < end && isDigit(bytes[next])) next++;
    return next;
  }

  /** The zone behind the clock, if there is one, else the reader's own. */
  #finish(bytes: Uint8Array, end: number, dayMs: number): boolean {
    const at = this.end;
    if (at >= end) return this.#finishLocal(dayMs);
    const first = bytes[at];
    if ((first & ~32) === LETTER_Z) return this.#finishOffset(dayMs, 0, at + 1);
    const sign = first === SPACE && at + 1 < end ? at + 1 : at;
    if (bytes[sign] === PLUS || bytes[sign] === MINUS) return this.#finishSigned(bytes, end, dayMs, sign);
    if (bytes[sign] === LETTER_U && bytes[sign + 1] === LETTER_T && bytes[sign + 2] === LETTER_C) {
      return this.#finishOffset(dayMs, 0, sign + 3);
    }
    return this.#finishLocal(dayMs);
  }

  /** `+02:00`, `-0700`, `+02` (the last only right behind the clock); anything else behind a sign is not a zone. */
  #finishSigned(bytes: Uint8Array, end: number, dayMs: number, sign: number): boolean {
    const hours = end - sign > 2 ? twoDigits(bytes, sign + 1) : NOT_DIGITS;
    if (hours > 18) return this.#finishLocal(dayMs);
    let next = sign + 3;
    let minutes = 0;
    const digits = bytes[next] === COLON ? next + 1 : next;
    if (end - digits >= 2 && twoDigits(bytes, digits) < 60) {
      minutes = twoDigits(bytes, digits);
      next = digits + 2;
    } else if (sign !== this.end) {
      return this.#finishLocal(dayMs);
    }
    if (next < end && isWordByte(bytes[next])) return this.#finishLocal(dayMs);
    const offsetMs = (hours * 60 + minutes) * MINUTE_MS;
    return this.#finishOffset(dayMs, bytes[sign] === MINUS ? -offsetMs : offsetMs, next);
  }

  #finishOffset(dayMs: number, offsetMs: number, end: number): boolean {
    this.end = end;
    this.form = 'plain';
    this.ms = dayMs + this.#clockMs - offsetMs;
    return !Number.isNaN(dayMs);
  }

  #finishLocal(dayMs: number): boolean {
    if (Number.isNaN(dayMs)) return false;
    const wallMs = dayMs + this.#clockMs;
    this.form = 'plain';
    this.ms = wallMs - this.#zone.offsetMs(wallMs);
    return true;
  }

  /** The latest year in which the stamp is not more than a day after it was read. */
  #finishYearless(month: number, day: number, form: StampForm): boolean {
    if (!(month >= 1 && month <= 12 && day >= 1 && day <= 31)) return false;
    const key = month * 32 + day;
    if (key !== this.#yearlessKey) {
      this.#yearlessKey = key;
      // Zones are up to 14 hours from UTC: a first guess that is too late is put right below.
      this.#yearlessMs = latestDayStartMs(month, day, this.#latestMs + DAY_MS);
    }
    if (!this.#finishLocal(this.#yearlessMs)) return false;
    if (this.ms > this.#latestMs) {
      const earlierMs = latestDayStartMs(month, day, this.#yearlessMs - 1);
      if (!this.#finishLocal(earlierMs)) return false;
    }
    this.form = form;
    return true;
  }

  #day(year: number, month: number, day: number): number {
    if (year < 0 || month > 12 || day > 31) return NaN;
    const key = year * 512 + month * 32 + day;
    if (key !== this.#dayKey) {
      this.#dayKey = key;
      this.#dayMs = dayStartMs(year, month, day);
    }
    return this.#dayMs;
  }

  #dayOfCentury(bytes: Uint8Array, yearAtByte: number, monthAtByte: number, dayAtByte: number): number {
    const year = twoDigits(bytes, yearAtByte);
    if (year === NOT_DIGITS) return NaN;
    const month = twoDigits(bytes, monthAtByte);
    const day = twoDigits(bytes, dayAtByte);
    const dayMs = this.#day(2000 + year, month, day);
    return dayMs > this.#latestMs + DAY_MS ? this.#day(1900 + year, month, day) : dayMs;
  }
}

/** Four digits, or a number that is no year. */
function yearAt(bytes: Uint8Array, at: number): number {
  const century = twoDigits(bytes, at);
  const year = twoDigits(bytes, at + 2);
  return century === NOT_DIGITS || year === NOT_DIGITS ? -1 : century * 100 + year;
}

/** A day of the month in two columns, padded with a space or a zero. */
function paddedDay(bytes: Uint8Array, at: number): number {
  if (bytes[at] === SPACE && isDigit(bytes[at + 1])) return bytes[at + 1] - 48;
  return twoDigits(bytes, at);
}
