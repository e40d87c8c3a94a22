import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { keysFromSeed } from '../../src/gossip/transport/index.ts';
import { labelsKey, packBatch, parseLabelsKey, type Labels } from '../../src/store/batch/index.ts';
import { streamsIn, workOf } from '../../src/store/query/index.ts';
import { StreamPool, type Stream } from '../../src/store/segment/index.ts';
import { SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import { below, columnsFrom, forEachSeed, MemoryKeyValue, openStore, PROPERTY } from './material.ts';

const labels: fc.Arbitrary<Labels> = fc
  .dictionary(
    fc.oneof(fc.constantFrom('app', 'host', '__proto__', '1', 'constructor'), fc.string({ maxLength: 4 })),
    fc.oneof(fc.constantFrom('a', 'b'), fc.string({ maxLength: 4 })),
    { maxKeys: 4 },
  )
  .map((value) => Object.fromEntries(Object.entries(value)));

test('a key is the same in whatever order labels come, and gives them back', () => {
  fc.assert(
    fc.property(labels, (given) => {
      const key = labelsKey(given);
      assert.equal(labelsKey(Object.fromEntries(Object.entries(given).reverse())), key);
      assert.deepEqual(parseLabelsKey(key), given);
      assert.ok(!key.includes('\n'));
    }),
    PROPERTY,
  );
});

test('what is no key is refused', () => {
  const refused = ['', '[]', 'null', '"a"', '{"a":1}', '{"b":"","a":""}', '{ "a":"b"}', '{"a":"b","a":"c"}'];
  for (const text of refused) assert.throws(() => parseLabelsKey(text), RangeError, text);
});

test('a stream is one object while it is used; ids are dense and never shared', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(labels, fc.boolean(), fc.nat()), { maxLength: 60 }), (steps) => {
      const pool = new StreamPool();
      const used: Stream[] = [];
      let most = 0;
      for (const [given, isTaken, which] of steps) {
        if (isTaken) {
          const stream = which % 2 === 0 ? pool.take(given) : pool.takeKey(labelsKey(given));
          assert.deepEqual(stream.labels, given);
          for (const other of used) assert.equal(other === stream, other.key === stream.key);
          used.push(stream);
        } else if (used.length > 0) {
          pool.release(used.splice(which % used.length, 1)[0]);
        }
        const inUse = [...new Set(used)];
        most = Math.max(most, inUse.length);
        assert.equal(pool.size, inUse.length);
        assert.equal(new Set(inUse.map(({ id }) => id)).size, inUse.length);
        for (const { id } of inUse) assert.ok(id < most);
      }
    }),
    PROPERTY,
  );
});

const keys = await keysFromSeed(Buffer.alloc(32, 1));

test('streams in a range are those of the batches in it, each once over all segments, after a restart and a drop too', async () => {
  await forEachSeed(20, async (random) => {
    const clock = new SimClock();
    const disk = new SimDisk(random);
    const catalog = new MemoryKeyValue();
    const open = () => openStore({ disk: disk.boot(), clock, keys, catalog });
    let store = await open();
    const sealed: { index: number; ms: number; apps: string[] }[] = [];
    for (let batch = 0; batch < 24; batch++) {
      const ms = below(random, 1000);
      const apps = Array.from({ length: 1 + below(random, 90) }, () => `app${below(random, 120)}`);
      const entry = { ms, sub: 0, line: Buffer.from('x'), metadata: {} };
      const contents = apps.map((app) => ({ labels: { app, env: 'e' }, columns: columnsFrom([entry]) }));
      const { segment, written } = store.seal(packBatch(contents, 1), []);
      await written;
      sealed.push({ index: segment.id.index, ms, apps });
      if (random.unit() < 0.3) store.rollSegment();
    }
    const { epoch } = store;
    const check = (): void => {
      const from = below(random, 1000);
      const to = from + below(random, 1000);
      const isWanted = ({ app }: Labels): boolean => Number(app.slice(3)) % 3 !== 0;
      const segments = [...store.segments()];
      const work = segments.map((segment) => workOf(segment, segment.intervals()));
      const range = { from: { ms: from, sub: 0 }, to: { ms: to, sub: 0 } };
      const { streams, tally } = streamsIn(work, range, isWanted);
      const here = sealed.filter(({ index }) => store.segment({ origin: keys.peer, epoch, index }));
      const asked = here
        .filter(({ ms }) => ms >= from && ms < to)
        .map(({ apps }) => apps.filter((app) => isWanted({ app })));
      const expected = new Set(asked.flat());
      assert.deepEqual(streams.map(({ labels: { app } }) => app).sort(), [...expected].sort());
      assert.equal(tally.read, asked.filter((apps) => apps.length > 0).length);
      assert.equal(tally.read + tally.pruned, here.length);
    };
    for (let round = 0; round < 5; round++) check();
    await store.close();
    store = await open();
    for (let round = 0; round < 5; round++) check();
    await store.drop(
      [...store.segments()].filter(() => random.unit() < 0.5),
      'surplus',
    );
    for (let round = 0; round < 5; round++) check();
    await store.drop([...store.segments()], 'surplus');
    const entry = { ms: 1, sub: 0, line: Buffer.from('x'), metadata: {} };
    const { segment, written } = store.seal(
      packBatch([{ labels: { app: 'new' }, columns: columnsFrom([entry]) }], 1),
      [],
    );
    await written;
    assert.equal(segment.record.streams[0]!.key, '{"app":"new"}');
    assert.ok(segment.record.streams[0]!.id < 120);
    await store.close();
  });
});
