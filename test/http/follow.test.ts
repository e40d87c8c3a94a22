import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Follow, type Missed } from '../../src/node/follow.ts';
import type { UnsealedStream } from '../../src/node/tasks.ts';
import { RunBuilder, systemClock, type EntryRun } from '../../src/store/index.ts';
import { SimClock } from '../helpers/sim-clock.ts';
import { columnsFrom } from '../store/material.ts';

/** More than wait for a slow follower: each weighs at least 2 KiB. */
const BLOCKS = 20_000;

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
  const missed: Missed[] = [];
  const runs = follow.local('{app="a"}', stop.signal, (more) => missed.push(more));
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
  let lines = (await first).value!.count;
  assert.equal(lines, scanned[0]);
  const told = (): number => missed.reduce((sum, { count }) => sum + count, 0);
  while (lines + told() < BLOCKS) lines += (await runs.next()).value!.count;
  assert.ok(told() > 0);
  const next = runs.next();
  publish(block(BLOCKS));
  assert.equal((await next).value?.count, 1);
  stop.abort();
  await runs.return(undefined);
  assert.equal(scanned.reduce((sum, blocks) => sum + blocks, 0) + told(), BLOCKS + 1);
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

/** A tail of a peer on its own; what it reads are lines of so many bytes, and `read` is called with each. */
function ownTail(read: (lines: number) => Promise<void>, lineBytes = MiB - 1) {
  const clock = new SimClock();
  const line = Buffer.alloc(lineBytes);
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
  return { clock, follow, write };
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

test('short lines of minutes wait for a follower that is slow', async () => {
  const { clock, follow, write } = ownTail(async () => undefined, 10);
  const stop = new AbortController();
  let missed = 0;
  const runs = follow.everywhere('{app="a"}', stop.signal, ({ count }) => (missed += count));
  const first = runs.next();
  await clock.advance(0);
  // Each comes on its own, and nobody reads on.
  for (let at = 0; at < 1_000; at++) {
    write(1);
    await clock.advance(0);
  }
  let lines = (await clock.run(first)).value!.count;
  while (lines + missed < 1_000) lines += (await clock.run(runs.next())).value!.count;
  assert.equal(missed, 0);
  stop.abort();
});

test('what a peer could not read of its own is told to its followers, and they get what comes after it', async () => {
  let isFailing = true;
  const { clock, follow, write } = ownTail(async () => {
    if (isFailing) throw new Error('no worker');
  });
  const stop = new AbortController();
  let missed = 0;
  const runs = follow.everywhere('{app="a"}', stop.signal, ({ count }) => (missed += count));
  const next = runs.next();
  await clock.advance(0);
  write(3);
  await clock.advance(1_000);
  assert.equal(missed, 3);
  isFailing = false;
  write(1);
  assert.equal((await clock.run(next)).value?.count, 1);
  assert.equal(missed, 3);
  stop.abort();
});

const ALIVE = Buffer.from('\u0002{"count":0,"entries":[]}');

/** A tail beside peers that say what they are told to. */
function tailBeside(peers: string[]) {
  const clock = new SimClock();
  /** The newest channel to each peer; undefined: it is out of reach. */
  const channels = new Map<string, ReturnType<typeof Promise.withResolvers<Buffer | undefined>>>();
  const down = new Set<string>();
  const follow = new Follow({
    batcher: { follow: () => () => undefined },
    clock,
    transport: {
      self: 'me',
      open: async (peer: string) => {
        if (down.has(peer)) throw new Error('nobody there');
        const next = (): void => void channels.set(peer, Promise.withResolvers<Buffer | undefined>());
        next();
        return {
          send: async () => undefined,
          abort: (reason: Error) => channels.get(peer)?.reject(reason),
          receive: async () => {
            const bytes = await channels.get(peer)!.promise;
            next();
            return bytes;
          },
        };
      },
    },
    others: () => peers,
  } as unknown as ConstructorParameters<typeof Follow>[0]);
  const say = async (peer: string): Promise<void> => {
    channels.get(peer)!.resolve(ALIVE);
    await clock.advance(0);
  };
  return { clock, follow, channels, down, say };
}

test('from when to when a peer could not be followed is told once it is followed again', async () => {
  const peers = ['bob', 'charlie'];
  const { clock, follow, channels, down, say } = tailBeside(peers);
  const startedMs = clock.nowMs();
  const stop = new AbortController();
  const unheard: unknown[] = [];
  const onMissed = (missed: Missed): void => void unheard.push(...missed.unheard);
  const over = follow.everywhere('{app="a"}', stop.signal, onMissed).next();
  await clock.advance(100);
  for (const peer of peers) await say(peer);
  await clock.advance(7_000);
  for (const peer of peers) await say(peer);
  const heardMs = clock.nowMs();
  await clock.advance(2_000);
  assert.deepEqual(unheard, []);
  down.add('bob');
  channels.get('bob')!.reject(new Error('gone'));
  await clock.advance(3_000);
  down.delete('bob');
  await clock.advance(1_000);
  await say('bob');
  await clock.advance(1);
  assert.deepEqual(unheard, [{ peer: 'bob', fromMs: heardMs, toMs: clock.nowMs() - 1 }]);
  // One that joins has read since it started.
  peers.push('dave');
  await clock.advance(1_000);
  await say('dave');
  await clock.advance(1);
  assert.deepEqual(unheard.slice(1), [{ peer: 'dave', fromMs: startedMs, toMs: clock.nowMs() - 1 }]);
  stop.abort();
  assert.equal((await over).done, true);
});

test('a peer that says nothing any more is followed anew', async () => {
  const { clock, follow, channels, say } = tailBeside(['bob']);
  const stop = new AbortController();
  const unheard: unknown[] = [];
  const onMissed = (missed: Missed): void => void unheard.push(...missed.unheard);
  const over = follow.everywhere('{app="a"}', stop.signal, onMissed).next();
  await clock.advance(100);
  await say('bob');
  const heardMs = clock.nowMs();
  const first = channels.get('bob');
  await clock.advance(15_000);
  assert.equal(channels.get('bob'), first);
  await clock.advance(6_000);
  assert.notEqual(channels.get('bob'), first);
  await say('bob');
  await clock.advance(1);
  assert.deepEqual(unheard, [{ peer: 'bob', fromMs: heardMs, toMs: clock.nowMs() - 1 }]);
  stop.abort();
  assert.equal((await over).done, true);
});

test('who is followed and has nothing to tell says so every few seconds', async () => {
  const clock = new SimClock();
  const follow = new Follow({
    batcher: { follow: () => () => undefined },
    clock,
    transport: { self: 'me' },
    others: () => [],
  } as unknown as ConstructorParameters<typeof Follow>[0]);
  const gone = Promise.withResolvers<undefined>();
  const asked = [Promise.resolve(Buffer.from('{"query":"{app=\\"a\\"}"}')), gone.promise];
  const sent: string[] = [];
  const served = follow.serve({
    receive: () => asked.shift(),
    send: async (bytes: Buffer) => void sent.push(bytes.toString()),
  } as unknown as Parameters<Follow['serve']>[0]);
  await clock.advance(21_000);
  assert.deepEqual(new Set(sent), new Set([ALIVE.toString()]));
  assert.ok(sent.length >= 4 && sent.length <= 6, `${sent.length} messages`);
  gone.resolve(undefined);
  await clock.run(served);
});
