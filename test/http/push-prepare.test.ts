import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import type { IncomingMessage } from 'node:http';
import { test } from 'node:test';
import fc from 'fast-check';
import { PushBudget, receiveBody } from '../../src/node/http/push-body.ts';
import { preparePush, shared, type PreparedPush } from '../../src/node/http/push-prepare.ts';
import { LIMITS, labelsText, type LogvineError } from '../../src/store/index.ts';
import { SimClock } from '../helpers/sim-clock.ts';
import { entriesOf, PROPERTY, streamsOf } from '../store/material.ts';

const MiB = 1024 * 1024;

type Values = [string, string, Record<string, string>?][];

function prepare(
  streams: { stream: Record<string, string>; values: Values }[],
  tenant?: string,
): PreparedPush {
  const headers = { contentType: 'application/json', contentEncoding: undefined, tenant };
  const body = Buffer.from(JSON.stringify({ streams }));
  return preparePush({ body, headers, nowMs: 0, discoverServiceName: false });
}

function linesOf({ parts }: PreparedPush): string[] {
  return parts.flatMap(({ rows }) =>
    streamsOf(rows).flatMap(({ labels, columns }) =>
      entriesOf(columns).map(
        ({ ms, sub, line, metadata }) =>
          `${labelsText(labels)} ${ms} ${sub} ${line.toString()} ${JSON.stringify(metadata)}`,
      ),
    ),
  );
}

function partBytes(part: PreparedPush['parts'][number]): number {
  let bytes = 0;
  for (const { columns } of streamsOf(part.rows)) {
    bytes += columns.lines.length + columns.count * 20;
    for (const set of columns.metadata)
      for (const [name, value] of Object.entries(set)) bytes += name.length + value.length;
  }
  return bytes;
}

test('a push is divided into parts that fit a batch; no line, time or metadata is changed, and always in the same way', () => {
  const stream = fc.record(
    {
      label: fc.constantFrom('a', 'b', 'c'),
      lines: fc.array(fc.tuple(fc.nat({ max: 700_000 }), fc.nat({ max: 40_000 })), { maxLength: 8 }),
    },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(fc.array(stream, { maxLength: 6 }), (given) => {
      let at = 0;
      const streams = given.map(({ label, lines }) => ({
        stream: { label },
        values: lines.map(([bytes, metadataBytes]): Values[number] => {
          at++;
          return [`${at}000001`, 'x'.repeat(bytes) + at, { id: 'm'.repeat(metadataBytes) + (at % 3) }];
        }),
      }));
      const push = prepare(streams);
      const expected = streams.flatMap(({ stream: labels, values }) =>
        values.map(
          ([time, line, metadata]) =>
            `${labelsText(labels)} ${time.slice(0, -6)} 1 ${line} ${JSON.stringify(metadata)}`,
        ),
      );
      assert.deepEqual(linesOf(push), expected);
      assert.deepEqual(linesOf(shared(push)), expected);
      for (const part of push.parts)
        assert.ok(
          partBytes(part) <= LIMITS.pushPartBytes || linesOf({ ...push, parts: [part] }).length === 1,
        );
      const digests = push.parts.map(({ digest }) => digest);
      assert.equal(new Set(digests).size, digests.length);
      assert.deepEqual(
        prepare(streams).parts.map(({ digest }) => digest),
        digests,
      );
    }),
    { ...PROPERTY, numRuns: 25 },
  );
});

test('many small streams with large labels are divided too, since labels stand in the header', () => {
  const streams = Array.from({ length: 2_000 }, (_, at) => ({
    stream: { label: `${at}`.padStart(3_000, 'l') },
    values: [['1', `line ${at}`]] as Values,
  }));
  const { parts } = prepare(streams);
  assert.ok(parts.length >= 3);
  for (const { rows, labelBytes } of parts) {
    const bytes = rows.keys.reduce((sum, key) => sum + Buffer.byteLength(key), 0);
    assert.equal(bytes, labelBytes);
    assert.ok(bytes <= LIMITS.batchLabelBytesMax * 1.1);
  }
});

