import { BOUNDS } from './constants.ts';
import type { Update } from './messages.ts';

interface Rumour {
  readonly update: Update;
  sent: number;
}

/** Updates that ride on pings and acks, each a bounded number of times; newer news of a member replaces older. */
export class Rumours {
  readonly #bySubject = new Map<string, Rumour>();

  add(update: Update): void {
    const subject = update.kind === 'record' ? update.record.peer : update.subject;
    this.#bySubject.delete(subject);
    if (this.#bySubject.size >= BOUNDS.updatesQueued) {
      this.#bySubject.delete(this.#bySubject.keys().next().value!);
    }
    this.#bySubject.set(subject, { update, sent: 0 });
  }

  /** The next updates to send, the least often sent first, in a mesh of `members`. */
  take(members: number): Update[] {
    if (this.#bySubject.size === 0) return [];
    const sendsMax = BOUNDS.retransmitMult * Math.ceil(Math.log10(members + 1));
    const next = [...this.#bySubject.entries()]
      .sort(([, left], [, right]) => left.sent - right.sent)
      .slice(0, BOUNDS.updatesPerMessage);
    for (const [subject, rumour] of next) {
      rumour.sent++;
      if (rumour.sent >= sendsMax) this.#bySubject.delete(subject);
    }
    return next.map(([, { update }]) => update);
  }
}
