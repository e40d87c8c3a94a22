import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mergeSources, sourceOf } from '../../src/store/query/merge.ts';
import { decodeRun, encodeRun, RunBuilder } from '../../src/store/query/run.ts';
import { LIMITS } from '../../src/store/index.ts';

const LINE = Buffer.from('ok\n');

test('two label sets that look alike, one of them made by a stage, travel in one run', () => {
  const builder = new RunBuilder();
  const rank = builder.rank('a');
  const labels = { app: 'x', level: 'info' };
  for (const [at, parsed] of [[], ['level']].entries())
    builder.add(at, 0, builder.stream(labels, parsed), rank, builder.metadata({}), LINE, 0, 2);
  const run = decodeRun(encodeRun(builder.finish()));
  assert.equal(run.streams.length, 2);
  assert.deepEqual(run.parsedNames, [[], ['level']]);
});

test('where each line has labels of its own, pieces are cut by what they weigh, and carry no others', async () => {
  const rows = 6_000;
  const builder = new RunBuilder();
  const rank = builder.rank('a');
  for (let at = 0; at < rows; at++) {
    const stream = builder.stream({ app: 'x', id: String(at), text: 'y'.repeat(1_000) }, ['id', 'text']);
    builder.add(at, 0, stream, rank, builder.metadata({}), LINE, 0, 2);
  }
  const pieces: number[] = [];
  const ids: string[] = [];
  for await (const run of mergeSources([sourceOf([builder.finish()])], {
    descending: false,
    limit: Infinity,
  })) {
    pieces.push(encodeRun(run).length);
    for (let row = 0; row < run.count; row++) ids.push(run.streams[run.streamIds[row]].id);
  }
  assert.deepEqual(
    ids,
    Array.from({ length: rows }, (_, at) => String(at)),
  );
  assert.ok(pieces.length > 4, `${pieces.length} pieces`);
  assert.ok(Math.max(...pieces) < 2 * LIMITS.queryChunkBytes, `${Math.max(...pieces)} bytes`);
});
