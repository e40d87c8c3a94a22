import { LIMITS, LogvineError, sliceRun, type EntryRun, type RunSource } from '../../store/index.ts';
import { withDeadline, type PeerId, type Transport } from '../transport/index.ts';
import type { Holder } from './holder.ts';
import { scanPages } from './pages.ts';
import { decodeStep, SCAN_PROTOCOL, type RemoteStep, type ScanMessage } from './messages.ts';

/**
 * The steps of a scan at this peer or another one. A holder at work says so with every task that it finishes, and while it
 * finishes those of others that came first; one that says nothing for `queryIdleMs` while it is listened to is given up with
 * LV_PEER_TIMEOUT.
 */
export async function* stepsOf(
  peer: PeerId,
  message: ScanMessage,
  options: { transport: Transport; holder: Holder; timeoutMs: number; signal: AbortSignal },
): AsyncGenerator<RemoteStep> {
  const { transport, holder, signal } = options;
  if (peer === transport.self) {
    yield* holder.scan(message, signal);
    return;
  }
  const channel = await transport.open(peer, SCAN_PROTOCOL, { timeoutMs: options.timeoutMs });
  const stop = (): void => channel.abort(signal.reason as Error);
  // It may have been called off while the channel was opened.
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  const late = (): Error =>
    new LogvineError('LV_PEER_TIMEOUT', `${peer} said nothing for ${LIMITS.queryIdleMs} ms`);
  const listen = <Heard>(work: () => Promise<Heard>): Promise<Heard> =>
    withDeadline(transport.clock, LIMITS.queryIdleMs, late, work);
  try {
    for (const page of scanPages(message)) await listen(() => channel.send(page));
    for (;;) {
      const bytes = await listen(() => channel.receive());
      if (!bytes) throw new LogvineError('LV_PEER_UNREACHABLE', `${peer} ended a scan early`);
      const step = decodeStep(bytes);
      if (step.kind === 'refused') throw step.error;
      yield step;
      if (step.kind === 'done') break;
    }
  } finally {
    signal.removeEventListener('abort', stop);
    channel.abort(new LogvineError('LV_CLOSED', 'the scan is over'));
  }
}

/** How far a source has been read, so that its successor goes on behind it. */
interface Mark {
  readonly ms: number;
  readonly sub: number;
  readonly rank: string;
  /** Rows with exactly this key that were passed on. */
  ties: number;
}

export interface SourceEvents {
  failedBatches(
    source: HolderSource,
    failed: Extract<RemoteStep, { kind: 'failed' }>['failed'],
  ): Promise<void>;
  done(source: HolderSource, tally: Extract<RemoteStep, { kind: 'done' }>['tally']): void;
  progress(source: HolderSource, done: number, of: number): void;
  /** The holder is gone with work undone. */
  lost(source: HolderSource, error: Error): Promise<void>;
}

/** One holder's part of the answer. When the holder fails, `lost` is called and the source just ends. */
export class HolderSource implements RunSource {
  readonly peer: PeerId;
  readonly message: ScanMessage;
  readonly #steps: AsyncGenerator<RemoteStep>;
  readonly #events: SourceEvents;
  /** Where the one before it stopped: rows up to there were passed on already. */
  #skip: Mark | undefined;
  #mark: Mark | undefined;
  #isDone = false;

  constructor(
    peer: PeerId,
    message: ScanMessage,
    steps: AsyncGenerator<RemoteStep>,
    events: SourceEvents,
    predecessor?: HolderSource,
  ) {
    this.peer = peer;
    this.message = message;
    this.#steps = steps;
    this.#events = events;
    this.#mark = predecessor?.mark;
    this.#skip = this.#mark && { ...this.#mark };
  }

  get mark(): Mark | undefined {
    return this.#mark;
  }

  /** The next sorted rows of a holder that is asked for entries. */
  async next(): Promise<EntryRun | undefined> {
    for (let step = await this.#content(); step; step = await this.#content()) {
      if (step.kind !== 'run') continue;
      const run = this.#afterSkip(step.run);
      if (run.count === 0) continue;
      this.#remember(run);
      return run;
    }
    return undefined;
  }

  /** All that a holder found; undefined when it was lost on the way, and what it had told counts for nothing. */
  async found(): Promise<Uint8Array[] | undefined> {
    const pieces: Uint8Array[] = [];
    for (let step = await this.#content(); step; step = await this.#content()) {
      if (step.kind === 'found') pieces.push(step.bytes);
    }
    return this.#isDone ? pieces : undefined;
  }

  async #content(): Promise<Extract<RemoteStep, { kind: 'run' | 'found' }> | undefined> {
    try {
      for (;;) {
        const { value: step, done } = await this.#steps.next();
        if (done) return undefined;
        switch (step.kind) {
          case 'failed':
            await this.#events.failedBatches(this, step.failed);
            break;
          case 'progress':
            this.#events.progress(this, step.done, step.of);
            break;
          case 'done':
            this.#isDone = true;
            this.#events.done(this, step.tally);
            break;
          case 'refused':
            throw step.error;
          default:
            return step;
        }
      }
    } catch (error) {
      await this.#events.lost(this, error as Error);
      return undefined;
    }
  }

  #remember(run: EntryRun): void {
    const last = run.count - 1;
    const rank = run.ranks[run.rankIds[last]];
    let ties = 0;
    for (let row = last; row >= 0; row--) {
      if (run.ms[row] !== run.ms[last] || run.sub[row] !== run.sub[last]) break;
      if (run.ranks[run.rankIds[row]] !== rank) break;
      ties++;
    }
    const same =
      ties === run.count &&
      this.#mark?.ms === run.ms[last] &&
      this.#mark.sub === run.sub[last] &&
      this.#mark.rank === rank;
    this.#mark = { ms: run.ms[last], sub: run.sub[last], rank, ties: ties + (same ? this.#mark!.ties : 0) };
  }

  /** Drops the rows that a predecessor passed on. The order of rows is total but for ties within one batch. */
  #afterSkip(run: EntryRun): EntryRun {
    const skip = this.#skip;
    if (!skip) return run;
    const { question } = this.message;
    const sign = question.kind === 'entries' && question.descending ? -1 : 1;
    let row = 0;
    for (; row < run.count; row++) {
      const rank = run.ranks[run.rankIds[row]];
      const order =
        sign *
        (run.ms[row] - skip.ms ||
          run.sub[row] - skip.sub ||
          (rank < skip.rank ? -1 : rank > skip.rank ? 1 : 0));
      if (order > 0) break;
      if (order === 0 && skip.ties-- <= 0) break;
    }
    if (row < run.count) this.#skip = undefined;
    return row === 0 ? run : sliceRun(run, row, run.count);
  }

  async stop(): Promise<void> {
    await this.#steps.return(undefined).catch(() => undefined);
  }
}
