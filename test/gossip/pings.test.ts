import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeMessage, parseRequest, type Request } from '../../src/gossip/membership/messages.ts';
import { PingChannels } from '../../src/gossip/membership/pings.ts';
import type { Channel, PeerId, Transport } from '../../src/gossip/transport/index.ts';
import { SimClock } from '../helpers/sim-clock.ts';

const peer = 'someone' as PeerId;
const ping = (seq: number): Exclude<Request, { kind: 'sync' }> => ({ kind: 'ping', seq, updates: [] });

/** Answers every ping at once. */
function answering(): Channel {
  const answers: Buffer[] = [];
  let wake: () => void = () => undefined;
  return {
    peer,
    send: async (message) => {
      const request = parseRequest(message);
      if (request.kind === 'ping')
        answers.push(encodeMessage({ kind: 'ack', seq: request.seq, updates: [] }));
      wake();
    },
    receive: async () => {
      while (answers.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      return answers.shift();
    },
    close: async () => undefined,
    abort: () => undefined,
  };
}

test('a channel that fails late does not fail those who wait for its successor', async () => {
  const clock = new SimClock();
  const opening: PromiseWithResolvers<Channel>[] = [];
  const open = (): Promise<Channel> => {
    opening.push(Promise.withResolvers());
    return opening.at(-1)!.promise;
  };
  const pings = new PingChannels({ clock, open } as unknown as Transport);
  const first = pings.ask(peer, ping, 10_000);
  pings.forget(peer);
  await assert.rejects(first, { code: 'LV_CLOSED' });
  const unanswered = [pings.ask(peer, ping, 100), pings.ask(peer, ping, 100)];
  const refused = Promise.all(unanswered.map((one) => assert.rejects(one, { code: 'LV_PEER_TIMEOUT' })));
  // Two that are not answered: the channel is replaced, and the old one may still be opening.
  await clock.advance(200);
  await refused;
  const last = pings.ask(peer, ping, 10_000);
  assert.equal(opening.length, 3);
  opening[0].reject(new Error('refused'));
  opening[1].resolve({ ...answering(), receive: async () => Promise.reject(new Error('aborted')) });
  await new Promise((resolve) => setImmediate(resolve));
  opening[2].resolve(answering());
  assert.equal((await last).kind, 'ack');
});
