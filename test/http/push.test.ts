import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import { compress } from 'snappyjs';
import { decodePush, PUSH_LIMITS, type Push, type PushLimits } from '../../src/node/http/push.ts';
import { lineStart, LogvineError } from '../../src/store/index.ts';
import { streamsOf } from '../store/material.ts';

const NOW_MS = 1_700_000_000_123;
const OPTIONS = { nowMs: NOW_MS, discoverServiceName: false, limits: PUSH_LIMITS };
const JSON_TYPE = 'application/json; charset=utf-8';
const PROTOBUF_TYPE = 'application/x-protobuf';

interface Row {
  ns: bigint;
  line: Buffer;
  metadata: Record<string, string>;
}

function rows(push: Push, stream = 0): Row[] {
  const { columns } = streamsOf(push.rows)[stream];
  return Array.from({ length: columns.count }, (_, row) => ({
    ns: BigInt(columns.ms[row]) * 1_000_000n + BigInt(columns.sub[row]),
    line: Buffer.from(columns.lines.subarray(lineStart(columns, row), columns.ends[row])),
    metadata: { ...columns.metadata[columns.metadataIds[row]] },
  }));
}

function pushJson(document: unknown, contentEncoding?: string, limits: PushLimits = PUSH_LIMITS): Push {
  const text = typeof document === 'string' ? document : JSON.stringify(document);
  return decodePush(Buffer.from(text), { contentType: JSON_TYPE, contentEncoding }, { ...OPTIONS, limits });
}

function oneStream(values: unknown, stream: unknown = { job: 'a' }) {
  return { streams: [{ stream, values }] };
}

function refused(run: () => unknown, message: RegExp): void {
  assert.throws(run, (error: unknown) => {
    assert.ok(error instanceof LogvineError, String(error));
    assert.equal(error.code, 'LV_PUSH_INVALID');
    assert.match(error.message, message);
    return true;
  });
}

interface ProtobufEntry {
  seconds?: bigint;
  nanos?: number;
  line: Uint8Array;
  metadata?: [string, string][];
  noTimestamp?: boolean;
}

function protobufStream(labels: string, entries: ProtobufEntry[]): Uint8Array {
  const writer = new BinaryWriter();
  for (const entry of entries) {
    writer.tag(2, WireType.LengthDelimited).fork();
    if (!entry.noTimestamp) {
      writer.tag(1, WireType.LengthDelimited).fork();
      if (entry.seconds) writer.tag(1, WireType.Varint).int64(entry.seconds);
      if (entry.nanos) writer.tag(2, WireType.Varint).int32(entry.nanos);
      writer.join();
    }
    writer.tag(2, WireType.LengthDelimited).bytes(entry.line);
    for (const [name, value] of entry.metadata ?? []) {
      writer.tag(3, WireType.LengthDelimited).fork();
      writer.tag(1, WireType.LengthDelimited).string(name);
      writer.tag(2, WireType.LengthDelimited).string(value).join();
    }
    writer.join();
  }
  // Last on purpose: fields may come in any order.
  writer.tag(1, WireType.LengthDelimited).string(labels);
  writer.tag(3, WireType.Varint).uint64(12345n);
  return writer.finish();
}

function protobufRequest(streams: Uint8Array[]): Buffer {
  const writer = new BinaryWriter();
  for (const stream of streams) writer.tag(1, WireType.LengthDelimited).bytes(stream);
  return Buffer.from(writer.finish());
}

function pushProtobuf(request: Buffer, limits: PushLimits = PUSH_LIMITS): Push {
  const headers = { contentType: PROTOBUF_TYPE, contentEncoding: undefined };
  return decodePush(Buffer.from(compress(request)), headers, { ...OPTIONS, limits });
}

