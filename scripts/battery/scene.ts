import { createHash, randomBytes } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { Mesh, waitFor, type MeshNode, type NodeOptions } from '../../test/e2e/mesh.ts';
import { ask, Asker, EVERYTHING } from './asker.ts';
import { asRuns, Ledger, type Findings, type Snapshot, type TimeRangeMs } from './ledger.ts';
import { Load } from './load.ts';
import { Result, seconds } from './result.ts';
import { Wire } from './wire.ts';

const ASKERS = 2;
const ASK_PAUSE_MS = 200;
const RECENT_MS = 10_000;
/** Answers under a fault that are shown because they say that they lack something. */
const INCOMPLETE_SHOWN_MAX = 3;
const HEAL_MS = 180_000;
/** To start takes a second of a core: more at once would only measure how few there are. */
const STARTED_AT_ONCE_MAX = 8;
const EVER: TimeRangeMs = { fromMs: 0, toMs: 4e12 };

/** Batches are sealed soon, so that a short round has many of them; everything else is as delivered. */
export const CONFIG = 'batch: { linger: 200ms, ageMax: 1s }\npushTimeout: 4s\n';

export interface SceneOptions {
  readonly name: string;
  readonly rounds: number;
  /** No new round begins after this time. */
  readonly minutes: number;
  /** Leaves data and logs of the nodes where they are, and says where. */
  readonly keep: boolean;
  print(line: string): void;
}

export interface StartOptions extends NodeOptions {
  /** Without: the node tails nothing. */
  readonly linesPerTurn?: number;
  /** Random bytes in each of its lines. */
  readonly paddingBytes?: number;
}

/** A mesh under load, watched all the time, to which a fault does what it does. */
export class Scene {
  readonly result = new Result();
  readonly ledger = new Ledger();
  readonly load: Load;
  readonly mesh: Mesh;
  /** Nodes that should be up whenever no fault is on. */
  readonly nodes: MeshNode[] = [];
  readonly options: SceneOptions;
  /** Disks that are gone for good: less than W of them, or more than promised is lost. */
  destroyedDisks = 0;
  /** How long a time is asked for at once. */
  askedMs = RECENT_MS;
  readonly #startedMs = performance.now();
  readonly #askers: Asker[] = [];
  readonly #closers: (() => Promise<void>)[] = [];
  /** Counts up at each change between rest and fault; even: at rest. */
  #turns = 1;
  #incompleteShown = 0;

  constructor(options: SceneOptions) {
    this.options = options;
    const isGood = (): boolean => this.result.isGood;
    this.mesh = new Mesh({
      after: (close) => void this.#closers.push(close),
      get passed() {
        return isGood();
      },
      diagnostic: () => undefined,
    });
    this.load = new Load(this.ledger, () => this.running);
  }

  get running(): MeshNode[] {
    return this.nodes.filter((node) => node.isRunning);
  }

  pick<T>(from: readonly T[]): T {
    return from[Math.floor(Math.random() * from.length)];
  }

  /** The disk of a node that is down, and the files that it tailed. */
  destroyDisk(node: MeshNode): void {
    rmSync(node.data, { recursive: true });
    this.load.writer(node)?.loseFiles();
    this.destroyedDisks++;
  }

  /** This node is not coming back. */
  remove(node: MeshNode): void {
    this.nodes.splice(this.nodes.indexOf(node), 1);
    this.load.removeFile(node);
  }

  /** Starts nodes, all at once but the very first, and waits until they see each other. */
  async start(all: Readonly<Record<string, StartOptions>>): Promise<MeshNode[]> {
    const options = Object.entries(all).map(([name, given]): [string, NodeOptions] => {
      const { linesPerTurn = 0, paddingBytes = 0, ...rest } = given;
      const path = this.mesh.path(`logs-${name}/app.log`);
      if (linesPerTurn > 0) this.load.addFile(name, path, linesPerTurn, paddingBytes);
      const files = linesPerTurn > 0 ? [path] : [];
      return [name, { config: CONFIG, files, ...rest }];
    });
    const startOne = ([name, one]: [string, NodeOptions]): Promise<MeshNode> => this.mesh.start(name, one);
    const nodes: MeshNode[] = [];
    let atOnce = this.mesh.nodes.length === 0 ? 1 : STARTED_AT_ONCE_MAX;
    while (options.length > 0) {
      nodes.push(...(await Promise.all(options.splice(0, atOnce).map(startOne))));
      atOnce = STARTED_AT_ONCE_MAX;
    }
    this.nodes.push(...nodes);
    await this.mesh.agree(this.nodes, HEAL_MS);
    return nodes;
  }

