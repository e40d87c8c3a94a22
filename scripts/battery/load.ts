import type { MeshNode } from '../../test/e2e/mesh.ts';
import type { Ledger } from './ledger.ts';
import { FileWriter, Pusher, type PusherOptions } from './writers.ts';

const USUAL_PUSHER: PusherOptions = { linesPerPush: 10, everyMs: 200 };
const LEARN_EVERY_MS = 300;

/** What writes into the mesh: a file at each node that tails one, and clients that push to any. */
export class Load {
  readonly #ledger: Ledger;
  readonly #nodes: () => readonly MeshNode[];
  readonly #writers = new Map<string, FileWriter>();
  readonly #pushers: Pusher[] = [];
  #learning: NodeJS.Timeout | undefined;

  constructor(ledger: Ledger, nodes: () => readonly MeshNode[]) {
    this.#ledger = ledger;
    this.#nodes = nodes;
  }

  /** A file for the node of this name to tail. */
  addFile(name: string, path: string, linesPerTurn: number, paddingBytes: number): void {
    const source = this.#ledger.source(`file-${name}`);
    source.paddingBytes = paddingBytes;
    this.#writers.set(name, new FileWriter(source, path, linesPerTurn));
  }

  addPusher(name: string, options = USUAL_PUSHER): Pusher {
    const pusher = new Pusher(this.#ledger.source(`push-${name}`), this.#nodes, options);
    this.#pushers.push(pusher);
    return pusher;
  }

  writer(node: MeshNode): FileWriter | undefined {
    return this.#writers.get(node.name);
  }

  /** Nothing tails this file any more, and nothing writes it. */
  removeFile(node: MeshNode): void {
    this.#writers.get(node.name)?.stop();
    this.#writers.delete(node.name);
  }

  get writers(): readonly FileWriter[] {
    return [...this.#writers.values()];
  }

  /** How the push came about that this line (`SOURCE NUMBER`) was in; empty when it went well at once. */
  attemptsOf(line: string): readonly string[] {
    const [id, number] = line.split(' ');
    const pusher = this.#pushers.find(({ source }) => source.id === id);
    return pusher?.retried.get(Number(number) - (Number(number) % pusher.options.linesPerPush)) ?? [];
  }

  resume(): void {
    for (const writer of this.#writers.values()) writer.resume();
    for (const pusher of this.#pushers) pusher.resume();
    this.#learning ??= setInterval(() => void this.learn(), LEARN_EVERY_MS);
  }

  /** Nothing new is written. Resolves once each client has its last push acknowledged. */
  async pause(): Promise<void> {
    for (const writer of this.#writers.values()) writer.stop();
    await Promise.all(this.#pushers.map((pusher) => pusher.settled()));
  }

  stop(): void {
    clearInterval(this.#learning);
    for (const writer of this.#writers.values()) writer.stop();
  }

  /** Asks the nodes how far the files are durable. */
  async learn(): Promise<void> {
    await Promise.all(
      this.#nodes().map(async (node) => {
        const writer = this.#writers.get(node.name);
        const status = writer && (await node.status().catch(() => undefined));
        if (status) writer.learn(status);
      }),
    );
  }

  /** Undefined once every file is durable to its end; else what is not. */
  waitingFor(): string | undefined {
    const late = this.writers.filter(({ isDurable }) => !isDurable).map(({ path }) => path);
    return late.length === 0 ? undefined : `not durable: ${late.join(', ')}`;
  }
}
