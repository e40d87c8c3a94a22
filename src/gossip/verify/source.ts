import { LogvineError, messageOf, type Clock, type SegmentId } from '../../store/index.ts';
import { withDeadline, type PeerId, type Transport } from '../transport/index.ts';
import type { Auditor } from './auditor.ts';
import {
  compareSegments,
  decodeStep,
  encodeRequest,
  VERIFY_PROTOCOL,
  type AuditStep,
  type Knowledge,
  type SegmentAudit,
  type VerifyRequest,
} from './messages.ts';

/** A peer at work says how far it is every half second; one that waits for its turn is not asked meanwhile. */
const SILENCE_MS = 30_000;
const OPEN_TIMEOUT_MS = 5_000;

export interface SourceHost {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly auditor: Auditor;
}

/** One peer's audit as it comes: its segments one after the other. */
export class AuditSource {
  readonly peer: PeerId;
  bytes = 0;
  bytesTotal = 0;
  /** The segment that it is at; undefined at its end, or after it failed. */
  head: SegmentAudit | undefined;
  failure: string | undefined;
  readonly #steps: AsyncGenerator<AuditStep>;
  #hasTold = false;
  readonly #onKnowledge: (knowledge: Knowledge) => void;

  constructor(peer: PeerId, steps: AsyncGenerator<AuditStep>, onKnowledge: (knowledge: Knowledge) => void) {
    this.peer = peer;
    this.#steps = steps;
    this.#onKnowledge = onKnowledge;
  }

  /** Goes on to the next segment. Never rejects: a peer that fails has a `failure`. */
  async advance(): Promise<void> {
    const before: SegmentId | undefined = this.head?.id;
    this.head = undefined;
    try {
      for (;;) {
        const { value: step, done } = await this.#steps.next();
        if (done) throw new LogvineError('LV_PROTOCOL', 'it broke off');
        if (step.kind === 'done') {
          // Or else it would count as being under way for ever.
          await this.stop();
          return;
        }
        if (step.kind === 'knowledge') {
          if (this.#hasTold) throw new LogvineError('LV_PROTOCOL', 'it told twice what it knows');
          this.#hasTold = true;
          this.#onKnowledge(step);
        } else if (step.kind === 'progress') {
          this.bytes = step.bytes;
          this.bytesTotal = step.bytesTotal;
        } else {
          if (before && compareSegments(step.audit.id, before) <= 0) {
            throw new LogvineError('LV_PROTOCOL', 'it told its segments out of order');
          }
          this.head = step.audit;
          return;
        }
      }
    } catch (error) {
      this.failure = messageOf(error);
      await this.stop();
    }
  }

  async stop(): Promise<void> {
    await this.#steps.return(undefined).catch(() => undefined);
  }
}

/** The steps of an audit at this peer or another one. */
export async function* auditStepsOf(
  peer: PeerId,
  request: VerifyRequest,
  { transport, clock, auditor }: SourceHost,
  signal: AbortSignal,
): AsyncGenerator<AuditStep> {
  if (peer === transport.self) {
    yield* auditor.steps(request);
    return;
  }
  const channel = await transport.open(peer, VERIFY_PROTOCOL, { timeoutMs: OPEN_TIMEOUT_MS });
  const stop = (): void => channel.abort(signal.reason as Error);
  signal.addEventListener('abort', stop, { once: true });
  const late = () => new LogvineError('LV_PEER_TIMEOUT', `it said nothing for ${SILENCE_MS / 1000} s`);
  try {
    await channel.send(encodeRequest(request));
    for (;;) {
      const message = await withDeadline(clock, SILENCE_MS, late, () => channel.receive());
      if (!message) return;
      const step = decodeStep(message);
      yield step;
      if (step.kind === 'done') return;
    }
  } finally {
    signal.removeEventListener('abort', stop);
    channel.abort(new LogvineError('LV_CLOSED', 'the verification is over'));
  }
}
