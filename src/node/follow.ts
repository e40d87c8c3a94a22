import {
  compileQuery,
  decodeRun,
  encodeRun,
  LogvineError,
  type Clock,
  type EntryRun,
} from '../store/index.ts';
import {
  FOLLOW_PROTOCOL,
  followRequest,
  encodeMessage,
  parseMessage,
  type Channel,
  type PeerId,
  type Transport,
} from '../gossip/index.ts';
import type { Batcher } from './pipeline/batcher.ts';
import type { UnsealedStream } from './tasks.ts';

const RANGE_ALWAYS = { from: { ms: -8.64e15, sub: 0 }, to: { ms: 8.64e15, sub: 0 } };
/** Blocks that wait for a slow follower; beyond it lines are dropped, and counted. */
const QUEUE_BLOCKS_MAX = 256;
const OPEN_TIMEOUT_MS = 3000;
/** Often enough that a new peer is followed within a second. */
const JOIN_EVERY_MS = 500;

export interface FollowOptions {
  readonly batcher: Batcher;
  readonly clock: Clock;
  readonly transport: Transport;
  scanUnsealed(
    query: string,
    range: typeof RANGE_ALWAYS,
    streams: UnsealedStream[],
  ): Promise<EntryRun | undefined>;
  /** Live members other than this peer. */
  others(): PeerId[];
}

/** Matching lines as they are read, from this peer's inputs or from every peer's. */
export class Follow {
  readonly #options: FollowOptions;

  constructor(options: FollowOptions) {
    this.#options = options;
  }

  /** This peer's own lines. Ends with the signal. */
  async *local(query: string, signal: AbortSignal): AsyncGenerator<EntryRun> {
    const compiled = compileQuery(query, () => 0);
    const queue: UnsealedStream[][] = [];
    let wake: () => void = () => undefined;
    const stop = this.#options.batcher.follow((streams) => {
      const matching = streams.filter(({ labels }) => compiled.matchesStream(labels));
      if (matching.length > 0 && queue.length < QUEUE_BLOCKS_MAX) queue.push(matching);
      wake();
    });
    const ended = (): void => wake();
    signal.addEventListener('abort', ended, { once: true });
    try {
      while (!signal.aborted) {
        const streams = queue.splice(0).flat();
        if (streams.length === 0) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
          continue;
        }
        const run = await this.#options.scanUnsealed(query, RANGE_ALWAYS, streams);
        if (run) yield run;
      }
    } finally {
      stop();
      signal.removeEventListener('abort', ended);
    }
  }

  /** Lines of the whole mesh, each origin's in its order; peers that join are followed too. Ends with the signal. */
  async *everywhere(query: string, signal: AbortSignal): AsyncGenerator<EntryRun> {
    compileQuery(query, () => 0);
    const ready: EntryRun[] = [];
    let wake: () => void = () => undefined;
    const followed = new Set<PeerId>();
    const pump = async (peer: PeerId, runs: AsyncGenerator<EntryRun>): Promise<void> => {
      try {
        for await (const run of runs) {
          if (ready.length < QUEUE_BLOCKS_MAX) ready.push(run);
          wake();
        }
      } catch {
        // The peer is gone; it is followed again once it is back.
      } finally {
        followed.delete(peer);
      }
    };
    const join = (): void => {
      for (const peer of this.#options.others()) {
        if (followed.has(peer)) continue;
        followed.add(peer);
        void pump(peer, this.#remote(peer, query, signal));
      }
    };
    const { self } = this.#options.transport;
    followed.add(self);
    void pump(self, this.local(query, signal));
    const ended = (): void => wake();
    signal.addEventListener('abort', ended, { once: true });
    while (!signal.aborted) {
      join();
      yield* ready.splice(0);
      if (ready.length > 0 || signal.aborted) continue;
      await Promise.race([
        new Promise<void>((resolve) => {
          wake = resolve;
        }),
        this.#pause(),
      ]);
    }
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#options.clock.after(JOIN_EVERY_MS, resolve);
    });
  }

  async *#remote(peer: PeerId, query: string, signal: AbortSignal): AsyncGenerator<EntryRun> {
    const channel = await this.#options.transport.open(peer, FOLLOW_PROTOCOL, { timeoutMs: OPEN_TIMEOUT_MS });
    const stop = (): void => channel.abort(new LogvineError('LV_CLOSED', 'nobody follows any more'));
    signal.addEventListener('abort', stop, { once: true });
    try {
      await channel.send(encodeMessage({ query }));
      for (;;) {
        const bytes = await channel.receive();
        if (!bytes) return;
        yield decodeRun(bytes);
      }
    } finally {
      signal.removeEventListener('abort', stop);
      stop();
    }
  }

  /** Answers another peer's follower. */
  async serve(channel: Channel): Promise<void> {
    const message = await channel.receive();
    if (!message) return;
    const { query } = parseMessage(followRequest, message, 'follow');
    const controller = new AbortController();
    const gone = (): void => controller.abort(new LogvineError('LV_CLOSED', 'the follower has gone'));
    channel.receive().then(gone, gone);
    for await (const run of this.local(query, controller.signal)) await channel.send(encodeRun(run));
  }
}
