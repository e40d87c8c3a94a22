import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { decodePush, PUSH_LIMITS, type Push, type PushHeaders } from '../../src/node/http/push.ts';
import { parseLabels } from '../../src/node/http/push-labels.ts';
import { snappyUncompress, SnappyError } from '../../src/node/http/push-snappy.ts';
import { streamsOf } from '../store/material.ts';
import { fuzz, growsLinearly, peakRise, refuses } from './fuzz.ts';
import { mutated } from './mutate.ts';

const MiB = 1024 * 1024;
const JSON_BODY: PushHeaders = { contentType: 'application/json', contentEncoding: undefined };
const PROTOBUF: PushHeaders = { contentType: 'application/x-protobuf', contentEncoding: undefined };
const NOW_MS = 1_700_000_000_000;

/** A snappy block of literals alone. */
function snappy(bytes: Uint8Array): Buffer {
  const parts: Uint8Array[] = [];
  const length: number[] = [];
  for (let rest = bytes.length; ; rest = Math.floor(rest / 128)) {
    length.push(rest >= 128 ? (rest % 128) | 0x80 : rest);
    if (rest < 128) break;
  }
  parts.push(Buffer.from(length));
  for (let at = 0; at < bytes.length; at += 65_536) {
    const piece = bytes.subarray(at, at + 65_536);
    parts.push(Buffer.from([61 << 2, (piece.length - 1) & 0xff, (piece.length - 1) >> 8]), piece);
  }
  return Buffer.concat(parts);
}

function request(streams: readonly { labels: string; entries: readonly Uint8Array[] }[]): Buffer {
  const writer = new BinaryWriter();
  for (const { labels, entries } of streams) {
    const stream = new BinaryWriter();
    stream.uint32(10).string(labels);
    for (const entry of entries) stream.uint32(18).bytes(entry);
    writer.uint32(10).bytes(stream.finish());
  }
  return Buffer.from(writer.finish());
}

function entry(
  seconds: number,
  nanos: number,
  line: string,
  pairs: readonly [string, string][] = [],
): Uint8Array {
  const time = new BinaryWriter();
  time.uint32(8).int64(seconds).uint32(16).int32(nanos);
  const writer = new BinaryWriter();
  writer.uint32(10).bytes(time.finish()).uint32(18).string(line);
  for (const [name, value] of pairs) {
    const pair = new BinaryWriter().uint32(10).string(name).uint32(18).string(value);
    writer.uint32(26).bytes(pair.finish());
  }
  return writer.finish();
}

const documents = [
  { streams: [{ stream: { app: 'a' }, values: [['1700000000000000000', 'a line']] }] },
  {
    streams: [
      { stream: { app: 'a', host: 'ü' }, values: [['1', 'x', { trace: '7', user: 'u' }]] },
      { stream: { b: '1' }, values: [] },
      {
        stream: { c: '1' },
        values: [
          ['-5', '', {}],
          ['+6', '\u0000\n', { a: '' }],
        ],
      },
    ],
  },
].map((document) => Buffer.from(JSON.stringify(document)));

const requests = [
  request([{ labels: '{app="a"}', entries: [entry(1_700_000_000, 5, 'a line')] }]),
  request([
    {
      labels: '{app="a\\n\\x41", b=`raw`,}',
      entries: [
        entry(1, 0, 'x', [
          ['trace', '7'],
          ['user', 'u'],
        ]),
      ],
    },
    { labels: '{c="d"}', entries: [] },
    { labels: '{d="e"}', entries: [entry(-1, 999_999_999, ''), entry(0, 0, 'ü'.repeat(50))] },
  ]),
];

