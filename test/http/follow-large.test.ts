import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createHandlers } from '../../src/node/handlers.ts';
import { encodeRun, LIMITS } from '../../src/store/index.ts';
import { Follow } from '../../src/node/follow.ts';
import type { UnsealedStream } from '../../src/node/tasks.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import { columnsFrom } from '../store/material.ts';

test('each piece of a tail fits a message, also where stages make labels of each line', async () => {
  // Many label sets, and few that are large.
  await tailsFit({ count: 50_000, lineBytes: 0, copies: 1 });
  await tailsFit({ count: 200, lineBytes: 5_000, copies: 30 });
});

async function tailsFit({ count, lineBytes, copies }: Record<string, number>): Promise<void> {
  const clock = new SimClock();
  const handlers = createHandlers(new SimDisk(seededRandom(1)).reader(), clock);
  let publish: (streams: UnsealedStream[]) => void = () => undefined;
  const follow = new Follow({
    batcher: {
      follow: (each: typeof publish) => {
        publish = each;
        return () => undefined;
      },
    },
    clock,
    transport: { self: 'me' },
    scanUnsealed: async (query: string, range: object, streams: UnsealedStream[]) =>
      handlers.scanUnsealed({
        query,
        range,
        streams,
        descending: false,
        limit: Infinity,
        rank: 'z',
        discoverLevels: true,
      } as never).value,
    others: () => [],
  } as unknown as ConstructorParameters<typeof Follow>[0]);
  const entries = Array.from({ length: count }, (_, at) => ({
    ms: at,
    sub: 0,
    line: Buffer.from(`line ${at}${' '.repeat(lineBytes)}`),
    metadata: {},
  }));
  const query = `{app="a"} | label_format x="${'{{ __line__ }}'.repeat(copies)} ${'long '.repeat(120)}"`;
  const stop = new AbortController();
  const runs = follow.local(query, stop.signal);
  const next = runs.next();
  publish([{ labels: { app: 'a' }, timeZone: 'UTC', blocks: [], columns: columnsFrom(entries) }]);
  let rows = 0;
  for (let run = (await next).value!; ; run = (await runs.next()).value!) {
    const bytes = encodeRun(run).length;
    assert.ok(bytes < LIMITS.messageBytesMax, `${run.count} lines are ${bytes} bytes`);
    if ((rows += run.count) >= entries.length) break;
  }
  stop.abort();
}
