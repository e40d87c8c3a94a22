import {
  appendFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Status } from '../../src/node/status.ts';
import type { MeshNode } from '../../test/e2e/mesh.ts';
import type { Piece, Source } from './ledger.ts';

const EVERY_MS = 100;
const PUSH_TIMEOUT_MS = 8_000;

interface WrittenFile {
  readonly piece: Piece;
  /** As the status names it. */
  readonly source: string;
  path: string;
  /** Offset behind each line. */
  readonly ends: number[];
}

/** A program that logs into a file, which a node tails, and renames it now and then. */
export class FileWriter {
  readonly source: Source;
  readonly path: string;
  /** Lines in one turn; ten turns a second. */
  readonly linesPerTurn: number;
  readonly #files: WrittenFile[] = [];
  hasLostFiles = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(source: Source, path: string, linesPerTurn: number) {
    this.source = source;
    this.path = path;
    this.linesPerTurn = linesPerTurn;
    this.#newFile();
  }

  #newFile(): void {
    mkdirSync(dirname(this.path), { recursive: true });
    writeFileSync(this.path, '');
    const { dev, ino } = statSync(this.path, { bigint: true });
    const source = `file:${dev}:${ino}`;
    this.#files.push({ piece: this.source.newPiece(), source, path: this.path, ends: [] });
  }

  resume(): void {
    this.#timer ??= setInterval(() => this.write(this.linesPerTurn), EVERY_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  write(lines: number): void {
    const file = this.#files.at(-1)!;
    let [text, end] = ['', file.ends.at(-1) ?? 0];
    for (let at = 0; at < lines; at++) {
      const line = `${this.source.nextLine(Date.now())}\n`;
      text += line;
      end += line.length;
      file.ends.push(end);
    }
    appendFileSync(file.path, text);
  }

  rotate(): void {
    const file = this.#files.at(-1)!;
    file.path = `${this.path}.${this.#files.length}`;
    renameSync(this.path, file.path);
    this.#newFile();
  }

  /** The disk with the files is gone: a new one begins, and what nobody acknowledged need not be anywhere. */
  loseFiles(): void {
    this.hasLostFiles = true;
    for (const file of this.#files) {
      file.piece.isGone = true;
      rmSync(file.path, { force: true });
    }
    this.#files.length = 0;
    this.#newFile();
  }

  /** Learns from the status of the node that tails the files how far they are durable. */
  learn({ inputs }: Status): void {
    for (const { piece, source, ends } of this.#files) {
      const input = inputs.find((one) => one.source === source);
      if (!input) continue;
      while (piece.acknowledged < ends.length && ends[piece.acknowledged] <= input.durableBytes)
        piece.acknowledged++;
    }
  }

  /** Whether the newest file is durable to its end, as far as was learnt. */
  get isDurable(): boolean {
    const { piece } = this.#files.at(-1)!;
    return piece.acknowledged === piece.count;
  }

  /** What the files hold, in the order in which it was written. */
  content(): Buffer {
    return Buffer.concat(this.#files.map(({ path }) => readFileSync(path)));
  }
}

export interface PusherOptions {
  readonly linesPerPush: number;
  /** Between an acknowledgement and the next push. */
  readonly everyMs: number;
}

/** A client that pushes to any node, and sends a refused or unanswered push again, at another one. */
export class Pusher {
  readonly source: Source;
  /** What became of each attempt, for the pushes that needed more than one: by the number of their first line. */
  readonly retried = new Map<number, string[]>();
  /** How often each outcome came: a status, or that there was none. */
  readonly outcomes = new Map<string, number>();
  readonly options: PusherOptions;
  readonly #nodes: () => readonly MeshNode[];
  readonly #piece: Piece;
  #isWanted = false;
  #running: Promise<void> | undefined;
  #at = 0;
  #waiting: string | undefined;

  constructor(source: Source, nodes: () => readonly MeshNode[], options: PusherOptions) {
    this.source = source;
    this.options = options;
    this.#nodes = nodes;
    this.#piece = source.newPiece();
  }

  resume(): void {
    this.#isWanted = true;
    this.#running ??= this.#run();
  }

  /** Resolves once every line that was sent at all is acknowledged. */
  async settled(): Promise<void> {
    this.#isWanted = false;
    await this.#running;
  }

  async #run(): Promise<void> {
    let attempts: string[] = [];
    while (this.#isWanted || this.#waiting !== undefined) {
      this.#waiting ??= this.#nextBody();
      const nodes = this.#nodes();
      const node = nodes[this.#at++ % nodes.length];
      const sentAt = new Date().toISOString();
      const outcome = node ? await this.#push(node, this.#waiting) : 'nobody is up';
      attempts.push(`${sentAt} ${node?.name} ${outcome}`);
      const kind = typeof outcome === 'number' ? `${outcome}` : 'no answer';
      this.outcomes.set(kind, (this.outcomes.get(kind) ?? 0) + 1);
      if (outcome === 204) {
        if (attempts.length > 1) this.retried.set(this.#piece.acknowledged, attempts);
        attempts = [];
        this.#waiting = undefined;
        this.#piece.acknowledged = this.#piece.count;
        await pause(this.options.everyMs);
      } else {
        await pause(100);
      }
    }
    this.#running = undefined;
  }

  #nextBody(): string {
    const values = Array.from({ length: this.options.linesPerPush }, () => {
      const line = this.source.nextLine(Date.now());
      return [`${this.source.timesMs.at(-1)}000000`, line];
    });
    return JSON.stringify({ streams: [{ stream: { job: 'battery', client: this.source.id }, values }] });
  }

  async #push(node: MeshNode, body: string): Promise<number | string> {
    try {
      const response = await fetch(`${node.httpUrl}/loki/api/v1/push`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...node.headers },
        body,
        signal: AbortSignal.timeout(PUSH_TIMEOUT_MS),
      });
      await response.arrayBuffer();
      const isRefusal = response.status === 429 || response.status === 503;
      if (isRefusal && !response.headers.has('retry-after')) return `${response.status} without Retry-After`;
      return response.status;
    } catch (error) {
      return String(error);
    }
  }
}
