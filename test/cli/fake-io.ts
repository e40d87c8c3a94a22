import type { Io, Services } from '../../src/node/cli/index.ts';
import type { EntryRequest, ReceivedEntry, Receipt } from '../../src/node/cli/client.ts';
import { OutputClosed } from '../../src/node/cli/io.ts';
import { systemDisk, type Timer } from '../../src/store/index.ts';

/** A process that remembers what it was told. Time stands still until a test moves it. */
export class FakeIo implements Io {
  env: Record<string, string> = {};
  workingDirectory = '/work';
  isTerminal = false;
  columns: number | undefined;
  nowMs = Date.parse('2026-01-02T03:04:05.678Z');
  readonly disk = systemDisk;
  readonly random = { bytes: (count: number) => Buffer.alloc(count, 0xab), unit: () => 0.5 };
  readonly written: Buffer[] = [];
  readonly reports: string[] = [];
  readonly exits: number[] = [];
  readonly timers = new Set<() => void>();
  #stops: (() => void)[] = [];
  #onWrite: (() => void) | undefined;
  /** Writes after this many fail, as when `head` has gone. */
  writesMax = Infinity;

  readonly clock = {
    nowMs: () => this.nowMs,
    monotonicMs: () => this.nowMs,
    after: (_delayMs: number, run: () => void): Timer => {
      this.timers.add(run);
      return { cancel: () => this.timers.delete(run) };
    },
  };

  async write(bytes: string | Uint8Array): Promise<void> {
    if (this.written.length >= this.writesMax) throw new OutputClosed('closed');
    this.written.push(Buffer.from(bytes as Uint8Array));
    this.#onWrite?.();
  }

  report(line: string): void {
    this.reports.push(line);
  }

  onStop(stop: () => void): void {
    this.#stops.push(stop);
  }

  exit(code: number): void {
    this.exits.push(code);
  }

  stop(): void {
    for (const stop of this.#stops) stop();
  }

  /** Resolves at the next write. */
  nextWrite(): Promise<void> {
    return new Promise((resolve) => {
      this.#onWrite = resolve;
    });
  }

  get output(): Buffer {
    return Buffer.concat(this.written);
  }
}

export function entry(line: string | Buffer, extra: Partial<ReceivedEntry> = {}): ReceivedEntry {
  return {
    timeNs: 1_700_000_000_123_456_789n,
    labels: { host: 'web1', filename: '/var/log/syslog' },
    metadata: { detected_level: 'info' },
    line: Buffer.from(line as Buffer),
    ...extra,
  };
}

export const WHOLE: Receipt = {
  complete: true,
  expected: 15,
  read: 12,
  fromIndex: 0,
  pruned: 3,
  unneeded: 0,
  expired: 0,
  lost: 0,
  missing: [],
  silent: [],
  members: { asked: 3, answered: 3 },
  entries: 1,
  bytesScanned: 100,
  durationMs: 5,
};

function refuse(): never {
  throw new Error('not part of this test');
}

/** Services that refuse everything but what a test gives them. */
export function fakeServices(given: Partial<Services>): Services {
  return { startNode: refuse, fetchEntries: refuse, fetch: refuse, ...given };
}

/** Answers a query with chunks of entries and a receipt, and remembers what it was asked. */
export function answering(chunks: ReceivedEntry[][], receipt: Receipt) {
  const requests: EntryRequest[] = [];
  const services = fakeServices({
    async *fetchEntries(request) {
      requests.push(request);
      yield* chunks;
      return receipt;
    },
  });
  return { services, requests };
}

/** Answers HTTP with a fixed body for each path. */
export function serving(answers: Record<string, { status?: number; body: string }>) {
  const requests: { url: URL; method: string; authorization: string | null }[] = [];
  const services = fakeServices({
    async fetch(input, init) {
      const url = new URL(String(input));
      const authorization = new Headers(init?.headers).get('authorization');
      requests.push({ url, method: init?.method ?? 'GET', authorization });
      const { status = 200, body } = answers[url.pathname] ?? { status: 404, body: 'no such path' };
      return new Response(body, { status });
    },
  });
  return { services, requests };
}
