import type { Clock, Random } from '../../store/index.ts';
import type { PeerId } from '../transport/index.ts';
import { BOUNDS, type MembershipTiming } from './constants.ts';
import type { LocalHealth } from './health.ts';
import { Timers } from './timers.ts';

/** What a probe needs from membership. */
export interface ProbeHost {
  /** Members to probe: alive or suspected, without this peer. */
  targets(): PeerId[];
  /** Resolves once `peer` has answered; rejects when it is sure that it will not, or after `timeoutMs`. */
  ping(peer: PeerId, timeoutMs: number): Promise<unknown>;
  /** Asks `helper` to ping `target`; false is its word that it got no answer. Rejects when the helper is silent. */
  pingThrough(helper: PeerId, target: PeerId, timeoutMs: number): Promise<boolean>;
  /** Called when a probe starts; what it returns is called when neither the target nor any helper has answered. */
  accusation(target: PeerId): () => void;
}

/** Probes one member per interval, in shuffled rounds: directly, then through helpers. */
export class Prober {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #timing: MembershipTiming;
  readonly #health: LocalHealth;
  readonly #host: ProbeHost;
  readonly #timers: Timers;
  #round: PeerId[] = [];

  constructor(clock: Clock, random: Random, timing: MembershipTiming, health: LocalHealth, host: ProbeHost) {
    this.#clock = clock;
    this.#random = random;
    this.#timing = timing;
    this.#health = health;
    this.#host = host;
    this.#timers = new Timers(clock);
  }

  start(): void {
    // A mesh that was started at once must not probe in step.
    this.#timers.after(this.#random.unit() * this.#timing.probeIntervalMs, () => this.#tick());
  }

  close(): void {
    this.#timers.close();
  }

  #tick(): void {
    const target = this.#next();
    if (target !== undefined) void this.#probe(target);
    this.#timers.after(this.#health.scale(this.#timing.probeIntervalMs), () => this.#tick());
  }

  #next(): PeerId | undefined {
    const targets = this.#host.targets();
    const live = new Set(targets);
    for (;;) {
      const next = this.#round.pop();
      if (next !== undefined && live.has(next)) return next;
      if (next === undefined) break;
    }
    this.#round = shuffled(targets, this.#random);
    return this.#round.pop();
  }

  async #probe(target: PeerId): Promise<void> {
    const accuse = this.#host.accusation(target);
    const startedMs = this.#clock.monotonicMs();
    const totalMs = this.#health.scale(this.#timing.probeIntervalMs);
    const directMs = this.#health.scale(this.#timing.probeTimeoutMs);
    // A late direct answer counts until the end.
    const direct = this.#host.ping(target, totalMs).then(
      () => true,
      () => false,
    );
    const first = Promise.withResolvers<boolean>();
    const callOff = this.#timers.after(directMs, () => first.resolve(false));
    void direct.then(first.resolve);
    const early = await first.promise;
    callOff();
    if (early) return this.#health.note(-1);

    const helpers = shuffled(
      this.#host.targets().filter((peer) => peer !== target),
      this.#random,
    );
    helpers.length = Math.min(helpers.length, BOUNDS.helpers);
    const leftMs = Math.max(1, totalMs - (this.#clock.monotonicMs() - startedMs));
    const over = this.#timers.sleep(leftMs).then(() => false);
    let nacks = 0;
    const answered = Promise.withResolvers<boolean>();
    void direct.then((yes) => yes && answered.resolve(true));
    for (const helper of helpers) {
      this.#host.pingThrough(helper, target, leftMs).then(
        (yes) => (yes ? answered.resolve(true) : nacks++),
        () => undefined,
      );
    }
    if (await Promise.race([answered.promise, over])) return this.#health.note(-1);
    if (this.#timers.closed) return;
    const lateMs = this.#clock.monotonicMs() - startedMs - totalMs;
    if (lateMs > BOUNDS.stallMs) return this.#health.note(1);
    // Helpers that did not even say no point at this node's own link.
    this.#health.note(helpers.length > 0 ? helpers.length - nacks : 1);
    accuse();
  }
}

export function shuffled<Item>(items: readonly Item[], random: Random): Item[] {
  const result = [...items];
  for (let at = result.length - 1; at > 0; at--) {
    const other = Math.floor(random.unit() * (at + 1));
    [result[at], result[other]] = [result[other]!, result[at]!];
  }
  return result;
}
