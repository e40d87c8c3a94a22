import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import Fastify, { type FastifyInstance } from 'fastify';
import type { SealedRange, Verdict, VerifyProgress } from '../../src/gossip/index.ts';
import type { ServerOptions } from '../../src/node/http/server.ts';
import { addVerifyRoute } from '../../src/node/http/verify-route.ts';
import { LogvineError } from '../../src/store/index.ts';

type Run = (range: SealedRange, signal: AbortSignal) => AsyncGenerator<VerifyProgress, Verdict>;

const NOW_MS = Date.parse('2026-01-02T03:04:05Z');
const PROGRESS: VerifyProgress = { bytes: 1, bytesTotal: 2, segments: 1, peers: 3 };
const VERDICT = { proven: true } as Verdict;

/** A server with nothing but the route, over a verifier that does as `run` says. */
async function serve(t: TestContext, run: Run): Promise<string> {
  const app = Fastify({ forceCloseConnections: true }) as unknown as FastifyInstance;
  t.after(() => app.close());
  addVerifyRoute(app, { verifier: { run }, clock: { nowMs: () => NOW_MS } } as unknown as ServerOptions);
  return app.listen({ host: '127.0.0.1', port: 0 });
}

async function linesOf(url: string): Promise<unknown[]> {
  const text = await (await fetch(url)).text();
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);
}

test('progress line by line, the verdict last', async (t) => {
  const ranges: SealedRange[] = [];
  const url = await serve(t, async function* (range) {
    ranges.push(range);
    yield PROGRESS;
    return VERDICT;
  });
  const expected = [{ progress: PROGRESS }, { verdict: VERDICT }];
  assert.deepEqual(await linesOf(`${url}/api/v1/verify`), expected);
  assert.deepEqual(await linesOf(`${url}/api/v1/verify?since=1h`), expected);
  await linesOf(`${url}/api/v1/verify?start=2026-01-01T00:00:00Z&end=2026-01-02T00:00:00Z`);
  assert.deepEqual(ranges, [
    { fromMs: -Infinity, toMs: Infinity },
    { fromMs: NOW_MS - 3_600_000, toMs: NOW_MS },
    { fromMs: Date.parse('2026-01-01T00:00:00Z'), toMs: Date.parse('2026-01-02T00:00:00Z') },
  ]);
});

test('what fails at once is no 200; what fails later is the last line', async (t) => {
  const busy = new LogvineError('LV_OVERLOADED', 'wait for it');
  let isLate = false;
  const url = await serve(t, async function* () {
    if (isLate) yield PROGRESS;
    throw busy;
  });
  assert.notEqual((await fetch(`${url}/api/v1/verify`)).status, 200);
  isLate = true;
  assert.deepEqual(await linesOf(`${url}/api/v1/verify`), [
    { progress: PROGRESS },
    { error: { code: 'LV_OVERLOADED', message: 'wait for it' } },
  ]);
});

test('a client that goes ends the work', async (t) => {
  const ended = Promise.withResolvers<void>();
  const url = await serve(t, async function* (_range, signal) {
    signal.addEventListener('abort', () => ended.resolve());
    yield PROGRESS;
    await ended.promise;
    throw signal.reason;
  });
  const abort = new AbortController();
  const response = await fetch(`${url}/api/v1/verify`, { signal: abort.signal });
  const reader = response.body!.getReader();
  assert.match(Buffer.from((await reader.read()).value!).toString(), /progress/);
  abort.abort();
  await ended.promise;
});
