import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectSocket, createServer, type AddressInfo, type Socket } from 'node:net';
import { test } from 'node:test';
import {
  createLibp2pTransport,
  request,
  type Channel,
  type Libp2pTransportOptions,
  type Transport,
} from '../../src/gossip/transport/index.ts';
import { parseAddress } from '../../src/gossip/transport/address.ts';
import { keysFromSeed } from '../../src/gossip/transport/keys.ts';
import { createNode } from '../../src/gossip/transport/libp2p-node.ts';
import { LogvineError } from '../../src/store/errors.ts';
import { systemClock } from '../../src/store/host/index.ts';
import { LIMITS } from '../../src/store/limits.ts';
import { TOPIC, transportContract } from './transport-contract.ts';

const messageBytesMax = 8 * 1024 * 1024;
const log = { debug: () => {}, warn: () => {} };
const PROTOCOL = '/logvine/test/1';

function start(options: Partial<Libp2pTransportOptions> = {}): Promise<Transport> {
  return createLibp2pTransport({
    seed: randomBytes(32),
    listen: '127.0.0.1:0',
    secrets: [],
    topics: [TOPIC],
    messageBytesMax,
    clock: systemClock,
    log,
    ...options,
  });
}

function portOf(transport: Transport): number {
  return Number(/\/tcp\/(\d+)\//.exec(transport.addresses()[0]!)![1]);
}

function withCode(code: string) {
  return (error: unknown) => error instanceof LogvineError && error.code === code;
}

transportContract('libp2p transport', () => {
  const secret = randomBytes(32);
  const started: Transport[] = [];
  return {
    // Port 1 is reserved and nobody listens there.
    deserted: '127.0.0.1:1',
    messageBytesMax,
    async start() {
      const transport = await start({ secrets: [secret] });
      started.push(transport);
      return transport;
    },
    addressOf: (transport) => `127.0.0.1:${portOf(transport)}`,
    stop: async () => void (await Promise.all(started.map((transport) => transport.close()))),
  };
});

async function meets(from: Transport, to: Transport): Promise<boolean> {
  try {
    await from.connect(`127.0.0.1:${portOf(to)}`, { timeoutMs: 5_000 });
    return true;
  } catch (error) {
    assert.ok(withCode('LV_PEER_UNREACHABLE')(error), String(error));
    return false;
  }
}

test('only a peer with the secret gets in; two secrets let a mesh change it', async () => {
  const [old, fresh, other] = [randomBytes(32), randomBytes(32), randomBytes(32)];
  const peers = await Promise.all(
    [[old], [fresh, old], [old, fresh], [fresh], [other], []].map((secrets) => start({ secrets })),
  );
  const [onlyOld, freshFirst, oldFirst, onlyFresh, stranger, nobody] = peers as [
    Transport,
    Transport,
    Transport,
    Transport,
    Transport,
    Transport,
  ];
  try {
    for (const [from, to] of [
      [onlyOld, freshFirst],
      [freshFirst, onlyOld],
      [oldFirst, freshFirst],
      [freshFirst, oldFirst],
      [onlyFresh, oldFirst],
      [oldFirst, onlyFresh],
    ] as const) {
      assert.equal(await meets(from, to), true);
    }
    assert.equal(await meets(onlyOld, onlyFresh), false);
    for (const outsider of [stranger, nobody]) {
      for (const member of [onlyOld, freshFirst]) {
        assert.equal(await meets(outsider, member), false);
        assert.equal(await meets(member, outsider), false);
        assert.equal(member.isConnected(outsider.self), false);
      }
    }
  } finally {
    await Promise.all(peers.map((peer) => peer.close()));
  }
});

test('an allow-list keeps out a peer that has the secret', async () => {
  const secrets = [randomBytes(32)];
  const [alice, bob] = [await start({ secrets }), await start({ secrets })];
  const picky = await start({ secrets, allowPeers: [alice.self] });
  try {
    assert.equal(await meets(alice, picky), true);
    // The refusal comes after the handshake, so the dialler may see a connection that is closed at once.
    await bob.connect(`127.0.0.1:${portOf(picky)}`, { timeoutMs: 5_000 }).catch(() => {});
    await assert.rejects(bob.open(picky.self, PROTOCOL, { timeoutMs: 2_000 }));
    assert.equal(picky.isConnected(bob.self), false);
    assert.equal(await meets(picky, bob), false);
  } finally {
    await Promise.all([alice, bob, picky].map((peer) => peer.close()));
  }
});

test('a thousand strangers do not slow a mesh down', { timeout: 60_000 }, async () => {
  const secrets = [randomBytes(32)];
  const [alice, bob] = [await start({ secrets }), await start({ secrets })];
  bob.handle(PROTOCOL, async (channel) => channel.send((await channel.receive())!));
  const sockets: Socket[] = [];
  try {
    assert.equal(await meets(alice, bob), true);
    const answerMs = async () => {
      const before = performance.now();
      await request(alice, bob.self, PROTOCOL, Buffer.from('ping'), 5_000);
      return performance.now() - before;
    };
    // Half say nothing, half talk nonsense; all keep their sockets open.
    for (let index = 0; index < 1000; index++) {
      const socket = connectSocket(portOf(bob), '127.0.0.1');
      socket.on('error', () => {});
      if (index % 2 === 0) socket.write('GET / HTTP/1.1\r\n\r\n');
      sockets.push(socket);
    }
    const times: number[] = [];
    for (let round = 0; round < 50; round++) times.push(await answerMs());
    times.sort((left, right) => left - right);
    assert.ok(times[25]! < 500, `the median answer took ${times[25]} ms`);
    // A member that comes later gets in as soon as the strangers' handshakes have timed out.
    const charlie = await start({ secrets });
    try {
      const untilMs = performance.now() + 20_000;
      while (!(await meets(charlie, bob)))
        assert.ok(performance.now() < untilMs, 'a late member is kept out');
    } finally {
      await charlie.close();
    }
  } finally {
    for (const socket of sockets) socket.destroy();
    await Promise.all([alice, bob].map((peer) => peer.close()));
  }
});

test('strangers on one host do not keep out a member on another', { timeout: 60_000 }, async () => {
  const secrets = [randomBytes(32)];
  const [alice, bob] = [await start({ secrets }), await start({ secrets })];
  const sockets: Socket[] = [];
  try {
    for (let index = 0; index < 600; index++) {
      const socket = connectSocket({ port: portOf(bob), host: '127.0.0.1', localAddress: '127.0.0.2' });
      sockets.push(socket.on('error', () => {}));
    }
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    assert.equal(await meets(alice, bob), true);
  } finally {
    for (const socket of sockets) socket.destroy();
    await Promise.all([alice, bob].map((peer) => peer.close()));
  }
});

test('beyond loopback a secret is needed, and it must have its length', async () => {
  await assert.rejects(start({ listen: '0.0.0.0:0' }), withCode('LV_SECRET_INVALID'));
  await assert.rejects(start({ secrets: [Buffer.from('password')] }), withCode('LV_SECRET_INVALID'));
  await assert.rejects(
    start({ secrets: [randomBytes(32), randomBytes(32), randomBytes(32)] }),
    withCode('LV_SECRET_INVALID'),
  );
  const open = await start({ listen: '0.0.0.0:0', secrets: [randomBytes(32)] });
  await open.close();
});

test('a taken port and a bad address have their own errors', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  try {
    await assert.rejects(start({ listen: `127.0.0.1:${port}` }), (error: unknown) => {
      assert.ok(withCode('LV_PORT_IN_USE')(error));
      return error instanceof LogvineError && error.message.includes(String(port));
    });
    for (const listen of ['7421', 'somewhere:7421', '127.0.0.1:70000', '', '203.0.113.1:0']) {
      await assert.rejects(
        start({ listen, secrets: [randomBytes(32)] }),
        withCode('LV_CONFIG_INVALID'),
        listen,
      );
    }
  } finally {
    server.close();
  }
});

