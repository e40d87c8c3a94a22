import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import Fastify, { type FastifyInstance } from 'fastify';
import type { Receipt } from '../../src/gossip/index.ts';
import { Admission } from '../../src/node/http/admission.ts';
import { addLabelRoutes, addVolumeRoutes } from '../../src/node/http/loki-labels.ts';
import type { LokiContext, Route } from '../../src/node/http/loki-query.ts';
import { systemClock } from '../../src/store/index.ts';
import { WHOLE } from '../cli/fake-io.ts';

type Part = 'series' | 'labels' | 'metric';

/** A server whose coordinator could not read all that `incomplete` is about. */
async function serve(t: TestContext, incomplete: Part): Promise<string> {
  const receiptOf = (part: Part): Receipt => ({ ...WHOLE, complete: part !== incomplete });
  const coordinator = {
    series: async () => ({ series: [{ a: 'b' }], receipt: receiptOf('series') }),
    labels: async () => ({ labels: { all: new Map([['a', new Set()]]) }, receipt: receiptOf('labels') }),
    metric: async () => ({ result: { kind: 'vector', series: [] }, receipt: receiptOf('metric') }),
  };
  const app = Fastify({ forceCloseConnections: true }) as unknown as FastifyInstance;
  t.after(() => app.close());
  const route: Route = (path, answer) => void app.get(`/${path}`, answer);
  const context = { clock: systemClock, coordinator, admission: new Admission() } as unknown as LokiContext;
  addLabelRoutes(route, context);
  addVolumeRoutes(route, context);
  return app.listen({ host: '127.0.0.1', port: 0 });
}

test('an answer made of two is whole when both are', async (t) => {
  for (const [path, part, complete] of [
    ['index/stats', 'metric', false],
    ['index/stats', 'series', false],
    ['index/stats', 'labels', true],
    ['index/volume', 'metric', false],
    ['index/volume', 'labels', false],
    ['index/volume', 'series', true],
  ] as const) {
    const url = await serve(t, part);
    const answer = await fetch(`${url}/${path}?query={a="b"}&aggregateBy=labels`);
    const body = (await answer.json()) as { logvine?: Receipt; data?: { stats: { logvine: Receipt } } };
    assert.equal((body.logvine ?? body.data?.stats.logvine)?.complete, complete, `${path}, ${part}`);
  }
});
