import { createHash } from 'node:crypto';
import type { SimClock } from '../helpers/sim-clock.ts';

const EVENTS_KEPT_MAX = 60_000;
/** Characters. */
const HASHED_AT_ONCE = 16_384;
/** Faults from so long before the first event that concerns a failure are told too. */
const BEFORE_MS = 60_000;

interface Told {
  readonly atMs: number;
  readonly who: string;
  readonly what: string;
}

/** An invariant that did not hold. `about`: texts that the events which matter for it contain. */
export class Violation extends Error {
  readonly invariant: string;
  readonly about: readonly string[];

  constructor(invariant: string, message: string, about: readonly string[]) {
    super(message);
    this.name = 'Violation';
    this.invariant = invariant;
    this.about = about;
  }
}

/** Everything that happened, in order: hashed for reproducibility, and kept for the reader of a failure. */
export class Story {
  readonly violations: Violation[] = [];
  readonly #clock: SimClock;
  readonly #hash = createHash('sha256');
  #unhashed = '';
  #events: Told[] = [];
  /** Faults and other turning points: told whatever the failure is about. */
  readonly #headlines: Told[] = [];

  constructor(clock: SimClock) {
    this.#clock = clock;
  }

  tell(who: string, what: string): void {
    const atMs = this.#clock.monotonicMs();
    this.#unhashed += `${atMs}/${this.#clock.events} ${who}: ${what}\n`;
    if (this.#unhashed.length > HASHED_AT_ONCE) this.#hashOn();
    this.#events.push({ atMs, who, what });
    if (this.#events.length > EVENTS_KEPT_MAX * 2) this.#events = this.#events.slice(-EVENTS_KEPT_MAX);
  }

  #hashOn(): void {
    this.#hash.update(this.#unhashed);
    this.#unhashed = '';
  }

  /** As `tell`, for what a reader always wants to know. */
  headline(who: string, what: string): void {
    this.tell(who, what);
    this.#headlines.push(this.#events.at(-1)!);
  }

  violated(invariant: string, message: string, about: readonly string[] = []): void {
    this.tell('checker', `${invariant} VIOLATED: ${message}`);
    if (this.violations.length < 20) this.violations.push(new Violation(invariant, message, about));
  }

  /** The fingerprint of the run so far: equal for equal runs, and for hardly anything else. */
  fingerprint(): string {
    this.#hashOn();
    return this.#hash.copy().digest('hex').slice(0, 16);
  }

  /** The last events that name any of `about`, with the faults of the time, oldest first. */
  around(about: readonly string[], count: number): string {
    const concerns = ({ who, what }: Told): boolean =>
      about.length === 0 || about.some((text) => who === text || what.includes(text));
    const chosen = new Set(this.#events.filter(concerns).slice(-count));
    const fromMs = ([...chosen][0]?.atMs ?? 0) - BEFORE_MS;
    for (const told of this.#headlines.filter(({ atMs }) => atMs >= fromMs).slice(-count)) chosen.add(told);
    return [...chosen]
      .sort((a, b) => a.atMs - b.atMs)
      .map(({ atMs, who, what }) => `${(atMs / 1000).toFixed(3).padStart(10)} s  ${who.padEnd(8)} ${what}`)
      .join('\n');
  }
}
