import assert from 'node:assert/strict';
import { crc32, zstdCompressSync } from 'node:zlib';
import { createHash } from 'node:crypto';
import { ByteReader, ByteWriter } from '../../src/store/batch/bytes.ts';
import {
  joinRows,
  decodeColumns,
  encodeColumns,
  encodeHeader,
  filterMayContain,
  gramsOf,
  openStreams,
  packBatch,
  readFilter,
  readFrame,
  readHead,
  readPreamble,
  verifyFrame,
  type BatchHeader,
} from '../../src/store/batch/index.ts';
import { decodeHeader } from '../../src/store/batch/header.ts';
import type { Random } from '../../src/store/host/index.ts';
import { decodeRun, encodeRun, lineOf, nanosecondsOf, type EntryRun } from '../../src/store/query/index.ts';
import { decodeRecord, encodeRecord, emptyRecord, addBatch } from '../../src/store/segment/record.ts';
import { StreamPool } from '../../src/store/segment/streams.ts';
import { seededRandom } from '../helpers/sim-clock.ts';
import { columnsFrom, randomEntries, partsOf } from '../store/material.ts';
import { fuzz } from './fuzz.ts';
import { origin, signedFrame } from './lying-origin.ts';
import { mutated } from './mutate.ts';

const material = seededRandom(11);

/** Batches as an honest origin makes them, and the parts that a lying one puts together anew. */
const honest = [1, 3, 40].map((streams, index) => {
  const packed = packBatch(
    Array.from({ length: streams }, (_, stream) => ({
      labels: { app: `a${stream}`, host: 'h' },
      columns: columnsFrom(randomEntries(material, 1 + ((stream * 7) % 30))),
    })),
    1,
  );
  const header: BatchHeader = {
    origin: origin.peer,
    epoch: 1_700_000_000_000,
    seq: index + 1,
    segment: 1,
    previousHash: Buffer.alloc(32),
    previousEpoch: index === 1 ? { epoch: 5, lastSeq: 6, headerHash: Buffer.alloc(32, 1) } : undefined,
    payloadHash: Buffer.from(packed.payloadHash),
    contentHash: Buffer.from(packed.contentHash),
    sealedAtMs: 1_700_000_000_500,
    syncedSeq: 0,
    owners: [origin.peer],
    filterBytes: packed.filterBytes,
    blocks: packed.blocks,
    streams: partsOf(packed),
    sources: [{ source: 'file:/var/log/x', position: '{"offset":17}' }],
  };
  return { header, payload: Buffer.from(packed.payload) };
});

const frames = honest.map(({ header, payload }) => signedFrame(encodeHeader(header), payload));

/** Opens everything that a frame says it has, as a reader would, and looks at every row. */
function openAll(frame: Buffer): void {
  const { header } = verifyFrame(frame);
  const all = header.streams.map((_, part) => part);
  const { payload } = readFrame(frame)!;
  for (const { columns } of openStreams(header, payload, all)) checkColumns(columns);
  const filter = readFilter(payload.subarray(0, header.filterBytes));
  if (filter) filterMayContain(filter, gramsOf(Buffer.from('timeout')));
}

function checkColumns(columns: EntryRun | ReturnType<typeof decodeColumns>): void {
  for (let row = 0; row < columns.count; row++) {
    assert.ok(columns.sub[row] <= 999_999, 'nanoseconds are within their millisecond');
    assert.ok(columns.metadata[columns.metadataIds[row]] !== undefined, 'metadata is known');
    nanosecondsOf(columns, row);
    lineOf(columns, row);
  }
  assert.equal(columns.ends.at(-1) ?? -1, columns.lines.length - 1);
}

fuzz('a frame, its bytes changed', {
  samples: frames,
  refusals: ['LV_FRAME_CORRUPT'],
  parse: openAll,
});

fuzz('a preamble or a head', {
  samples: frames,
  refusals: [],
  parse(bytes) {
    readPreamble(bytes);
    readHead(bytes);
  },
});

const NUMBERS = [0, 1, 2, 7, 127, 128, 65_535, 2 ** 31, 2 ** 32, 2 ** 40, Number.MAX_SAFE_INTEGER, -1];

/** A copy of a header in which a few numbers, anywhere, are others. */
function lied(random: Random, header: BatchHeader): BatchHeader {
  const copy = structuredClone(header);
  const places: { in: Record<string, unknown>; key: string }[] = [];
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return;
    for (const [key, inner] of Object.entries(value)) {
      if (typeof inner === 'number') places.push({ in: value as Record<string, unknown>, key });
      else visit(inner);
    }
  };
  visit(copy);
  for (let changes = 1 + Math.floor(random.unit() * 3); changes > 0; changes--) {
    const place = places[Math.floor(random.unit() * places.length)];
    const number = NUMBERS[Math.floor(random.unit() * NUMBERS.length)];
    const old = place.in[place.key] as number;
    const isSigned = place.key === 'ms';
    const next = random.unit() < 0.5 ? number : old + (random.unit() < 0.5 ? 1 : -1);
    place.in[place.key] = isSigned ? next : Math.max(0, next);
  }
  return copy;
}

