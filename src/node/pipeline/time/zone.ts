import { LogvineError } from '../../../store/index.ts';
import { DAY_MS } from './calendar.ts';

/** Zones change their offset at a quarter of an hour at the finest (Lord Howe: at the half). */
const STEP_MS = 900_000;
/** Remembered steps of one zone; beyond it the memory starts anew. */
const STEPS_MAX = 4096;

/** Converts wall-clock times of one zone. `Intl` takes microseconds, so offsets are remembered. */
export class Zone {
  readonly isUtc: boolean;
  readonly #format: Intl.DateTimeFormat;
  readonly #offsets = new Map<number, number>();
  #lastStep = NaN;
  #lastOffsetMs = 0;

  /** `name`: an IANA zone, `UTC`, or `local` for the machine's. Throws LV_CONFIG_INVALID for any other. */
  constructor(name: string) {
    try {
      this.#format = new Intl.DateTimeFormat('en-US', {
        timeZone: name === 'local' ? undefined : name,
        hourCycle: 'h23',
        year: 'numeric',
        month: 'numeric',
        day: 'numeric',
        hour: 'numeric',
        minute: 'numeric',
        second: 'numeric',
      });
    } catch (cause) {
      throw new LogvineError(
        'LV_CONFIG_INVALID',
        `time zone ${JSON.stringify(name)} is not known: use UTC, local or an IANA name such as Europe/Berlin`,
        { cause },
      );
    }
    this.isUtc = this.#format.resolvedOptions().timeZone === 'UTC';
  }

  /**
   * What to take from a wall-clock time (milliseconds, as if it were UTC) to get UTC. A time that a clock change
   * repeats means its first pass; one that it skips is read with the offset before the change.
   */
  offsetMs(wallMs: number): number {
    if (this.isUtc) return 0;
    const step = Math.floor(wallMs / STEP_MS);
    if (step === this.#lastStep) return this.#lastOffsetMs;
    let offsetMs = this.#offsets.get(step);
    if (offsetMs === undefined) {
      offsetMs = this.#findOffsetMs(step * STEP_MS);
      if (this.#offsets.size >= STEPS_MAX) this.#offsets.clear();
      this.#offsets.set(step, offsetMs);
    }
    this.#lastStep = step;
    this.#lastOffsetMs = offsetMs;
    return offsetMs;
  }

  #findOffsetMs(wallMs: number): number {
    const beforeMs = this.#offsetAtUtc(wallMs - DAY_MS);
    const afterMs = this.#offsetAtUtc(wallMs + DAY_MS);
    if (beforeMs === afterMs || this.#offsetAtUtc(wallMs - beforeMs) === beforeMs) return beforeMs;
    return this.#offsetAtUtc(wallMs - afterMs) === afterMs ? afterMs : beforeMs;
  }

  #offsetAtUtc(utcMs: number): number {
    const fields: Partial<Record<Intl.DateTimeFormatPartTypes, number>> = {};
    for (const part of this.#format.formatToParts(utcMs)) fields[part.type] = Number(part.value);
    const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = fields;
    return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(utcMs / 1000) * 1000;
  }
}

const zones = new Map<string, Zone>();
const ZONES_MAX = 64;

/** The zone of that name, with what it remembers. Throws LV_CONFIG_INVALID. */
export function zoneNamed(name: string): Zone {
  let zone = zones.get(name);
  if (zone === undefined) {
    zone = new Zone(name);
    if (zones.size >= ZONES_MAX) zones.clear();
    zones.set(name, zone);
  }
  return zone;
}