  /** `count` nodes that all tail a file, and two clients that push. */
  async startUsual(count: number, options: StartOptions = {}): Promise<MeshNode[]> {
    const names = Array.from({ length: count }, (_, index) => `node-${index + 1}`);
    const nodes = await this.start(
      Object.fromEntries(names.map((name) => [name, { linesPerTurn: 5, ...options }])),
    );
    for (const name of ['a', 'b']) this.load.addPusher(name);
    return nodes;
  }

  /** The same, each node on a host of its own. */
  async startWired(count: number, options: StartOptions = {}): Promise<{ nodes: MeshNode[]; wire: Wire }> {
    const wire = new Wire(count);
    this.mesh.onClose(() => wire.close());
    await wire.open();
    const secretFile = this.#privateFile('secret', randomBytes(32).toString('hex'));
    const token = randomBytes(16).toString('hex');
    const tokenFile = this.#privateFile('token', token);
    const trust = `secretFile: ${secretFile}\ntokenFiles: { admin: ${tokenFile} }\nhttpBehindProxy: true\n`;
    const all: Record<string, StartOptions> = {};
    for (let host = 1; host <= count; host++) {
      const address = wire.address(host);
      all[`node-${host}`] = {
        linesPerTurn: 5,
        listen: `${address}:7421`,
        http: `${address}:7420`,
        wrap: wire.on(host),
        token,
        ...options,
        config: `${options.config ?? CONFIG}${trust}`,
      };
    }
    const nodes = await this.start(all);
    for (const name of ['a', 'b']) this.load.addPusher(name);
    return { nodes, wire };
  }

  #privateFile(name: string, content: string): string {
    const path = this.mesh.path(name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  }

