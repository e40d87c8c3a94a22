import { z } from 'zod';
import {
  compileQuery,
  decodeRun,
  encodeRun,
  LogvineError,
  mergeSources,
  runBytes,
  sourceOf,
  type Clock,
  type EntryRun,
  type Labels,
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
import { inTime } from './in-time.ts';
import type { Batcher } from './pipeline/batcher.ts';
import type { UnsealedStream } from './tasks.ts';

/** Whatever time lines carry: one that was read just now may be stamped ahead of this peer's clock. */
export const RANGE_ALWAYS = { from: { ms: -8.64e15, sub: 0 }, to: { ms: 8.64e15, sub: 0 } };
/** What waits for a slow follower; beyond it lines are dropped, and counted. */
const QUEUE_BYTES_MAX = 32 * 1024 * 1024;
/** What a block or a run takes beside its lines: a line of its own is most often shorter. */
const BYTES_BESIDE = 2048;
const RUN_BYTES_AIM = 1024 * 1024;
const OPEN_TIMEOUT_MS = 3000;
/** Often enough that a new peer is followed within a second. */
const JOIN_EVERY_MS = 500;

/** Lines that a slow follower misses are told in lists of at most so many; the count is told whole. */
const DROPPED_NAMED_MAX = 100;
const UNHEARD_NAMED_MAX = 1_000;
/** A peer that has nothing to tell says so as often; one that says nothing for several times as long is followed anew. */
const ALIVE_EVERY_MS = 5_000;
const SILENT_MS_MAX = 20_000;
const RUN = 1;
const DROPPED = 2;

const droppedMessage = z.object({
  count: z.number().int().nonnegative(),
  entries: z
    .array(z.object({ labels: z.record(z.string(), z.string()), ms: z.number() }))
    .max(DROPPED_NAMED_MAX),
});

/** A peer that could not be followed from one time to another, by this peer's clock. */
export interface Unheard {
  readonly peer: PeerId;
  readonly fromMs: number;
  readonly toMs: number;
}

/** What a follower misses. */
export interface Missed {
  /**
   * Blocks of lines that could not wait for a slow one, each with its stream and time. Those of a peer's own are dropped before
   * the query sees their lines, so that a block may hold none that match.
   */
  readonly count: number;
  readonly entries: readonly { readonly labels: Labels; readonly ms: number }[];
  readonly unheard: readonly Unheard[];
}

export class MissedCounter {
  #count = 0;
  #entries: { labels: Labels; ms: number }[] = [];
  #unheard: Unheard[] = [];

  add(labels: Labels, ms: number): void {
    this.#count++;
    if (this.#entries.length < DROPPED_NAMED_MAX) this.#entries.push({ labels, ms });
  }

  merge({ count, entries, unheard }: Missed): void {
    this.#count += count;
    this.#entries = [...this.#entries, ...entries].slice(0, DROPPED_NAMED_MAX);
    this.#unheard = [...this.#unheard, ...unheard].slice(-UNHEARD_NAMED_MAX);
  }

  /** What was missed since it was last asked. */
  take(): Missed | undefined {
    if (this.#count === 0 && this.#unheard.length === 0) return undefined;
    const taken = { count: this.#count, entries: this.#entries, unheard: this.#unheard };
    this.#count = 0;
    this.#entries = [];
    this.#unheard = [];
    return taken;
  }
}

type OnMissed = (missed: Missed) => void;

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

  /** This peer's own lines. Ends with the signal. Says what was dropped before the lines that came after it. */
  async *local(query: string, signal: AbortSignal, onMissed: OnMissed = ignore): AsyncGenerator<EntryRun> {
    const compiled = compileQuery(query, () => 0);
    const dropped = new MissedCounter();
    const queue: UnsealedStream[][] = [];
    let queuedBytes = 0;
    let wake: () => void = () => undefined;
    const stop = this.#options.batcher.follow((streams) => {
      const matching = streams.filter(({ labels }) => compiled.matchesStream(labels));
      if (matching.length === 0) return;
      if (queuedBytes < QUEUE_BYTES_MAX) {
        queue.push(matching);
        queuedBytes += bytesOf(matching);
      } else for (const stream of matching) dropped.add(stream.labels, timeOf(stream));
      wake();
    });
    const ended = (): void => wake();
    signal.addEventListener('abort', ended, { once: true });
    try {
      while (!signal.aborted) {
        const missed = dropped.take();
        if (missed) onMissed(missed);
        // No more at once than fits a message: one may be as large as a part of a push.
        const streams: UnsealedStream[] = [];
        for (let bytes = 0; queue.length > 0 && bytes < RUN_BYTES_AIM;) {
          const next = queue.shift()!;
          streams.push(...next);
          bytes += bytesOf(next);
        }
        queuedBytes -= bytesOf(streams);
        if (streams.length === 0) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
          continue;
        }
        let run: EntryRun | undefined;
        try {
          run = await this.#options.scanUnsealed(query, RANGE_ALWAYS, streams);
        } catch {
          // A pool that is full, or a worker that died: neither keeps what comes next from being read.
          for (const stream of streams) dropped.add(stream.labels, timeOf(stream));
        }
        // What stages make of a line may weigh more than the line.
        if (run) yield* mergeSources([sourceOf([run])], { descending: false, limit: Infinity });
      }
    } finally {
      stop();
      signal.removeEventListener('abort', ended);
    }
  }

  /**
   * Lines of the whole mesh, each origin's in its order; peers that join are followed too. Ends with the signal. `onFollowed`:
   * from here on no line of a peer that was alive at the beginning is missed (of one that does not answer, after 3 s all).
   */
  async *everywhere(
    query: string,
    signal: AbortSignal,
    onMissed: OnMissed = ignore,
    onFollowed: () => void = ignore,
  ): AsyncGenerator<EntryRun> {
    compileQuery(query, () => 0);
    const missing = new MissedCounter();
    const add = missing.merge.bind(missing);
    const ready: EntryRun[] = [];
    let readyBytes = 0;
    let wake: () => void = () => undefined;
    const followed = new Set<PeerId>();
    const awaited = new Set(this.#options.others());
    const startedMs = this.#options.clock.nowMs();
    /** When each peer said something for the last time. */
    const heardMs = new Map<PeerId, number>();
    const arrived = (peer?: PeerId): void => {
      if (peer === undefined) awaited.clear();
      else awaited.delete(peer);
      if (awaited.size === 0) onFollowed();
    };
    const pump = async (peer: PeerId, runs: AsyncGenerator<EntryRun>): Promise<void> => {
      try {
        for await (const run of runs) {
          if (readyBytes < QUEUE_BYTES_MAX) {
            ready.push(run);
            readyBytes += runBytes(run) + BYTES_BESIDE;
          } else
            for (let row = 0; row < run.count; row++)
              missing.add(run.streams[run.streamIds[row]], run.ms[row]);
          wake();
        }
      } catch {
        // The peer is gone; it is followed again once it is back.
      } finally {
        followed.delete(peer);
        arrived(peer);
      }
    };
    const { self } = this.#options.transport;
    const join = (): void => {
      if (!followed.has(self)) {
        followed.add(self);
        void pump(self, this.local(query, signal, add));
      }
      for (const peer of this.#options.others()) {
        if (followed.has(peer)) continue;
        followed.add(peer);
        let isFirst = true;
        const onHeard = (): void => {
          const toMs = this.#options.clock.nowMs();
          // What it read before it was followed from the beginning belongs to the past.
          if (isFirst && !awaited.has(peer)) {
            const fromMs = heardMs.get(peer) ?? startedMs;
            add({ count: 0, entries: [], unheard: [{ peer, fromMs, toMs }] });
            wake();
          }
          isFirst = false;
          heardMs.set(peer, toMs);
          arrived(peer);
        };
        void pump(peer, this.#remote(peer, query, signal, add, onHeard));
      }
    };
    const opening = this.#options.clock.after(awaited.size === 0 ? 0 : OPEN_TIMEOUT_MS, arrived);
    const ended = (): void => {
      opening.cancel();
      wake();
    };
    signal.addEventListener('abort', ended, { once: true });
    while (!signal.aborted) {
      join();
      const missed = missing.take();
      if (missed) onMissed(missed);
      readyBytes = 0;
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

  async *#remote(
    peer: PeerId,
    query: string,
    signal: AbortSignal,
    onMissed: OnMissed,
    onHeard: () => void,
  ): AsyncGenerator<EntryRun> {
    const channel = await this.#options.transport.open(peer, FOLLOW_PROTOCOL, { timeoutMs: OPEN_TIMEOUT_MS });
    const stop = (): void => channel.abort(new LogvineError('LV_CLOSED', 'nobody follows any more'));
    signal.addEventListener('abort', stop, { once: true });
    try {
      await channel.send(encodeMessage({ query }));
      for (;;) {
        const bytes = await inTime(channel.receive(), SILENT_MS_MAX, this.#options.clock);
        if (!bytes) return;
        onHeard();
        if (bytes[0] === RUN) yield decodeRun(bytes.subarray(1));
        else if (bytes[0] === DROPPED)
          onMissed({ ...parseMessage(droppedMessage, bytes.subarray(1), 'follow'), unheard: [] });
        else throw new LogvineError('LV_PROTOCOL', `${peer} sent a follow message of an unknown kind`);
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
    const missing = new MissedCounter();
    const tell = ({ count, entries }: Pick<Missed, 'count' | 'entries'>): Promise<void> =>
      channel.send(Buffer.concat([Buffer.of(DROPPED), encodeMessage({ count, entries })]));
    const runs = this.local(query, controller.signal, missing.merge.bind(missing));
    try {
      let next = runs.next();
      // Seen to after this.
      next.catch(() => undefined);
      // From here on nothing is missed.
      await tell(NOTHING);
      for (;;) {
        const step = await inTime(next, ALIVE_EVERY_MS, this.#options.clock);
        const missed = missing.take();
        if (missed || !step) await tell(missed ?? NOTHING);
        if (step?.done) return;
        if (!step) continue;
        await channel.send(Buffer.concat([Buffer.of(RUN), encodeRun(step.value)]));
        next = runs.next();
      }
    } finally {
      controller.abort(new LogvineError('LV_CLOSED', 'nobody follows any more'));
      await runs.return(undefined);
    }
  }
}

const NOTHING = { count: 0, entries: [] };

function ignore(): void {}

function bytesOf(streams: readonly UnsealedStream[]): number {
  let bytes = 0;
  for (const { blocks, columns } of streams) {
    bytes += (columns?.lines.length ?? 0) + BYTES_BESIDE;
    for (const block of blocks) bytes += block.bytes.length + BYTES_BESIDE;
  }
  return bytes;
}

function timeOf({ blocks, columns }: UnsealedStream): number {
  return columns?.ms[0] ?? blocks[0]?.readAtMs ?? 0;
}
