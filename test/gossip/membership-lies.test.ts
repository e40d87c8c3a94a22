/** A member that says of others what is not so. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MEMBERS_TOPIC } from '../../src/gossip/membership/constants.ts';
import { encodeMessage, type Claim } from '../../src/gossip/membership/messages.ts';
import { SimMesh } from './membership-mesh.ts';

test('a member that calls all others dead, again and again, ends none of them where they are heard', async () => {
  const mesh = new SimMesh(3);
  await mesh.grow(4);
  assert.ok(await mesh.clock.until(() => mesh.allSee(4), 10_000));
  await mesh.clock.advance(10_000);
  const liar = mesh.node('n3');
  const honest = mesh.running().filter((node) => node !== liar);
  // Something goes on between owners all the time.
  const PROTOCOL = '/logvine/test/1';
  for (const { transport } of honest)
    transport.handle(PROTOCOL, async (channel) => {
      while (await channel.receive()) await channel.send(Buffer.from('taken'));
    });
  const channels = await Promise.all(
    honest.flatMap(({ transport }) =>
      honest
        .filter((other) => other.transport !== transport)
        .map((other) => mesh.clock.run(transport.open(other.transport.self, PROTOCOL, { timeoutMs: 1_000 }))),
    ),
  );
  for (const channel of channels) void drain(channel);
  const before = mesh.history.length;
  for (let tenth = 0; tenth < 600; tenth++) {
    if (tenth % 10 === 0) for (const channel of channels) await channel.send(Buffer.from('batch'));
    for (const { transport } of honest) {
      const { epoch, incarnation } = liar.membership.member(transport.self)!;
      const claim: Claim = {
        kind: 'dead',
        subject: transport.self,
        epoch,
        incarnation,
        accuser: transport.self,
      };
      liar.transport.publish(MEMBERS_TOPIC, encodeMessage({ updates: [claim] }));
    }
    await mesh.clock.advance(100);
  }
  const ended = mesh.history.slice(before).filter((line) => /^\d+ n[012]: .* dead$/.test(line));
  assert.deepEqual(ended, []);
});

async function drain(channel: { receive(): Promise<Buffer | undefined> }): Promise<void> {
  while (await channel.receive());
}

test('a conviction is believed at once by those who have not heard its subject either', async () => {
  const mesh = new SimMesh(4);
  await mesh.grow(10);
  assert.ok(await mesh.clock.until(() => mesh.allSee(10), 20_000));
  await mesh.clock.advance(10_000);
  mesh.node('n5').transport.powerOff();
  await mesh.node('n5').membership.close();
  const subject = mesh.id('n5');
  const { membership, transport } = mesh.node('n3');
  const { epoch, incarnation } = membership.member(subject)!;
  // As long as a suspicion takes, and before anybody's is over.
  await mesh.clock.advance(4_100);
  const states = () => mesh.running().map((node) => node.membership.member(subject)!.state);
  assert.ok(!states().includes('dead'));
  const claim: Claim = { kind: 'dead', subject, epoch, incarnation, accuser: transport.self };
  transport.publish(MEMBERS_TOPIC, encodeMessage({ updates: [claim] }));
  await mesh.clock.advance(100);
  assert.equal(states().filter((state) => state === 'dead').length, 8);
});
