import { BOUNDS } from './constants.ts';
import type { Update } from './messages.ts';

/** Updates that ride on pings and acks, each a bounded number of times; newer news of a member replaces older. */
export class Rumours {
  /** By how often they were sent: subject → update. */
  readonly #bySent: Map<string, Update>[] = [];
  readonly #sent = new Map<string, number>();

  add(update: Update): void {
    const subject = update.kind === 'record' ? update.record.peer : update.subject;
    this.#remove(subject);
    if (this.#sent.size >= BOUNDS.updatesQueued) {
      // Of those that were sent most often, the oldest.
      const most = this.#bySent.findLast((updates) => updates.size > 0)!;
      this.#remove(most.keys().next().value!);
    }
    this.#put(subject, update, 0);
  }

  /** The next updates to send, the least often sent first, in a mesh of `members`. */
  take(members: number): Update[] {
    if (this.#sent.size === 0) return [];
    const sendsMax = BOUNDS.retransmitMult * Math.ceil(Math.log10(members + 1));
    const next: { subject: string; update: Update; sent: number }[] = [];
    for (const [sent, updates] of this.#bySent.entries()) {
      for (const [subject, update] of updates) {
        if (next.length >= BOUNDS.updatesPerMessage) break;
        next.push({ subject, update, sent });
      }
    }
    for (const { subject, update, sent } of next) {
      this.#remove(subject);
      if (sent + 1 < sendsMax) this.#put(subject, update, sent + 1);
    }
    return next.map(({ update }) => update);
  }

  #put(subject: string, update: Update, sent: number): void {
    (this.#bySent[sent] ??= new Map()).set(subject, update);
    this.#sent.set(subject, sent);
  }

  #remove(subject: string): void {
    const sent = this.#sent.get(subject);
    if (sent === undefined) return;
    this.#bySent[sent].delete(subject);
    this.#sent.delete(subject);
  }
}
