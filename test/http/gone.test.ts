import assert from 'node:assert/strict';
import { connect, type AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import Fastify, { type FastifyInstance } from 'fastify';
import type { Receipt, Verdict, VerifyProgress } from '../../src/gossip/index.ts';
import { addNativeRoutes } from '../../src/node/http/native-routes.ts';
import type { ServerOptions } from '../../src/node/http/server.ts';
import { addVerifyRoute } from '../../src/node/http/verify-route.ts';
import { LIMITS, RunBuilder, systemClock, type EntryRun } from '../../src/store/index.ts';

async function serve(t: TestContext, add: (app: FastifyInstance) => void): Promise<number> {
  const app = Fastify({ forceCloseConnections: true }) as unknown as FastifyInstance;
  t.after(() => app.close());
  add(app);
  await app.listen({ host: '127.0.0.1', port: 0 });
  return (app.addresses()[0] as AddressInfo).port;
}

/** Asks, and goes away as soon as it is called off. */
function asker(port: number, path: string): () => void {
  const socket = connect(port, '127.0.0.1', () => socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`));
  socket.on('error', () => undefined);
  return () => socket.destroy();
}

function oneLine(): EntryRun {
  const builder = new RunBuilder();
  const [stream, rank, metadata] = [builder.stream({ a: 'b' }), builder.rank('r'), builder.metadata({})];
  builder.add(1, 0, stream, rank, metadata, Buffer.from('x'), 0, 1);
  return builder.finish();
}

/** What is asked for below; `onBegin` and `onEnd` are called with each search. */
function nativeRoutes(found: Promise<void>, onBegin: () => void, onEnd: () => void): ServerOptions {
  async function* entries(): AsyncGenerator<EntryRun, Receipt> {
    onBegin();
    try {
      await found;
      yield oneLine();
      return { complete: true } as Receipt;
    } finally {
      onEnd();
    }
  }
  return { clock: systemClock, coordinator: { entries } } as unknown as ServerOptions;
}

const QUERY = '/api/v1/query?query=%7Ba%3D%22b%22%7D&start=1&end=2&limit=10';

test('clients that go before the first line give back their places', async (t) => {
  const found = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  let [searches, ends] = [0, 0];
  const onBegin = (): void => void (++searches === LIMITS.queriesAtOnceMax && begun.resolve());
  const onEnd = (): void => void (++ends === LIMITS.queriesAtOnceMax && ended.resolve());
  const port = await serve(t, (app) => addNativeRoutes(app, nativeRoutes(found.promise, onBegin, onEnd)));
  const leave = Array.from({ length: LIMITS.queriesAtOnceMax }, () => asker(port, QUERY));
  await begun.promise;
  for (const each of leave) each();
  // They are gone before anything was found.
  await new Promise((resolve) => setTimeout(resolve, 20));
  found.resolve();
  await ended.promise;
  const response = await fetch(`http://127.0.0.1:${port}${QUERY}`);
  assert.ok((await response.arrayBuffer()).byteLength > 0);
  assert.equal(ends, LIMITS.queriesAtOnceMax + 1);
});

test('a client that goes before the first progress of verify ends it', async (t) => {
  const began = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  async function* run(_range: object, signal: AbortSignal): AsyncGenerator<VerifyProgress, Verdict> {
    try {
      began.resolve();
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      yield { bytes: 1, bytesTotal: 2, segments: 1, peers: 3 };
      throw signal.reason;
    } finally {
      ended.resolve();
    }
  }
  const port = await serve(t, (app) =>
    addVerifyRoute(app, { verifier: { run }, clock: systemClock } as unknown as ServerOptions),
  );
  const leave = asker(port, '/api/v1/verify');
  await began.promise;
  leave();
  await ended.promise;
});
