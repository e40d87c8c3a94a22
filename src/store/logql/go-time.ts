/** Times as Go's package time formats and reads them. */

export interface GoTime {
  readonly kind: 'time';
  /** Nanoseconds since 1970. */
  readonly ns: bigint;
  /** IANA name, or UTC. */
  readonly zone: string;
}

const NS_PER_MS = 1_000_000n;

export function timeOf(ns: bigint, zone = 'UTC'): GoTime {
  return { kind: 'time', ns, zone };
}

const MONTHS = [
  ...['January', 'February', 'March', 'April', 'May', 'June'],
  ...['July', 'August', 'September', 'October', 'November', 'December'],
];
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

/** The reference time's parts, longest first where one begins another. */
const ELEMENT =
  /January|Jan|Monday|Mon|MST|2006|-07:00:00|-07:00|-070000|-0700|-07|Z07:00:00|Z07:00|Z070000|Z0700|Z07|002|01|02|03|04|05|06|15|PM|pm|__2|_2|[.,]0+(?!\d)|[.,]9+(?!\d)|1|2|3|4|5/g;

interface Wall {
  readonly year: number;
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
  readonly nanos: number;
  readonly weekday: number;
  readonly yearDay: number;
  readonly offsetMinutes: number;
}

const formatters = new Map<string, Intl.DateTimeFormat | undefined>();

/** Undefined when the zone is not known. */
function formatterOf(zone: string): Intl.DateTimeFormat | undefined {
  if (!formatters.has(zone)) {
    let made: Intl.DateTimeFormat | undefined;
    try {
      made = new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset' });
    } catch {
      made = undefined;
    }
    if (formatters.size > 1000) formatters.clear();
    formatters.set(zone, made);
  }
  return formatters.get(zone);
}

function offsetMinutes(ms: number, zone: string): number {
  if (zone === 'UTC') return 0;
  const name =
    formatterOf(zone)
      ?.formatToParts(ms)
      .find((part) => part.type === 'timeZoneName')?.value ?? 'GMT';
  const found = /^GMT([+-])(\d\d):(\d\d)/.exec(name);
  if (found === null) return 0;
  const minutes = Number(found[2]) * 60 + Number(found[3]);
  return found[1] === '-' ? -minutes : minutes;
}

function floorDivide(value: bigint, by: bigint): bigint {
  const quotient = value / by;
  return value % by < 0n ? quotient - 1n : quotient;
}

