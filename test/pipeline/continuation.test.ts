import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { RawBlock } from '../../src/node/inputs/index.ts';
import { Continuation } from '../../src/node/pipeline/continuation.ts';
import { columnsOf, type LineOptions } from '../../src/node/pipeline/lines.ts';
import { SimClock } from '../helpers/sim-clock.ts';

const OPTIONS: LineOptions = { timeZone: 'UTC', discoverLevels: true, time: 'line' };
const READ_AT = Date.parse('2024-03-10T12:00:00Z');
const STAMPED = '2024-03-10 10:00:00,500 ERROR failed\n';
const STAMPED_MS = Date.parse('2024-03-10T10:00:00.500Z');

const labels = { filename: 'app.log' };
const block = (text: string, more: Partial<RawBlock> = {}): RawBlock => ({
  kind: 'raw',
  labels,
  bytes: Buffer.from(text),
  readAtMs: READ_AT,
  ...more,
});

/** The time before each block, each read `pauseMs` after the one before it. */
async function timesBefore(blocks: readonly RawBlock[], pauseMs = 250): Promise<(number | undefined)[]> {
  const clock = new SimClock();
  const continuation = new Continuation(clock);
  const times: (number | undefined)[] = [];
  for (const each of blocks) {
    times.push(continuation.next(each, 'UTC')?.ms);
    await clock.advance(pauseMs);
  }
  return times;
}

test('however lines are cut into blocks, they get the times and levels they have in one', () => {
  const line = fc.constantFrom(
    STAMPED,
    '2024-03-10 09:00:00.123456 INFO out of order\n',
    'java.lang.IllegalStateException: no\n',
    '\tat x.Y(Y.java:3)\n',
    '\n',
    '1970-01-01 00:00:01 a clock that was not set\n',
    '{"time":"2024-03-10T11:00:00Z","level":"warn"}\n',
    'Mar  9 10:00:00 host app: no year\n',
  );
  fc.assert(
    fc.property(fc.array(fc.array(line, { maxLength: 6 }), { maxLength: 8 }), (parts) => {
      const texts = parts.map((lines) => lines.join('')).filter((text) => text !== '');
      const continuation = new Continuation(new SimClock());
      const blocks = texts.map((text) => {
        const raw = block(text, { hasMore: true });
        return { ...raw, before: continuation.next(raw, 'UTC') };
      });
      const cut = columnsOf(blocks, OPTIONS);
      const whole = columnsOf([block(texts.join(''))], OPTIONS);
      assert.deepEqual(cut.ms, whole.ms);
      assert.deepEqual(cut.sub, whole.sub);
      assert.deepEqual(cut.metadataIds, whole.metadataIds);
    }),
    { numRuns: 2000 },
  );
});

test('a trace goes on over several blocks; a source without times has that of reading', async () => {
  assert.deepEqual(await timesBefore([block(STAMPED), block('\tat a\n'), block('\tat b\n'), block('x\n')]), [
    undefined,
    STAMPED_MS,
    STAMPED_MS,
    STAMPED_MS,
  ]);
  assert.deepEqual(await timesBefore([block('a\n'), block('b\n')]), [undefined, undefined]);
});

test('what is written after a pause is no continuation, unless the source only had to wait', async () => {
  assert.deepEqual(await timesBefore([block(STAMPED), block('a\n')], 10_001), [undefined, undefined]);
  assert.deepEqual(await timesBefore([block(STAMPED, { hasMore: true }), block('a\n')], 60_000), [
    undefined,
    STAMPED_MS,
  ]);
  // Lines without times that trickle in do not push the end of the trace before them further and further.
  const trickle = [block(STAMPED), block('a\n'), block('b\n'), block('c\n')];
  assert.deepEqual(await timesBefore(trickle, 4_000), [undefined, STAMPED_MS, STAMPED_MS, undefined]);
});

test('a trace has an end: hundreds of lines without a time are none', async () => {
  const more = { hasMore: true };
  const rest = (lines: number): RawBlock => block('\tat x\n'.repeat(lines), more);
  assert.deepEqual((await timesBefore([block(STAMPED), rest(500), rest(1)])).at(-1), STAMPED_MS);
  assert.deepEqual((await timesBefore([block(STAMPED, more), rest(300), rest(300), rest(1)])).slice(2), [
    STAMPED_MS,
    undefined,
  ]);
  assert.equal(
    (await timesBefore([block(`${STAMPED}${'x\n'.repeat(600)}`, more), rest(1)])).at(-1),
    undefined,
  );
});

test('sources do not mix, and a note of the input is no part of what is read', async () => {
  const other = { filename: 'app.log' };
  assert.deepEqual(await timesBefore([block(STAMPED), block('a\n', { labels: other }), block('b\n')]), [
    undefined,
    undefined,
    STAMPED_MS,
  ]);
  assert.deepEqual(await timesBefore([block(STAMPED), block('gap\n', { isNote: true }), block('b\n')]), [
    undefined,
    undefined,
    undefined,
  ]);
});

test('a clock that was not set is no time to go on with', async () => {
  const unset = block(`${STAMPED}1970-01-01 00:00:01 a clock that was not set\n`);
  assert.deepEqual(await timesBefore([unset, block('\tat x\n')]), [undefined, undefined]);
});
