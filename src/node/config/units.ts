const DURATION_UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

const SIZE_UNITS_BYTES: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
};

export const DURATION_ALLOWED = 'a duration, such as 100ms, 10s, 1h30m or 7d';
export const SIZE_ALLOWED = 'a size, such as 512KiB, 64MiB or 1GB';

/** Milliseconds, a whole number; undefined when `text` is not a duration. A number without a unit is none. */
export function parseDuration(text: string): number | undefined {
  if (!/^(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+$/.test(text)) return undefined;
  let totalMs = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|[smhdw])/g)) {
    totalMs += Number(amount) * DURATION_UNITS_MS[unit];
  }
  const roundedMs = Math.round(totalMs);
  return Number.isSafeInteger(roundedMs) ? roundedMs : undefined;
}

/** Bytes, a whole number; undefined when `text` is not a size. A bare number is bytes. */
export function parseSize(text: string): number | undefined {
  const found = /^(\d+(?:\.\d+)?) ?([A-Za-z]*)$/.exec(text);
  if (!found) return undefined;
  const unit = found[2] === '' ? 'B' : found[2];
  if (!Object.hasOwn(SIZE_UNITS_BYTES, unit)) return undefined;
  const bytes = Math.round(Number(found[1]) * SIZE_UNITS_BYTES[unit]);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** A size for people: three digits and a binary unit, `1.50 MiB`. */
export function formatSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let amount = bytes;
  let unit = 0;
  while (amount >= 1000 && unit < units.length - 1) {
    amount /= 1024;
    unit++;
  }
  if (unit === 0) return `${amount} B`;
  return `${amount.toFixed(amount < 10 ? 2 : amount < 100 ? 1 : 0)} ${units[unit]}`;
}

/** A duration for people: its two largest units, `2h5m`. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 1000) return `${Math.round(durationMs)}ms`;
  let rest = Math.round(durationMs / 1000) * 1000;
  const parts: string[] = [];
  for (const unit of ['d', 'h', 'm', 's']) {
    const amount = Math.floor(rest / DURATION_UNITS_MS[unit]);
    rest -= amount * DURATION_UNITS_MS[unit];
    if (amount > 0) parts.push(`${amount}${unit}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join('');
}
