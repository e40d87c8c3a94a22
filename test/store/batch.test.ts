import assert from 'node:assert/strict';
import { test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { keysFromSeed } from '../../src/gossip/transport/index.ts';
import { buildFilter, filterMayContain, gramsOf, readFilter } from '../../src/store/batch/filter.ts';
import { decodeHeader } from '../../src/store/batch/header.ts';
import {
  decodeColumns,
  decodeLines,
  decompress,
  encodeColumns,
  encodeHeader,
  frameHead,
  joinRows,
  labelsKey,
  LIMITS,
  LogvineError,
  openStreams,
  packBatch,
  PREAMBLE_BYTES,
  readFrame,
  sliceRows,
  verifyFrame,
  type BatchHeader,
  type Metadata,
  type StreamContent,
  type StreamRows,
} from '../../src/store/index.ts';
import {
  columnsFrom,
  contentsOf,
  entriesOf,
  forEachSeed,
  PROPERTY,
  randomEntries,
  type Entry,
  partsOf,
  rowsFrom,
} from './material.ts';

const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((value) => Buffer.from(value));

/** Nanoseconds of all that an int64 can say, and then some: ±2^53 microseconds and more. */
const ms = fc.oneof(
  fc.integer({ min: -(2 ** 50), max: 2 ** 50 }),
  fc.integer({ min: 1_700_000_000_000, max: 1_700_000_000_100 }),
  fc.constantFrom(
    0,
    -1,
    1000,
    -1000,
    2 ** 50,
    -(2 ** 50),
    Math.ceil(2 ** 53 / 1000),
    -Math.ceil(2 ** 53 / 1000),
  ),
);
const sub = fc.oneof(
  fc.constant(0),
  fc.integer({ min: 0, max: 999 }).map((us) => us * 1000),
  fc.integer({ min: 0, max: 999_999 }),
);
const metadata = fc.dictionary(fc.string({ maxLength: 6 }), fc.string({ unit: 'grapheme', maxLength: 6 }), {
  maxKeys: 3,
  noNullPrototype: true,
});
const line = fc.oneof(
  bytes(30),
  fc.constantFrom(Buffer.from('\n'), Buffer.from('a\nb'), Buffer.alloc(0), Buffer.alloc(300, 'x')),
);
const entry: fc.Arbitrary<Entry> = fc.record({ ms, sub, line, metadata }, { noNullPrototype: true });
const entries = fc.array(entry, { maxLength: 40 });

test('columns: what is encoded is decoded, whatever the bytes, times and metadata', () => {
  fc.assert(
    fc.property(entries, (given) => {
      const columns = columnsFrom(given);
      const decoded = decodeColumns(encodeColumns(columns), columns.lines);
      assert.deepEqual(entriesOf(decoded), given);
      const { count, ends, lines } = decoded;
      assert.deepEqual(decodeLines(encodeColumns(columns), columns.lines), { count, ends, lines });
    }),
    { ...PROPERTY, numRuns: 300 },
  );
});

test('columns: joined parts are their rows one after the other', () => {
  fc.assert(
    fc.property(fc.array(entries, { minLength: 1, maxLength: 4 }), (parts) => {
      const joined = joinRows(
        parts.map((part) => ({ columns: columnsFrom(part), start: 0, end: part.length })),
      );
      assert.deepEqual(entriesOf(joined), parts.flat());
      assert.deepEqual(entriesOf(decodeColumns(encodeColumns(joined), joined.lines)), parts.flat());
    }),
    PROPERTY,
  );
});

test('columns: garbage is a RangeError', () => {
  fc.assert(
    fc.property(bytes(60), bytes(60), (columns, lines) => onlyThrows(() => decodeColumns(columns, lines))),
    { ...PROPERTY, numRuns: 2000 },
  );
  fc.assert(
    fc.property(bytes(60), bytes(60), (columns, lines) => onlyThrows(() => decodeLines(columns, lines))),
    { ...PROPERTY, numRuns: 2000 },
  );
});

test('columns: cut anywhere, or with a number beyond its bounds, they are a RangeError', () => {
  fc.assert(
    fc.property(fc.array(entry, { minLength: 1, maxLength: 40 }), fc.nat(), (given, at) => {
      const columns = columnsFrom(given);
      const encoded = encodeColumns(columns);
      assert.throws(() => decodeColumns(encoded.subarray(0, at % encoded.length), columns.lines), RangeError);
      assert.throws(() => decodeLines(encoded, columns.lines.subarray(1)), RangeError);
    }),
    { ...PROPERTY, numRuns: 300 },
  );
});

/** Runs it; only errors that say that the bytes lie may come out. */
function onlyThrows(work: () => unknown): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof RangeError) && !(error instanceof LogvineError)) throw error;
  }
}