function check({ rows, entries, bytes }: Push): void {
  let found = 0;
  let weighed = 0;
  for (const { labels, columns } of streamsOf(rows)) {
    assert.ok(Object.keys(labels).length > 0);
    found += columns.count;
    weighed += columns.lines.length - columns.count;
    assert.equal(columns.ends.at(-1), columns.lines.length - 1);
    for (let row = 0; row < columns.count; row++) {
      assert.ok(Number.isSafeInteger(columns.ms[row]) && columns.sub[row] <= 999_999);
      assert.ok(columns.metadata[columns.metadataIds[row]]);
      assert.equal(columns.lines[columns.ends[row]], 10);
    }
  }
  assert.deepEqual([found, weighed], [entries, bytes]);
}

const refusals = ['LV_PUSH_INVALID'] as const;
const options = { nowMs: NOW_MS, discoverServiceName: true, limits: PUSH_LIMITS };
const decode = (body: Buffer, headers: PushHeaders): Push => decodePush(body, headers, options);

fuzz('a push in JSON', {
  samples: documents,
  isJson: true,
  refusals,
  parse: (body) => decode(body, JSON_BODY),
  check,
});

fuzz('a push in protobuf', {
  samples: requests.map(snappy),
  refusals,
  parse: (body) => decode(body, PROTOBUF),
  make: (random) => snappy(mutated(random, requests[Math.floor(random.unit() * requests.length)], requests)),
  check,
});

for (const [name, contentEncoding, compress] of [
  ['gzip', 'gzip', gzipSync],
  ['deflate', 'deflate', deflateSync],
  ['raw deflate', 'deflate', deflateRawSync],
] as const) {
  const headers = { ...JSON_BODY, contentEncoding };
  fuzz(`a push in JSON, ${name}`, {
    samples: documents.map((document) => compress(document)),
    refusals,
    parse: (body) => decode(body, headers),
    check,
  });
}

fuzz('a push under any content type and encoding', {
  samples: ['application/json\n\n{"streams":[]}', 'application/x-protobuf; x=y\nsnappy\n\u0000'].map((text) =>
    Buffer.from(text),
  ),
  refusals,
  parse(bytes) {
    const [contentType, contentEncoding, ...body] = bytes.toString('latin1').split('\n');
    return decode(Buffer.from(body.join('\n'), 'latin1'), { contentType, contentEncoding });
  },
  check,
});

fuzz('a snappy block', {
  samples: [
    snappy(Buffer.from('abcabcabc')),
    Buffer.from([9, 8, 97, 98, 99, 9, 3]),
    snappy(Buffer.alloc(70_000)),
  ],
  refusals: ['range'],
  parse(bytes) {
    try {
      return snappyUncompress(bytes, MiB);
    } catch (error) {
      if (error instanceof SnappyError) throw new RangeError(error.message);
      throw error;
    }
  },
});

fuzz('labels of a pushed stream', {
  samples: ['{app="a"}', '{a="\\u00e9\\U0001F600\\377\\x00", b=`x`}'].map((text) => Buffer.from(text)),
  refusals: ['range'],
  parse(bytes) {
    try {
      return parseLabels(bytes.toString(), PUSH_LIMITS);
    } catch (error) {
      if ((error as Error).constructor.name === 'LabelsError') throw new RangeError((error as Error).message);
      throw error;
    }
  },
  check: (labels) => {
    for (const [name, value] of Object.entries(labels))
      assert.ok(/^[a-zA-Z_]\w*$/.test(name) && value !== '');
  },
});

/** Bodies as large as they may be, made to weigh as much as they can once they are read. */
const full = PUSH_LIMITS.bodyBytesMax - 64 * 1024;
const repeated = (piece: string, bytes = full): string => piece.repeat(Math.floor(bytes / piece.length));
const field = (tag: number, bytes: Uint8Array): Uint8Array =>
  new BinaryWriter().uint32(tag).bytes(bytes).finish();

function manyEntries(): Buffer {
  const one = entry(1, 0, '', [['a', 'b']]);
  return Buffer.from(request([{ labels: '{a="b"}', entries: Array.from({ length: 100_000 }, () => one) }]));
}

