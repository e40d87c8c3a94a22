import {
  LIMITS,
  LogvineError,
  Pace,
  type Clock,
  type Disk,
  type Segment,
  type Store,
} from '../../store/index.ts';
import type { Channel, PeerId } from '../transport/index.ts';
import { auditSegment, outlineOf, sealedBounds } from './audit.ts';
import {
  compareSegments,
  decodeRequest,
  encodeStep,
  type AuditStep,
  type VerifyRequest,
} from './messages.ts';

/** How often it is said how far it is: the asker takes a longer silence for a failure. */
const PROGRESS_MS = 500;

export interface AuditorOptions {
  readonly store: Store;
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
        expired: [...store.dropped.expired.all].map(({ origin, epoch, from, to }) => ({
          origin,
          epoch,
          from,
          to,
        })),
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
