/** Numbers, durations and sizes as Go, Prometheus and Loki read and write them. Readers throw RangeError or SyntaxError with Go's text. */

/** Underscores stand between digits. */
const DECIMAL = /^[+-]?(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:[eE][+-]?\d+)?$/;
const HEX = /^([+-]?)0[xX]([0-9a-fA-F_]*)(?:\.([0-9a-fA-F_]*))?[pP]([+-]?\d+)$/;
const SPECIAL = /^([+-]?)(?:(inf|infinity)|(nan))$/i;

/** strconv.ParseFloat: a hexadecimal number needs its exponent, `0x1Fp0`. */
export function parseFloatGo(text: string): number {
  if (DECIMAL.test(text)) {
    const value = Number(text.includes('_') ? text.replaceAll('_', '') : text);
    if (Number.isFinite(value)) return value;
    throw new RangeError(`strconv.ParseFloat: parsing ${JSON.stringify(text)}: value out of range`);
  }
  const special = SPECIAL.exec(text);
  if (special !== null) {
    if (special[3] !== undefined) return Number.NaN;
    return special[1] === '-' ? -Infinity : Infinity;
  }
  const hex = HEX.exec(text);
  const whole = hex?.[2].replaceAll('_', '') ?? '';
  const fraction = hex?.[3]?.replaceAll('_', '') ?? '';
  if (hex === null || whole + fraction === '') {
    throw new SyntaxError(`strconv.ParseFloat: parsing ${JSON.stringify(text)}: invalid syntax`);
  }
  const mantissa = Number(BigInt(`0x${whole}${fraction}`));
  const value = mantissa * 2 ** (Number(hex[4]) - 4 * fraction.length);
  if (!Number.isFinite(value)) {
    throw new RangeError(`strconv.ParseFloat: parsing ${JSON.stringify(text)}: value out of range`);
  }
  return hex[1] === '-' ? -value : value;
}

const NS_PER_UNIT: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  μs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};
const DURATION_NS_MAX = 2 ** 63;

/** time.ParseDuration: nanoseconds of `-1.5h30m`. */
export function parseGoDurationNs(text: string): number {
  const invalid = () => new SyntaxError(`time: invalid duration ${JSON.stringify(text)}`);
  const sign = text.startsWith('-') ? -1 : 1;
  let rest = /^[+-]/.test(text) ? text.slice(1) : text;
  if (rest === '0') return 0;
  if (rest === '') throw invalid();
  let totalNs = 0;
  while (rest !== '') {
    const number = /^(?:\d+\.?\d*|\.\d+)/.exec(rest)?.[0];
    if (number === undefined) throw invalid();
    rest = rest.slice(number.length);
    const unit = /^[^\d.]*/.exec(rest)?.[0] ?? '';
    if (unit === '') throw new SyntaxError(`time: missing unit in duration ${JSON.stringify(text)}`);
    const unitNs = NS_PER_UNIT[unit];
    if (unitNs === undefined) {
      throw new SyntaxError(`time: unknown unit ${JSON.stringify(unit)} in duration ${JSON.stringify(text)}`);
    }
    totalNs += fractionTimes(number, unitNs);
    if (totalNs > DURATION_NS_MAX) throw invalid();
    rest = rest.slice(unit.length);
  }
  // Go's durations are whole numbers, which know no negative zero.
  return sign * totalNs + 0;
}

/** A decimal times a whole number of nanoseconds, cut to whole nanoseconds without binary rounding of the decimal. */
function fractionTimes(number: string, unitNs: number): number {
  const [whole, fraction = ''] = number.split('.');
  const digits = fraction.slice(0, 15);
  const part = digits === '' ? 0 : Math.floor((Number(digits) * unitNs) / 10 ** digits.length);
  return Number(whole) * unitNs + part;
}

const MS_PER_UNIT: Readonly<Record<string, number>> = {
  y: 365 * 86_400_000,
  w: 7 * 86_400_000,
  d: 86_400_000,
  h: 3_600_000,
  m: 60_000,
  s: 1000,
  ms: 1,
};
const PROMETHEUS_UNITS = Object.keys(MS_PER_UNIT);