const labels = fc
  .dictionary(
    fc.oneof(fc.constantFrom('app', 'host', '__proto__'), fc.string({ maxLength: 8 })),
    fc.string({ maxLength: 8 }),
    {
      maxKeys: 4,
    },
  )
  .map((value) => Object.fromEntries(Object.entries(value)));

const count = fc.nat({ max: 2 ** 31 });
const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((value) => Buffer.from(value));
const whole = fc.integer({ min: 0, max: 2 ** 50 });
const instant = fc.record({ ms, sub }, { noNullPrototype: true });

const header: fc.Arbitrary<BatchHeader> = fc.integer({ min: 1, max: 4 }).chain((blocks) =>
  fc.record(
    {
      origin: fc.string({ maxLength: 52 }),
      epoch: fc.nat({ max: LIMITS.counterMax }),
      seq: fc.integer({ min: 1, max: LIMITS.counterMax }),
      segment: fc.integer({ min: 1, max: 2 ** 40 }),
      previousHash: hash,
      previousEpoch: fc.option(
        fc.record({ epoch: whole, lastSeq: whole, headerHash: hash }, { noNullPrototype: true }),
        {
          nil: undefined,
        },
      ),
      payloadHash: hash,
      contentHash: hash,
      sealedAtMs: whole,
      syncedSeq: whole,
      owners: fc.array(fc.string({ maxLength: 52 }), { maxLength: 5 }),
      filterBytes: fc.nat({ max: 40_000 }),
      blocks: fc.array(
        fc.record(
          {
            columnsStored: fc.nat({ max: 100_000 }),
            columnsRaw: fc.nat({ max: 100_000 }),
            linesStored: fc.nat({ max: 100_000 }),
            linesRaw: fc.nat({ max: 100_000 }),
          },
          { noNullPrototype: true },
        ),
        { minLength: blocks, maxLength: blocks },
      ),
      streams: fc.array(
        fc.record(
          {
            stream: fc.nat({ max: 100_000 }),
            labels: fc.option(labels, { nil: undefined }),
            block: fc.nat({ max: blocks - 1 }),
            entries: count,
            linesBytes: count,
            columnsBytes: count,
            min: instant,
            max: instant,
            levels: fc.array(count, { minLength: 9, maxLength: 9 }),
          },
          { noNullPrototype: true },
        ),
        { maxLength: 5 },
      ),
      sources: fc.array(
        fc.record(
          { source: fc.string({ maxLength: 20 }), position: fc.string({ maxLength: 20 }) },
          { noNullPrototype: true },
        ),
        { maxLength: 3 },
      ),
    },
    { noNullPrototype: true },
  ),
);

test('header: what is encoded is decoded', () => {
  fc.assert(
    fc.property(header, (given) => assert.deepEqual(decodeHeader(encodeHeader(given)), given)),
    PROPERTY,
  );
});

test('header: without its labels, all else is as with them', () => {
  fc.assert(
    fc.property(header, (given) => {
      const streams = given.streams.map((part) => ({ ...part, labels: undefined }));
      const decoded = decodeHeader(encodeHeader(given), { withoutLabels: true });
      assert.deepEqual(decoded, { ...given, streams });
    }),
    PROPERTY,
  );
});

test('header: cut or garbled bytes are a RangeError', () => {
  fc.assert(
    fc.property(header, fc.nat(), fc.nat({ max: 255 }), (given, at, value) => {
      const encoded = encodeHeader(given);
      assert.throws(() => decodeHeader(encoded.subarray(0, at % encoded.length)), RangeError);
      encoded[at % encoded.length] = value;
      onlyThrows(() => decodeHeader(encoded));
    }),
    { ...PROPERTY, numRuns: 500 },
  );
});

