/** Pings on behalf of others, when somebody asks for too many. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BOUNDS, SWIM_PROTOCOL } from '../../src/gossip/membership/constants.ts';
import { Exchange } from '../../src/gossip/membership/exchange.ts';
import { encodeMessage, parseAnswer } from '../../src/gossip/membership/messages.ts';
import { keysFromSeed, type Channel } from '../../src/gossip/transport/index.ts';
import { SimClock } from '../helpers/sim-clock.ts';
import { SimMesh } from './membership-mesh.ts';

for (const [channels, pingsOnEach] of [
  [1, 2 * BOUNDS.relayedPings],
  [10, 10],
]) {
  test(`a member that asks for ${pingsOnEach} relayed pings on each of ${channels} channels leaves room for those of others`, async () => {
    const mesh = new SimMesh(7);
    await mesh.grow(4);
    assert.ok(await mesh.clock.until(() => mesh.allSee(4), 10_000));
    // Pings to a member that is silent take long.
    mesh.node('n3').transport.paused = true;
    const toHelper = (name: string): Promise<Channel> =>
      mesh.clock.run(mesh.node(name).transport.open(mesh.id('n0'), SWIM_PROTOCOL, { timeoutMs: 1_000 }));
    const floods: Channel[] = [];
    for (let at = 0; at < channels; at++) floods.push(await toHelper('n2'));
    for (const flood of floods)
      for (let seq = 0; seq < pingsOnEach; seq++)
        await flood.send(encodeMessage({ kind: 'ping-req', seq, target: mesh.id('n3') }));
    await mesh.clock.advance(20);
    const other = await toHelper('n1');
    await other.send(encodeMessage({ kind: 'ping-req', seq: 1, target: mesh.id('n2') }));
    const answer = await mesh.clock.run(other.receive(), 200);
    assert.equal(parseAnswer(answer!).kind, 'ack');
  });
}

/** Asks for a thousand relayed pings and reads no answer; resolves with how many were read. */
async function readFrom(exchange: Exchange): Promise<number> {
  const { peer } = await keysFromSeed(Buffer.alloc(32, 1));
  let read = 0;
  const forever = new Promise<never>(() => undefined);
  const channel: Channel = {
    peer,
    receive: async () =>
      ++read <= 1_000 ? encodeMessage({ kind: 'ping-req', seq: read, target: peer }) : forever,
    send: () => forever,
    close: () => forever,
    abort: () => undefined,
  };
  void exchange.answer(channel);
  await new Promise((resolve) => setImmediate(resolve));
  return read;
}

test('whoever does not read the answers to relayed pings is not read on', async () => {
  const exchangeOf = (isKnown: boolean): Exchange =>
    new Exchange({
      transport: { clock: new SimClock() },
      news: { table: { get: () => isKnown || undefined } },
    } as unknown as ConstructorParameters<typeof Exchange>[0]);
  assert.equal(await readFrom(exchangeOf(false)), 1);
  const answering = exchangeOf(true);
  answering.ping = () => Promise.resolve();
  // As many as are relayed for one peer, and the one behind them.
  assert.equal(await readFrom(answering), BOUNDS.relayedPingsPerPeer + 1);
});