describe('push as JSON', () => {
  test('keeps times, lines, metadata and order', () => {
    const push = pushJson(
      oneStream([
        ['1700000000123456789', 'second ä\n€', { trace: 'x', app: 'y' }],
        ['1', ''],
        ['1700000000123456788', 'third', { app: 'y', trace: 'x' }],
      ]),
    );
    assert.deepEqual(rows(push), [
      { ns: 1700000000123456789n, line: Buffer.from('second ä\n€'), metadata: { app: 'y', trace: 'x' } },
      { ns: 1n, line: Buffer.alloc(0), metadata: {} },
      { ns: 1700000000123456788n, line: Buffer.from('third'), metadata: { app: 'y', trace: 'x' } },
    ]);
    assert.deepEqual(streamsOf(push.rows)[0].labels, { job: 'a' });
    assert.equal(streamsOf(push.rows)[0].columns.metadata.length, 2);
    assert.equal(push.entries, 3);
    assert.equal(push.bytes, Buffer.byteLength('second ä\n€') + 5);
    assert.equal(streamsOf(push.rows)[0].columns.lines.at(-1), 0x0a);
  });

  test('any int64 time comes back exactly', () => {
    const time = fc.oneof(
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      fc.bigInt(-2_000_000n, 2_000_000n),
    );
    fc.assert(
      fc.property(fc.array(time, { minLength: 1 }), (times) => {
        const push = pushJson(oneStream(times.map((ns) => [String(ns), 'x'])));
        assert.deepEqual(
          rows(push).map(({ ns }) => ns),
          times,
        );
        assert.ok(streamsOf(push.rows)[0].columns.sub.every((sub) => sub < 1_000_000));
      }),
    );
  });

  test('any line of text comes back as its UTF-8', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' }), { minLength: 1 }), (lines) => {
        const push = pushJson(oneStream(lines.map((line) => ['5', line])));
        assert.deepEqual(
          rows(push).map(({ line }) => line),
          lines.map((line) => Buffer.from(line)),
        );
      }),
    );
  });

  for (const bad of [
    '9223372036854775808',
    '-9223372036854775809',
    '',
    '-',
    '1.5',
    '1e9',
    ' 1',
    '0x10',
    5,
    null,
  ]) {
    test(`refuses the timestamp ${JSON.stringify(bad)} by name`, () => {
      refused(
        () =>
          pushJson(
            oneStream([
              ['1', 'x'],
              [bad, 'x'],
            ]),
          ),
        /stream 0, entry 1: timestamp/,
      );
    });
  }

  const malformed: [string, unknown, RegExp][] = [
    ['text', '{"streams": [', /not JSON/],
    ['an array', [], /no array "streams"/],
    ['no streams', {}, /no array "streams"/],
    ['a stream that is null', { streams: [null] }, /stream 0 is not an object/],
    ['no values', { streams: [{ stream: { a: 'b' } }] }, /stream 0 has no array "values"/],
    ['no labels', { streams: [{ values: [['1', 'x']] }] }, /stream 0 has no object "stream"/],
    ['empty labels', oneStream([['1', 'x']], {}), /stream 0: at least one label pair/],
    ['only empty values', oneStream([['1', 'x']], { a: '' }), /at least one label pair/],
    ['a bad label name', oneStream([['1', 'x']], { 'a-b': 'c' }), /label name "a-b" is not allowed/],
    [
      'a label that objects swallow',
      '{"streams":[{"stream":{"__proto__":"x"},"values":[["1","x"]]}]}',
      /__proto__/,
    ],
    ['a number as label', oneStream([['1', 'x']], { a: 1 }), /label "a" is not a string/],
    [
      'an entry that is an object',
      oneStream([{ ts: '1', line: 'x' }]),
      /stream 0, entry 0 is not \[timestamp/,
    ],
    ['a line that is a number', oneStream([['1', 7]]), /entry 0: the line is not a string/],
    ['metadata that is an array', oneStream([['1', 'x', ['a']]]), /entry 0: the structured metadata/],
    ['metadata with a number', oneStream([['1', 'x', { a: 1 }]]), /structured metadata "a" is not a string/],
    ['nesting without end', '['.repeat(1_000_000), /not JSON/],
  ];
  for (const [name, document, message] of malformed) {
    test(`refuses ${name}`, () => refused(() => pushJson(document), message));
  }

  test('refuses bytes that are not UTF-8 instead of changing them', () => {
    const body = Buffer.concat([
      Buffer.from('{"streams":[{"stream":{"a":"b"},"values":[["1","'),
      Buffer.from([0xff]),
      Buffer.from('"]]}]}'),
    ]);
    const headers = { contentType: JSON_TYPE, contentEncoding: undefined };
    refused(() => decodePush(body, headers, OPTIONS), /not UTF-8/);
  });

  test('bounds streams, entries, lines, labels and metadata', () => {
    const two = oneStream([
      ['1', 'abc'],
      ['2', 'd'],
    ]);
    refused(() => pushJson(two, undefined, { ...PUSH_LIMITS, entriesMax: 1 }), /more than 1 entries/);
    refused(
      () => pushJson(two, undefined, { ...PUSH_LIMITS, lineBytesMax: 2 }),
      /stream 0, entry 0: line too long, 3 bytes, allowed are 2/,
    );
    refused(() => pushJson(two, undefined, { ...PUSH_LIMITS, streamsMax: 0 }), /allowed are 0/);
    refused(() => pushJson(two, undefined, { ...PUSH_LIMITS, labelsMax: 0 }), /1 labels, allowed are 0/);
    refused(() => pushJson(two, undefined, { ...PUSH_LIMITS, labelNameBytesMax: 2 }), /longer than 2/);
    refused(() => pushJson(two, undefined, { ...PUSH_LIMITS, labelValueBytesMax: 0 }), /longer than 0/);
    const tagged = oneStream([['1', 'x', { a: 'b', c: 'd' }]]);
    refused(() => pushJson(tagged, undefined, { ...PUSH_LIMITS, metadataPairsMax: 1 }), /2 pairs/);
    refused(() => pushJson(tagged, undefined, { ...PUSH_LIMITS, metadataBytesMax: 3 }), /4 bytes/);
  });

  test('structured metadata gets the names that Loki would store', () => {
    const push = pushJson(oneStream([['1', 'x', { 'k8s.pod': 'a', '1st': 'b', _x: 'c', __y: 'd', ü: 'e' }]]));
    assert.deepEqual(rows(push)[0].metadata, { __y: 'd', k8s_pod: 'a', key_1st: 'b', key_: 'e', key_x: 'c' });
  });

  test('streams without entries are left out, the rest stays', () => {
    const push = pushJson({ streams: [{ stream: {}, values: [] }, ...oneStream([['1', 'x']]).streams] });
    assert.equal(streamsOf(push.rows).length, 1);
    const none = pushJson({ streams: [] });
    assert.deepEqual([streamsOf(none.rows), none.bytes, none.entries], [[], 0, 0]);
  });
});