const keys = await keysFromSeed(Buffer.alloc(32, 7));

/** A signed frame over `contents`, with the header as `change` makes it. */
function frameWith(
  contents: readonly (StreamContent | StreamRows)[],
  change: (header: BatchHeader) => BatchHeader = (same) => same,
): Buffer {
  const packed = packBatch(contents, 1);
  const encoded = encodeHeader(
    change({
      origin: keys.peer,
      epoch: 5,
      seq: 1,
      segment: 1,
      previousHash: Buffer.alloc(32),
      payloadHash: Buffer.from(packed.payloadHash),
      contentHash: Buffer.from(packed.contentHash),
      sealedAtMs: 9,
      syncedSeq: 0,
      owners: [keys.peer],
      filterBytes: packed.filterBytes,
      blocks: packed.blocks,
      streams: partsOf(packed),
      sources: [],
    }),
  );
  return Buffer.concat([
    frameHead(encoded, packed.payload, packed.payloadCrc, keys.sign(encoded)),
    packed.payload,
  ]);
}

test('a packed and framed batch gives back every stream', async () => {
  await forEachSeed(30, (random, seed) => {
    const streams = new Map<string, Entry[]>();
    const contents = Array.from({ length: 1 + (seed % 6) }, () => {
      const app = `app${Math.floor(random.unit() * 4)}`;
      const given = randomEntries(random, 1 + Math.floor(random.unit() * (seed % 5 === 0 ? 5_000 : 50)));
      streams.set(app, [...(streams.get(app) ?? []), ...given]);
      return { labels: { app }, columns: columnsFrom(given) };
    });
    const opened = contentsOf(frameWith(contents));
    assert.deepEqual(new Map(opened.map(({ labels, entries }) => [labels!.app, entries])), streams);
  });
});

const manyStreams = fc.array(fc.tuple(fc.nat({ max: 30 }), fc.array(entry, { minLength: 0, maxLength: 3 })), {
  minLength: 1,
  maxLength: 60,
});

test('columns: rows cut out of others are those rows, with the metadata that they use', () => {
  fc.assert(
    fc.property(entries, fc.nat(), fc.nat(), (given, a, b) => {
      const [start, end] = [a % (given.length + 1), b % (given.length + 1)].sort((x, y) => x - y);
      const columns = columnsFrom(given);
      const sliced = sliceRows(columns, start, end);
      assert.deepEqual(entriesOf(sliced), given.slice(start, end));
      assert.equal(sliced.metadata.length, new Set(sliced.metadataIds).size);
      const alone = encodeColumns(columnsFrom(given.slice(start, end)));
      assert.deepEqual(encodeColumns(sliced), alone);
      const joined = joinRows([{ columns, start, end }]);
      assert.deepEqual(encodeColumns(joined), alone);
    }),
    { ...PROPERTY, numRuns: 300 },
  );
});

test('many streams of few lines each come back exactly, from several pushes and beside whole streams', () => {
  fc.assert(
    fc.property(fc.array(manyStreams, { minLength: 1, maxLength: 3 }), manyStreams, (pushes, whole) => {
      const labelsOf = (stream: number) => ({ app: `app${stream % 3}`, pod: `${stream}` });
      const expected = new Map<string, Entry[]>();
      const expect = (stream: number, given: Entry[]): void => {
        const key = labelsKey(labelsOf(stream));
        if (given.length > 0) expected.set(key, [...(expected.get(key) ?? []), ...given]);
      };
      for (const [stream, given] of [...whole, ...pushes.flat()]) expect(stream, given);
      const contents = [
        ...whole.map(([stream, given]) => ({ labels: labelsOf(stream), columns: columnsFrom(given) })),
        ...pushes.map((push) =>
          rowsFrom(push.map(([stream, given]) => ({ labels: labelsOf(stream), entries: given }))),
        ),
      ];
      if (expected.size === 0) return;
      const opened = contentsOf(frameWith(contents));
      assert.deepEqual(
        new Map(opened.map(({ labels: own, entries: found }) => [labelsKey(own!), found])),
        expected,
      );
    }),
    PROPERTY,
  );
});