  /**
   * So many times: load, the fault (`body` returns when it is over), and a mesh that has to heal and to answer rightly.
   */
  async rounds(body: (round: number) => Promise<void>): Promise<void> {
    for (let index = 0; index < ASKERS; index++)
      this.#askers.push(new Asker(() => this.#watch(), ASK_PAUSE_MS));
    for (const asker of this.#askers) asker.start();
    const { name, rounds, minutes, print } = this.options;
    for (let round = 1; round <= rounds; round++) {
      if (performance.now() - this.#startedMs > minutes * 60_000) break;
      const fromMs = Date.now();
      this.load.resume();
      await this.moreLines(150);
      if (round % 3 === 0) for (const writer of this.load.writers) writer.rotate();
      this.#turns = nextOdd(this.#turns);
      await body(round);
      const healMs = await this.settle();
      this.result.healMs.push(healMs);
      await this.#checkRound({ fromMs, toMs: Date.now() + 1 });
      this.result.rounds = round;
      this.result.acknowledged = this.ledger.acknowledged;
      print(`${name} ${round}/${rounds}: healed in ${seconds(healMs)}; ${this.result.text}`);
    }
    await this.#finish();
  }

  /** Waits until so many more lines are acknowledged. */
  async moreLines(count: number, deadlineMs = HEAL_MS): Promise<void> {
    const before = this.ledger.acknowledged;
    await waitFor(`${count} more lines`, deadlineMs, () => this.ledger.acknowledged >= before + count);
  }

  /** Lets a fault last, so that writers and askers meet it. */
  async last(ms: number): Promise<void> {
    await pause(ms);
  }

  /** Stops the load, and waits until all is durable, everybody sees everybody and nothing is owed. Returns milliseconds. */
  async settle(): Promise<number> {
    const startedMs = performance.now();
    const paused = this.load.pause();
    let isPaused = false;
    void paused.then(() => (isPaused = true));
    await waitFor('the mesh to heal', HEAL_MS, async () => {
      if (!isPaused) return 'pushes wait';
      await this.load.learn();
      return this.load.waitingFor() ?? (await this.#unsettled()) ?? true;
    });
    this.#turns = nextOdd(this.#turns) + 1;
    return performance.now() - startedMs;
  }

  async #unsettled(): Promise<string | undefined> {
    const wanted = this.nodes.map(({ peer }) => peer).sort();
    for (const node of this.nodes) {
      const { members, replication, problems } = await node.status();
      const alive = members.filter(({ state }) => state === 'alive').map(({ peer }) => peer);
      // The copies of a suspect still count; they may be about to be missed.
      if (members.some(({ state }) => state === 'suspect')) return `${node.name} suspects somebody`;
      if (alive.sort().join() !== wanted.join()) return `${node.name} sees ${alive.length} alive`;
      if (replication.batchesBelowK > 0) return `${node.name} owes ${replication.batchesBelowK} batches`;
      const lost = problems.find(({ code }) => code === 'LV_BATCH_LOST');
      if (lost) return `${node.name} says that ${lost.message}`;
    }
    return undefined;
  }

  violation(text: string): void {
    this.result.violations.push(text);
    this.options.print(`  VIOLATION ${new Date().toISOString()} ${text}`);
  }

  /** One answer of any node, of any range, compared with what was acknowledged before it was asked. */
  async #watch(): Promise<void> {
    const node = this.pick(this.running);
    if (!node) return;
    const nowMs = Date.now();
    const startMs = nowMs - performance.now() + this.#startedMs;
    const olderMs = startMs + Math.random() * (nowMs - startMs);
    const fromMs = Math.random() < 0.7 ? nowMs - this.askedMs : olderMs;
    const range = { fromMs, toMs: fromMs + this.askedMs };
    const required = this.ledger.snapshot();
    const turns = this.#turns;
    const isAtRest = (): boolean => turns % 2 === 0 && this.#turns === turns;
    try {
      const { lines, receipt } = await ask(node, range);
      this.result.answers++;
      if (receipt.complete) this.result.complete++;
      const findings = this.ledger.compare(lines, range, required, receipt.expired > 0);
      this.#note(findings, receipt.complete, `${node.name}, asked for ${describe(range)}`);
      if (!receipt.complete && this.#incompleteShown++ < INCOMPLETE_SHOWN_MAX) {
        const { missing, silent, members } = receipt;
        this.options.print(
          `  incomplete at ${node.name}: ${JSON.stringify({ members, silent, missing }).slice(0, 600)}`,
        );
      }
      if (!receipt.complete && isAtRest()) {
        this.result.falseIncompletes++;
        this.violation(`${node.name} at rest: incomplete: ${JSON.stringify(receipt).slice(0, 1000)}`);
      }
    } catch (error) {
      if (!isAtRest()) return;
      this.result.falseIncompletes++;
      this.violation(`${node.name} at rest does not answer: ${String(error)}`);
    }
  }

  #note({ lost, doubled, altered }: Findings, isComplete: boolean, who: string): void {
    const isRetried = (line: string): boolean => this.load.attemptsOf(line).length > 0;
    const newlyRetried = addAll(this.result.retriedTwice, doubled.filter(isRetried));
    const newlyDoubled = addAll(
      this.result.doubled,
      doubled.filter((line) => !isRetried(line)),
    );
    const newlyAltered = addAll(this.result.altered, altered);
    if (newlyDoubled.length > 0) this.violation(`${who}: doubled ${asRuns(newlyDoubled)}`);
    if (newlyRetried.length > 0) {
      const attempts = this.load.attemptsOf(newlyRetried[0]).join('; ');
      this.options.print(
        `  stored by two nodes, after being sent again: ${asRuns(newlyRetried)}: ${attempts}`,
      );
    }
    if (newlyAltered.length > 0) this.violation(`${who}: altered ${newlyAltered.slice(0, 3).join(' | ')}`);
    if (isComplete && lost.length > 0) {
      this.result.falseCompletes++;
      this.violation(`${who}: called complete, lacks ${asRuns(lost)}`);
    }
  }