test('a message that the receiver finds too large ends the channel on both sides', async () => {
  const alice = await start();
  const bob = await start({ messageBytesMax: 1000 });
  const ended = Promise.withResolvers<unknown>();
  bob.handle(PROTOCOL, async (channel) => {
    await channel.receive().then(ended.resolve, ended.resolve);
    await channel.receive();
  });
  try {
    assert.equal(await meets(alice, bob), true);
    const channel = await alice.open(bob.self, PROTOCOL, { timeoutMs: 5_000 });
    await channel.send(Buffer.alloc(1001));
    await assert.rejects(channel.receive(), withCode('LV_PEER_UNREACHABLE'));
    assert.ok(withCode('LV_PROTOCOL')(await ended.promise));
  } finally {
    await Promise.all([alice, bob].map((peer) => peer.close()));
  }
});

test('a protocol whose requests are small takes no large ones, and still gives large answers', async () => {
  const [alice, bob] = [await start(), await start()];
  const answer = async (channel: Channel): Promise<void> => {
    await channel.receive();
    await channel.send(Buffer.alloc(5000));
  };
  bob.handle(PROTOCOL, answer, { requestBytesMax: 1000 });
  try {
    assert.equal(await meets(alice, bob), true);
    const ask = (bytes: number) => request(alice, bob.self, PROTOCOL, Buffer.alloc(bytes), 5_000);
    assert.equal((await ask(1000)).length, 5000);
    await assert.rejects(ask(1001), withCode('LV_PEER_UNREACHABLE'));
  } finally {
    await Promise.all([alice, bob].map((peer) => peer.close()));
  }
});