describe('content types and encodings', () => {
  const document = oneStream([['1', 'hello']]);
  const text = Buffer.from(JSON.stringify(document));
  const encodings: [string, Buffer][] = [
    ['identity', text],
    ['gzip', gzipSync(text)],
    ['GZIP', gzipSync(text)],
    ['deflate', deflateSync(text)],
    ['deflate', deflateRawSync(text)],
    ['snappy', Buffer.from(compress(text))],
  ];
  for (const [contentEncoding, body] of encodings) {
    test(`${contentEncoding} of ${body.length} bytes`, () => {
      const push = decodePush(body, { contentType: JSON_TYPE, contentEncoding }, OPTIONS);
      assert.equal(rows(push)[0].line.toString(), 'hello');
    });
  }

  test('a bomb is refused at the bound, whatever it is wrapped in', () => {
    const limits = { ...PUSH_LIMITS, bodyBytesMax: 100_000 };
    const bomb = Buffer.alloc(10_000_000, 0x20);
    for (const [contentEncoding, body] of [
      ['gzip', gzipSync(bomb)],
      ['deflate', deflateSync(bomb)],
      ['deflate', deflateRawSync(bomb)],
      ['identity', bomb],
    ] as const) {
      refused(
        () => decodePush(body, { contentType: JSON_TYPE, contentEncoding }, { ...OPTIONS, limits }),
        /larger than 100000 bytes/,
      );
    }
    const snappy = { contentType: JSON_TYPE, contentEncoding: 'snappy' };
    refused(() => decodePush(Buffer.from(compress(bomb)), snappy, { ...OPTIONS, limits }), /10000000 bytes/);
  });

  test('a damaged body, an unknown type and an unknown encoding say what they are', () => {
    const decode = (contentType: string | undefined, contentEncoding: string | undefined) => () =>
      decodePush(Buffer.from('junk'), { contentType, contentEncoding }, OPTIONS);
    refused(decode(JSON_TYPE, 'gzip'), /not valid gzip/);
    refused(decode(JSON_TYPE, 'deflate'), /not valid deflate/);
    refused(decode(PROTOBUF_TYPE, undefined), /not valid snappy/);
    refused(decode(JSON_TYPE, 'br'), /content encoding "br"/);
    refused(decode('text/plain', undefined), /content type "text\/plain"/);
    refused(decode(undefined, undefined), /content type ""/);
  });
});

