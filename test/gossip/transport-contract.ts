import assert from 'node:assert/strict';
import { test } from 'node:test';
import { request, type Channel, type PeerId, type Transport } from '../../src/gossip/transport/index.ts';
import { LogvineError } from '../../src/store/errors.ts';

export const TOPIC = 'logvine/test';
const PROTOCOL = '/logvine/test/1';
const DEADLINE_MS = 10_000;

/** What a kind of transport brings to the contract. */
export interface TransportKind {
  /** A fresh, running transport that allows TOPIC. The mesh it is in lives as long as the test. */
  start(): Promise<Transport>;
  /** An address that `connect` understands. */
  addressOf(transport: Transport): string;
  /** An address where nobody answers. */
  readonly deserted: string;
  readonly messageBytesMax: number;
  stop(): Promise<void>;
}

function withCode(code: string) {
  return (error: unknown) => error instanceof LogvineError && error.code === code;
}

/** Resolves once `done()`; looks after every turn of the event loop and fails after the deadline. */
export async function eventually(done: () => boolean, what: string): Promise<void> {
  const untilMs = performance.now() + DEADLINE_MS;
  while (!done()) {
    assert.ok(performance.now() < untilMs, `not within ${DEADLINE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

async function echo(channel: Channel): Promise<void> {
  for (;;) {
    const message = await channel.receive();
    if (message === undefined) return;
    await channel.send(message);
  }
}

/** The contract of Transport and Channel. Every implementation runs it. */
export function transportContract(name: string, make: () => TransportKind): void {
  const contract = (title: string, run: (kind: TransportKind) => Promise<void>) =>
    test(`${name}: ${title}`, { timeout: 60_000 }, async () => {
      const kind = make();
      try {
        await run(kind);
      } finally {
        await kind.stop();
      }
    });

  /** Alice is connected to bob, who answers PROTOCOL with `handler`. */
  async function pair(kind: TransportKind, handler: (channel: Channel) => Promise<void>) {
    const [alice, bob] = [await kind.start(), await kind.start()];
    bob.handle(PROTOCOL, handler);
    const bobId = await alice.connect(kind.addressOf(bob), { timeoutMs: DEADLINE_MS });
    return { alice, bob, bobId, open: () => alice.open(bobId, PROTOCOL, { timeoutMs: DEADLINE_MS }) };
  }

  contract('connect says who answered, and both sides hear of it', async (kind) => {
    const [alice, bob] = [await kind.start(), await kind.start()];
    const heard: [string, PeerId][] = [];
    alice.on({ connected: (peer) => heard.push(['alice', peer]) });
    bob.on({ connected: (peer) => heard.push(['bob', peer]) });
    assert.equal(await alice.connect(kind.addressOf(bob), { timeoutMs: DEADLINE_MS }), bob.self);
    await eventually(() => heard.length === 2, 'both connected');
    assert.deepEqual(
      heard.sort(),
      [
        ['alice', bob.self],
        ['bob', alice.self],
      ].sort(),
    );
    assert.ok(alice.isConnected(bob.self) && bob.isConnected(alice.self));
    assert.equal(await alice.connect(kind.addressOf(alice), { timeoutMs: DEADLINE_MS }), alice.self);
  });

  contract('messages arrive whole and in order, also empty and large ones', async (kind) => {
    const { alice, bobId, open } = await pair(kind, echo);
    assert.equal(alice.lastReceivedMs(bobId), undefined);
    const channel = await open();
    const sent = [0, 1, 4, 70_000, 0, 3_000_000, 17].map((size, index) => Buffer.alloc(size, index + 1));
    const sending = (async () => {
      for (const message of sent) await channel.send(message);
      await channel.close();
    })();
    for (const message of sent) assert.ok((await channel.receive())?.equals(message));
    assert.ok(alice.lastReceivedMs(bobId)! <= alice.clock.monotonicMs());
    assert.equal(await channel.receive(), undefined);
    assert.equal(await channel.receive(), undefined, 'the end stays the end');
    await sending;
    await assert.rejects(channel.send(Buffer.from('late')), withCode('LV_CLOSED'));
  });

  contract('a request gets its answer; no answer is an error', async (kind) => {
    const { alice, bob, bobId } = await pair(kind, async (channel) => {
      await channel.send(Buffer.concat([Buffer.from('re: '), (await channel.receive())!]));
    });
    const answer = await request(alice, bobId, PROTOCOL, Buffer.from('hello'), DEADLINE_MS);
    assert.equal(answer.toString(), 're: hello');
    bob.handle('/logvine/mute/1', async () => {});
    await assert.rejects(
      request(alice, bobId, '/logvine/mute/1', Buffer.from('?'), DEADLINE_MS),
      withCode('LV_PROTOCOL'),
    );
    bob.handle('/logvine/slow/1', async (channel) => {
      while ((await channel.receive()) !== undefined);
    });
    await assert.rejects(
      request(alice, bobId, '/logvine/slow/1', Buffer.from('?'), 100),
      withCode('LV_PEER_TIMEOUT'),
    );
  });

  contract('a message above the bound ends the channel with LV_PROTOCOL', async (kind) => {
    const { open } = await pair(kind, echo);
    const channel = await open();
    await assert.rejects(channel.send(Buffer.alloc(kind.messageBytesMax + 1)), withCode('LV_PROTOCOL'));
    await assert.rejects(channel.receive(), withCode('LV_PROTOCOL'));
  });

  contract('a sender waits for a reader that does not read', async (kind) => {
    const read = Promise.withResolvers<void>();
    let received = 0;
    const { open } = await pair(kind, async (channel) => {
      await read.promise;
      while ((await channel.receive()) !== undefined) received++;
      await channel.send(Buffer.from([received]));
    });
    const channel = await open();
    let sent = 0;
    const message = Buffer.alloc(1024 * 1024);
    const sending = (async () => {
      for (; sent < 100; sent++) await channel.send(message);
      await channel.close();
    })();
    // The windows fill up, and then nothing moves until the other side reads.
    let before = -1;
    while (before !== sent) {
      before = sent;
      for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setTimeout(resolve, 2));
    }
    assert.ok(sent < 40, `${sent} MiB went out unread`);
    read.resolve();
    assert.equal((await channel.receive())?.[0], 100);
    await sending;
  });

  contract('a handler that throws loses its channel and nothing else', async (kind) => {
    const { bob, alice, bobId, open } = await pair(kind, echo);
    bob.handle('/logvine/throws/1', async (channel) => {
      await channel.receive();
      throw new Error('broken handler');
    });
    const good = await open();
    const bad = await alice.open(bobId, '/logvine/throws/1', { timeoutMs: DEADLINE_MS });
    await bad.send(Buffer.from('x'));
    await assert.rejects(bad.receive(), withCode('LV_PEER_UNREACHABLE'));
    await assert.rejects(async () => {
      for (;;) await bad.send(Buffer.alloc(1000));
    });
    await good.send(Buffer.from('still here'));
    assert.equal((await good.receive())?.toString(), 'still here');
  });

  contract('abort rejects what waits, here with the reason and there as a lost channel', async (kind) => {
    const ended = Promise.withResolvers<unknown>();
    const { open } = await pair(kind, async (channel) => {
      await channel.send(Buffer.from('ready'));
      await channel.receive().then(ended.resolve, ended.resolve);
    });
    const channel = await open();
    await channel.receive();
    const waiting = channel.receive();
    const reason = new Error('enough');
    channel.abort(reason);
    await assert.rejects(waiting, reason);
    await assert.rejects(channel.send(Buffer.from('x')), reason);
    await assert.rejects(channel.receive(), reason);
    await channel.close();
    assert.ok(withCode('LV_PEER_UNREACHABLE')(await ended.promise));
  });

  contract('a peer that goes away fails its channels; it is said once', async (kind) => {
    const { alice, bob, bobId, open } = await pair(kind, echo);
    const gone: PeerId[] = [];
    alice.on({ disconnected: (peer) => gone.push(peer) });
    const channel = await open();
    await channel.send(Buffer.from('x'));
    await channel.receive();
    const waiting = assert.rejects(channel.receive(), withCode('LV_PEER_UNREACHABLE'));
    await bob.close();
    await waiting;
    await eventually(() => gone.length === 1, 'disconnected');
    assert.deepEqual(gone, [bobId]);
    assert.equal(alice.isConnected(bobId), false);
  });

  contract('who cannot be reached is an error with a code', async (kind) => {
    const alice = await kind.start();
    const bob = await kind.start();
    const options = { timeoutMs: DEADLINE_MS };
    await assert.rejects(alice.connect(kind.deserted, options), withCode('LV_PEER_UNREACHABLE'));
    await assert.rejects(alice.open(bob.self, PROTOCOL, options), withCode('LV_PEER_UNREACHABLE'));
    await alice.connect(kind.addressOf(bob), options);
    await assert.rejects(
      alice.open(bob.self, '/logvine/unknown/1', options),
      withCode('LV_PEER_UNREACHABLE'),
    );
    await alice.close();
    await assert.rejects(alice.open(bob.self, PROTOCOL, options), withCode('LV_CLOSED'));
  });

  contract('learned addresses are dialled when a channel is opened', async (kind) => {
    const [alice, bob] = [await kind.start(), await kind.start()];
    bob.handle(PROTOCOL, echo);
    alice.learn(bob.self, [kind.deserted, 'not an address', ...bob.addresses()]);
    const channel = await alice.open(bob.self, PROTOCOL, { timeoutMs: DEADLINE_MS });
    await channel.send(Buffer.from('found'));
    assert.equal((await channel.receive())?.toString(), 'found');
  });

  contract('two peers that dial each other at once both get through', async (kind) => {
    const [alice, bob] = [await kind.start(), await kind.start()];
    for (const peer of [alice, bob]) peer.handle(PROTOCOL, echo);
    const ask = async (from: Transport, to: Transport) => {
      from.learn(to.self, to.addresses());
      for (let round = 0; round < 5; round++) {
        await request(from, to.self, PROTOCOL, Buffer.from('hi'), DEADLINE_MS);
      }
    };
    await Promise.all([ask(alice, bob), ask(bob, alice)]);
  });

  contract(
    'topic messages reach subscribers with their true sender, never the sender itself',
    async (kind) => {
      const [alice, bob, charlie] = [await kind.start(), await kind.start(), await kind.start()];
      const heard: string[] = [];
      for (const [who, peer] of Object.entries({ alice, bob, charlie })) {
        peer.subscribe(TOPIC, (from, message) => heard.push(`${who} ${from} ${message}`));
      }
      await bob.connect(kind.addressOf(alice), { timeoutMs: DEADLINE_MS });
      await charlie.connect(kind.addressOf(alice), { timeoutMs: DEADLINE_MS });
      // Subscriptions travel too: what is published before they have arrived may reach nobody.
      let round = 0;
      await eventually(() => {
        if (round++ % 100 === 0) bob.publish(TOPIC, Buffer.from('news'));
        return (
          heard.some((line) => line.startsWith('alice')) && heard.some((line) => line.startsWith('charlie'))
        );
      }, 'everybody heard it');
      assert.ok(heard.includes(`alice ${bob.self} news`) && heard.includes(`charlie ${bob.self} news`));
      assert.ok(!heard.some((line) => line.startsWith('bob')));
    },
  );
}
