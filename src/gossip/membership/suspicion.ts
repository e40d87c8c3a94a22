import type { Clock, Timer } from '../../store/host/index.ts';
import type { PeerId } from '../transport/index.ts';
import { BOUNDS, type MembershipTiming } from './constants.ts';

/** How long a suspicion lasts in a mesh of `members`, in milliseconds, and how many confirmations shorten it fully. */
export interface SuspicionSpan {
  readonly minMs: number;
  readonly maxMs: number;
  readonly confirmations: number;
}

export function suspicionSpan(members: number, timing: MembershipTiming): SuspicionSpan {
  const minMs = timing.suspicionMult * Math.max(1, Math.log10(Math.max(1, members))) * timing.probeIntervalMs;
  const wanted = timing.suspicionMult - 2;
  // Where so many accusers cannot exist, nobody waits for them.
  const confirmations = members - 2 < wanted ? 0 : wanted;
  return { minMs, maxMs: confirmations > 0 ? timing.suspicionMaxMult * minMs : minMs, confirmations };
}

/** Time from the start of a suspicion to the conviction, after `confirmed` accusers beyond the first. */
export function suspicionMs(span: SuspicionSpan, confirmed: number): number {
  if (span.confirmations === 0) return span.minMs;
  const share = Math.log(confirmed + 1) / Math.log(span.confirmations + 1);
  return Math.max(span.minMs, span.maxMs - share * (span.maxMs - span.minMs));
}

export interface SuspicionEvents {
  /** The time is over: convict. */
  expired(): void;
  /** Asked when the time is over; true when the subject was heard of since, and so must not be convicted yet. */
  heardSince(startedMs: number): boolean;
}

/** One member under suspicion: every new accuser shortens the time that it has to refute. */
export class Suspicion {
  readonly #clock: Clock;
  readonly #span: SuspicionSpan;
  readonly #events: SuspicionEvents;
  readonly #accusers: Set<PeerId>;
  /** Starts again when the subject is heard of. */
  #startedMs: number;
  #timer: Timer;

  constructor(clock: Clock, span: SuspicionSpan, accuser: PeerId, events: SuspicionEvents) {
    this.#clock = clock;
    this.#span = span;
    this.#events = events;
    this.#accusers = new Set([accuser]);
    this.#startedMs = clock.monotonicMs();
    this.#timer = this.#arm(suspicionMs(span, 0));
  }

  /** True when this accuser is new and counts. */
  confirm(accuser: PeerId): boolean {
    if (this.#accusers.size > this.#span.confirmations || this.#accusers.has(accuser)) return false;
    this.#accusers.add(accuser);
    const elapsedMs = this.#clock.monotonicMs() - this.#startedMs;
    this.#timer.cancel();
    this.#timer = this.#arm(Math.max(0, suspicionMs(this.#span, this.#accusers.size - 1) - elapsedMs));
    return true;
  }

  accusedBy(peer: PeerId): boolean {
    return this.#accusers.has(peer);
  }

  cancel(): void {
    this.#timer.cancel();
  }

  #arm(delayMs: number): Timer {
    const dueMs = this.#clock.monotonicMs() + delayMs;
    return this.#clock.after(delayMs, () => {
      // A late timer: this process stood still, and the refutation may lie unread. Give it another round.
      const stalled = this.#clock.monotonicMs() - dueMs > BOUNDS.stallMs;
      if (!stalled && !this.#events.heardSince(this.#startedMs)) return this.#events.expired();
      this.#startedMs = this.#clock.monotonicMs();
      this.#timer = this.#arm(this.#span.minMs);
    });
  }
}
