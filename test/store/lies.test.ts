/** What a lying origin, or a damaged disk, must not make a store do. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { keysFromSeed, type PeerKeys } from '../../src/gossip/transport/index.ts';
import {
  encodeHeader,
  headerHash,
  packBatch,
  verifyFrame,
  type BatchHeader,
} from '../../src/store/batch/index.ts';
import { LIMITS } from '../../src/store/index.ts';
import type { Store } from '../../src/store/store.ts';
import { signedFrame } from '../fuzz/lying-origin.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import { columnsFrom, DATA, openStore, partsOf } from './material.ts';

const random = seededRandom(3);
let keys: PeerKeys;
let liar: PeerKeys;
before(async () => {
  [keys, liar] = [await keysFromSeed(random.bytes(32)), await keysFromSeed(random.bytes(32))];
});

async function emptyStore(): Promise<Store> {
  const clock = new SimClock();
  const disk = new SimDisk(random);
  return clock.run(openStore({ disk: disk.boot(), clock, keys }));
}

const entry = { ms: 1_700_000_000_000, sub: 0, line: Buffer.from('x'), metadata: {} };

interface Named {
  readonly stream: number;
  readonly isNamed: boolean;
}

/** Batches 1, 2, … of one segment, chained and signed, each with the streams that it is told to have, named or not. */
function batches(...contents: readonly (readonly Named[])[]): Buffer[] {
  let previousHash: Buffer = Buffer.alloc(32);
  return contents.map((streams, at) => {
    const packed = packBatch(
      streams.map(({ stream }) => ({ labels: { app: `a${stream}` }, columns: columnsFrom([entry]) })),
      1,
    );
    const header: BatchHeader = {
      origin: liar.peer,
      epoch: 5,
      seq: at + 1,
      segment: 1,
      previousHash,
      payloadHash: Buffer.from(packed.payloadHash),
      contentHash: Buffer.from(packed.contentHash),
      sealedAtMs: 1,
      syncedSeq: 0,
      owners: at === 0 ? [keys.peer] : [],
      filterBytes: packed.filterBytes,
      blocks: packed.blocks,
      streams: partsOf(packed).map((part, index) => {
        const { stream, isNamed } = streams[index]!;
        return { ...part, stream, labels: isNamed ? part.labels : undefined };
      }),
      sources: [],
    };
    const bytes = encodeHeader(header);
    previousHash = headerHash(bytes);
    return signedFrame(bytes, Buffer.from(packed.payload), liar.sign);
  });
}

const named = (stream: number): Named => ({ stream, isNamed: true });
const again = (stream: number): Named => ({ stream, isNamed: false });
const refused = { code: 'LV_PROTOCOL' };

test('a batch whose streams nobody named is refused, however it comes', async () => {
  const store = await emptyStore();
  const [first, second] = batches([named(0)], [again(0), again(1)]);
  await assert.rejects(store.appendReplica(batches([again(0)])[0]!), refused);
  await store.appendReplica(first!);
  await assert.rejects(store.appendReplica(second!), refused);
  await assert.rejects(store.appendReplica(second!, { isRepair: true }), refused);
  assert.equal(store.totals.batches, 1);
});

test('a stream is known as soon as the batch that names it is accepted', async () => {
  const store = await emptyStore();
  const frames = batches([named(0)], [named(1), again(0)], [again(1)], [again(0), named(2), again(2)]);
  await Promise.all(frames.map((frame) => store.appendReplica(frame)));
  assert.equal(store.totals.batches, 4);
});

test('an origin numbers its streams one after the other; far beyond is refused', async () => {
  for (const stream of [1, 7, LIMITS.segmentStreamsMax - 1]) {
    const store = await emptyStore();
    await assert.rejects(store.appendReplica(batches([named(stream)])[0]!), refused);
    const [first, second] = batches([named(0)], [named(1 + stream)]);
    const both = Promise.allSettled([store.appendReplica(first!), store.appendReplica(second!)]);
    assert.deepEqual(
      (await both).map(({ status }) => status),
      ['fulfilled', 'rejected'],
    );
  }
});

test('by repair, batches may come in any order, each once its streams are named', async () => {
  const store = await emptyStore();
  const [first, second, third] = batches([named(0)], [named(1)], [named(2), again(1)]);
  await assert.rejects(store.appendReplica(third!, { isRepair: true }), refused);
  await store.appendReplica(second!, { isRepair: true });
  await store.appendReplica(third!, { isRepair: true });
  await store.appendReplica(first!, { isRepair: true });
  assert.equal(store.totals.batches, 3);
  const [segment] = store.segments();
  assert.deepEqual(
    segment!.record.streams.map((stream) => stream?.labels.app),
    ['a0', 'a1', 'a2'],
  );
});

test('a header with more blocks than any honest batch has is refused unopened', () => {
  const [frame] = batches([named(0)]);
  const { header } = verifyFrame(frame!);
  const block = header.blocks[0]!;
  const blocks = Array.from({ length: LIMITS.batchBlocksMax + 1 }, () => ({
    ...block,
    linesRaw: 0,
    columnsRaw: 0,
  }));
  const lie = signedFrame(
    encodeHeader({ ...header, blocks: [block, ...blocks.slice(1)] }),
    Buffer.alloc(0),
    liar.sign,
  );
  assert.throws(
    () => verifyFrame(lie),
    (error: Error) => /malformed: .*(count|1024|too many)/i.test(error.message),
  );
});

test('an epoch that no run can come above says nothing', async () => {
  for (const epoch of [Number.MAX_SAFE_INTEGER, 2 ** 52, -1, 0.5, 1e300, null, '7']) {
    const clock = new SimClock();
    const disk = new SimDisk(random);
    const first = disk.boot();
    await clock.run(first.makeDirectory(DATA));
    await clock.run(first.replaceFile(`${DATA}/epoch.json`, Buffer.from(JSON.stringify({ epoch }))));
    const said: string[] = [];
    const store = await clock.run(openStore({ disk: first, clock, keys, said }));
    assert.ok(store.epoch >= clock.nowMs() && store.epoch < clock.nowMs() + 1_000, String(epoch));
    assert.match(said.join('\n'), /epoch\.json cannot be used/);
  }
});

test('a run comes above the last one also where that was ahead of this clock', async () => {
  const clock = new SimClock();
  const disk = new SimDisk(random).boot();
  await clock.run(disk.makeDirectory(DATA));
  const ahead = clock.nowMs() + 100 * 366 * 24 * 3_600_000;
  await clock.run(disk.replaceFile(`${DATA}/epoch.json`, Buffer.from(JSON.stringify({ epoch: ahead }))));
  const store = await clock.run(openStore({ disk, clock, keys }));
  assert.ok(store.epoch > ahead && store.epoch < LIMITS.counterMax);
});

test('a segment that is longer than any may be takes no more', async () => {
  const store = await emptyStore();
  const [first, second] = batches([named(0)], [again(0)]);
  await store.appendReplica(first);
  const [segment] = store.segments();
  segment.record.fileBytes = LIMITS.segmentFileBytesMax + 1;
  await assert.rejects(store.appendReplica(second), {
    code: 'LV_PROTOCOL',
    message: /longer than any segment/,
  });
});