describe('push as protobuf', () => {
  test('keeps bytes as they are, and times to the nanosecond', () => {
    const entries: ProtobufEntry[] = [
      { seconds: 1_700_000_000n, nanos: 123_456_789, line: Buffer.from([0xff, 0x00, 0x0a, 0xc3]) },
      {
        seconds: -5n,
        nanos: 1,
        line: Buffer.from('before 1970'),
        metadata: [
          ['b', '2'],
          ['a.x', '1'],
        ],
      },
      { line: Buffer.from('zero') },
      { noTimestamp: true, line: Buffer.from('now') },
    ];
    const push = pushProtobuf(protobufRequest([protobufStream('{job="x", host="\\u00e4"}', entries)]));
    assert.deepEqual(streamsOf(push.rows)[0].labels, { job: 'x', host: 'ä' });
    assert.deepEqual(rows(push), [
      { ns: 1700000000123456789n, line: entries[0].line, metadata: {} },
      { ns: -4999999999n, line: entries[1].line, metadata: { a_x: '1', b: '2' } },
      { ns: 0n, line: entries[2].line, metadata: {} },
      { ns: BigInt(NOW_MS) * 1_000_000n, line: entries[3].line, metadata: {} },
    ]);
    assert.equal(push.bytes, 4 + 11 + 4 + 3);
  });

  test('any lines come back byte for byte', () => {
    const line = fc.uint8Array({ maxLength: 300 });
    fc.assert(
      fc.property(fc.array(fc.array(line), { minLength: 1, maxLength: 4 }), (streams) => {
        const request = protobufRequest(
          streams.map((lines, i) =>
            protobufStream(
              `{i="${i}"}`,
              lines.map((line) => ({ seconds: 1n, line })),
            ),
          ),
        );
        const push = pushProtobuf(request);
        const filled = streams.filter((lines) => lines.length > 0);
        assert.equal(streamsOf(push.rows).length, filled.length);
        for (const [i, lines] of filled.entries()) {
          assert.deepEqual(
            rows(push, i).map((row) => row.line),
            lines.map((line) => Buffer.from(line)),
          );
        }
      }),
    );
  });

  test('names what is wrong', () => {
    const entry = { seconds: 1n, line: Buffer.from('abc') };
    const good = protobufStream('{a="b"}', [entry]);
    const request = (labels: string, second: ProtobufEntry = entry) =>
      protobufRequest([good, protobufStream(labels, [entry, second])]);
    refused(() => pushProtobuf(request('{a=b}')), /stream 1: labels "{a=b}": expected a quoted value at 3/);
    refused(() => pushProtobuf(request('{}')), /stream 1: at least one label pair/);
    const late = { seconds: 9_223_372_037n, line: entry.line };
    refused(() => pushProtobuf(request('{a="b"}', late)), /stream 1, entry 1: timestamp/);
    const limits = { ...PUSH_LIMITS, lineBytesMax: 3 };
    const long = { seconds: 1n, line: Buffer.from('abcd') };
    refused(
      () => pushProtobuf(request('{a="b"}', long), limits),
      /stream 1, entry 1: line too long, 4 bytes/,
    );
    refused(() => pushProtobuf(request('{a="b"}'), { ...PUSH_LIMITS, entriesMax: 2 }), /more than 2 entries/);
    refused(() => pushProtobuf(request('{a="b"}'), { ...PUSH_LIMITS, streamsMax: 1 }), /more than 1 streams/);
  });

  test('a damaged request is refused or decoded, and never anything else', () => {
    const metadata: [string, string][] = [['trace', 'abc']];
    const lines = ['one', 'two', 'three'].map((text) => ({
      seconds: 7n,
      nanos: 9,
      line: Buffer.from(text),
      metadata,
    }));
    const whole = protobufRequest([
      protobufStream('{job="a", host="b"}', lines),
      protobufStream('{c="d"}', lines),
    ]);
    const damage = fc.record({ at: fc.nat(whole.length - 1), byte: fc.nat(255), cut: fc.nat(whole.length) });
    fc.assert(
      fc.property(damage, ({ at, byte, cut }) => {
        const damaged = Buffer.from(whole);
        damaged[at] = byte;
        for (const body of [damaged, damaged.subarray(0, cut)]) {
          try {
            const push = pushProtobuf(body);
            for (const { columns } of streamsOf(push.rows)) {
              assert.equal(columns.ends.length, columns.count);
              assert.equal(columns.ends.at(-1), columns.lines.length - 1);
            }
          } catch (error) {
            assert.ok(error instanceof LogvineError, String((error as Error).stack));
            assert.equal(error.code, 'LV_PUSH_INVALID');
          }
        }
      }),
      { numRuns: 2000 },
    );
  });
});
