/** What a lying member asks for must cost a holder no more than an honest question. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Holder } from '../../src/gossip/query/index.ts';
import {
  decodeStep,
  encodeStep,
  type RemoteStep,
  type ScanMessage,
} from '../../src/gossip/query/messages.ts';
import { serveFetch } from '../../src/gossip/repair/fetch.ts';
import * as verify from '../../src/gossip/verify/messages.ts';
import type { Channel, PeerId } from '../../src/gossip/transport/index.ts';
import type { Store } from '../../src/store/index.ts';
import { keysFromSeed } from '../../src/gossip/transport/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import { linePack, openStore } from '../store/material.ts';
import { HoldingsKnown } from '../../src/gossip/repair/index.ts';

const random = seededRandom(9);

async function storeOf(batches: number): Promise<Store> {
  const clock = new SimClock();
  const keys = await keysFromSeed(random.bytes(32));
  const store = await clock.run(openStore({ disk: new SimDisk(random).boot(), clock, keys }));
  for (let n = 0; n < batches; n++) await store.seal(linePack(`line ${n}`), []).written;
  return store;
}

function holderOf(store: Store): Holder {
  return new Holder({
    clock: new SimClock(),
    store,
    known: new HoldingsKnown(),
    peers: () => [],
    parallel: 1,
    compile: () => assert.fail('not asked'),
    scan: () => assert.fail('nothing is scanned'),
    unsealed: () => Promise.resolve(undefined),
    unsealedLabels: () => [],
  });
}

test('a scan for a million batches that are not here is answered in messages that their reader takes', async () => {
  const store = await storeOf(3);
  const asked = 1_000_000;
  const message = {
    from: { ms: 0, sub: 0 },
    to: { ms: 2 ** 50, sub: 0 },
    question: { kind: 'series', query: '' },
    work: [{ origin: store.origin, epoch: store.epoch, index: 1, runs: [[1, asked]] }],
  } as unknown as ScanMessage;
  const steps = holderOf(store).scan(message, new AbortController().signal);
  const startedMs = process.cpuUsage().user / 1000;
  let named = 0;
  while (named < asked - 3) {
    const next = await steps.next();
    const step = decodeStep(encodeStep(next.value as RemoteStep));
    assert.ok(step.kind === 'failed' && step.failed.seqs[0] === named + 4);
    named += step.failed.seqs.length;
  }
  await steps.return(undefined);
  const tookMs = process.cpuUsage().user / 1000 - startedMs;
  assert.equal(named, asked - 3);
  assert.ok(tookMs < 5_000, `${tookMs} ms`);
});

test('a fetch that names a batch a hundred thousand times is refused, not served so often', async () => {
  const store = await storeOf(1);
  for (const runs of [
    Array.from({ length: 100_000 }, () => [1, 1]),
    [[1, Number.MAX_SAFE_INTEGER]],
    [[2, 1]],
    [
      [1, 5],
      [3, 9],
    ],
  ]) {
    let sent = 0;
    const channel = {
      peer: 'liar' as PeerId,
      receive: () =>
        Promise.resolve(
          Buffer.from(JSON.stringify({ origin: store.origin, epoch: store.epoch, index: 1, runs })),
        ),
      send: () => Promise.resolve(void sent++),
      close: () => Promise.resolve(),
      abort: () => undefined,
    } satisfies Channel;
    await assert.rejects(serveFetch(channel, store), { code: 'LV_PROTOCOL' });
    assert.equal(sent, 0);
  }
});

test('an audit whose link has half a hash is malformed', () => {
  const audit = (headerHash: Buffer): Buffer =>
    verify.encodeStep({
      kind: 'segment',
      audit: {
        id: { origin: 'o', epoch: 2, index: 1 },
        path: '/x',
        isRead: true,
        sealedFromMs: 1,
        sealedToMs: 1,
        runs: [],
        link: { epoch: 1, lastSeq: 1, headerHash },
        damage: [],
      },
    });
  verify.decodeStep(audit(Buffer.alloc(32)));
  assert.throws(() => verify.decodeStep(audit(Buffer.alloc(16))), { code: 'LV_PROTOCOL' });
});
