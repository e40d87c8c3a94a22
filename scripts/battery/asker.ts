import { setTimeout as pause } from 'node:timers/promises';
import { fetchEntries, type Receipt } from '../../src/node/cli/client.ts';
import type { MeshNode } from '../../test/e2e/mesh.ts';
import type { TimeRangeMs } from './ledger.ts';

export const EVERYTHING = '{job=~".+"}';
const ASK_MS = 60_000;

export interface Answer {
  readonly lines: string[];
  readonly receipt: Receipt;
}

/** Asks a node for all lines in a range of time. Throws when there is no answer with a receipt. */
export async function ask(node: MeshNode, { fromMs, toMs }: TimeRangeMs, askMs = ASK_MS): Promise<Answer> {
  const lines: string[] = [];
  const entries = fetchEntries({
    addr: node.httpUrl,
    token: node.token,
    query: EVERYTHING,
    startNs: BigInt(Math.floor(fromMs)) * 1_000_000n,
    endNs: BigInt(Math.ceil(toMs)) * 1_000_000n,
    limit: 0,
    direction: 'forward',
    signal: AbortSignal.timeout(askMs),
  });
  for (;;) {
    const step = await entries.next();
    if (step.done) return { lines, receipt: step.value };
    for (const { line } of step.value) lines.push(line.toString('latin1'));
  }
}

/** Asks all the time, until it is stopped; what is asked next is up to `once`. */
export class Asker {
  readonly #once: () => Promise<void>;
  readonly #pauseMs: number;
  #isWanted = false;
  #running: Promise<void> | undefined;

  constructor(once: () => Promise<void>, pauseMs: number) {
    this.#once = once;
    this.#pauseMs = pauseMs;
  }

  start(): void {
    this.#isWanted = true;
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#isWanted = false;
    await this.#running;
    this.#running = undefined;
  }

  async #run(): Promise<void> {
    while (this.#isWanted) {
      await this.#once();
      await pause(this.#pauseMs);
    }
  }
}
