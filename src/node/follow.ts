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
import { Awaited } from './awaited.ts';
import { DROPPED_NAMED_MAX, MissedCounter, NOTHING_MISSED, Silences, type Missed } from './missed.ts';
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

/** A peer that has nothing to tell says so as often. */
const ALIVE_EVERY_MS = 5_000;
/* Of a message: its kind, up to when all that the sender has read comes with it or came before (f64, LE), and the rest. */
const HEAD_BYTES = 9;
const RUN = 1;
const DROPPED = 2;

const droppedMessage = z.object({
  count: z.number().int().nonnegative(),
  entries: z
    .array(z.object({ labels: z.record(z.string(), z.string()), ms: z.number() }))
    .max(DROPPED_NAMED_MAX),
});

type OnMissed = (missed: Missed) => void;

/** How far a follower of this peer's own lines has come. */
interface Position {
  /** All that was read before came to it: wall clock. */
  upToMs(): number;
}

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

  /** This peer's own lines. Ends with the signal. Says what was dropped before the lines that came after it. Keeps `position`. */
  async *local(
    query: string,
    signal: AbortSignal,
    onMissed: OnMissed = ignore,
    position?: Position,
  ): AsyncGenerator<EntryRun> {
    const compiled = compileQuery(query, () => 0);
    const dropped = new MissedCounter();
    const queue: { streams: UnsealedStream[]; readMs: number }[] = [];
    let queuedBytes = 0;
    /** When the oldest of what is being passed on was read. */
    let inHandMs: number | undefined;
    const { clock } = this.#options;
    if (position) position.upToMs = () => inHandMs ?? queue[0]?.readMs ?? clock.nowMs();
    let wake: () => void = () => undefined;
    const stop = this.#options.batcher.follow((streams) => {
      const matching = streams.filter(({ labels }) => compiled.matchesStream(labels));
      if (matching.length === 0) return;
      if (queuedBytes < QUEUE_BYTES_MAX) {
        queue.push({ streams: matching, readMs: clock.nowMs() });
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
        inHandMs = queue[0]?.readMs;
        for (let bytes = 0; queue.length > 0 && bytes < RUN_BYTES_AIM;) {
          const next = queue.shift()!;
          streams.push(...next.streams);
          bytes += bytesOf(next.streams);
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
    const silences = new Silences(this.#options.clock, (unheard) =>
      add({ ...NOTHING_MISSED, unheard: [unheard] }),
    );
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
        silences.lost(peer);
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
        const onHeard = (upToMs: number): void => {
          // What one that was there at the beginning read before belongs to the past.
          silences.heard(peer, upToMs, awaited.has(peer));
          arrived(peer);
        };
        void pump(peer, this.#remote(peer, query, signal, add, onHeard));
      }
      silences.check(this.#options.others());
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
    onHeard: (upToMs: number) => void,
  ): AsyncGenerator<EntryRun> {
    const channel = await this.#options.transport.open(peer, FOLLOW_PROTOCOL, { timeoutMs: OPEN_TIMEOUT_MS });
    const stop = (): void => channel.abort(new LogvineError('LV_CLOSED', 'nobody follows any more'));
    signal.addEventListener('abort', stop, { once: true });
    try {
      await channel.send(encodeMessage({ query }));
      for (;;) {
        const message = await channel.receive();
        if (!message) return;
        const body = message.subarray(HEAD_BYTES);
        const upToMs = message.length < HEAD_BYTES ? NaN : message.readDoubleLE(1);
        if (!(Math.abs(upToMs) <= RANGE_ALWAYS.to.ms))
          throw new LogvineError('LV_PROTOCOL', `${peer} sent a follow message without a time`);
        onHeard(upToMs);
        if (message[0] === RUN) yield decodeRun(body);
        else if (message[0] === DROPPED)
          onMissed({ ...parseMessage(droppedMessage, body, 'follow'), unheard: [] });
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
    const position: Position = { upToMs: () => 0 };
    const send = (kind: number, body: Uint8Array): Promise<void> => {
      const head = Buffer.alloc(HEAD_BYTES, kind);
      head.writeDoubleLE(position.upToMs(), 1);
      return channel.send(Buffer.concat([head, body]));
    };
    const tell = ({ count, entries }: Missed): Promise<void> =>
      send(DROPPED, encodeMessage({ count, entries }));
    const runs = this.local(query, controller.signal, missing.merge.bind(missing), position);
    try {
      let next = new Awaited(runs.next());
      // From here on nothing is missed.
      await tell(NOTHING_MISSED);
      for (;;) {
        const step = await next.within(ALIVE_EVERY_MS, this.#options.clock);
        if (step?.done) return;
        const missed = missing.take();
        if (missed || !step) await tell(missed ?? NOTHING_MISSED);
        if (!step) continue;
        await send(RUN, encodeRun(step.value));
        next = new Awaited(runs.next());
      }
    } finally {
      controller.abort(new LogvineError('LV_CLOSED', 'nobody follows any more'));
      await runs.return(undefined);
    }
  }
}

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
