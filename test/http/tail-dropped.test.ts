import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import Fastify, { type FastifyInstance } from 'fastify';
import { WebSocket } from 'ws';
import { fetchEntries } from '../../src/node/cli/client.ts';
import { NOTHING_MISSED, type Missed } from '../../src/node/missed.ts';
import type { PeerId } from '../../src/gossip/index.ts';
import { addLokiTail } from '../../src/node/http/loki-tail.ts';
import { addNativeRoutes } from '../../src/node/http/native-routes.ts';
import type { ServerOptions } from '../../src/node/http/server.ts';
import { RunBuilder, systemClock, type EntryRun } from '../../src/store/index.ts';

function found(line: string): EntryRun {
  const builder = new RunBuilder();
  const [stream, rank, metadata] = [builder.stream({ a: 'b' }), builder.rank('r'), builder.metadata({})];
  builder.add(1, 0, stream, rank, metadata, Buffer.from(line), 0, line.length);
  return builder.finish();
}

test('a tail tells its client what it was too slow for, between the lines before and after it', async (t) => {
  async function* everywhere(
    _query: string,
    _signal: AbortSignal,
    onMissed: (missed: Missed) => void,
    onFollowed: () => void,
  ): AsyncGenerator<EntryRun> {
    onFollowed();
    yield found('before');
    const unheard = [{ peer: 'bob' as PeerId, fromMs: 1, toMs: 2 }];
    onMissed({ count: 3, entries: [], unheard: [] });
    onMissed({ count: 4, entries: [], unheard });
    yield found('after');
    yield found('later');
  }
  const app = Fastify({ forceCloseConnections: true }) as unknown as FastifyInstance;
  t.after(() => app.close());
  addNativeRoutes(app, { clock: systemClock, follow: { everywhere } } as unknown as ServerOptions);
  const told: unknown[] = [];
  const entries = fetchEntries({
    addr: await app.listen({ host: '127.0.0.1', port: 0 }),
    token: undefined,
    query: '{a="b"}',
    startNs: BigInt(Date.now()) * 1_000_000n,
    endNs: undefined,
    limit: 0,
    direction: 'forward',
    signal: AbortSignal.timeout(10_000),
    onMissed: (missed) => told.push(missed),
  });
  // This one ends, and without a receipt: a tail has none.
  await assert.rejects(
    async () => {
      for await (const some of entries) for (const { line } of some) told.push(String(line));
    },
    { code: 'LV_PROTOCOL' },
  );
  assert.deepEqual(told, [
    'before',
    { count: 7, unheard: [{ peer: 'bob', fromMs: 1, toMs: 2 }] },
    'after',
    'later',
  ]);
});

test("Loki's tail tells what it missed also while nothing comes", async (t) => {
  async function* everywhere(
    _query: string,
    signal: AbortSignal,
    onMissed: (missed: Missed) => void,
    onFollowed: () => void,
  ): AsyncGenerator<EntryRun> {
    onFollowed();
    yield found('before');
    onMissed({ ...NOTHING_MISSED, unheard: [{ peer: 'bob' as PeerId, fromMs: 7_000 }] });
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }
  const app = Fastify({ forceCloseConnections: true }) as unknown as FastifyInstance;
  t.after(() => app.close());
  const tokens = { push: [], query: [], admin: [] };
  const options = { clock: systemClock, follow: { everywhere }, tokens };
  addLokiTail(app, options as unknown as ServerOptions);
  const address = await app.listen({ host: '127.0.0.1', port: 0 });
  const client = new WebSocket(`${address.replace('http', 'ws')}/loki/api/v1/tail?query={a="b"}`);
  t.after(() => client.terminate());
  const told: { streams: unknown[]; dropped_entries: unknown[]; dropped_count?: number }[] = [];
  const both = Promise.withResolvers<void>();
  client.on('message', (data: Buffer) => {
    told.push(JSON.parse(data.toString()));
    if (told.length === 2) both.resolve();
  });
  client.on('error', both.reject);
  await Promise.race([both.promise, once(AbortSignal.timeout(10_000), 'abort')]);
  assert.equal(told[0].streams.length, 1);
  assert.deepEqual(told[1], {
    streams: [],
    dropped_entries: [{ labels: { logvine_unheard: 'bob' }, timestamp: '7000000000' }],
    dropped_count: 1,
  });
});