  async #checkRound(range: TimeRangeMs): Promise<void> {
    await this.#checkRest(this.pick(this.running), range, this.ledger.everything());
  }

  /** At rest an answer has to be complete and exact. */
  async #checkRest(node: MeshNode, range: TimeRangeMs, required: Snapshot): Promise<string[]> {
    const { lines, receipt } = await ask(node, range);
    this.result.answers++;
    if (receipt.complete) this.result.complete++;
    const findings = this.ledger.compare(lines, range, required, receipt.expired > 0);
    this.#note(findings, receipt.complete, `${node.name} at rest`);
    if (!receipt.complete) {
      this.result.falseIncompletes++;
      this.violation(`${node.name} at rest: incomplete: ${JSON.stringify(receipt).slice(0, 1000)}`);
    }
    const newlyLost = addAll(this.result.lost, findings.lost);
    if (newlyLost.length > 0) this.violation(`${node.name} at rest: lost ${asRuns(newlyLost)}`);
    return lines;
  }

  /** For what is measured without anybody asking. */
  stopAsking(): void {
    for (const asker of this.#askers) void asker.stop();
  }

  async #finish(): Promise<void> {
    for (const asker of this.#askers) await asker.stop();
    this.load.stop();
    const required = this.ledger.everything();
    let lines: string[] = [];
    for (const node of this.nodes) lines = await this.#checkRest(node, EVER, required);
    // Where retention drops, the files have more.
    const compared = this.ledger.keptMs === Infinity ? this.load.writers : [];
    for (const writer of compared) {
      const own = lines.filter((line) => line.includes(` source=${writer.source.id} `));
      const numbered = own.map((line): [number, string] => [Number(/ n=(\d+) /.exec(line)?.[1]), line]);
      const answer = numbered.sort(([a], [b]) => a - b).map(([, line]) => `${line}\n`);
      const isSame = digest(Buffer.from(answer.join(''), 'latin1')) === digest(writer.content());
      if (!isSame && !writer.hasLostFiles)
        this.violation(`${writer.path} and the lines of ${writer.source.id} are not the same bytes`);
    }
    const node = this.pick(this.nodes);
    const { code, stderr } = await node.query(EVERYTHING, { limit: 1 });
    if (code !== 0) this.violation(`logvine query exits with ${code}: ${stderr}`);
    await this.#verify(node);
    this.result.acknowledged = this.ledger.acknowledged;
  }

  /** A peer that is gone for good cannot take part until it is forgotten; the rest has to hold without it. */
  async #verify(node: MeshNode): Promise<void> {
    const { code, stdout, stderr } = await node.command('verify', '--output', 'json');
    const verdict = JSON.parse(stdout.toString() || '{}') as Record<string, unknown>;
    const holds = ['gapless', 'unaltered', 'enoughCopies'].every((claim) => verdict[claim] === true);
    if (code === 0 || (this.destroyedDisks > 0 && code === 3 && holds)) return;
    this.violation(`logvine verify exits with ${code}: ${JSON.stringify(verdict).slice(0, 2000)}${stderr}`);
  }

  async close(): Promise<void> {
    this.load.stop();
    this.stopAsking();
    if (this.options.keep && !this.result.isGood) {
      this.options.print(`kept: ${this.mesh.directory}`);
      this.mesh.keep();
    }
    for (const close of this.#closers) await close();
  }
}

/** Adds those that are new to a set; returns them. */
function addAll(all: Set<string>, some: readonly string[]): string[] {
  const fresh = some.filter((one) => !all.has(one));
  for (const one of fresh) all.add(one);
  return fresh;
}

function nextOdd(turns: number): number {
  return turns % 2 === 0 ? turns + 1 : turns;
}

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function describe({ fromMs, toMs }: TimeRangeMs): string {
  return `${new Date(fromMs).toISOString()} – ${new Date(toMs).toISOString()}`;
}
