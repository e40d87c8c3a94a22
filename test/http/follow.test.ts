import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Follow, type Dropped } from '../../src/node/follow.ts';
import type { UnsealedStream } from '../../src/node/tasks.ts';
import { RunBuilder, systemClock, type EntryRun } from '../../src/store/index.ts';
import { SimClock } from '../helpers/sim-clock.ts';
import { columnsFrom } from '../store/material.ts';

const BLOCKS = 1000;

/** What a scan finds: so many lines. */
function found(lines: number, line: Buffer): EntryRun {
  const builder = new RunBuilder();
  const [stream, rank, metadata] = [builder.stream({ app: 'a' }), builder.rank('z'), builder.metadata({})];
  for (let at = 0; at < lines; at++) builder.add(1, 0, stream, rank, metadata, line, 0, line.length);
  return builder.finish();
}

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
      return found(streams.length, Buffer.from('x'));
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

const MiB = 1024 * 1024;
/** What waits for a slow follower, at most, and what passes it once more. */
const WAITING_BYTES_MAX = 32 * MiB;

/** A tail of a peer on its own; what it reads are lines of a mebibyte, and `read` is called with each. */
function ownTail(read: (lines: number) => Promise<void>) {
  const clock = new SimClock();
  const line = Buffer.alloc(MiB - 1);
  const columns = columnsFrom([{ ms: 1, sub: 0, line, metadata: {} }]);
  const labels = { app: 'a' };
  const followers = new Set<(streams: UnsealedStream[]) => void>();
  const follow = new Follow({
    batcher: {
      follow: (each: (streams: UnsealedStream[]) => void) => {
        followers.add(each);
        return () => followers.delete(each);
      },
    },
    clock,
    transport: { self: 'me' },
    scanUnsealed: async (_query: string, _range: object, { length }: UnsealedStream[]) => {
      await read(length);
      return found(length, line);
    },
    others: () => [],
  } as unknown as ConstructorParameters<typeof Follow>[0]);
  const write = (count: number): void => {
    for (let at = 0; at < count; at++)
      for (const each of followers) each([{ labels, timeZone: 'UTC', blocks: [], columns }]);
  };
  return { clock, follow, write, followers };
}

test('what waits for a slow follower is bounded by its bytes, and goes out in pieces that fit a message', async () => {
  const reads: number[] = [];
  const { follow, write } = ownTail(async (lines) => void reads.push(lines));
  const stop = new AbortController();
  let missed = 0;
  const runs = follow.local('{app="a"}', stop.signal, ({ count }) => (missed += count));
  const first = runs.next();
  write(100);
  let lines = (await first).value!.count;
  while (lines + missed < 100) lines += (await runs.next()).value!.count;
  assert.equal(lines * MiB, WAITING_BYTES_MAX);
  assert.deepEqual([...new Set(reads)], [1]);
  stop.abort();
});

test('what waits for a slow follower of the mesh is bounded by its bytes; it gets what comes once it reads on', async () => {
  const { clock, follow, write } = ownTail(async () => undefined);
  const stop = new AbortController();
  let missed = 0;
  const runs = follow.everywhere('{app="a"}', stop.signal, ({ count }) => (missed += count));
  let lines = 0;
  const readOn = async (): Promise<void> => {
    const { value } = await clock.run(runs.next());
    lines += value!.count;
  };
  const first = readOn();
  await clock.advance(0);
  write(1);
  await first;
  // Nobody reads on for now, and each line is taken from its peer as it comes.
  for (let at = 0; at < 100; at++) {
    write(1);
    await clock.advance(0);
  }
  while (lines + missed < 101) await readOn();
  assert.equal((lines - 1) * MiB, WAITING_BYTES_MAX);
  const before = missed;
  write(1);
  await readOn();
  assert.equal(missed, before);
  stop.abort();
});

test('a tail whose peer could not read lines of its own once follows it again', async () => {
  let isFailing = true;
  const { clock, follow, write, followers } = ownTail(async () => {
    if (isFailing) throw new Error('no worker');
  });
  const stop = new AbortController();
  const runs = follow.everywhere('{app="a"}', stop.signal);
  const next = runs.next();
  await clock.advance(0);
  write(1);
  await clock.advance(0);
  assert.equal(followers.size, 0);
  isFailing = false;
  assert.ok(await clock.until(() => followers.size === 1, 1_000));
  write(1);
  assert.equal((await clock.run(next)).value?.count, 1);
  stop.abort();
});
