/** Push-pull that somebody asks for too often, or with more than there can be. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BOUNDS, SWIM_PROTOCOL } from '../../src/gossip/membership/constants.ts';
import { Exchange } from '../../src/gossip/membership/exchange.ts';
import { encodeMessage } from '../../src/gossip/membership/messages.ts';
import { keysFromSeed, type Channel } from '../../src/gossip/transport/index.ts';
import { LIMITS, LogvineError } from '../../src/store/index.ts';
import { SimClock } from '../helpers/sim-clock.ts';
import { SimTransport } from '../helpers/sim-network.ts';
import { SimMesh } from './membership-mesh.ts';

const { peer } = await keysFromSeed(Buffer.alloc(32, 1));
const forever = new Promise<never>(() => undefined);

/** On which `message` comes, and nothing after it. */
function channelWith(message: Buffer): Channel {
  const messages = [message];
  return {
    peer,
    receive: async () => messages.shift() ?? forever,
    send: () => forever,
    close: () => forever,
    abort: () => undefined,
  };
}

test('while as many syncs are answered as may be at once, no other is even read', async () => {
  const exchange = new Exchange({
    transport: { clock: new SimClock() },
  } as unknown as ConstructorParameters<typeof Exchange>[0]);
  const nonsense = Buffer.alloc(BOUNDS.pingMessageBytes + 1, 'x');
  const code = (expected: string) => (error: unknown) =>
    error instanceof LogvineError && error.code === expected;
  await assert.rejects(exchange.answer(channelWith(nonsense)), code('LV_PROTOCOL'));
  for (let at = 0; at < BOUNDS.syncsAnsweredAtOnce; at++)
    void exchange.answer(channelWith(encodeMessage({ kind: 'sync', members: [] })));
  await new Promise((resolve) => setImmediate(resolve));
  await assert.rejects(exchange.answer(channelWith(nonsense)), code('LV_OVERLOADED'));
});

test('no request of membership is longer than the longest state', async (context) => {
  const handle = context.mock.method(SimTransport.prototype, 'handle');
  await new SimMesh(1).start('n0');
  const [bounds] = handle.mock.calls
    .map(({ arguments: given }) => given as unknown[])
    .filter(([protocol]) => protocol === SWIM_PROTOCOL)
    .map(([, , given]) => given);
  assert.deepEqual(bounds, { requestBytesMax: LIMITS.membersBytesMax });
});