function wallOf(time: GoTime): Wall {
  const ms = Number(floorDivide(time.ns, NS_PER_MS));
  const offset = offsetMinutes(ms, time.zone);
  const date = new Date(ms + offset * 60_000);
  const year = date.getUTCFullYear();
  const dayStart = Date.UTC(2000, date.getUTCMonth(), date.getUTCDate());
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  const march = date.getUTCMonth() > 1 && !leap ? 1 : 0;
  return {
    year,
    month: date.getUTCMonth() + 1,
    day: date.getUTCDate(),
    hour: date.getUTCHours(),
    minute: date.getUTCMinutes(),
    second: date.getUTCSeconds(),
    nanos: Number(((time.ns % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n),
    weekday: date.getUTCDay(),
    yearDay: (dayStart - Date.UTC(2000, 0, 1)) / 86_400_000 + 1 - march,
    offsetMinutes: offset,
  };
}

function pad(value: number, width: number): string {
  return String(value).padStart(width, '0');
}

function zoneText(element: string, minutes: number): string {
  if (element.startsWith('Z') && minutes === 0) return 'Z';
  const sign = minutes < 0 ? '-' : '+';
  const hours = pad(Math.floor(Math.abs(minutes) / 60), 2);
  const rest = pad(Math.abs(minutes) % 60, 2);
  const colons = element.split(':').length - 1;
  if (colons > 0) return `${sign}${hours}:${rest}${colons === 2 ? ':00' : ''}`;
  return element.length === 3 ? sign + hours : `${sign}${hours}${rest}${element.length === 7 ? '00' : ''}`;
}

function fractionText(element: string, nanos: number): string {
  const digits = pad(nanos, 9).slice(0, Math.min(9, element.length - 1));
  if (element[1] === '0') return element[0] + digits.padEnd(element.length - 1, '0');
  const short = digits.replace(/0+$/, '');
  return short === '' ? '' : element[0] + short;
}

/** time.Format. */
export function formatTime(time: GoTime, layout: string): string {
  const wall = wallOf(time);
  const hour12 = wall.hour % 12 === 0 ? 12 : wall.hour % 12;
  const text: Readonly<Record<string, string>> = {
    January: MONTHS[wall.month - 1],
    Jan: MONTHS[wall.month - 1].slice(0, 3),
    Monday: DAYS[wall.weekday],
    Mon: DAYS[wall.weekday].slice(0, 3),
    MST: wall.offsetMinutes === 0 ? 'UTC' : zoneText('-07', wall.offsetMinutes),
    '2006': pad(wall.year, 4),
    '06': pad(wall.year % 100, 2),
    '01': pad(wall.month, 2),
    '1': String(wall.month),
    '002': pad(wall.yearDay, 3),
    '02': pad(wall.day, 2),
    __2: String(wall.yearDay).padStart(3, ' '),
    _2: String(wall.day).padStart(2, ' '),
    '2': String(wall.day),
    '15': pad(wall.hour, 2),
    '03': pad(hour12, 2),
    '3': String(hour12),
    '04': pad(wall.minute, 2),
    '4': String(wall.minute),
    '05': pad(wall.second, 2),
    '5': String(wall.second),
    PM: wall.hour >= 12 ? 'PM' : 'AM',
    pm: wall.hour >= 12 ? 'pm' : 'am',
  };
  return layout.replace(ELEMENT, (element) => {
    if (element[0] === '.' || element[0] === ',') return fractionText(element, wall.nanos);
    return text[element] ?? zoneText(element, wall.offsetMinutes);
  });
}

/** As fmt prints a time. */
export function timeText(time: GoTime): string {
  return formatTime(time, '2006-01-02 15:04:05.999999999 -0700 MST');
}

const READERS: Readonly<Record<string, string>> = {
  January: `(?<month>${MONTHS.join('|')})`,
  Jan: `(?<month>${MONTHS.map((name) => name.slice(0, 3)).join('|')})`,
  Monday: `(?:${DAYS.join('|')})`,
  Mon: `(?:${DAYS.map((name) => name.slice(0, 3)).join('|')})`,
  MST: '(?<abbreviation>[A-Z]{3,5}|[+-]\\d\\d)',
  '2006': '(?<year>\\d{4})',
  '06': '(?<shortYear>\\d\\d)',
  '01': '(?<monthNumber>\\d\\d)',
  '1': '(?<monthNumber>\\d\\d?)',
  '002': '(?<yearDay>\\d{3})',
  '02': '(?<day>\\d\\d)',
  __2: ' {0,2}(?<yearDay>\\d{1,3})',
  _2: ' ?(?<day>\\d\\d?)',
  '2': '(?<day>\\d\\d?)',
  '15': '(?<hour>\\d\\d?)',
  '03': '(?<hour12>\\d\\d)',
  '3': '(?<hour12>\\d\\d?)',
  '04': '(?<minute>\\d\\d)',
  '4': '(?<minute>\\d\\d?)',
  '05': '(?<second>\\d\\d)(?:[.,](?<fraction>\\d+))?',
  '5': '(?<second>\\d\\d?)(?:[.,](?<fraction>\\d+))?',
  PM: '(?<half>AM|PM)',
  pm: '(?<half>am|pm)',
};

function readerOf(layout: string): RegExp {
  let source = '';
  let from = 0;
  const quote = (text: string) => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
  for (const found of layout.matchAll(ELEMENT)) {
    source += quote(layout.slice(from, found.index));
    from = found.index + found[0].length;
    const element = found[0];
    if (element[0] === '.' || element[0] === ',') {
      // The seconds before have taken a fraction already, as Go's do.
      source += /0?5$/.test(layout.slice(0, found.index)) ? '' : '[.,]\\d*';
    } else {
      source +=
        READERS[element] ?? `(?<zone>${element.startsWith('Z') ? 'Z|' : ''}[+-]\\d\\d(?::?\\d\\d){0,2})`;
    }
  }
  return new RegExp(`^${source}${quote(layout.slice(from))}$`);
}

/** time.ParseInLocation; undefined when the text does not fit the layout. An unknown zone is UTC. */
export function parseTime(layout: string, text: string, zone: string): GoTime | undefined {
  let groups: Record<string, string | undefined> | undefined;
  try {
    groups = readerOf(layout).exec(text)?.groups;
  } catch {
    return undefined; // The layout names one part twice.
  }
  if (groups === undefined) return undefined;
  const month = groups.month === undefined ? Number(groups.monthNumber ?? 1) : monthNumber(groups.month);
  const day = Number(groups.day ?? groups.yearDay ?? 1);
  const year = yearOf(groups);
  const hour = hourOf(groups);
  const minute = Number(groups.minute ?? 0);
  const second = Number(groups.second ?? 0);
  if (month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59) return undefined;
  const date = new Date(0);
  date.setUTCFullYear(year, groups.yearDay === undefined ? month - 1 : 0, day);
  if (groups.yearDay === undefined && date.getUTCDate() !== day) return undefined;
  date.setUTCHours(hour, minute, second);
  const known = zone === 'Local' || zone === '' || formatterOf(zone) === undefined ? 'UTC' : zone;
  const utcMs = date.getTime() - offsetAt(date.getTime(), groups.zone, known) * 60_000;
  const nanos = BigInt((groups.fraction ?? '').slice(0, 9).padEnd(9, '0'));
  return timeOf(BigInt(utcMs) * NS_PER_MS + nanos, groups.zone === undefined ? known : 'UTC');
}

function monthNumber(name: string): number {
  return MONTHS.findIndex((month) => month.startsWith(name)) + 1;
}

function yearOf(groups: Record<string, string | undefined>): number {
  if (groups.year !== undefined) return Number(groups.year);
  if (groups.shortYear === undefined) return 0;
  const short = Number(groups.shortYear);
  return short >= 69 ? 1900 + short : 2000 + short;
}

function hourOf(groups: Record<string, string | undefined>): number {
  const hour = Number(groups.hour ?? groups.hour12 ?? 0);
  const half = groups.half?.toUpperCase();
  if (half === 'PM' && hour < 12) return hour + 12;
  return half === 'AM' && hour === 12 ? 0 : hour;
}

/** Minutes east of UTC: what the text says, else the zone's at that wall time. */
function offsetAt(wallMs: number, written: string | undefined, zone: string): number {
  if (written === 'Z') return 0;
  const found = written === undefined ? null : /^([+-])(\d\d):?(\d\d)?/.exec(written);
  if (found !== null) {
    const minutes = Number(found[2]) * 60 + Number(found[3] ?? 0);
    return found[1] === '-' ? -minutes : minutes;
  }
  const guess = offsetMinutes(wallMs, zone);
  return offsetMinutes(wallMs - guess * 60_000, zone);
}
