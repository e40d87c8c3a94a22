import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Awaited } from '../../src/node/awaited.ts';
import { Follow } from '../../src/node/follow.ts';
import type { Missed } from '../../src/node/missed.ts';
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
  greetings[0].resolve(alive(0));
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

/** What a peer says that has nothing to tell: all that it read up to then has come. */
function alive(upToMs: number): Buffer {
  const head = Buffer.alloc(9, 2);
  head.writeDoubleLE(upToMs, 1);
  return Buffer.concat([head, Buffer.from('{"count":0,"entries":[]}')]);
}

/** A tail beside peers that say what they are told to. */
function tailBeside(peers: string[]) {
  const clock = new SimClock();
  /** The newest channel to each peer. */
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
  const stop = new AbortController();
  const unheard: unknown[] = [];
  const onMissed = (missed: Missed): void => void unheard.push(...missed.unheard);
  const over = follow.everywhere('{app="a"}', stop.signal, onMissed).next();
  const say = async (peer: string, upToMs: number): Promise<void> => {
    channels.get(peer)!.resolve(alive(upToMs));
    await clock.advance(500);
  };
  const end = async (): Promise<void> => {
    stop.abort();
    assert.equal((await over).done, true);
  };
  return { clock, channels, down, unheard, say, end };
}

test('what a peer read while it could not be followed is told of, by the clock of that peer', async () => {
  const peers = ['bob', 'charlie'];
  const { clock, channels, down, unheard, say, end } = tailBeside(peers);
  const startedMs = clock.nowMs();
  await clock.advance(100);
  for (const peer of peers) await say(peer, 1_000);
  await say('bob', 9_000);
  await clock.advance(60_000);
  assert.deepEqual(unheard, []);
  down.add('bob');
  channels.get('bob')!.reject(new Error('gone'));
  await clock.advance(3_000);
  down.delete('bob');
  await clock.advance(1_000);
  await say('bob', 72_000);
  assert.deepEqual(unheard.splice(0), [{ peer: 'bob', fromMs: 9_000, toMs: 72_000 }]);
  // Its clock was put back meanwhile.
  channels.get('bob')!.reject(new Error('gone'));
  await clock.advance(1_000);
  await say('bob', 5_000);
  assert.deepEqual(unheard.splice(0), [{ peer: 'bob', fromMs: 5_000, toMs: 5_000 }]);
  // One that joins has read since it started.
  peers.push('dave');
  await clock.advance(1_000);
  const heardMs = clock.nowMs();
  await say('dave', heardMs);
  assert.deepEqual(unheard, [{ peer: 'dave', fromMs: startedMs, toMs: heardMs }]);
  await end();
});

test('a peer that is alive and cannot be followed is told of once, and again when it can be', async () => {
  const { clock, down, unheard, say, end } = tailBeside(['bob']);
  const startedMs = clock.nowMs();
  down.add('bob');
  await clock.advance(19_000);
  assert.deepEqual(unheard, []);
  await clock.advance(3_600_000);
  assert.deepEqual(unheard, [{ peer: 'bob', fromMs: startedMs, toMs: undefined }]);
  down.delete('bob');
  await clock.advance(1_000);
  const heardMs = clock.nowMs();
  await say('bob', heardMs);
  assert.deepEqual(unheard.slice(1), [{ peer: 'bob', fromMs: startedMs, toMs: heardMs }]);
  await end();
});

/** A peer that serves a follower, and what it has sent: kind, and up to when all came. */
function served(read: () => Promise<void>) {
  const tail = ownTail(read, 10);
  const gone = Promise.withResolvers<undefined>();
  const asked = [Promise.resolve(Buffer.from('{"query":"{app=\\"a\\"}"}')), gone.promise];
  const sent: { kind: number; upToMs: number }[] = [];
  const link = { isBusy: false, free: (): void => undefined };
  const over = tail.follow.serve({
    receive: () => asked.shift(),
    send: async (bytes: Buffer) => {
      sent.push({ kind: bytes[0], upToMs: bytes.readDoubleLE(1) });
      if (link.isBusy) await new Promise<void>((resolve) => (link.free = resolve));
    },
  } as unknown as Parameters<Follow['serve']>[0]);
  const end = async (): Promise<void> => {
    link.isBusy = false;
    link.free();
    gone.resolve(undefined);
    await tail.clock.run(over);
  };
  return { ...tail, sent, link, end };
}

test('who is followed and has nothing to tell says so every few seconds', async () => {
  const { clock, sent, end } = served(async () => undefined);
  const startedMs = clock.nowMs();
  await clock.advance(21_000);
  assert.deepEqual(new Set(sent.map(({ kind }) => kind)), new Set([2]));
  const told = sent.map(({ upToMs }) => upToMs - startedMs);
  assert.deepEqual(told, [0, 5_000, 10_000, 15_000, 20_000]);
  await end();
});

test('up to when all has come does not count what waits for the network, or is being searched', async () => {
  let isHeld = true;
  let release = (): void => undefined;
  const { clock, sent, link, write, end } = served(async () => {
    if (isHeld) await new Promise<void>((resolve) => (release = resolve));
  });
  await clock.advance(1_000);
  const readMs = clock.nowMs();
  write(1);
  await clock.advance(6_000);
  assert.deepEqual(sent.slice(1), [{ kind: 2, upToMs: readMs }], 'it is being searched');
  isHeld = false;
  link.isBusy = true;
  release();
  await clock.advance(1_000);
  assert.deepEqual(sent.slice(2), [{ kind: 1, upToMs: readMs }], 'it is on its way');
  const laterMs = clock.nowMs();
  write(1);
  await clock.advance(1_000);
  link.isBusy = false;
  link.free();
  await clock.advance(0);
  assert.deepEqual(sent.slice(3), [{ kind: 1, upToMs: laterMs }], 'it had to wait');
  await clock.advance(5_000);
  assert.deepEqual(sent.slice(4), [{ kind: 2, upToMs: clock.nowMs() }]);
  await end();
});

test('a result that is waited for many times comes, or fails, once it is there', async () => {
  const clock = new SimClock();
  const later = Promise.withResolvers<string>();
  const awaited = new Awaited(later.promise);
  for (let round = 0; round < 3; round++)
    assert.equal(await clock.run(awaited.within(1_000, clock)), undefined);
  const next = awaited.within(1_000, clock);
  later.resolve('it');
  assert.equal(await next, 'it');
  assert.equal(await awaited.within(1_000, clock), 'it');
  const failing = new Awaited(Promise.reject(new Error('no')));
  await assert.rejects(failing.within(1_000, clock), /no/);
  await assert.rejects(failing.within(1_000, clock), /no/);
});
