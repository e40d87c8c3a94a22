import { messageOf, type Clock, type Labels } from '../../store/index.ts';
import type { BlockSink, Input, InputStatus } from './index.ts';
import { fileLabels } from './labels.ts';
import { TAIL_LIMITS } from './limits.ts';
import { bytesOfCut, cutLines, cutUnfinished, type Cut } from './lines.ts';
import type { TailLog } from './tail-sources.ts';

export interface StdinOptions {
  /** `process.stdin`, or any other stream of bytes. */
  readonly stream: AsyncIterable<Uint8Array>;
  readonly sink: Pick<BlockSink, 'write'>;
  readonly clock: Clock;
  readonly log: TailLog;
  /** The label `host`. */
  readonly host: string;
  readonly labels?: Labels;
  readonly discoverServiceName: boolean;
  readonly lineBytesMax?: number;
  readonly idleFlushMs?: number;
}

/** Reads lines from a stream until it ends. It has no positions: what was read but not sealed is lost with the process. */
export function startStdin(options: StdinOptions): Stdin {
  return new Stdin(options);
}

export class Stdin implements Input {
  readonly #options: StdinOptions;
  readonly #labels: Labels;
  readonly #lineBytesMax: number;
  readonly #idleFlushMs: number;
  readonly #closing = Promise.withResolvers<'closing'>();
  #isClosing = false;
  #isWriting = false;
  /** The start of a line whose end hasn't come, and how many pieces of that line were given out. */
  #rest: Buffer = Buffer.alloc(0);
  #droppedBytes = 0;
  #piece = 0;
  #readBytes = 0;
  #problem: string | undefined;
  /** Resolves when the stream has ended and all of it was written, or after `close`. Never rejects. */
  readonly ended: Promise<void>;

  constructor(options: StdinOptions) {
    this.#options = options;
    this.#labels = fileLabels('stdin', options.labels, options);
    this.#lineBytesMax = options.lineBytesMax ?? TAIL_LIMITS.lineBytesMax;
    this.#idleFlushMs = options.idleFlushMs ?? TAIL_LIMITS.idleFlushMs;
    this.ended = this.#run().then(
      () => this.#tellDropped(),
      (error: unknown) => {
        if (this.#isClosing) return this.#tellDropped();
        this.#problem = messageOf(error);
        options.log.warn(`stdin: ${this.#problem}`);
      },
    );
  }

  async #run(): Promise<void> {
    const iterator = this.#options.stream[Symbol.asyncIterator]();
    let pending: Promise<IteratorResult<Uint8Array>> | undefined;
    while (!this.#isClosing) {
      pending ??= iterator.next();
      const outcome = await this.#next(pending);
      if (outcome === 'closing') {
        // Its end, or its failure, is nobody's concern any more.
        void pending.catch(() => undefined);
        return;
      }
      if (outcome === 'idle') {
        await this.#flush();
        continue;
      }
      pending = undefined;
      if (outcome.done === true) {
        await this.#flush();
        return;
      }
      await this.#take(Buffer.from(outcome.value.buffer, outcome.value.byteOffset, outcome.value.byteLength));
    }
  }

  /** The stream's next chunk; or `idle`, if an unfinished line has waited for its end long enough. */
  async #next<T>(pending: Promise<T>): Promise<T | 'idle' | 'closing'> {
    if (this.#rest.length === 0) return await Promise.race([pending, this.#closing.promise]);
    const idle = Promise.withResolvers<'idle'>();
    const timer = this.#options.clock.after(this.#idleFlushMs, () => idle.resolve('idle'));
    try {
      return await Promise.race([pending, this.#closing.promise, idle.promise]);
    } finally {
      timer.cancel();
    }
  }

  async #take(bytes: Buffer): Promise<void> {
    this.#readBytes += bytes.length;
    // A copy, always: the stream may use its buffer again, and the block lives on.
    let chunk = Buffer.concat([this.#rest, bytes]);
    while (chunk.length > 0) {
      const window = chunk.subarray(0, this.#lineBytesMax + 1);
      const cut = cutLines(window, this.#piece, this.#lineBytesMax);
      if (cut === undefined) break;
      await this.#give(window, cut);
      chunk = chunk.subarray(cut.consumed);
    }
    this.#rest = Buffer.from(chunk);
  }

  #tellDropped(): void {
    const bytes = this.#droppedBytes + this.#rest.length;
    if (bytes > 0)
      this.#options.log.warn(`stdin: ${bytes} bytes that were read are not stored, since the node stops`);
  }

  async #flush(): Promise<void> {
    if (this.#rest.length === 0) return;
    await this.#give(this.#rest, cutUnfinished(this.#rest, this.#piece));
    this.#rest = Buffer.alloc(0);
  }

  async #give(chunk: Buffer, cut: Cut): Promise<void> {
    const bytes = bytesOfCut(chunk, cut);
    this.#piece = cut.piece;
    if (bytes.length === 0) return;
    if (this.#isClosing) {
      this.#droppedBytes += bytes.length;
      return;
    }
    const { metadata } = cut;
    const readAtMs = this.#options.clock.nowMs();
    this.#isWriting = true;
    try {
      await this.#options.sink.write({
        kind: 'raw',
        labels: this.#labels,
        bytes,
        readAtMs,
        ...(metadata !== undefined && { metadata }),
      });
    } finally {
      this.#isWriting = false;
    }
  }

  onDurable(): void {
    // No block of a stream has a position.
  }

  status(): InputStatus[] {
    return [
      {
        source: '-',
        path: 'stdin',
        sizeBytes: this.#readBytes,
        readBytes: this.#readBytes - this.#rest.length,
        durableBytes: 0,
        ...(this.#problem !== undefined && { problem: this.#problem }),
      },
    ];
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    this.#closing.resolve('closing');
    if (!this.#isWriting) await this.ended;
  }
}
