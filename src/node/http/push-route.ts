import type { FastifyInstance, FastifyRequest } from 'fastify';
import { LIMITS, LogvineError, type Clock, type TaskRunner } from '../../store/index.ts';
import type { Pushes } from '../../gossip/index.ts';
import type { Config } from '../config/index.ts';
import type { Batcher } from '../pipeline/batcher.ts';
import type { Tasks } from '../tasks.ts';
import { PushBudget, receiveBody, type Lease, type ReceivedBody } from './push-body.ts';
import { preparePush, shared, type PreparedPush, type PushBody } from './push-prepare.ts';

export interface PushRouteOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly batcher: Batcher;
  readonly pool: TaskRunner<Tasks>;
  /** Undefined: pushes are not told apart. */
  readonly pushes: Pushes | undefined;
  /** Nothing can be acknowledged before: pushes to a newcomer wait for it. */
  readonly introduced: Promise<void>;
}

/** A body this large is decoded on a worker, so that the main thread answers probes meanwhile. */
const WORKER_BYTES = 64 * 1024;
/** The same where it may grow a thousandfold. */
const WORKER_DEFLATED_BYTES = 4 * 1024;

/**
 * `POST /loki/api/v1/push`: 204 once the ack rule (I2) holds for every line of the body; 429 when this peer is sent more
 * than it can take, 503 when the mesh cannot store it now. A body that was sent before is stored once.
 *
 *   body ─► decode (worker) ─► claim (gossip/pushes) ─► batcher ─► acknowledged
 *   └──────── counted as in flight ────────────────────┘
 */
export function addPushRoute(app: FastifyInstance, options: PushRouteOptions): void {
  const { clock, config } = options;
  const budget = new PushBudget();
  const keeper = new PushKeeper(options, budget);
  void app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', async (_request: FastifyRequest, payload: FastifyRequest['raw']) =>
      receiveBody(payload, budget, clock),
    );
    scope.post('/loki/api/v1/push', async (request, reply) => {
      const received = request.body as ReceivedBody | undefined;
      const { body, lease } = received ?? { body: new Uint8Array(), lease: budget.take(0) };
      const headers = {
        contentType: request.headers['content-type'],
        contentEncoding: request.headers['content-encoding'],
        tenant: textOf(request.headers['x-scope-orgid']),
      };
      const { discoverServiceName } = config;
      const push = { body, headers, nowMs: clock.nowMs(), discoverServiceName };
      await keeper.keep(push, lease);
      return reply.code(204).send();
    });
  });
}

/** Takes bodies to their acknowledgement. */
class PushKeeper {
  readonly #options: PushRouteOptions;
  readonly #budget: PushBudget;
  /** Of bodies that workers have or are about to get: several small ones, so that threads need not wait, or a large one. */
  #decodingBytes = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(options: PushRouteOptions, budget: PushBudget) {
    this.#options = options;
    this.#budget = budget;
  }

  /**
   * Resolves with the acknowledgement. When it takes longer than `pushTimeoutMs`: rejects with why nothing can be stored,
   * or LV_OVERLOADED, while nothing is kept, and then nothing will be; afterwards with LV_REPLICATION_TIMEOUT, and it may
   * still come.
   */
  async keep(push: PushBody, lease: Lease): Promise<void> {
    const { clock, config } = this.#options;
    const over = Promise.withResolvers<void>();
    let stage: 'waiting' | 'storing' | 'given up' = 'waiting';
    const timer = clock.after(config.pushTimeoutMs, () => {
      over.reject(stage === 'storing' ? unconfirmed() : this.#refusal());
      if (stage === 'waiting') stage = 'given up';
    });
    const goOn = (): void => {
      if (stage === 'given up') throw tooFast();
    };
    const work = async (): Promise<void> => {
      try {
        const prepared = await this.#prepare(push, lease, goOn);
        goOn();
        stage = 'storing';
        if (prepared.parts.length > 0) await this.#store(prepared, lease);
      } finally {
        lease.release();
      }
    };
    work().then(over.resolve, over.reject);
    try {
      await over.promise;
    } finally {
      timer.cancel();
    }
  }

  async #prepare(push: PushBody, lease: Lease, goOn: () => void): Promise<PreparedPush> {
    const { batcher, pool, introduced } = this.#options;
    await introduced;
    goOn();
    // Where nothing can be stored there will be no room, and the client would be told to be slower.
    if (batcher.isFull) batcher.checkTaking();
    await batcher.room();
    goOn();
    let prepared: PreparedPush;
    if (isSmall(push)) {
      prepared = shared(preparePush(push));
    } else {
      const weight = weightOf(push);
      await this.#turn(weight);
      try {
        await Promise.all([this.#budget.room(), batcher.room()]);
        goOn();
        const transfer = [push.body.buffer as ArrayBuffer];
        prepared = await pool.run('decodePush', push, { priority: 'write', transfer });
      } finally {
        this.#decodingBytes -= weight;
        for (const go of this.#waiting.splice(0)) go();
      }
    }
    lease.resize(decodedBytes(prepared));
    return prepared;
  }

  /** Why a push had to wait for so long. */
  #refusal(): unknown {
    try {
      this.#options.batcher.checkTaking();
    } catch (error) {
      return error;
    }
    return tooFast();
  }

  async #turn(weight: number): Promise<void> {
    while (this.#decodingBytes > 0 && this.#decodingBytes + weight > LIMITS.pushBytesMax)
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#decodingBytes += weight;
  }

  #store({ digest, parts }: PreparedPush, lease: Lease): Promise<void> {
    const { batcher, pushes } = this.#options;
    const keep = (wanted: readonly number[]): Promise<void> => {
      const acknowledged = batcher.push(
        wanted.map((part) => ({
          ...parts[part],
          digest: pushes && Buffer.from(parts[part].digest, 'base64url'),
        })),
      );
      // From here on they count as unsealed.
      lease.release();
      return acknowledged;
    };
    if (!pushes) return keep(parts.map((_, part) => part));
    return pushes.once({ digest, parts: parts.map((part) => part.digest), keep });
  }
}

function tooFast(): LogvineError {
  return new LogvineError('LV_OVERLOADED', 'more comes in than can be stored: send again later, and slower');
}

function unconfirmed(): LogvineError {
  const message =
    'the lines did not reach enough disks in time. They are kept and may still get there: send them again to be sure';
  return new LogvineError('LV_REPLICATION_TIMEOUT', message);
}

function isDeflated({ headers }: PushBody): boolean {
  const encoding = (headers.contentEncoding ?? '').trim().toLowerCase();
  return encoding !== '' && encoding !== 'identity' && encoding !== 'snappy';
}

function isSmall(push: PushBody): boolean {
  return push.body.length < (isDeflated(push) ? WORKER_DEFLATED_BYTES : WORKER_BYTES);
}

/** How much decoding may take at once: a deflated body can become as large as any. */
function weightOf(push: PushBody): number {
  return isDeflated(push) ? LIMITS.pushBytesMax / 2 : push.body.length;
}

function decodedBytes({ parts }: PreparedPush): number {
  let bytes = 0;
  for (const part of parts) bytes += part.bytes + part.labelBytes;
  return bytes;
}

function textOf(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header.join() : header;
}