test('messages that a peer begins and does not end are bounded, and their room comes back when it goes', async () => {
  const alice = await start();
  const bob = await start();
  const seed = randomBytes(32);
  const options = { seed, listen: '127.0.0.1:0', secrets: [], topics: [], clock: systemClock, log };
  const liar = await createNode(options, await keysFromSeed(seed), parseAddress('127.0.0.1:0'));
  await liar.start();
  const errors: string[] = [];
  let arrived = 0;
  bob.handle(PROTOCOL, async (channel) => {
    try {
      if (await channel.receive()) arrived++;
    } catch (error) {
      errors.push((error as { code: string }).code);
      throw error;
    }
  });
  const settled = async (done: () => boolean): Promise<void> => {
    const untilMs = performance.now() + 20_000;
    while (!done()) {
      assert.ok(performance.now() < untilMs, JSON.stringify({ errors, arrived }));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  try {
    assert.equal(await meets(alice, bob), true);
    const connection = await liar.dial(parseAddress(`127.0.0.1:${portOf(bob)}`));
    const begin = async (): Promise<void> => {
      const stream = await connection.newStream(PROTOCOL);
      const prefix = Buffer.alloc(4);
      prefix.writeUInt32BE(messageBytesMax);
      stream.send(prefix);
      stream.send(Buffer.alloc(messageBytesMax - 1));
    };
    const fits = LIMITS.unfinishedBytesPerPeerMax / messageBytesMax;
    for (let begun = 0; begun < fits + 3; begun++) await begin();
    await settled(() => errors.includes('LV_OVERLOADED'));
    const channel = await alice.open(bob.self, PROTOCOL, { timeoutMs: 5_000 });
    await channel.send(Buffer.alloc(messageBytesMax));
    await settled(() => arrived === 1);
    await liar.stop();
    await settled(() => errors.length === fits + 3);
  } finally {
    await Promise.all([alice.close(), bob.close(), liar.stop()]);
  }
});

/** Listens, and never says a word. */
async function blackHole(): Promise<{ address: string; close(): void }> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => void sockets.push(socket.on('error', () => undefined)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    address: `/ip4/127.0.0.1/tcp/${(server.address() as AddressInfo).port}`,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

test(
  'a peer is reached at the address that answers, whatever stands before it',
  { timeout: 30_000 },
  async () => {
    const secrets = [randomBytes(32)];
    const [alice, bob, charlie] = [
      await start({ secrets }),
      await start({ secrets }),
      await start({ secrets }),
    ];
    const holes = await Promise.all(Array.from({ length: 6 }, blackHole));
    const swallowed = holes.map(({ address }) => address);
    const timeoutMs = 3_000;
    try {
      for (const peer of [bob, charlie]) peer.handle(PROTOCOL, async () => undefined);
      alice.learn(bob.self, [swallowed[0]!, ...bob.addresses()]);
      // Another one that asks meanwhile does not make it begin anew.
      const first = alice.open(bob.self, PROTOCOL, { timeoutMs });
      await new Promise((resolve) => setTimeout(resolve, 500));
      await Promise.all([first, alice.open(bob.self, PROTOCOL, { timeoutMs })]);
      // Where there are too many of them for one time, the next one goes on.
      alice.learn(charlie.self, [...swallowed, ...charlie.addresses()]);
      await assert.rejects(alice.open(charlie.self, PROTOCOL, { timeoutMs }));
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      await alice.open(charlie.self, PROTOCOL, { timeoutMs });
    } finally {
      await Promise.all([alice, bob, charlie].map((peer) => peer.close()));
      for (const hole of holes) hole.close();
    }
  },
);

test('announced addresses replace the found ones', async () => {
  const transport = await start({ announce: ['logs.example:7421'] });
  try {
    assert.deepEqual(transport.addresses(), [`/dns/logs.example/tcp/7421/p2p/${transport.self}`]);
    await assert.rejects(
      transport.connect('not an address', { timeoutMs: 1_000 }),
      withCode('LV_CONFIG_INVALID'),
    );
  } finally {
    await transport.close();
  }
});
