import { preparePush } from '../../src/node/http/push-prepare.ts';
import type { Core } from '../../src/node/core.ts';
import { isOfTheMesh } from './asking.ts';
import type { Chance } from './chance.ts';
import type { Cluster } from './cluster.ts';
import type { SimHost, SimProcess } from './host.ts';
import type { Line } from './ledger.ts';

const PUSH_TIMEOUT_MS = 10_000;
const PUSH_ATTEMPTS_MAX = 6;
/** What a node does for a push it may do for so long after the client has given up. */
const PUSH_OVER_MS = 15_000;
/** After nodes could not hear each other, for so long they may take each other for dead. */
const HEARD_AGAIN_MS = 30_000;

interface Attempt {
  readonly process: SimProcess;
  readonly atMs: number;
  /** Another node ran with the same identity. */
  readonly isTwin: boolean;
  /** All who had been given it before were there, and could be heard. */
  wasHeard: boolean;
}

export interface WorkloadRates {
  /** Mean times between two writes to a host's file, two pushes, two queries. */
  readonly writeMs: number;
  readonly pushMs: number;
  readonly queryMs: number;
}

export function drawRates(chance: Chance): WorkloadRates {
  return {
    writeMs: chance.pick([1_000, 4_000, 10_000]),
    pushMs: chance.pick([4_000, 15_000]),
    queryMs: chance.pick([2_000, 8_000]),
  };
}

/** Writers of files, clients that push, and users who ask, until `stop`. */
export class Workload {
  readonly #cluster: Cluster;
  readonly #chance: Chance;
  readonly #rates: WorkloadRates;
  #stopped = false;
  #pushes = 0;
  readonly #ask: () => void;

  constructor(cluster: Cluster, chance: Chance, rates: WorkloadRates, ask: () => void) {
    this.#cluster = cluster;
    this.#chance = chance;
    this.#rates = rates;
    this.#ask = ask;
  }

  start(): void {
    this.#repeat(this.#rates.writeMs, () => this.#writeSome());
    this.#repeat(this.#rates.pushMs, () => void this.#push());
    this.#repeat(this.#rates.queryMs, () => this.#ask());
  }

  stop(): void {
    this.#stopped = true;
  }

  #repeat(meanMs: number, act: () => void): void {
    this.#cluster.clock.after(this.#chance.exponential(meanMs), () => {
      if (this.#stopped) return;
      act();
      this.#repeat(meanMs, act);
    });
  }

  #writeSome(): void {
    const { ledger, clock, present } = this.#cluster;
    const host = this.#chance.pick(present);
    const count = this.#chance.hits(0.1) ? 40 : 1 + this.#chance.below(8);
    for (let at = 0; at < count; at++) ledger.append(host.file, host.clock.nowMs(), clock.monotonicMs());
  }

  /** A client that sends one body until it is taken, at one node or another. */
  async #push(): Promise<void> {
    const { ledger, clock, story, repeats } = this.#cluster;
    const source = `push${this.#pushes++}`;
    const count = 1 + this.#chance.below(6);
    const lines = Array.from({ length: count }, (_, at) =>
      ledger.append(source, clock.nowMs() + at, clock.monotonicMs()),
    );
    const body = bodyOf(source, lines);
    const attempts: Attempt[] = [];
    repeats.set(source, () => this.#repeatsOf(attempts));
    for (let attempt = 0; attempt < PUSH_ATTEMPTS_MAX; attempt++) {
      const host = this.#chance.maybe(this.#cluster.live);
      if (host) {
        const isTwin = host.twin !== undefined;
        attempts.push({ process: host.process!, isTwin, atMs: clock.monotonicMs(), wasHeard: true });
        clock.after(PUSH_TIMEOUT_MS + PUSH_OVER_MS, () => this.#repeatsOf(attempts));
        const outcome = await this.#send(host, body);
        story.tell(host.name, `push ${source} (${count} lines): ${outcome}`);
        if (outcome === 'taken') {
          const apart = !isOfTheMesh(this.#cluster, host);
          for (const line of lines) ledger.acknowledge(line, clock.monotonicMs(), apart);
          return;
        }
      }
      await new Promise<void>((resolve) => void clock.after(this.#chance.between(200, 4_000), resolve));
    }
  }

  /**
   * How often a push may be stored beyond the first time: once for each time that it was sent again while a node that had
   * been given it before was gone, or has a twin that others ask in its place, or nodes could not hear each other
   * (docs/decisions/0008).
   */
  #repeatsOf(attempts: readonly Attempt[]): number {
    const { settings, clock, unheard, unheardMs } = this.#cluster;
    const again = attempts.slice(1);
    if (settings.pushDedupWindowMs === 0) return again.length;
    const firstMs = attempts[0]?.atMs ?? Infinity;
    const isDeaf = unheard > 0 || unheardMs + HEARD_AGAIN_MS > firstMs;
    for (const attempt of again) {
      const isUnderWay = clock.monotonicMs() <= attempt.atMs + PUSH_TIMEOUT_MS + PUSH_OVER_MS;
      const isGone = attempts.some(
        ({ process, isTwin, atMs }) => atMs < attempt.atMs && (isTwin || !isWell(process)),
      );
      if (isUnderWay && (isDeaf || isGone)) attempt.wasHeard = false;
    }
    return again.filter(({ wasHeard }) => !wasHeard).length;
  }

  /** 'taken', or why not. A client that hears nothing gives up after a while. */
  #send(host: SimHost, body: Buffer): Promise<string> {
    const { clock } = this.#cluster;
    const process = host.process!;
    return new Promise((resolve) => {
      clock.after(PUSH_TIMEOUT_MS, () => resolve('no answer'));
      store(process.core!, body, process.clock.nowMs()).then(
        () => {
          if (process.alive) resolve('taken');
        },
        (error: Error) => {
          if (process.alive) resolve(`refused: ${(error as { code?: string }).code ?? error.message}`);
        },
      );
    });
  }
}

/** One whose fsync failed may still have what it refused, and again when it has restarted. */
function isWell({ alive, core }: SimProcess): boolean {
  return alive && !core?.store.health.failure;
}

/** As src/node/http/push-route.ts does it. */
async function store({ batcher, pushes }: Core, body: Buffer, nowMs: number): Promise<void> {
  await batcher.room();
  const headers = { contentType: 'application/json', contentEncoding: undefined, tenant: undefined };
  const { digest, parts } = preparePush({ body, headers, nowMs, discoverServiceName: false });
  const keep = (wanted: readonly number[]): Promise<void> =>
    batcher.push(
      wanted.map((part) => ({
        ...parts[part]!,
        digest: pushes && Buffer.from(parts[part]!.digest, 'base64url'),
      })),
    );
  if (!pushes) return keep(parts.map((_, part) => part));
  return pushes.once({ digest, parts: parts.map((part) => part.digest), keep });
}

/** What Loki's clients send. */
function bodyOf(source: string, lines: readonly Line[]): Buffer {
  const values = lines.map(({ ms, text }) => [`${ms}000000`, text]);
  return Buffer.from(JSON.stringify({ streams: [{ stream: { job: 'push', source }, values }] }));
}
