import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Clock } from '../../src/store/host/index.ts';
import { systemTailDisk, type TailDisk } from '../../src/node/inputs/files.ts';
import type { BlockSink, RawBlock, SourcePosition } from '../../src/node/inputs/index.ts';
import { Tail, type TailOptions } from '../../src/node/inputs/tail.ts';

/** A clock whose monotonic time moves only when told. Its wall time is the real one: files are stamped with that. */
export class TestClock implements Clock {
  #ms = 1;
  #timers: Array<{ atMs: number; run: () => void }> = [];
  nowMs(): number {
    return Date.now();
  }
  monotonicMs(): number {
    return this.#ms;
  }
  after(delayMs: number, run: () => void): { cancel(): void } {
    const timer = { atMs: this.#ms + delayMs, run };
    this.#timers.push(timer);
    return { cancel: () => (this.#timers = this.#timers.filter((other) => other !== timer)) };
  }
  advance(ms: number): void {
    this.#ms += ms;
    const due = this.#timers.filter((timer) => timer.atMs <= this.#ms);
    this.#timers = this.#timers.filter((timer) => timer.atMs > this.#ms);
    for (const timer of due) timer.run();
  }
}

/** Keeps what was written, as batch headers and batches would. */
export class TestSink implements BlockSink {
  readonly blocks: RawBlock[] = [];
  readonly positions = new Map<string, string>();
  readonly #noted = new Map<string, string>();
  inFlight = 0;
  inFlightMax = 0;
  /** Awaited by each write. */
  gate: Promise<void> | undefined;
  /** Thrown by the next write. */
  failure: Error | undefined;

  async write(block: RawBlock): Promise<void> {
    assert.equal(block.bytes.at(-1), 10, 'a block ends with a newline');
    const copy = { ...block, bytes: Buffer.from(block.bytes) };
    this.inFlightMax = Math.max(this.inFlightMax, ++this.inFlight);
    await this.gate;
    this.inFlight--;
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
    this.blocks.push(copy);
    for (const [source, position] of this.#noted) this.positions.set(source, position);
    this.#noted.clear();
    if (block.position !== undefined) this.positions.set(block.position.source, block.position.position);
  }

  note({ source, position }: SourcePosition): void {
    this.#noted.set(source, position);
  }

  text(isWanted: (block: RawBlock) => boolean = () => true): string {
    return this.blocks
      .filter(isWanted)
      .map((block) => block.bytes.toString('latin1'))
      .join('');
  }
  /** The lines of files, without gap records. */
  lines(): string[] {
    return this.text((block) => block.metadata?.logvine_gap === undefined)
      .split('\n')
      .slice(0, -1);
  }
  gaps(): string[] {
    return this.blocks
      .filter((block) => block.metadata?.logvine_gap !== undefined)
      .map((block) => block.bytes.toString());
  }
}

export class Bench {
  readonly directory: string;
  readonly clock = new TestClock();
  readonly sink = new TestSink();
  readonly messages: string[] = [];
  tail: Tail;
  readonly #options: TailOptions;

  constructor(t: TestContext | undefined, patterns: string[], options: Partial<TailOptions> = {}) {
    this.directory = fs.mkdtempSync(join(tmpdir(), 'logvine-tail-'));
    const log = (message: string): void => void this.messages.push(message);
    this.#options = {
      patterns: patterns.map((pattern) => ({ pattern: this.path(pattern) })),
      sink: this.sink,
      disk: systemTailDisk,
      clock: this.clock,
      log: { info: log, warn: log },
      host: 'alice',
      discoverServiceName: true,
      resume: (source) => this.sink.positions.get(source),
      remembered: () => this.sink.positions,
      ...options,
    };
    this.tail = new Tail(this.#options);
    t?.after(() => this.dispose());
  }

  async dispose(): Promise<void> {
    await this.tail.close();
    fs.rmSync(this.directory, { recursive: true, force: true });
  }

  path(name: string): string {
    return join(this.directory, name);
  }
  write(name: string, text: string | Buffer): void {
    fs.writeFileSync(this.path(name), text);
  }
  append(name: string, text: string | Buffer): void {
    fs.appendFileSync(this.path(name), text);
  }
  rename(from: string, to: string): void {
    fs.renameSync(this.path(from), this.path(to));
  }

  /** Time passes, everything due is looked at, and what was found is read. */
  async pass(ms = 1_000): Promise<void> {
    const ticks = Math.min(4, Math.ceil(ms / 250));
    for (let tick = 0; tick < ticks; tick++) {
      this.clock.advance(tick === 0 ? ms - (ticks - 1) * 250 : 250);
      await this.tail.poll();
      await this.tail.settled();
    }
  }

  /** Resolves once a file made now has a later time of birth than `name`, by more than file systems round. */
  async outlive(name: string): Promise<void> {
    const { birthtimeMs } = fs.statSync(this.path(name));
    while (Date.now() - birthtimeMs < 120) await new Promise((resolve) => setImmediate(resolve));
  }

  async restart(options: Partial<TailOptions> = {}): Promise<void> {
    await this.tail.close();
    this.tail = new Tail({ ...this.#options, ...options });
    await this.pass();
  }

  acknowledgeAll(): void {
    for (const [source, position] of this.sink.positions) this.tail.onDurable({ source, position });
  }

  row(name: string) {
    const row = this.tail.status().find((status) => status.path === this.path(name));
    assert(row, `no status row for ${name}`);
    return row;
  }
}

/** The system's disk, except for what `changes` does. */
export function diskWith(changes: Partial<TailDisk>): TailDisk {
  return { ...systemTailDisk, ...changes };
}
