/** Connections that ask to become something else, and answers that never end. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { LIMITS } from '../../src/store/index.ts';
import type { EntryRun } from '../../src/store/index.ts';
import { entriesStream } from '../../src/node/http/native.ts';
import { SimClock } from '../helpers/sim-clock.ts';
import { LokiNode } from './loki-node.ts';

test('an answer that has nothing to say yet says so, at once and every 15 s', async () => {
  const clock = new SimClock();
  const over = Promise.withResolvers<EntryRun[]>();
  async function* quiet(): AsyncGenerator<EntryRun, undefined> {
    yield* await over.promise;
  }
  const body = entriesStream(quiet(), clock)[Symbol.asyncIterator]();
  const alive = { done: false, value: Buffer.from([1, 0, 0, 0, 4]) };
  assert.deepEqual(await body.next(), alive);
  for (let times = 0; times < 2; times++) {
    const next = body.next();
    await clock.advance(15_000);
    assert.deepEqual(await next, alive);
  }
  over.resolve([]);
  assert.equal((await body.next()).done, true);
});

describe('what asks for more than an answer', () => {
  let node: LokiNode;
  before(async () => {
    node = await LokiNode.start();
  });
  after(() => node.close());

  /** Sends a request as it stands; resolves with the first line of the answer. */
  function statusLine(path: string, upgrade: string, whose = 'host: localhost'): Promise<string> {
    const { hostname, port } = new URL(node.url);
    return new Promise((resolve, reject) => {
      const socket = connect(Number(port), hostname);
      socket.on('error', reject);
      socket.once('data', (bytes: Buffer) => {
        socket.destroy();
        resolve(bytes.toString('latin1').split('\r\n', 1)[0]);
      });
      socket.write(`GET ${path} HTTP/1.1\r\n${whose}\r\nconnection: upgrade\r\nupgrade: ${upgrade}\r\n\r\n`);
    });
  }

  test('a WebSocket at no path of ours is refused, whatever it says', async () => {
    for (const path of ['/', '//', 'http://[', '/loki/api/v1/tai', '*', '/%']) {
      assert.equal(await statusLine(path, 'websocket'), 'HTTP/1.1 404 Refused', path);
    }
  });

  test('pages of another origin, and whoever comes by another name, get nothing of a node without tokens', async () => {
    const tail = '/loki/api/v1/tail?query=%7Ba%3D%22b%22%7D';
    const key = 'sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==';
    for (const whose of ['host: rebound.example', 'host: localhost\r\norigin: https://evil.example']) {
      for (const path of ['/', '/ready', '/api/v1/status', '/loki/api/v1/labels', '/nowhere'])
        assert.equal(await statusLine(path, 'h2c', whose), 'HTTP/1.1 403 Forbidden', `${path} ${whose}`);
      assert.equal(await statusLine(tail, 'websocket', `${whose}\r\n${key}`), 'HTTP/1.1 403 Refused', whose);
    }
    const own = `host: localhost\r\norigin: http://localhost\r\n${key}`;
    assert.equal(await statusLine(tail, 'websocket', own), 'HTTP/1.1 101 Switching Protocols');
  });

  test(
    'one that was refused is hung up on, and keeps no node from stopping',
    { timeout: 10_000 },
    async () => {
      const { hostname, port } = new URL(node.url);
      const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true });
      const ended = new Promise<void>((resolve) => socket.once('end', resolve));
      // Only where nobody is there any more, what is sent comes back as an error.
      const isGone = new Promise<void>((resolve) => socket.on('error', () => resolve()));
      socket.resume();
      socket.write(
        'GET /nowhere HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n',
      );
      await ended;
      const writing = setInterval(() => socket.write('x'), 20);
      await isGone;
      clearInterval(writing);
      socket.destroy();
    },
  );

  test('who offers HTTP/2 is answered in HTTP/1.1', async () => {
    assert.equal(await statusLine('/ready', 'h2c'), 'HTTP/1.1 200 OK');
  });

  test('so many tails run at once, and one that ends makes room', async () => {
    const tails: AbortController[] = [];
    const start = async (): Promise<number> => {
      const tail = new AbortController();
      tails.push(tail);
      const { status } = await fetch(`${node.url}/api/v1/tail?query={a="b"}`, { signal: tail.signal });
      return status;
    };
    const statuses = await Promise.all(Array.from({ length: LIMITS.tailsAtOnceMax }, start));
    assert.ok(statuses.every((status) => status === 200));
    assert.equal(await start(), 429);
    tails[0].abort();
    const deadlineMs = performance.now() + 5_000;
    while ((await start()) !== 200) assert.ok(performance.now() < deadlineMs, 'no room');
    for (const tail of tails) tail.abort();
  });
});
