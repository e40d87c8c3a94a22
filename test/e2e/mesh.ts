import assert from 'node:assert/strict';
import { spawn, type ChildProcess, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { TestContext } from 'node:test';
import type { Receipt } from '../../src/gossip/index.ts';
import { INTRODUCTION_PROBLEM } from '../../src/node/alarms.ts';
import type { Status } from '../../src/node/status.ts';

/** The heavier variants: the sizes of the specification. */
export const FULL = process.env.LOGVINE_E2E === 'full';

const launcher = new URL('../../scripts/logvine.js', import.meta.url).pathname;
/** A start may wait up to a minute for what others hold of its earlier runs. */
const START_MS = 90_000;
const COMMAND_MS = 120_000;
const POLL_MS = 100;

/** So that nobody waits ten seconds for the last lines of a file to be sealed. */
export const PROMPT = 'batch: { ageMax: 1s }\n';

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export interface Outcome {
  /** Exit code; null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** Who starts a mesh and sees it end: a test, or a round of the battery. */
export type MeshOwner = Pick<TestContext, 'passed' | 'diagnostic'> & {
  after(close: () => Promise<void>): void;
};

export interface NodeOptions {
  /** Files and globs to tail. */
  readonly files?: readonly string[];
  /** More flags of `run`. */
  readonly flags?: readonly string[];
  /** Content of a configuration file; else `PROMPT`. */
  readonly config?: string;
  /** Else a fresh directory. */
  readonly data?: string;
  /** Else the mesh's own first node. */
  readonly join?: readonly string[];
  /** HOST:PORT for the mesh and for HTTP; else loopback, on free ports. */
  readonly listen?: string;
  readonly http?: string;
  /** What HTTP asks for. */
  readonly token?: string;
  /** A command that runs the node's command, such as `nsenter …`. */
  readonly wrap?: readonly string[];
}

/** A mesh of real processes, of which nothing is left at the end of the test. */
export class Mesh {
  readonly directory: string;
  readonly nodes: MeshNode[] = [];
  readonly #followers: Follower[] = [];
  readonly #undo: (() => void)[] = [];
  #isKept = false;

  constructor(test: MeshOwner) {
    this.directory = mkdtempSync(join(tmpdir(), 'logvine-e2e-'));
    test.after(async () => {
      if (!test.passed)
        for (const { name, log } of this.nodes) test.diagnostic(`${name}:\n${log.slice(-4000)}`);
      await this.#close();
    });
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  /** Starts a node and waits until it is ready. */
  async start(name: string, options: NodeOptions = {}): Promise<MeshNode> {
    const node = new MeshNode(this, name, options);
    this.nodes.push(node);
    await node.start();
    return node;
  }

  /** Starts nodes that find each other through the first one; waits until all see all alive. */
  async startAll(all: Readonly<Record<string, NodeOptions>>): Promise<MeshNode[]> {
    const [[firstName, firstOptions], ...others] = Object.entries(all);
    const first = await this.start(firstName, firstOptions);
    const nodes = [first, ...(await Promise.all(others.map(([name, options]) => this.start(name, options))))];
    await this.agree(nodes);
    return nodes;
  }

  /** Waits until each of these nodes sees all of these, and no others, alive, and is known to enough of them to take lines. */
  async agree(nodes: readonly MeshNode[], deadlineMs = 20_000): Promise<void> {
    const wanted = nodes.map(({ peer }) => peer).sort();
    await waitFor(`${nodes.length} nodes to see each other`, deadlineMs, async () => {
      for (const node of nodes) {
        const { members, problems } = await node.status();
        if (problems.some(({ message }) => message === INTRODUCTION_PROBLEM.message)) return false;
        const alive = aliveOf(members);
        if (alive.length !== wanted.length || alive.some((peer, index) => peer !== wanted[index]))
          return false;
      }
      return true;
    });
  }

  /** Something to undo once no process runs any more, before the directory is removed. */
  onClose(undo: () => void): void {
    this.#undo.push(undo);
  }

  /** Runs `logvine tail` against a node until the end of the test. */
  follow(node: MeshNode, logql: string, ...flags: string[]): Follower {
    const argv = ['tail', logql, '--addr', node.httpUrl, '--output', 'raw', ...flags];
    const follower = new Follower(spawnLogvine(argv, this.directory));
    this.#followers.push(follower);
    return follower;
  }

  /** At the end the directory stays, with what each node logged in NAME.log. */
  keep(): void {
    this.#isKept = true;
  }

  async #close(): Promise<void> {
    for (const follower of this.#followers) follower.stop();
    await Promise.all(this.nodes.map((node) => node.kill()));
    for (const undo of this.#undo) undo();
    if (this.#isKept) for (const { name, log } of this.nodes) writeFileSync(this.path(`${name}.log`), log);
    else rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** One node: a process that may end and be started again on the same data and mesh address. */
export class MeshNode {
  readonly name: string;
  readonly data: string;
  /** All that it wrote to stderr, over all its runs. */
  log = '';
  httpUrl = '';
  peer = '';
  /** HOST:PORT. */
  meshAddress: string;
  /** Takes effect at the next start; what wraps the node's command must become it (`exec`), or signals miss it. */
  wrap: readonly string[];
  /** More variables, from the next start on. */
  environment: Readonly<Record<string, string>> = {};
  readonly #mesh: Mesh;
  readonly #options: NodeOptions;
  #child: ChildProcess | undefined;

  constructor(mesh: Mesh, name: string, options: NodeOptions) {
    this.#mesh = mesh;
    this.#options = options;
    this.name = name;
    this.data = options.data ?? mesh.path(name);
    this.meshAddress = options.listen ?? '127.0.0.1:0';
    this.wrap = options.wrap ?? [];
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Starts the process; rejects with its stderr when it ends before it is ready. */
  async start(): Promise<void> {
    const { files = [], flags = [], config = PROMPT, http = '127.0.0.1:0' } = this.#options;
    mkdirSync(this.data, { recursive: true });
    const seeds =
      this.#options.join ??
      this.#mesh.nodes.filter((node) => node !== this && node.peer !== '').map((node) => node.meshAddress);
    const argv = ['run', '--data', this.data, '--listen', this.meshAddress, '--http', http];
    for (const seed of seeds.slice(0, 3)) argv.push('--join', seed);
    const configPath = `${this.data}.yaml`;
    writeFileSync(configPath, config);
    argv.push('--config', configPath);
    const { wrap, environment } = this;
    const child = spawnLogvine([...argv, ...flags, ...files], this.#mesh.directory, { wrap, environment });
    this.#child = child;
    const before = this.log.length;
    child.stderr.on('data', (chunk: Buffer) => (this.log += chunk.toString()));
    let printed = '';
    await new Promise<void>((ready, failed) => {
      const complain = (what: string): void =>
        failed(new Error(`${this.name} ${what}: ${this.log.slice(before).slice(-2000)}`));
      const deadline = setTimeout(() => complain(`is not ready after ${START_MS} ms`), START_MS);
      child.stdout.on('data', (chunk: Buffer) => {
        printed += chunk.toString();
        const match = /^logvine ready http=(\S+) mesh=(\S+) peer=(\S+)$/m.exec(printed);
        if (!match) return;
        clearTimeout(deadline);
        this.httpUrl = match[1];
        const [, , host, , port] = match[2].split('/');
        this.meshAddress = `${host}:${port}`;
        this.peer = match[3];
        ready();
      });
      child.on('exit', (code, signal) => {
        clearTimeout(deadline);
        complain(`ended with ${code ?? signal} before it was ready`);
      });
    });
  }

  /** Ends the process as a power cut would, as far as it can tell. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** Asks the process to stop; resolves with its exit code. */
  async stop(): Promise<number | null> {
    return this.#end('SIGTERM');
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    if (!child || !this.isRunning) return child?.exitCode ?? null;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
    return child.exitCode;
  }

  /** Resolves with the exit code once the process has ended by itself. */
  async ended(deadlineMs: number): Promise<number | null> {
    await waitFor(`${this.name} to end`, deadlineMs, () => !this.isRunning);
    return this.#child?.exitCode ?? null;
  }

  async status(): Promise<Status> {
    const response = await fetch(`${this.httpUrl}/api/v1/status`, {
      signal: AbortSignal.timeout(10_000),
      headers: this.headers,
    });
    assert.equal(response.status, 200);
    return (await response.json()) as Status;
  }

  /** What a client of this node sends along. */
  get headers(): Record<string, string> {
    const { token } = this;
    return token === undefined ? {} : { authorization: `Bearer ${token}` };
  }

  get token(): string | undefined {
    return this.#options.token;
  }

  /** Peers that this node sees alive, itself among them, sorted. */
  async alivePeers(): Promise<string[]> {
    return aliveOf((await this.status()).members);
  }

  /** Runs one command of the command line against this node. */
  command(...argv: string[]): Promise<Outcome> {
    return runCommand([...argv, '--addr', this.httpUrl], this.#mesh.directory, undefined, this.token);
  }

  accept(...flags: string[]): Promise<Outcome> {
    return this.command('accept-loss', ...flags);
  }

  /** `logvine query` for everything since 1970, oldest first, as raw lines. */
  query(
    logql: string,
    options: { limit?: number; output?: 'raw' | 'json'; onFirstBytes?: () => void } = {},
  ): Promise<Outcome> {
    const { limit = 0, output = 'raw', onFirstBytes } = options;
    const range = ['--from', '1970-01-01T00:00:00Z', '--direction', 'forward'];
    const rest = ['--limit', String(limit), '--output', output, '--addr', this.httpUrl];
    const command = ['query', logql, ...range, ...rest];
    return runCommand(command, this.#mesh.directory, onFirstBytes, this.token);
  }

  /** The receipt of a query. */
  async receipt(logql: string): Promise<{ code: number | null; receipt: Receipt }> {
    const { code, stdout, stderr } = await this.query(logql, { output: 'json' });
    const last = stdout.toString().trimEnd().split('\n').at(-1) ?? '';
    assert.match(last, /^\{"receipt":/, stderr);
    return { code, receipt: (JSON.parse(last) as { receipt: Receipt }).receipt };
  }

  /** Waits until everything that this node tails up to `bytes` is durable. */
  async tailed(path: string, bytes: number, deadlineMs: number): Promise<void> {
    await waitFor(`${this.name} to have ${bytes} bytes of ${path} durable`, deadlineMs, async () => {
      const { inputs } = await this.status();
      const input = inputs.find((one) => one.path === path);
      return input !== undefined && input.durableBytes >= bytes ? true : JSON.stringify(inputs);
    });
  }

  /** Waits until nothing is owed. */
  async repaid(deadlineMs: number): Promise<void> {
    await waitFor(`${this.name} to owe nothing`, deadlineMs, async () => {
      const { replication } = await this.status();
      return replication.batchesBelowK === 0 ? true : JSON.stringify(replication);
    });
  }

  get pid(): number {
    return this.#child!.pid!;
  }
}

type LogvineProcess = ChildProcessByStdio<null, Readable, Readable>;

/** Variables that would configure the nodes, or this test, are not theirs. */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.startsWith('LOGVINE_')),
);

interface SpawnOptions {
  readonly wrap?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

function spawnLogvine(
  argv: readonly string[],
  workingDirectory: string,
  { wrap = [], environment: more = {} }: SpawnOptions = {},
): LogvineProcess {
  const [command, ...rest] = [...wrap, process.execPath, launcher, ...argv];
  const child = spawn(command, rest, {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: workingDirectory,
    env: { ...environment, ...more },
  });
  running.add(child);
  child.on('exit', () => running.delete(child));
  return child;
}

/** Runs the command line to its end. */
export async function runCommand(
  argv: readonly string[],
  workingDirectory: string,
  onFirstBytes: () => void = () => undefined,
  token?: string,
): Promise<Outcome> {
  const child = spawnLogvine(argv, workingDirectory, {
    environment: token === undefined ? {} : { LOGVINE_TOKEN: token },
  });
  const deadline = setTimeout(() => child.kill('SIGKILL'), COMMAND_MS);
  const stdout: Buffer[] = [];
  let stderr = '';
  child.stdout.once('data', onFirstBytes);
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(deadline);
  return { code, stdout: Buffer.concat(stdout), stderr };
}

/** A `logvine tail` that runs. */
export class Follower {
  readonly #child: LogvineProcess;
  #printed = '';
  #onText: () => void = () => undefined;

  constructor(child: LogvineProcess) {
    this.#child = child;
    child.stdout.on('data', (chunk: Buffer) => {
      this.#printed += chunk.toString();
      this.#onText();
    });
  }

  /** All that it printed so far. */
  text(): string {
    return this.#printed;
  }

  /** Resolves as soon as it has printed `text`. */
  until(text: string, deadlineMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => reject(new Error(`tail did not print ${text}`)), deadlineMs);
      this.#onText = () => {
        if (!this.#printed.includes(text)) return;
        clearTimeout(deadline);
        resolve();
      };
      this.#onText();
    });
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}

/**
 * Polls until `done` says true; what else it says goes into the failure. A check that throws (a node that does not
 * answer) is not true yet.
 */
export async function waitFor(
  what: string,
  deadlineMs: number,
  done: () => Promise<boolean | string> | boolean | string,
): Promise<void> {
  const started = performance.now();
  let last: unknown = '';
  for (;;) {
    try {
      last = await done();
    } catch (error) {
      last = error;
    }
    if (last === true) return;
    if (performance.now() - started > deadlineMs) {
      throw new Error(`waited ${deadlineMs} ms for ${what}; last: ${String(last)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Fails with the place where two answers part, not with megabytes of both. */
export function assertSameBytes(actual: Buffer, expected: Buffer): void {
  if (actual.equals(expected)) return;
  let at = 0;
  while (at < actual.length && at < expected.length && actual[at] === expected[at]) at++;
  const around = (bytes: Buffer): string =>
    JSON.stringify(bytes.subarray(Math.max(0, at - 80), at + 120).toString('latin1'));
  const count = (bytes: Buffer): number => bytes.reduce((lines, byte) => lines + (byte === 10 ? 1 : 0), 0);
  assert.fail(
    `answers part at byte ${at}: ${actual.length} bytes and ${count(actual)} lines instead of ${expected.length} and ${count(expected)}\n` +
      ` is: ${around(actual)}\nnot: ${around(expected)}`,
  );
}

function aliveOf(members: Status['members']): string[] {
  return members
    .filter(({ state }) => state === 'alive')
    .map(({ peer }) => peer)
    .sort();
}