/** [what it is, the body, its headers, how much the memory may rise by] */
const HEAVY: readonly [string, () => Buffer, PushHeaders][] = [
  ['32 MiB of [', () => Buffer.from(repeated('[')), JSON_BODY],
  ['32 MiB of {"a":', () => Buffer.from(repeated('{"a":')), JSON_BODY],
  ['millions of streams in JSON', () => Buffer.from(`{"streams":[${repeated('{},')}{}]}`), JSON_BODY],
  ['millions of lists in JSON', () => Buffer.from(`{"streams":[${repeated('[],')}{}]}`), JSON_BODY],
  [
    'millions of keys in JSON',
    () => Buffer.from(`{${Array.from({ length: 500_000 }, (_, key) => `"${key}":0`).join()}}`),
    JSON_BODY,
  ],
  [
    'millions of labels in JSON',
    () =>
      Buffer.from(
        `{"streams":[{"stream":{${Array.from({ length: 500_000 }, (_, key) => `"a${key}":"b"`).join()}},"values":[["1",""]]}]}`,
      ),
    JSON_BODY,
  ],
  ['millions of streams in protobuf', () => snappy(Buffer.from(repeated('\n\0'))), PROTOBUF],
  [
    'millions of pairs in one entry',
    () => snappy(request([{ labels: '{a="b"}', entries: [Buffer.from(repeated('\x1a\0', full - 100))] }])),
    PROTOBUF,
  ],
  [
    'millions of labels in protobuf',
    () => snappy(request([{ labels: `{${repeated('a="b",', 30 * MiB)}}`, entries: [entry(1, 0, 'x')] }])),
    PROTOBUF,
  ],
  ['many entries in protobuf', () => snappy(manyEntries()), PROTOBUF],
  ['nested groups in protobuf', () => snappy(Buffer.from(repeated('\x0b'))), PROTOBUF],
  [
    'nested groups in an entry',
    () => snappy(field(10, field(18, Buffer.from(repeated('\x2b', full - 1000))))),
    PROTOBUF,
  ],
  ['a gzip bomb', () => gzipSync(Buffer.alloc(64 * MiB)), { ...JSON_BODY, contentEncoding: 'gzip' }],
  [
    'a deflate bomb',
    () => deflateRawSync(Buffer.alloc(64 * MiB)),
    { ...JSON_BODY, contentEncoding: 'deflate' },
  ],
  ['a snappy block that claims 4 GiB', () => Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]), PROTOBUF],
];
const BODY_FACTOR = 20;

for (const [name, make, headers] of HEAVY) {
  test(`${name}: memory and time are bounded`, async (t) => {
    const body = make();
    const started = process.cpuUsage();
    const rise = await peakRise(() => decode(body, headers));
    const { user, system } = process.cpuUsage(started);
    const ms = Math.round((user + system) / 1000);
    t.diagnostic(`${body.length} bytes: ${ms} ms, memory rose by ${Math.round(rise / MiB)} MiB`);
    assert.ok(rise < BODY_FACTOR * PUSH_LIMITS.bodyBytesMax, `memory rose by ${rise} bytes`);
    assert.ok(ms < 8_000, `it took ${ms} ms`);
  });
}

test('more streams than one push may have are refused, in either form', async () => {
  const streams = Array.from({ length: PUSH_LIMITS.streamsMax + 1 }, (_, id) => ({
    labels: `{a="${id}"}`,
    entries: [entry(1, 0, 'x')],
  }));
  await refuses(refusals, () => decode(snappy(request(streams)), PROTOBUF));
  const document = { streams: streams.map((_, id) => ({ stream: { a: `${id}` }, values: [['1', 'x']] })) };
  await refuses(refusals, () => decode(Buffer.from(JSON.stringify(document)), JSON_BODY));
});

growsLinearly('labels that are all escapes', {
  bytes: MiB,
  msMax: 2_000,
  make: (bytes) => Buffer.from(`{a="${'\\x41'.repeat(bytes / 4)}"}`),
  parse(input) {
    try {
      parseLabels(input.toString(), PUSH_LIMITS);
    } catch (error) {
      if ((error as Error).constructor.name !== 'LabelsError') throw error;
    }
  },
});
