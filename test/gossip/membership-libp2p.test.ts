import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { createMembership, MEMBERS_TOPIC, type Membership } from '../../src/gossip/membership/index.ts';
import { createLibp2pTransport, type Transport } from '../../src/gossip/transport/index.ts';
import { systemClock, systemRandom } from '../../src/store/index.ts';
import { MemoryFiles } from './membership-mesh.ts';

interface Node {
  readonly transport: Transport;
  readonly membership: Membership;
}

const secrets = [randomBytes(32)];
const log = { debug: () => {}, warn: () => {} };

async function startNode(seeds: string[], seed = randomBytes(32), epoch = 1): Promise<Node> {
  const transport = await createLibp2pTransport({
    seed,
    listen: '127.0.0.1:0',
    secrets,
    topics: [MEMBERS_TOPIC],
    clock: systemClock,
    log,
  });
  const membership = await createMembership({
    transport,
    clock: systemClock,
    random: systemRandom,
    disk: new MemoryFiles(),
    directory: '/data',
    self: { zone: 'z', weight: 1, epoch, http: '', version: '0' },
    seeds,
    introductions: 2,
    lostPeers: [],
    log,
  });
  membership.start();
  return { transport, membership };
}

async function stop({ transport, membership }: Node): Promise<void> {
  await membership.close();
  await transport.close();
}

/** Resolves to the milliseconds it took until `done()`; looked at after every change that any node sees. */
function until(nodes: Node[], done: () => boolean, withinMs: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const startedMs = performance.now();
    const deadline = setTimeout(() => reject(new Error(`not within ${withinMs} ms`)), withinMs);
    const look = () => {
      if (!done()) return;
      clearTimeout(deadline);
      resolve(performance.now() - startedMs);
    };
    for (const { membership } of nodes) membership.on({ joined: look, changed: look });
    look();
  });
}

function everybodySees(of: Node[], count: number): boolean {
  return of.every(({ membership }) => membership.alive().length === count);
}

test(
  'five nodes on libp2p: agree, notice a crash, take back a restart, let one leave',
  { timeout: 120_000 },
  async (context) => {
    const first = await startNode([]);
    const nodes = [first];
    try {
      const seeds = first.transport.addresses();
      const seed = randomBytes(32);
      for (let count = 1; count < 4; count++) nodes.push(await startNode(seeds));
      const crashing = await startNode(seeds, seed);
      const all = [...nodes, crashing];
      context.diagnostic(`agreed after ${await until(all, () => everybodySees(all, 5), 10_000)} ms`);

      await stop(crashing);
      const { self } = crashing.transport;
      const stateOf = (state: string) => () =>
        nodes.every(({ membership }) => membership.member(self)?.state === state);
      context.diagnostic(`crash known after ${await until(nodes, stateOf('dead'), 15_000)} ms`);

      const again = await startNode(seeds, seed, 2);
      nodes.push(again);
      const back = () =>
        everybodySees(nodes, 5) && nodes.every(({ membership }) => membership.member(self)?.epoch === 2);
      context.diagnostic(`restart known after ${await until(nodes, back, 10_000)} ms`);

      nodes.pop();
      await again.membership.leave();
      await stop(again);
      await until(nodes, stateOf('left'), 5_000);
    } finally {
      await Promise.all(nodes.map(stop));
    }
  },
);
