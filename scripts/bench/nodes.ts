import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import type { Status } from '../../src/node/status.ts';

const launcher = new URL('../logvine.js', import.meta.url).pathname;
const POLL_MS = 50;
const START_MS = 60_000;
/** Of what a node said last, shown when it fails. */
const SAID_MAX = 4_000;
const DURABLE_MS = 900_000;
/** What Linux counts CPU time in. */
const TICKS_PER_SECOND = 100;

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export interface Usage {
  readonly cpuSeconds: number;
  readonly rssBytes: number;
  readonly rssPeakBytes: number;
}

/** A node in a process of its own. */
export class BenchNode {
  readonly url: string;
  readonly mesh: string;
  readonly data: string;
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess, data: string, url: string, mesh: string) {
    this.#process = process;
    this.data = data;
    this.url = url;
    this.mesh = mesh;
  }

  /** `settings`: environment variables of the configuration. */
  static async start(
    data: string,
    flags: readonly string[],
    settings: Record<string, string>,
  ): Promise<BenchNode> {
    const args = [launcher, 'run', '--data', data, '--listen', '127.0.0.1:0', '--http', '127.0.0.1:0'];
    const child = spawn(process.execPath, [...args, ...flags], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LOGVINE_LOG_LEVEL: 'warn', LOGVINE_TIME_ZONE: 'UTC', ...settings },
    });
    running.add(child);
    child.once('exit', () => running.delete(child));
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said = `${said}${text}`.slice(-SAID_MAX);
    });
    const ready = new Promise<RegExpExecArray>((resolve, reject) => {
      child.once('exit', (code) => {
        if (code !== 0) console.error(`the node with ${data} ended with ${code}: ${said}`);
        reject(new Error(`the node with ${data} ended with ${code}`));
      });
      createInterface({ input: child.stdout }).on('line', (line) => {
        const found = /^logvine ready http=(\S+) mesh=(\S+)/.exec(line);
        if (found) resolve(found);
      });
    });
    const late = AbortSignal.timeout(START_MS);
    const [, url, mesh] = await Promise.race([
      ready,
      once(late, 'abort').then(() => Promise.reject(new Error(`the node with ${data} is not ready`))),
    ]);
    return new BenchNode(child, data, url, mesh);
  }

  async status(): Promise<Status> {
    return (await (await fetch(`${this.url}/api/v1/status`)).json()) as Status;
  }

  /** By the kernel's account; where it has no /proc, by the node's own, and the peak is then the present. */
  async usage(): Promise<Usage> {
    try {
      const status = readFileSync(`/proc/${this.#process.pid}/status`, 'utf8');
      const kilobytes = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]);
      // Behind the command's name, which may hold spaces, the 12th and 13th are the ticks in user and kernel mode.
      const stat = readFileSync(`/proc/${this.#process.pid}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return {
        cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
        rssBytes: kilobytes('VmRSS') * 1024,
        rssPeakBytes: kilobytes('VmHWM') * 1024,
      };
    } catch {
      const { rssBytes, cpuSeconds } = (await this.status()).process;
      return { cpuSeconds, rssBytes, rssPeakBytes: rssBytes };
    }
  }

  async stop(): Promise<void> {
    if (!running.has(this.#process)) return;
    this.#process.kill('SIGTERM');
    await once(this.#process, 'exit');
  }
}

export interface MeshOptions {
  /** Holds the nodes' data directories, which remain when it is stopped. */
  readonly directory: string;
  readonly nodes: number;
  /** Copies of each batch. */
  readonly replicas: number;
  /** Tailed by the first node. */
  readonly files?: readonly string[];
  readonly settings?: Record<string, string>;
}

/** Nodes on loopback. */
export class BenchMesh {
  readonly nodes: readonly BenchNode[];
  readonly #startedMs: number;

  private constructor(nodes: readonly BenchNode[], startedMs: number) {
    this.nodes = nodes;
    this.#startedMs = startedMs;
  }

  static async start({
    directory,
    nodes: count,
    replicas,
    files = [],
    settings,
  }: MeshOptions): Promise<BenchMesh> {
    const nodes: BenchNode[] = [];
    let startedMs = 0;
    // The node that tails comes last, so that its owners are there when it begins.
    for (let index = count - 1; index >= 0; index--) {
      const flags = [...nodes.flatMap(({ mesh }) => ['--join', mesh]), ...(index === 0 ? files : [])];
      if (index === 0) startedMs = performance.now();
      const all = { LOGVINE_REPLICAS: String(replicas), ...settings };
      nodes.unshift(await BenchNode.start(`${directory}/${index}`, flags, all));
    }
    const mesh = new BenchMesh(nodes, startedMs);
    await mesh.#until('to see each other', START_MS, ({ members }) => {
      return members.filter(({ state }) => state === 'alive').length === count;
    });
    return mesh;
  }

  /**
   * Waits until every byte of the tailed files is acknowledged, then until no copy is owed. `seconds` are those up to the
   * acknowledgement, from the start of the node that tails.
   */
  async untilDurable(bytes: number): Promise<{ seconds: number }> {
    const [first] = this.nodes;
    await this.#until(
      'to acknowledge all',
      DURABLE_MS,
      ({ inputs }) => {
        return inputs.reduce((sum, { durableBytes }) => sum + durableBytes, 0) >= bytes;
      },
      [first],
    );
    const seconds = (performance.now() - this.#startedMs) / 1000;
    await this.#until('to have all copies', DURABLE_MS, ({ replication, upkeep }) => {
      return replication.batchesBelowK === 0 && upkeep.toFetch.batches === 0;
    });
    return { seconds };
  }

  async usage(): Promise<Usage[]> {
    return Promise.all(this.nodes.map((node) => node.usage()));
  }

  /** Of each node, since it started. */
  async cpuSeconds(): Promise<number[]> {
    return (await this.usage()).map(({ cpuSeconds }) => cpuSeconds);
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()));
  }

  async #until(
    what: string,
    deadlineMs: number,
    isSo: (status: Status) => boolean,
    nodes: readonly BenchNode[] = this.nodes,
  ): Promise<void> {
    const lateMs = performance.now() + deadlineMs;
    for (const node of nodes) {
      while (!isSo(await node.status())) {
        if (performance.now() > lateMs) throw new Error(`${node.data}: waited in vain for the nodes ${what}`);
        await pause(POLL_MS);
      }
    }
  }
}
