import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { startStdin } from '../../src/node/inputs/stdin.ts';
import { TestClock, TestSink } from './harness.ts';

function start() {
  const stream = new PassThrough();
  const sink = new TestSink();
  const clock = new TestClock();
  const log = { info: () => undefined, warn: () => undefined };
  const input = startStdin({
    stream,
    sink,
    clock,
    log,
    host: 'alice',
    discoverServiceName: true,
    lineBytesMax: 10,
  });
  return { stream, sink, clock, input };
}

/** Resolves once the loop has gone round often enough for everything that can happen to have happened. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

test('whole lines, over chunk borders; the rest at the end of the stream', async () => {
  const { stream, sink, input } = start();
  stream.write('one\ntw');
  stream.write('o\r\nlonger than ten\nend');
  stream.end();
  await input.ended;
  assert.deepEqual(sink.lines(), ['one', 'two', 'longer tha', 'n ten', 'end']);
  assert.deepEqual(sink.blocks[2].metadata, { logvine_piece: '1' });
  assert.deepEqual(sink.blocks[3].metadata, { logvine_piece: '2', logvine_piece_last: 'true' });
  assert.equal(sink.blocks[0].labels.filename, 'stdin');
  assert.equal(sink.blocks[0].position, undefined);
});

test('an unfinished line comes when the stream is idle, and its rest after it', async () => {
  const { stream, sink, clock, input } = start();
  stream.write('prompt: ');
  await turns();
  assert.deepEqual(sink.lines(), []);
  clock.advance(5_000);
  await turns();
  assert.deepEqual(sink.lines(), ['prompt: ']);
  stream.write('\nnext\n');
  stream.end();
  await input.ended;
  assert.deepEqual(sink.lines(), ['prompt: ', 'next']);
});

test('close ends it at once, also while the stream is silent or the sink is full', async () => {
  const silent = start();
  await silent.input.close();
  const full = start();
  const gate = Promise.withResolvers<void>();
  full.sink.gate = gate.promise;
  full.stream.write('one\n');
  full.stream.write('two\n');
  await turns();
  await full.input.close();
  gate.resolve();
  await full.input.ended;
  assert.deepEqual(full.sink.lines(), ['one']);
});

test('a failing stream is a problem', async () => {
  const { stream, input } = start();
  stream.destroy(new Error('broken'));
  await input.ended;
  assert.equal(input.status()[0].problem, 'broken');
});