test('20,000 streams of a line each come back exactly', () => {
  const streams = Array.from({ length: 20_000 }, (_, at) => ({
    labels: { app: 'a', pod: `${at}` },
    entries: [
      {
        ms: 1_700_000_000_000 + (at % 7),
        sub: at % 3,
        line: Buffer.from(`line ${at}`),
        metadata: { id: `${at % 50}` },
      },
    ],
  }));
  assert.deepEqual(contentsOf(frameWith([rowsFrom(streams)])), streams);
});

test('a batch is the same bytes whether its streams come one by one or together', async () => {
  await forEachSeed(10, (random) => {
    const streams = Array.from({ length: 20 }, (_, at) => ({
      labels: { app: `${at}` },
      entries: randomEntries(random, 1 + (at % 4)),
    }));
    const together = packBatch([rowsFrom(streams)], 1);
    const apart = packBatch(
      streams.map(({ labels: own, entries: given }) => ({ labels: own, columns: columnsFrom(given) })),
      1,
    );
    assert.deepEqual(together, apart);
  });
});

test('the hash of the content tells streams, columns and lines apart', () => {
  const packed = (app: string, ms: number, text: string): Uint8Array => {
    const given = [{ ms, sub: 0, line: Buffer.from(text), metadata: {} }];
    return packBatch([{ labels: { app }, columns: columnsFrom(given) }], 1).contentHash;
  };
  const hashes = [packed('a', 1, 'x'), packed('b', 1, 'x'), packed('a', 2, 'x'), packed('a', 1, 'y')];
  assert.equal(new Set(hashes.map((bytes) => Buffer.from(bytes).toString('hex'))).size, 4);
  assert.deepEqual(packed('a', 1, 'x'), packed('a', 1, 'x'));
});

test('a batch says the span of its times and counts its levels', async () => {
  await forEachSeed(20, (random) => {
    const given = randomEntries(random, 200);
    const [stream] = partsOf(packBatch([{ labels: {}, columns: columnsFrom(given) }], 1));
    const sorted = given.slice().sort((a, b) => a.ms - b.ms || a.sub - b.sub);
    assert.deepEqual(stream.min, { ms: sorted[0].ms, sub: sorted[0].sub });
    assert.deepEqual(stream.max, { ms: sorted.at(-1)!.ms, sub: sorted.at(-1)!.sub });
    assert.equal(
      stream.levels.reduce((a, b) => a + b),
      given.length,
    );
    assert.equal(stream.levels[2], given.filter(({ metadata }) => metadata.detected_level === 'info').length);
    assert.equal(
      stream.levels.at(-1),
      given.filter(({ metadata }) => !['info', 'error'].includes(metadata.detected_level)).length,
    );
  });
});

test('every flipped bit of a frame is found', () => {
  const given = [{ ms: 1, sub: 2, line: Buffer.from('one line'), metadata: { k: 'v' } }];
  const frame = frameWith([{ labels: { app: 'a' }, columns: columnsFrom(given) }]);
  verifyFrame(frame);
  for (let bit = 0; bit < frame.length * 8; bit++) {
    frame[bit >>> 3] ^= 1 << (bit & 7);
    assert.throws(() => verifyFrame(frame), { code: 'LV_FRAME_CORRUPT' }, `bit ${bit}`);
    frame[bit >>> 3] ^= 1 << (bit & 7);
  }
  verifyFrame(frame);
});

test('a frame whose checksums were made to fit still needs its hash and its signature', () => {
  const columns = columnsFrom([{ ms: 1, sub: 0, line: Buffer.from('x'), metadata: {} }]);
  const refused = (frame: Buffer, message: RegExp) =>
    assert.throws(
      () => verifyFrame(frame),
      (error: Error) => message.test(error.message),
    );
  const honest = frameWith([{ labels: {}, columns }]);
  const { header, payload } = readFrame(honest)!;
  const reframed = (head: Buffer, signature: Buffer) =>
    Buffer.concat([frameHead(head, payload, honest.readUInt32LE(12), signature), payload]);
  refused(reframed(header, Buffer.alloc(64)), /signature/);
  refused(
    frameWith([{ labels: {}, columns }], (same) => ({ ...same, payloadHash: Buffer.alloc(32) })),
    /payload does not match/,
  );
  refused(
    frameWith([{ labels: {}, columns }], (same) => ({ ...same, origin: '12D3KooWNobody' })),
    /signature/,
  );
});

