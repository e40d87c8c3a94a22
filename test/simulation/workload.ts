import type { Columns } from '../../src/store/index.ts';
import type { Chance } from './chance.ts';
import type { Cluster } from './cluster.ts';
import type { SimHost } from './host.ts';
import type { Line } from './ledger.ts';

const PUSH_TIMEOUT_MS = 10_000;
const PUSH_ATTEMPTS_MAX = 6;

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
    const { ledger, present } = this.#cluster;
    const host = this.#chance.pick(present);
    const count = this.#chance.hits(0.1) ? 40 : 1 + this.#chance.below(8);
    for (let at = 0; at < count; at++) ledger.append(host.file, host.clock.nowMs());
  }

  /** A client that sends one body until it is taken, at one node or another. */
  async #push(): Promise<void> {
    const { ledger, clock, story } = this.#cluster;
    const source = `push${this.#pushes++}`;
    const count = 1 + this.#chance.below(6);
    const lines = Array.from({ length: count }, (_, at) => ledger.append(source, clock.nowMs() + at));
    for (const line of lines) line.timesMax = 0;
    const columns = columnsOf(lines);
    for (let attempt = 0; attempt < PUSH_ATTEMPTS_MAX; attempt++) {
      const host = this.#chance.maybe(this.#cluster.live);
      if (host) {
        for (const line of lines) line.timesMax++;
        const outcome = await this.#send(host, columns);
        story.tell(host.name, `push ${source} (${count} lines): ${outcome}`);
        if (outcome === 'taken') {
          for (const line of lines) ledger.acknowledge(line, clock.monotonicMs());
          return;
        }
      }
      await new Promise<void>((resolve) => void clock.after(this.#chance.between(200, 4_000), resolve));
    }
  }

  /** 'taken', or why not. A client that hears nothing gives up after a while. */
  #send(host: SimHost, columns: Columns): Promise<string> {
    const { clock } = this.#cluster;
    const process = host.process!;
    return new Promise((resolve) => {
      clock.after(PUSH_TIMEOUT_MS, () => resolve('no answer'));
      process.core!.batcher.push([{ kind: 'entries', labels: { job: 'push', at: host.name }, columns }]).then(
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

function columnsOf(lines: readonly Line[]): Columns {
  const ends = new Uint32Array(lines.length);
  let end = 0;
  for (const [row, { text }] of lines.entries()) {
    ends[row] = end + text.length;
    end = ends[row]! + 1;
  }
  return {
    count: lines.length,
    ms: Float64Array.from(lines, ({ ms }) => ms),
    sub: new Uint32Array(lines.length),
    ends,
    lines: Buffer.from(lines.map(({ text }) => `${text}\n`).join('')),
    metadataIds: new Uint32Array(lines.length),
    metadata: [{}],
  };
}
