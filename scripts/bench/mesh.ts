import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { fetchEntries } from '../../src/node/cli/client.ts';

const launcher = new URL('../logvine.js', import.meta.url).pathname;

interface BenchNode {
  readonly process: ChildProcess;
  readonly url: string;
  readonly mesh: string;
  /** Resident bytes by the kernel's account. */
  rss(): { now: number; peak: number };
}

interface BenchStatus {
  readonly process: { readonly cpuSeconds: number };
  readonly store: { readonly storedBytes: number };
  readonly replication: { readonly batchesBelowK: number };
  readonly members: readonly { readonly state: string }[];
  readonly inputs: readonly { readonly path: string; readonly durableBytes: number }[];
}

/** Nodes in processes of their own, on loopback; the first one tails. */
export class BenchMesh {
  readonly nodes: BenchNode[] = [];
  readonly #directory: string;
  readonly #count: number;
  #startedMs = 0;

  constructor(directory: string, count: number) {
    this.#directory = directory;
    this.#count = count;
  }

  async start(files: readonly string[]): Promise<void> {
    // The tailing node comes last, so that its owners are there when it begins.
    for (let index = this.#count - 1; index >= 0; index--) {
      const join = this.nodes.flatMap(({ mesh }) => ['--join', mesh]);
      if (index === 0) this.#startedMs = performance.now();
      this.nodes.unshift(await this.#node(index, [...join, ...(index === 0 ? files : [])]));
    }
  }

  #node(index: number, extra: readonly string[]): Promise<BenchNode> {
    const listen = ['--listen', '127.0.0.1:0', '--http', '127.0.0.1:0'];
    const args = [launcher, 'run', '--data', `${this.#directory}/${index}`, ...listen, ...extra];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    return new Promise((resolve, reject) => {
      child.on('exit', (code) => reject(new Error(`a node ended with ${code}`)));
      createInterface({ input: child.stdout }).on('line', (line) => {
        const ready = /^logvine ready http=(\S+) mesh=(\S+)/.exec(line);
        if (!ready) return;
        const rss = (): { now: number; peak: number } => {
          const text = readFileSync(`/proc/${child.pid}/status`, 'utf8');
          const kilobytes = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(text)![1]);
          return { now: kilobytes('VmRSS') * 1024, peak: kilobytes('VmHWM') * 1024 };
        };
        resolve({ process: child, url: ready[1], mesh: ready[2], rss });
      });
    });
  }

  async status(node: BenchNode): Promise<BenchStatus> {
    return (await (await fetch(`${node.url}/api/v1/status`)).json()) as BenchStatus;
  }

  /** Waits until every byte of the file is acknowledged and no copy is owed. */
  async untilDurable(path: string, size: number) {
    for (;;) {
      const [first] = this.nodes;
      const status = await this.status(first);
      const input = status.inputs.find((item) => item.path === path);
      if (input && input.durableBytes >= size) {
        const seconds = (performance.now() - this.#startedMs) / 1000;
        let cpuSeconds = 0;
        for (const node of this.nodes) cpuSeconds += (await this.status(node)).process.cpuSeconds;
        return { seconds, cpuSeconds, storedBytes: status.store.storedBytes };
      }
      await pause(100);
    }
  }

  /** All entries of a query, counted. */
  async query(query: string, limit: number, startMs: number): Promise<number> {
    let entries = 0;
    const runs = fetchEntries({
      addr: this.nodes[0].url,
      token: undefined,
      query,
      startNs: BigInt(startMs - 60_000) * 1_000_000n,
      endNs: BigInt(startMs + 7_200_000) * 1_000_000n,
      limit,
      direction: 'backward',
      signal: new AbortController().signal,
    });
    for await (const run of runs) entries += run.length;
    return entries;
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.nodes.map(
        ({ process: child }) =>
          new Promise<void>((resolve) => {
            child.removeAllListeners('exit');
            child.on('exit', () => resolve());
            child.kill('SIGTERM');
          }),
      ),
    );
  }
}