test('cut and garbled frames throw nothing but LogvineError and RangeError', () => {
  const frame = frameWith([{ labels: { app: 'a' }, columns: columnsFrom(randomEntriesOf(20)) }]);
  for (let length = 0; length < frame.length; length++) {
    assert.throws(() => verifyFrame(frame.subarray(0, length)), LogvineError);
  }
  assert.throws(() => verifyFrame(Buffer.concat([frame, Buffer.of(0)])), LogvineError);
  fc.assert(
    fc.property(bytes(400), (garbage) => {
      onlyThrows(() => verifyFrame(garbage));
      onlyThrows(() => verifyFrame(Buffer.concat([Buffer.from('LVB1'), garbage])));
    }),
    { ...PROPERTY, numRuns: 500 },
  );
});

function randomEntriesOf(count: number): Entry[] {
  return Array.from({ length: count }, (_, row) => ({
    ms: row,
    sub: 0,
    line: Buffer.from(`line ${row}`),
    metadata: {},
  }));
}

test('a signed header that lies about its payload opens nothing else', () => {
  const contents = [{ labels: { app: 'a' }, columns: columnsFrom(randomEntriesOf(50)) }];
  const lies = fc.record({
    columnsStored: fc.integer({ min: -20, max: 20 }),
    columnsRaw: fc.oneof(fc.integer({ min: -20, max: 20 }), fc.constant(LIMITS.batchBytesMax)),
    linesStored: fc.integer({ min: -20, max: 20 }),
    linesRaw: fc.oneof(fc.integer({ min: -20, max: 20 }), fc.constant(LIMITS.batchBytesMax * 2)),
    linesBytes: fc.integer({ min: -20, max: 20 }),
    columnsBytes: fc.integer({ min: -20, max: 20 }),
  });
  fc.assert(
    fc.property(lies, (lie) => {
      const frame = frameWith(contents, (honest) => {
        const [block] = honest.blocks;
        const [stream] = honest.streams;
        const add = (value: number, by: number) => Math.max(0, value + by);
        return {
          ...honest,
          blocks: [
            {
              columnsStored: add(block.columnsStored, lie.columnsStored),
              columnsRaw: add(block.columnsRaw, lie.columnsRaw),
              linesStored: add(block.linesStored, lie.linesStored),
              linesRaw: add(block.linesRaw, lie.linesRaw),
            },
          ],
          streams: [
            {
              ...stream,
              linesBytes: add(stream.linesBytes, lie.linesBytes),
              columnsBytes: add(stream.columnsBytes, lie.columnsBytes),
            },
          ],
        };
      });
      const payload = readFrame(frame)!.payload;
      try {
        const { header } = verifyFrame(frame);
        const [{ columns }] = openStreams(header, payload, [0]);
        assert.deepEqual(entriesOf(columns), randomEntriesOf(50));
      } catch (error) {
        assert.equal((error as LogvineError).code, 'LV_FRAME_CORRUPT');
      }
    }),
    PROPERTY,
  );
});

test('a bomb stops at the length that its header says', () => {
  const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024));
  const before = process.memoryUsage().arrayBuffers;
  assert.throws(() => decompress(bomb, 1000), RangeError);
  assert.ok(process.memoryUsage().arrayBuffers - before < 4 * 1024 * 1024);
});

