/** Batches that are small and would become large, or slow: all signed by their origin, so that nothing else refuses them. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { crc32, zstdCompressSync } from 'node:zlib';
import { ByteWriter } from '../../src/store/batch/bytes.ts';
import {
  decompress,
  encodeColumns,
  encodeHeader,
  openStreams,
  packBatch,
  readFrame,
  verifyFrame,
  type BatchHeader,
} from '../../src/store/batch/index.ts';
import { LIMITS } from '../../src/store/limits.ts';
import { decodeRun } from '../../src/store/query/index.ts';
import { addBatch, decodeRecord, emptyRecord, encodeRecord } from '../../src/store/segment/record.ts';
import { StreamPool } from '../../src/store/segment/streams.ts';
import { columnsFrom, partsOf } from '../store/material.ts';
import { growsLinearly, peakRise, refuses } from './fuzz.ts';
import { origin, signedFrame } from './lying-origin.ts';

const MiB = 1024 * 1024;

/** A zstd frame of `blocks` blocks that each say "128 KiB of zeros" in four bytes; its size is not told beforehand. */
function zstdBomb(blocks: number, windowDescriptor = 0x38): Buffer {
  const bomb = Buffer.alloc(6 + 4 * blocks);
  Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, windowDescriptor]).copy(bomb);
  const RLE = 1;
  for (let block = 0; block < blocks; block++) {
    const isLast = block === blocks - 1 ? 1 : 0;
    bomb.writeUIntLE((128 * 1024 * 8) | (RLE << 1) | isLast, 6 + 4 * block, 3);
  }
  return bomb;
}

const entry = { ms: 1_700_000_000_000, sub: 0, line: Buffer.from('one'), metadata: {} };
const packed = packBatch([{ labels: { app: 'a' }, columns: columnsFrom([entry]) }], 1);
const plain: BatchHeader = {
  origin: origin.peer,
  epoch: 1,
  seq: 1,
  segment: 1,
  previousHash: Buffer.alloc(32),
  payloadHash: Buffer.from(packed.payloadHash),
  contentHash: Buffer.from(packed.contentHash),
  sealedAtMs: 1,
  syncedSeq: 0,
  owners: [origin.peer],
  filterBytes: packed.filterBytes,
  blocks: packed.blocks,
  streams: partsOf(packed),
  sources: [],
};

/** A frame of one stream whose columns and lines are stored as given, and have the lengths that are claimed. */
function frameOf(
  stored: { columns: Buffer; lines: Buffer },
  raw: { columns: number; lines: number },
): Buffer {
  const payload = Buffer.concat([stored.columns, stored.lines]);
  const header: BatchHeader = {
    ...plain,
    filterBytes: 0,
    blocks: [
      {
        columnsStored: stored.columns.length,
        columnsRaw: raw.columns,
        linesStored: stored.lines.length,
        linesRaw: raw.lines,
      },
    ],
    streams: [{ ...plain.streams[0], columnsBytes: raw.columns, linesBytes: raw.lines }],
    payloadHash: createHash('sha256').update(payload).digest(),
  };
  return signedFrame(encodeHeader(header), payload);
}

function open(frame: Buffer): unknown {
  const { header } = verifyFrame(frame);
  return openStreams(header, readFrame(frame)!.payload, [...header.streams.keys()]);
}

const columns = encodeColumns(columnsFrom([entry]));
const columnsStored = zstdCompressSync(columns);

test('64 KiB that unpack to 2 GiB stop at what the header may claim', async () => {
  const lines = zstdBomb(16_384);
  for (const linesRaw of [4, 1024, 20 * MiB]) {
    const frame = frameOf({ columns: columnsStored, lines }, { columns: columns.length, lines: linesRaw });
    const rise = await peakRise(() => refuses(['LV_FRAME_CORRUPT'], () => open(frame)));
    assert.ok(rise < 128 * MiB, `${linesRaw}: memory rose by ${rise} bytes`);
  }
});

test('a header that claims gigabytes is refused before anything is unpacked', async () => {
  const lines = zstdBomb(16_384);
  for (const linesRaw of [2 ** 31, 2 ** 40, Number.MAX_SAFE_INTEGER]) {
    const frame = frameOf({ columns: columnsStored, lines }, { columns: columns.length, lines: linesRaw });
    const rise = await peakRise(() => refuses(['LV_FRAME_CORRUPT'], () => open(frame)));
    assert.ok(rise < 16 * MiB, `memory rose by ${rise} bytes`);
  }
});

test('a window of gigabytes is refused, and takes no memory', async () => {
  for (const exponent of [16, 17, 20, 31]) {
    const rise = await peakRise(() =>
      assert.throws(() => decompress(zstdBomb(1, exponent << 3), 128 * 1024)),
    );
    assert.ok(rise < 32 * MiB, `2^${exponent + 10}: memory rose by ${rise} bytes`);
  }
});