/** Prometheus' durations: `1h30m`; whole numbers, units from big to small. Milliseconds. */
export function parsePrometheusDurationMs(text: string): number {
  if (text === '0') return 0;
  if (text === '') throw new SyntaxError('empty duration string');
  const invalid = () => new SyntaxError(`not a valid duration string: ${JSON.stringify(text)}`);
  let rest = text;
  let totalMs = 0;
  let lastUnit = -1;
  while (rest !== '') {
    const part = /^(\d+)(\D+)/.exec(rest);
    if (part === null) throw invalid();
    const order = PROMETHEUS_UNITS.indexOf(part[2]);
    if (order === -1) {
      throw new SyntaxError(`unknown unit ${JSON.stringify(part[2])} in duration ${JSON.stringify(text)}`);
    }
    if (order <= lastUnit) throw invalid();
    lastUnit = order;
    totalMs += Number(part[1]) * MS_PER_UNIT[part[2]];
    if (totalMs * 1e6 > DURATION_NS_MAX) throw new RangeError('duration out of range');
    rest = rest.slice(part[0].length);
  }
  return totalMs;
}

/** A duration of a query: Prometheus' notation, else Go's. Nanoseconds. */
export function parseDurationNs(text: string): number {
  try {
    return parsePrometheusDurationMs(text) * 1e6;
  } catch {
    return parseGoDurationNs(text);
  }
}

const BYTES_PER_UNIT: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  ...Object.fromEntries(
    ['k', 'm', 'g', 't', 'p', 'e'].flatMap((letter, i) => [
      [letter, 1000 ** (i + 1)],
      [`${letter}b`, 1000 ** (i + 1)],
      [`${letter}i`, 1024 ** (i + 1)],
      [`${letter}ib`, 1024 ** (i + 1)],
    ]),
  ),
};

/** humanize.ParseBytes: `1.5 KiB`, `2MB`, `17`. */
export function parseBytes(text: string): number {
  const number = /^[\d.,]*/.exec(text)?.[0] ?? '';
  const value = parseFloatGo(number.replaceAll(',', ''));
  const unit = text.slice(number.length).trim().toLowerCase();
  const unitBytes = Object.hasOwn(BYTES_PER_UNIT, unit) ? BYTES_PER_UNIT[unit] : undefined;
  if (unitBytes === undefined) throw new SyntaxError(`unhandled size name: ${unit}`);
  const bytes = value * unitBytes;
  if (bytes >= 2 ** 64) throw new RangeError(`too large: ${text}`);
  return Math.trunc(bytes);
}

/** Prometheus' notation of whole milliseconds: `1h30m`. */
export function formatDurationMs(ms: number): string {
  if (ms === 0) return '0s';
  let rest = ms;
  let out = '';
  for (const unit of PROMETHEUS_UNITS) {
    const exactOnly = unit === 'y' || unit === 'w';
    if (exactOnly && rest % MS_PER_UNIT[unit] !== 0) continue;
    const count = Math.floor(rest / MS_PER_UNIT[unit]);
    if (count === 0) continue;
    out += `${count}${unit}`;
    rest -= count * MS_PER_UNIT[unit];
  }
  return out;
}

/** A duration that reads back as the same number of nanoseconds. */
export function formatDurationNs(ns: number): string {
  if (ns >= 0 && ns % 1e6 === 0) return formatDurationMs(ns / 1e6);
  const sign = ns < 0 ? '-' : '';
  const total = BigInt(Math.abs(ns));
  const seconds = total / 1_000_000_000n;
  const rest = total % 1_000_000_000n;
  return `${sign}${seconds > 0n ? `${seconds}s` : ''}${rest > 0n || seconds === 0n ? `${rest}ns` : ''}`;
}

/** strconv.FormatFloat(value, 'g', -1, 64) as fmt prints a float: the shortest that reads back, `1e+06` from a million on. */
export function formatFloatGo(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf';
  if (value === 0) return Object.is(value, -0) ? '-0' : '0';
  const [mantissa, exponentText] = value.toExponential().split('e');
  const exponent = Number(exponentText);
  if (exponent >= -4 && exponent < 6) return plainDecimal(value);
  const sign = exponent < 0 ? '-' : '+';
  return `${mantissa}e${sign}${String(Math.abs(exponent)).padStart(2, '0')}`;
}

/** Without exponent, the shortest that reads back: strconv.FormatFloat(value, 'f', -1, 64). */
export function plainDecimal(value: number): string {
  if (Object.is(value, -0)) return '-0';
  const [mantissa, exponentText] = value.toExponential().split('e');
  if (exponentText === undefined) return String(value);
  const exponent = Number(exponentText);
  const sign = mantissa.startsWith('-') ? '-' : '';
  const digits = mantissa.replace('-', '').replace('.', '');
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`;
  if (digits.length <= exponent + 1) return sign + digits + '0'.repeat(exponent + 1 - digits.length);
  return `${sign}${digits.slice(0, exponent + 1)}.${digits.slice(exponent + 1)}`;
}
