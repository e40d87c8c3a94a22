import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Follow, type Dropped } from '../../src/node/follow.ts';
import type { UnsealedStream } from '../../src/node/tasks.ts';
import { systemClock, type EntryRun } from '../../src/store/index.ts';
import { SimClock } from '../helpers/sim-clock.ts';
import { columnsFrom } from '../store/material.ts';

const BLOCKS = 1000;

test('a follower that is too slow is told how much it missed, before what comes after it', async () => {
  let publish: (streams: UnsealedStream[]) => void = () => undefined;
  const scanned: number[] = [];
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  const follow = new Follow({
    batcher: {
      follow: (each: typeof publish) => {
        publish = each;
        return () => undefined;
      },
    },
    clock: systemClock,
    transport: { self: 'me' },
    scanUnsealed: async (_query: string, _range: object, streams: UnsealedStream[]) => {
      scanned.push(streams.length);
      await held;
      return { count: streams.length } as EntryRun;
    },
    others: () => [],
  } as unknown as ConstructorParameters<typeof Follow>[0]);
  const stop = new AbortController();
  const missed: Dropped[] = [];
  const runs = follow.local('{app="a"}', stop.signal, (dropped) => missed.push(dropped));
  const first = runs.next();
  const block = (ms: number): UnsealedStream[] => [
    {
      labels: { app: 'a' },
      timeZone: 'UTC',
      blocks: [],
      columns: columnsFrom([{ ms, sub: 0, line: Buffer.from('x'), metadata: {} }]),
    },
  ];
  for (let n = 0; n < BLOCKS; n++) publish(block(n));
  publish([{ ...block(0)[0], labels: { app: 'other' } }]);
  release();
  assert.equal((await first).value?.count, scanned[0]);
  const second = runs.next();
  publish(block(BLOCKS));
  assert.equal((await second).value?.count, 1);
  stop.abort();
  await runs.return(undefined);
  const told = missed.reduce((sum, { count }) => sum + count, 0);
  assert.equal(scanned.reduce((sum, blocks) => sum + blocks, 0) + told, BLOCKS + 1);
  assert.ok(told > 0);
  assert.ok(missed.every(({ entries }) => entries.length <= 100));
  assert.deepEqual(missed[0].entries[0].labels, { app: 'a' });
});

test('that all are followed is said once the last of them has said so, or is given up', async () => {
  const clock = new SimClock();
  const greetings = ['bob', 'charlie', 'dave'].map((peer) => ({ peer, ...Promise.withResolvers<Buffer>() }));
  const heard = [...greetings];
  const forever = new Promise<Buffer>(() => undefined);
  const follow = new Follow({
    batcher: { follow: () => () => undefined },
    clock,
    transport: {
      self: 'me',
      open: async (peer: string) => ({
        send: async () => undefined,
        abort: () => undefined,
        receive: () =>
          heard.splice(heard.findIndex((one) => one.peer === peer) >>> 0, 1)[0]?.promise ?? forever,
      }),
    },
    others: () => greetings.map(({ peer }) => peer),
  } as unknown as ConstructorParameters<typeof Follow>[0]);
  let isFollowed = false;
  const stop = new AbortController();
  const runs = follow.everywhere('{app="a"}', stop.signal, undefined, () => (isFollowed = true));
  const over = runs.next();
  await clock.advance(100);
  greetings[0].resolve(Buffer.from('\u0002{"count":0,"entries":[]}'));
  await clock.advance(100);
  greetings[1].reject(new Error('gone'));
  await clock.advance(1_000);
  assert.equal(isFollowed, false);
  await clock.advance(2_000);
  assert.equal(isFollowed, true);
  stop.abort();
  assert.equal((await over).done, true);
});
