import assert from 'node:assert/strict';
import { test } from 'node:test';
import Fastify, { type FastifyInstance } from 'fastify';
import { fetchEntries } from '../../src/node/cli/client.ts';
import type { Missed } from '../../src/node/follow.ts';
import type { PeerId } from '../../src/gossip/index.ts';
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
