/** What a command is given to read: its arguments, and a node's answers. And what an origin is told by its owners. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before } from 'node:test';
import { encodeReceipt } from '../../src/gossip/replication/messages.ts';
import { OwnerStream } from '../../src/gossip/replication/owner-stream.ts';
import type { Channel, PeerId, Transport } from '../../src/gossip/transport/index.ts';
import { fetchEntries } from '../../src/node/cli/client.ts';
import { main, type Services } from '../../src/node/cli/index.ts';
import { FRAME_ERROR, FRAME_RECEIPT, FRAME_RUN } from '../../src/node/http/native.ts';
import { encodeRun } from '../../src/store/query/index.ts';
import { LogvineError, type Disk, type SealedBatch } from '../../src/store/index.ts';
import { FakeIo, WHOLE } from '../cli/fake-io.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { columnsFrom, randomEntries } from '../store/material.ts';
import { fuzz } from './fuzz.ts';

/** Nothing is there, and nothing can be written. */
const refuse = (): Promise<never> => Promise.reject(Object.assign(new Error('refused'), { code: 'EACCES' }));
const nowhere = new Proxy({} as Disk, {
  get: (_, name) => (name === 'readFile' || name === 'stat' ? () => Promise.resolve(undefined) : refuse),
});

class IoWithoutDisk extends FakeIo {
  override readonly disk = nowhere as FakeIo['disk'];
}

const down = (): Promise<never> => Promise.reject(new LogvineError('LV_PEER_UNREACHABLE', 'nobody is there'));
const services: Services = {
  startNode: down,
  fetchEntries: async function* () {
    yield [];
    return WHOLE;
  },
  fetch: () => Promise.resolve(new Response('{"status":"success","data":[]}', { status: 200 })),
};

const COMMANDS = [
  ['run', '--data', '/tmp/x', '--listen', '127.0.0.1:0', '--label', 'a=b', '/var/log/*.log'],
  ['query', '--since', '1h', '--limit', '10', '--output', 'json', '{a="b"}'],
  ['query', '--from', '2026-01-01T00:00:00Z', '--to', 'now', '-C', '3', '{a="b"} |= "x"'],
  ['query', '--step', '1m', 'sum(rate({a="b"}[5m]))'],
  ['tail', '{a="b"}'],
  ['labels', '--addr', 'http://127.0.0.1:7420', 'host'],
  ['series', '{a="b"}'],
  ['stats', '{a="b"}'],
  ['status', '--output', 'json'],
  ['verify', '--since', '2d'],
  ['config', 'check', '--config', 'x.yaml'],
  ['leave', '--help'],
];

fuzz('the arguments of a command', {
  samples: COMMANDS.map((argv) => Buffer.from(argv.join('\u0000'))),
  refusals: [],
  async parse(bytes) {
    const io = new IoWithoutDisk();
    let isOver = false;
    const ended = main(bytes.toString().split('\u0000'), io, services).finally(() => (isOver = true));
    // What waits for the next moment to look again is told to stop, as by Ctrl-C.
    for (let turn = 0; turn < 50 && !isOver; turn++) await new Promise((resolve) => setImmediate(resolve));
    while (!isOver) {
      io.stop();
      for (const run of io.timers) run();
      io.timers.clear();
      await new Promise((resolve) => setImmediate(resolve));
    }
    return { code: await ended, said: io.reports.join('\n') };
  },
  check({ code, said }) {
    assert.ok([0, 1, 2, 3].includes(code), `exit ${code}`);
    // What is wrong with the arguments themselves is said in the words of whoever typed them.
    if (code === 2) return;
    assert.doesNotMatch(said, /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/, 'nothing moves the cursor');
  },
});

const frame = (kind: number, body: Uint8Array): Buffer => {
  const head = Buffer.alloc(5);
  head.writeUInt32LE(body.length + 1);
  head[4] = kind;
  return Buffer.concat([head, body]);
};
const run = {
  ...columnsFrom(randomEntries(seededRandom(1), 5)),
  streamIds: new Uint32Array(5),
  streams: [{ app: 'a' }],
  rankIds: new Uint32Array(5),
  ranks: ['x/1/1'],
};
const receipt = Buffer.from(JSON.stringify(WHOLE));

let answer: Buffer = Buffer.alloc(0);
const server = createServer((_, response) => {
  // In two pieces: frames are cut anywhere.
  response.write(answer.subarray(0, answer.length >>> 1));
  response.end(answer.subarray(answer.length >>> 1));
});
before(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)));
after(() => server.close());

fuzz('the frames of an answer', {
  samples: [
    Buffer.concat([frame(FRAME_RUN, encodeRun(run)), frame(FRAME_RECEIPT, receipt)]),
    frame(FRAME_ERROR, Buffer.from('{"code":"LV_QUERY_TIMEOUT","message":"late"}')),
    Buffer.concat([frame(9, Buffer.from('of a later version')), frame(FRAME_RECEIPT, receipt)]),
  ],
  refusals: ['LV_PROTOCOL', 'LV_PEER_UNREACHABLE', 'LV_QUERY_TIMEOUT', 'LV_QUERY_INVALID'],
  async parse(bytes) {
    answer = bytes;
    const { port } = server.address() as AddressInfo;
    const request = {
      addr: `http://127.0.0.1:${port}`,
      token: undefined,
      query: '{a="b"}',
      startNs: 0n,
      endNs: 1n,
      limit: 0,
      direction: 'forward',
      signal: new AbortController().signal,
    } as const;
    const entries = fetchEntries(request);
    try {
      for (let next = await entries.next(); ; next = await entries.next()) if (next.done) return next.value;
    } catch (error) {
      // The sample is an error that the node tells: it is one here, too.
      if ((error as { code?: string }).code === 'LV_QUERY_TIMEOUT') return undefined;
      throw error;
    }
  },
  check(found) {
    if (found) assert.equal(typeof found.complete, 'boolean');
  },
});

const ack = (epoch: number, index: number, seq: number): Buffer =>
  encodeReceipt({ kind: 'durable', epoch, index, seq });

fuzz('what an owner says of frames', {
  samples: [
    ack(5, 1, 1),
    ack(1_700_000_000_000, 300, 70_000),
    ack(5, 1, Number.MAX_SAFE_INTEGER),
    encodeReceipt({ kind: 'received', frames: 1 }),
    encodeReceipt({ kind: 'received', frames: Number.MAX_SAFE_INTEGER }),
  ],
  refusals: [],
  async parse(bytes) {
    const clock = new SimClock();
    const heard = Promise.withResolvers<readonly SealedBatch[] | Error>();
    let received = 0;
    const channel: Channel = {
      peer: 'owner' as PeerId,
      send: () => Promise.resolve(),
      receive: () => Promise.resolve(received++ === 0 ? bytes : undefined),
      close: () => Promise.resolve(),
      abort: () => undefined,
    };
    const stream = new OwnerStream({
      owner: 'owner' as PeerId,
      transport: { open: () => Promise.resolve(channel) } as unknown as Transport,
      clock,
      openTimeoutMs: 1,
      ackTimeoutMs: 1,
      windowBytes: 1_000,
      durableSeq: () => 0,
      onLag: () => undefined,
      onAck: (batches) => heard.resolve(batches),
      onFailed: (error) => heard.resolve(error),
    });
    stream.send({ seq: 1, frameBytes: 1, frame: [Buffer.of(1)] } as unknown as SealedBatch);
    const outcome = await heard.promise;
    stream.close();
    return outcome;
  },
  check(outcome) {
    if (outcome instanceof Error) return;
    assert.ok(outcome.length <= 1);
  },
});