test('the digest names the body, how it is read, and whose it is', () => {
  const streams = [{ stream: { a: 'b' }, values: [['1', 'x']] as Values }];
  const other = [{ stream: { a: 'b' }, values: [['1', 'y']] as Values }];
  assert.equal(prepare(streams).digest, prepare(streams).digest);
  assert.notEqual(prepare(streams).digest, prepare(other).digest);
  assert.notEqual(prepare(streams).digest, prepare(streams, 'someone').digest);
  assert.equal(Buffer.from(prepare(streams).digest, 'base64url').length, 16);
  assert.equal(prepare(streams).parts[0].digest, prepare(streams).digest);
});

/** A request with a body that comes in these pieces. */
function requestOf(pieces: readonly Buffer[], length?: number): IncomingMessage {
  const stream = new PassThrough({ highWaterMark: 1 });
  void (async () => {
    for (const piece of pieces) if (!stream.write(piece)) await new Promise((go) => stream.once('drain', go));
    stream.end();
  })();
  const headers = length === undefined ? {} : { 'content-length': String(length) };
  return Object.assign(stream, { headers }) as unknown as IncomingMessage;
}

const code = (wanted: string) => (error: unknown) => (error as LogvineError).code === wanted;

test('bodies are received with and without their length; all of them together have a bound', async () => {
  const clock = new SimClock();
  const budget = new PushBudget(10 * MiB);
  const pieces = Array.from({ length: 8 }, (_, at) => Buffer.alloc(MiB / 4, at));
  const first = await receiveBody(requestOf(pieces, 2 * MiB), budget, clock);
  assert.deepEqual(Buffer.from(first.body), Buffer.concat(pieces));
  assert.equal(first.body.byteLength, first.body.buffer.byteLength, 'can be handed over');
  const second = await receiveBody(requestOf(pieces), budget, clock);
  assert.deepEqual(Buffer.from(second.body), Buffer.concat(pieces));
  assert.ok(budget.bytes >= 4 * MiB);

  await assert.rejects(receiveBody(requestOf(pieces, 9 * MiB), budget, clock), code('LV_OVERLOADED'));
  const many = Array.from({ length: 40 }, () => pieces[0]);
  await assert.rejects(receiveBody(requestOf(many), budget, clock), code('LV_OVERLOADED'));
  await assert.rejects(receiveBody(requestOf([], 33 * MiB), budget, clock), code('LV_PUSH_INVALID'));
  const before = budget.bytes;
  first.lease.release();
  first.lease.release();
  assert.equal(budget.bytes, before - 2 * MiB);
  second.lease.release();
  assert.equal(budget.bytes, 0);
});

test('what a request says of its length takes no room before it has come', async () => {
  const clock = new SimClock();
  const budget = new PushBudget(10 * MiB);
  const hanging = Object.assign(new PassThrough(), { headers: { 'content-length': String(32 * MiB) } });
  const received = receiveBody(hanging as unknown as IncomingMessage, budget, clock);
  assert.ok(budget.bytes <= MiB);
  hanging.destroy(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }));
  await assert.rejects(received, { code: 'LV_PUSH_INVALID', statusCode: 400 });
  assert.equal(budget.bytes, 0);
});

test('what grew when it was decoded is waited out', async () => {
  const budget = new PushBudget(4 * MiB);
  const lease = budget.take(MiB);
  lease.resize(6 * MiB);
  let hasRoom = false;
  void budget.room().then(() => (hasRoom = true));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(hasRoom, false);
  lease.resize(3 * MiB);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(hasRoom, true);
});

test('a body that takes too long is given up', async () => {
  const clock = new SimClock();
  const budget = new PushBudget();
  const hanging = Object.assign(new PassThrough(), { headers: { 'content-length': '10' } });
  const received = receiveBody(hanging as unknown as IncomingMessage, budget, clock);
  const refused = assert.rejects(received, { statusCode: 408, message: /too long/ });
  await clock.advance(LIMITS.pushBodyMs);
  await refused;
  assert.equal(budget.bytes, 0);
});