/** Columns of one row with as many empty metadata sets as a reader takes: a byte becomes an object. */
function columnsOfManySets(sets: number): Buffer {
  const writer = new ByteWriter();
  // count 1, unit 1, time 0, sub mode 0, line length 0
  for (const number of [1, 1, 0, 0, 0, sets]) writer.varint(number);
  for (let set = 0; set <= sets; set++) writer.varint(0);
  return writer.finish();
}

test('many empty metadata sets in a small batch are refused', async () => {
  const many = columnsOfManySets(LIMITS.batchEntriesMax);
  const stored = { columns: zstdCompressSync(many), lines: zstdCompressSync(Buffer.from('\n')) };
  const frame = frameOf(stored, { columns: many.length, lines: 1 });
  assert.ok(frame.length < 2048);
  const rise = await peakRise(() => refuses(['LV_FRAME_CORRUPT'], () => open(frame)));
  assert.ok(rise < 64 * MiB, `memory rose by ${rise} bytes`);
});

test('a run with as many label sets as fit a message costs a bounded memory', async () => {
  const empty = new ByteWriter();
  empty.varint(0);
  empty.varint(LIMITS.batchEntriesMax);
  for (let at = 0; at < LIMITS.batchEntriesMax; at++) empty.varint(0);
  const rise = await peakRise(() => refuses(['LV_PROTOCOL'], () => decodeRun(empty.finish())));
  assert.ok(rise < 32 * MiB, `memory rose by ${rise} bytes`);

  const distinct = new ByteWriter(LIMITS.messageBytesMax);
  distinct.varint(0);
  const sets = LIMITS.batchEntriesMax / 8;
  distinct.varint(sets);
  for (let at = 0; at < sets; at++) {
    distinct.varint(1);
    distinct.text('');
    distinct.text(at.toString(36));
  }
  assert.ok(distinct.length < LIMITS.messageBytesMax);
  const distinctRise = await peakRise(() => decodeRun(distinct.finish()));
  assert.ok(distinctRise < 192 * MiB, `memory rose by ${distinctRise} bytes`);
});

test('a run that counts rows it does not have sets no memory aside for them', async () => {
  const writer = new ByteWriter();
  writer.varint(20 * MiB);
  const bytes = Buffer.concat([writer.finish(), Buffer.alloc(20 * MiB)]);
  const rise = await peakRise(() => refuses(['LV_PROTOCOL'], () => decodeRun(bytes)));
  assert.ok(rise < 16 * MiB, `memory rose by ${rise} bytes`);
});

growsLinearly('opening a batch of many streams in many blocks', {
  bytes: LIMITS.batchBlocksMax,
  msMax: 6_000,
  make(streams) {
    const linesStored = zstdCompressSync(Buffer.from('one\n'));
    const block = {
      columnsStored: columnsStored.length,
      columnsRaw: columns.length,
      linesStored: linesStored.length,
      linesRaw: 4,
    };
    const piece = Buffer.concat([columnsStored, linesStored]);
    const payload = Buffer.concat(Array.from({ length: streams }, () => piece));
    const header = {
      ...plain,
      filterBytes: 0,
      blocks: Array.from({ length: streams }, () => block),
      streams: Array.from({ length: streams }, (_, stream) => ({
        ...plain.streams[0],
        labels: { app: 'a' },
        stream,
        block: stream,
        columnsBytes: columns.length,
        linesBytes: 4,
      })),
      payloadHash: createHash('sha256').update(payload).digest(),
    };
    return signedFrame(encodeHeader(header), payload);
  },
  parse: open,
});

test('a catalog record of a segment with 150,000 streams and 150,000 batches is read back', () => {
  const record = emptyRecord({ origin: origin.peer, epoch: 1, index: 1 });
  const pool = new StreamPool();
  for (let stream = 0; stream < 150_000; stream++) record.streams.push(pool.take({ n: `${stream}` }));
  const header = { ...plain, streams: [{ ...plain.streams[0], labels: undefined }] };
  for (let seq = 1; seq <= 150_000; seq++) {
    addBatch(
      record,
      { ...header, seq },
      { offset: seq, frameBytes: 1, headerBytes: 1, headerHash: Buffer.alloc(32) },
      pool,
    );
  }
  const read = decodeRecord(record.id, encodeRecord(record), pool);
  assert.equal(read.streams.length, 150_000);
  assert.equal(read.batches.length, 150_000);
  assert.equal(crc32(encodeRecord(read)), crc32(encodeRecord(record)));
});
