import {
  LIMITS,
  LogvineError,
  Pace,
  unionRuns,
  withoutHeld,
  type Clock,
  type Disk,
  type GoneRun,
  type Segment,
  type SegmentId,
  type Store,
} from '../../store/index.ts';
import type { HoldingsKnown } from '../repair/index.ts';
import type { Channel, PeerId } from '../transport/index.ts';
import { auditSegment, outlineOf, sealedBounds } from './audit.ts';
import {
  compareSegments,
  decodeRequest,
  encodeStep,
  GONE_TOLD_MAX,
  type AuditStep,
  type Knowledge,
  type VerifyRequest,
} from './messages.ts';

/** How often it is said how far it is: the asker takes a longer silence for a failure. */
const PROGRESS_MS = 500;

export interface AuditorOptions {
  readonly store: Store;
  readonly known: Pick<HoldingsKnown, 'vanished' | 'expired'>;
  readonly disk: Pick<Disk, 'open'>;
  readonly clock: Clock;
  /** The members of the mesh, this peer included. */
  peers(): PeerId[];
}

/** Verifies this peer's own disk for whoever asks: below a rate over all of them, and for few at a time. */
export class Auditor {
  readonly #options: AuditorOptions;
  readonly #pace: Pace;
  #running = 0;

  constructor(options: AuditorOptions) {
    this.#options = options;
    this.#pace = new Pace(options.clock, LIMITS.verifyBytesPerSecond);
  }

  /** Throws LV_OVERLOADED when too many audits run. */
  async *steps({ range, only }: VerifyRequest): AsyncGenerator<AuditStep> {
    const { store, disk } = this.#options;
    if (this.#running >= LIMITS.verifyAtOnceMax) {
      throw new LogvineError(
        'LV_OVERLOADED',
        `this peer is verified ${this.#running} times already: wait for it`,
      );
    }
    this.#running++;
    try {
      yield {
        kind: 'knowledge',
        expired: [...store.dropped.expired.all, ...this.#options.known.expired.all].map(
          ({ origin, epoch, from, to }) => ({ origin, epoch, from, to }),
        ),
        gone: this.#gone(),
        losses: [...store.dropped.losses],
        peers: this.#options.peers(),
      };
      const segments = this.#segments(only);
      const isWanted = (segment: Segment): boolean => {
        if (segment.record.quarantined.length > 0) return true;
        const { sealedFromMs, sealedToMs } = sealedBounds(segment.record.batches);
        return sealedToMs >= range.fromMs && sealedFromMs <= range.toMs;
      };
      const progress = { kind: 'progress' as const, bytes: 0, bytesTotal: 0 };
      for (const segment of segments) if (isWanted(segment)) progress.bytesTotal += segment.record.fileBytes;
      const host = { store, disk, pace: (bytes: number) => this.#pace.take(bytes) };
      yield { ...progress };
      for (const segment of segments) {
        if (store.segment(segment.id) !== segment) continue;
        if (!isWanted(segment)) {
          yield { kind: 'segment', audit: outlineOf(segment) };
          continue;
        }
        const auditing = auditSegment(host, segment, (bytes) => (progress.bytes += bytes));
        yield* this.#whileRunning(auditing, progress);
        const audit = await auditing;
        if (audit) yield { kind: 'segment', audit };
      }
      yield { ...progress };
      yield { kind: 'done' };
    } finally {
      this.#running--;
    }
  }

  /** Of each epoch the last one: all before it were sealed, too. */
  #gone(): Knowledge['gone'] {
    const { store, known } = this.#options;
    const last = new Map<string, Knowledge['gone'][number]>();
    const note = ({ origin, epoch }: SegmentId, gone: readonly GoneRun[]): void => {
      if (gone.length === 0) return;
      const expired = [store.dropped.expired, known.expired].map((runs) => runs.runs(origin, epoch));
      const to = withoutHeld(gone, unionRuns(expired[0], expired[1])).at(-1)?.to ?? 0;
      const key = `${origin}/${epoch}`;
      if (to > (last.get(key)?.to ?? 0)) last.set(key, { origin, epoch, from: to, to });
    };
    for (const segment of store.segments()) note(segment.id, store.rottenIn(segment));
    for (const one of known.vanished.all()) note(one, one.gone);
    return [...last.values()].slice(0, GONE_TOLD_MAX);
  }

  #segments(only: VerifyRequest['only']): Segment[] {
    const { store } = this.#options;
    const chosen = only ? only.map((id) => store.segment(id)) : [...store.segments()];
    const held = (segment: Segment | undefined): segment is Segment =>
      segment !== undefined && (segment.record.batches.length > 0 || segment.record.quarantined.length > 0);
    return [...new Set(chosen)].filter(held).sort((a, b) => compareSegments(a.id, b.id));
  }

  /** A large file at a low rate takes a while. */
  async *#whileRunning(
    work: Promise<unknown>,
    progress: Extract<AuditStep, { kind: 'progress' }>,
  ): AsyncGenerator<AuditStep> {
    const { clock } = this.#options;
    let isOver = false;
    const over = work.then(
      () => (isOver = true),
      () => (isOver = true),
    );
    for (;;) {
      const tick = Promise.withResolvers<void>();
      const timer = clock.after(PROGRESS_MS, () => tick.resolve());
      await Promise.race([over, tick.promise]);
      timer.cancel();
      if (isOver) return;
      yield { ...progress };
    }
  }

  async serve(channel: Channel): Promise<void> {
    const message = await channel.receive();
    if (!message) return;
    for await (const step of this.steps(decodeRequest(message))) await channel.send(encodeStep(step));
    await channel.close();
  }
}
