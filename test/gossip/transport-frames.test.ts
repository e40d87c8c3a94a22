import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { finishedMark, LENGTH_BYTES, lengthPrefix, messagesOf } from '../../src/gossip/transport/frames.ts';
import { UnfinishedMessages } from '../../src/gossip/transport/unfinished.ts';
import type { PeerId } from '../../src/gossip/transport/index.ts';
import { LIMITS } from '../../src/store/limits.ts';
import { LogvineError } from '../../src/store/index.ts';

const peer = 'liar' as PeerId;
const unfinished = new UnfinishedMessages();

async function* cut(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer, void, undefined> {
  let at = 0;
  for (let turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length]!;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

async function read(
  bytes: Buffer,
  sizes: readonly number[],
  max = 1000,
): Promise<{ messages: Buffer[]; error?: unknown }> {
  const messages: Buffer[] = [];
  try {
    for await (const message of messagesOf(cut(bytes, sizes), max, unfinished.of(peer)))
      messages.push(message);
    return { messages };
  } catch (error) {
    return { messages, error };
  } finally {
    assert.equal(unfinished.total, 0, 'what was counted is given back');
  }
}

const anyMessages = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 });
const anySizes = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 10 });

function encode(messages: readonly Uint8Array[]): Buffer {
  return Buffer.concat(messages.flatMap((message) => [lengthPrefix(message.length), message]));
}

test('messages survive any cutting into chunks', async () => {
  await fc.assert(
    fc.asyncProperty(anyMessages, anySizes, async (sent, sizes) => {
      const { messages, error } = await read(Buffer.concat([encode(sent), finishedMark()]), sizes);
      assert.equal(error, undefined);
      assert.deepEqual(
        messages,
        sent.map((message) => Buffer.from(message)),
      );
    }),
  );
});

test('a stream that is cut anywhere before its finished mark is a lost connection', async () => {
  await fc.assert(
    fc.asyncProperty(anyMessages, anySizes, fc.nat(), async (sent, sizes, at) => {
      const whole = Buffer.concat([encode(sent), finishedMark()]);
      const { messages, error } = await read(whole.subarray(0, at % whole.length), sizes);
      assert.ok(error instanceof LogvineError && error.code === 'LV_PEER_UNREACHABLE');
      assert.deepEqual(
        messages,
        sent.slice(0, messages.length).map((message) => Buffer.from(message)),
      );
    }),
  );
});

test('a length above the bound is refused before anything is collected', async () => {
  const { messages, error } = await read(
    Buffer.concat([encode([Buffer.from('ok')]), lengthPrefix(1001)]),
    [3],
  );
  assert.deepEqual(messages, [Buffer.from('ok')]);
  assert.ok(error instanceof LogvineError && error.code === 'LV_PROTOCOL');
  assert.equal(
    (await read(Buffer.concat([encode([Buffer.alloc(1000)]), finishedMark()]), [7])).messages.length,
    1,
  );
});

test('what peers leave unfinished is bounded for each and over all, and given back when their channels end', async () => {
  const messageBytes = 20 * 1024 * 1024;
  const begun: { end: () => void; failed: Promise<unknown> }[] = [];
  /** Begins a message of 20 MiB and says nothing more; resolves with the error it is refused with, if it is. */
  const begin = async (from: string): Promise<unknown> => {
    const silence = Promise.withResolvers<void>();
    const chunks = (async function* () {
      yield lengthPrefix(messageBytes);
      yield Buffer.alloc(messageBytes - 1);
      await silence.promise;
    })();
    const message = messagesOf(chunks, messageBytes, unfinished.of(from as PeerId)).next();
    const failed = message.then(
      () => undefined,
      (error: unknown) => error,
    );
    begun.push({ end: silence.resolve, failed });
    return Promise.race([failed, new Promise((resolve) => setImmediate(resolve, undefined))]);
  };
  const refused = async (from: string): Promise<number> => {
    for (let messages = 0; ; messages++) {
      const error = await begin(from);
      if (!error) continue;
      assert.equal((error as LogvineError).code, 'LV_OVERLOADED');
      return messages;
    }
  };
  assert.equal(await refused('one'), Math.floor(LIMITS.unfinishedBytesPerPeerMax / messageBytes));
  for (const another of ['two', 'three', 'four', 'five']) await refused(another);
  assert.ok(unfinished.total <= LIMITS.unfinishedBytesMax);
  assert.ok(unfinished.total > LIMITS.unfinishedBytesMax - messageBytes, 'others had room beside the first');
  for (const { end } of begun) end();
  for (const { failed } of begun) assert.ok(await failed);
  assert.equal(unfinished.total, 0);
});

test('a message that is under way pins what is counted, not the chunks that it came in', async () => {
  const chunk = Buffer.alloc(256 * 1024);
  lengthPrefix(chunk.length).copy(chunk, chunk.length - LENGTH_BYTES - 1);
  lengthPrefix(chunk.length - LENGTH_BYTES - LENGTH_BYTES - 1).copy(chunk);
  let counted = 0;
  const chunks = (async function* () {
    yield chunk.subarray(0, chunk.length - LENGTH_BYTES - 1);
    yield chunk.subarray(chunk.length - LENGTH_BYTES - 1);
    counted = unfinished.total;
    for (let at = 1; at < chunk.length; at += 21) yield Buffer.alloc(21, at);
    yield finishedMark();
  })();
  const messages: Buffer[] = [];
  for await (const message of messagesOf(chunks, chunk.length, unfinished.of(peer))) messages.push(message);
  assert.equal(counted, 64 * 1024, 'of a message of which a byte is there');
  const [, second] = messages;
  assert.equal(second.length, chunk.length);
  assert.deepEqual([second[1], second[22], second.at(-1)], [1, 22, (chunk.length - 21) % 256]);
  assert.equal(second.buffer.byteLength, second.length);
});