fuzz('a frame whose origin lies in its header, signed', {
  samples: frames,
  refusals: ['LV_FRAME_CORRUPT'],
  parse: openAll,
  make(random) {
    const { header, payload } = honest[Math.floor(random.unit() * honest.length)];
    if (random.unit() < 0.6) return signedFrame(encodeHeader(lied(random, header)), payload);
    return signedFrame(mutated(random, encodeHeader(header), frames), payload);
  },
});

fuzz('a frame whose origin lies in its payload, signed', {
  samples: frames,
  refusals: ['LV_FRAME_CORRUPT'],
  parse: openAll,
  make(random) {
    const { header, payload } = honest[Math.floor(random.unit() * honest.length)];
    const changed = mutated(random, payload, [payload]);
    const payloadHash = createHash('sha256').update(changed).digest();
    return signedFrame(encodeHeader({ ...header, payloadHash }), changed);
  },
});

const someColumns = columnsFrom(randomEntries(material, 30));

/** One stream whose columns and lines are any bytes, packed as a batch is. */
function frameAround(columns: Buffer, lines: Buffer): Buffer {
  const columnsStored = zstdCompressSync(columns);
  const linesStored = zstdCompressSync(lines);
  const filter = Buffer.alloc(12);
  filter.writeUInt32LE(crc32(filter.subarray(0, 8)), 8);
  const payload = Buffer.concat([filter, columnsStored, linesStored]);
  const { header } = honest[0];
  const block = {
    columnsStored: columnsStored.length,
    columnsRaw: columns.length,
    linesStored: linesStored.length,
    linesRaw: lines.length,
  };
  return signedFrame(
    encodeHeader({
      ...header,
      filterBytes: filter.length,
      blocks: [block],
      streams: [
        {
          ...header.streams[0],
          block: 0,
          entries: someColumns.count,
          levels: [0, 0, 0, 0, 0, 0, 0, 0, someColumns.count],
          columnsBytes: block.columnsRaw,
          linesBytes: block.linesRaw,
        },
      ],
      payloadHash: createHash('sha256').update(payload).digest(),
    }),
    payload,
  );
}

fuzz('a frame whose origin lies in its columns, packed and signed', {
  samples: frames,
  refusals: ['LV_FRAME_CORRUPT'],
  parse: openAll,
  make: (random) =>
    frameAround(mutated(random, encodeColumns(someColumns), frames), Buffer.from(someColumns.lines)),
});

fuzz('columns', {
  samples: [0, 1, 2, 50].map((count) => encodeColumns(columnsFrom(randomEntries(material, count)))),
  refusals: ['range'],
  parse(bytes) {
    for (const lines of [Buffer.alloc(0), Buffer.from(someColumns.lines), Buffer.alloc(bytes.length)]) {
      try {
        const columns = decodeColumns(bytes, lines);
        checkColumns(columns);
        const { count } = columns;
        joinRows([
          { columns, start: 0, end: count },
          { columns, start: count >> 1, end: count },
        ]);
      } catch (error) {
        if (!/do not add up/.test((error as Error).message)) throw error;
      }
    }
  },
});

fuzz('a header', {
  samples: honest.map(({ header }) => encodeHeader(header)),
  refusals: ['range'],
  parse: (bytes) => decodeHeader(bytes),
  // What was read is what its bytes say: a second reading of it sees the same.
  check: (header) => assert.deepEqual(decodeHeader(encodeHeader(header)), header),
});

fuzz('a filter', {
  samples: honest.map(({ header, payload }) => payload.subarray(0, header.filterBytes)),
  refusals: [],
  parse(bytes) {
    const filter = readFilter(bytes);
    if (filter) filterMayContain(filter, gramsOf(Buffer.from('GET /index')));
  },
});

const aRun = (count: number): EntryRun => ({
  ...columnsFrom(randomEntries(material, count)),
  streamIds: new Uint32Array(count),
  streams: [{ app: 'a' }],
  rankIds: new Uint32Array(count),
  ranks: ['x/1/1'],
});

fuzz('a run of entries', {
  samples: [0, 1, 20].map((count) => encodeRun(aRun(count))),
  refusals: ['LV_PROTOCOL'],
  parse: (bytes) => decodeRun(bytes),
  check(run) {
    checkColumns(run);
    encodeRun(run);
  },
});

const aRecord = (() => {
  const record = emptyRecord({ origin: origin.peer, epoch: 5, index: 1 });
  honest.forEach(({ header }, index) =>
    addBatch(
      record,
      header,
      {
        offset: index * 1000,
        frameBytes: frames[index].length,
        headerBytes: 400,
        headerHash: Buffer.alloc(32, index),
      },
      new StreamPool(),
    ),
  );
  return record;
})();

fuzz('a catalog record', {
  samples: [encodeRecord(aRecord)],
  refusals: ['range'],
  parse: (bytes) => decodeRecord(aRecord.id, bytes, new StreamPool()),
  check: (record) => void encodeRecord(record),
});

fuzz('varints', {
  samples: [Buffer.from([0x80, 1]), Buffer.from([5])],
  refusals: ['range'],
  parse(bytes) {
    const value = new ByteReader(bytes).varint();
    const writer = new ByteWriter();
    writer.varint(value);
    assert.equal(new ByteReader(writer.finish()).varint(), value);
    const signed = new ByteReader(bytes).zigzag();
    assert.ok(Number.isSafeInteger(signed));
  },
});
