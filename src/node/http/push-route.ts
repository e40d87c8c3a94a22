import type { FastifyInstance } from 'fastify';
import { LogvineError } from '../../store/index.ts';
import type { Block } from '../inputs/index.ts';
import { withServiceName } from '../pipeline/index.ts';
import { decodePush, PUSH_LIMITS } from './push.ts';
import type { ServerOptions } from './server.ts';

/** `POST /loki/api/v1/push`: 204 once the ack rule (I2) holds for every line of the body. */
export function addPushRoute(app: FastifyInstance, { config, clock, batcher }: ServerOptions): void {
  app.post('/loki/api/v1/push', async (request, reply) => {
    const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
    const headers = {
      contentType: request.headers['content-type'],
      contentEncoding: request.headers['content-encoding'],
    };
    const { streams } = decodePush(body, headers, clock.nowMs(), PUSH_LIMITS);
    const blocks = streams.map(({ labels, columns }): Block => ({
      kind: 'entries',
      labels: config.discoverServiceName ? withServiceName(labels) : labels,
      columns,
    }));
    if (blocks.length > 0) await withinTimeout(batcher.push(blocks));
    return reply.code(204).send();
  });

  function withinTimeout(acknowledged: Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = clock.after(config.pushTimeoutMs, () => {
        const message =
          'the lines did not reach enough disks in time. They are kept and may still get there: send them again to be sure';
        reject(new LogvineError('LV_REPLICATION_TIMEOUT', message));
      });
      acknowledged.then(
        () => {
          timer.cancel();
          resolve();
        },
        (error: Error) => {
          timer.cancel();
          reject(error);
        },
      );
    });
  }
}