test('a header over the bounds is refused before anything is decompressed', () => {
  const contents = [{ labels: {}, columns: columnsFrom(randomEntriesOf(1)) }];
  const over = (change: (header: BatchHeader) => BatchHeader) =>
    assert.throws(() => verifyFrame(frameWith(contents, change)), { code: 'LV_FRAME_CORRUPT' });
  over((same) => ({ ...same, blocks: [{ ...same.blocks[0], linesRaw: LIMITS.batchBytesMax * 4 }] }));
  over((same) => ({ ...same, blocks: [{ ...same.blocks[0], linesStored: LIMITS.payloadBytesMax }] }));
  over((same) => ({ ...same, filterBytes: LIMITS.payloadBytesMax }));
  over((same) => ({ ...same, owners: Array.from({ length: LIMITS.ownersMax + 1 }, () => keys.peer) }));
  over((same) => ({ ...same, seq: 0 }));
  over((same) => ({ ...same, segment: 0 }));
  // One number in a frame must not make anybody count to it.
  over((same) => ({ ...same, streams: [{ ...same.streams[0], stream: 2 ** 40 }] }));
  const lengths = frameWith(contents);
  lengths.writeUInt32LE(LIMITS.headerBytesMax + 1, 4);
  assert.equal(readFrame(lengths), undefined);
  assert.ok(lengths.length > PREAMBLE_BYTES);
});

test('the filter rules out no literal that a line contains, in any case', async () => {
  await forEachSeed(40, (random, seed) => {
    const blocks = Array.from({ length: 1 + (seed % 3) }, () =>
      columnsFrom(randomEntries(random, seed % 4 === 0 ? 4_000 : 60)),
    );
    const filter = readFilter(buildFilter(blocks.map(({ lines }) => lines)))!;
    for (let round = 0; round < 200; round++) {
      const { lines, ends, count } = blocks[round % blocks.length];
      const row = Math.floor(random.unit() * count);
      const start = row === 0 ? 0 : ends[row - 1] + 1;
      const from = start + Math.floor(random.unit() * (ends[row] - start));
      const to = from + Math.floor(random.unit() * (ends[row] - from + 1));
      const literal = Buffer.from(lines.subarray(from, to)).map((byte) =>
        /[a-z]/i.test(String.fromCharCode(byte)) && random.unit() < 0.5 ? byte ^ 0x20 : byte,
      );
      assert.ok(filterMayContain(filter, gramsOf(literal)), Buffer.from(literal).toString('latin1'));
    }
  });
});

test('the filter rules out most of what is not there', async () => {
  await forEachSeed(3, (random) => {
    const filter = readFilter(buildFilter([columnsFrom(randomEntries(random, 500)).lines]))!;
    let passed = 0;
    for (let round = 0; round < 500; round++) {
      if (filterMayContain(filter, gramsOf(Buffer.from(random.bytes(8).toString('hex'))))) passed++;
    }
    assert.ok(passed < 25, `${passed} of 500`);
  });
});

test('a rotten filter is known as one', () => {
  const stored = buildFilter([Buffer.from('some words to remember\n')]);
  assert.ok(readFilter(stored));
  for (let bit = 0; bit < stored.length * 8; bit++) {
    stored[bit >>> 3] ^= 1 << (bit & 7);
    assert.equal(readFilter(stored), undefined, `bit ${bit}`);
    stored[bit >>> 3] ^= 1 << (bit & 7);
  }
  for (let length = 0; length < stored.length; length++)
    assert.equal(readFilter(stored.subarray(0, length)), undefined);
});

test('metadata sets that are alike are written once, whatever their order and however often they are given', () => {
  const metadata: Metadata[] = [{}, { a: '1', b: '2' }, {}, { b: '2', a: '1' }, { a: '1' }];
  const rows = [0, 1, 2, 3, 4, 3].map((id, at) => ({
    ms: at,
    sub: 0,
    line: Buffer.from(`${at}`),
    metadata: metadata[id],
  }));
  const { lines, ms, sub, ends, count } = columnsFrom(rows);
  const columns = {
    count,
    ms,
    sub,
    ends,
    lines,
    metadataIds: Uint32Array.from([0, 1, 2, 3, 4, 3]),
    metadata,
  };
  const decoded = decodeColumns(encodeColumns(columns), lines);
  assert.equal(decoded.metadata.length, 3);
  assert.deepEqual(
    [...decoded.metadataIds].map((id) => ({ ...decoded.metadata[id] })),
    [{}, { a: '1', b: '2' }, {}, { a: '1', b: '2' }, { a: '1' }, { a: '1', b: '2' }],
  );
});
