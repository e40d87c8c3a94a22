import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Config } from '../../src/node/config/index.ts';
import { startInputs } from '../../src/node/inputs.ts';
import type { RawBlock } from '../../src/node/inputs/index.ts';
import { systemClock } from '../../src/store/index.ts';

test(
  'a file that two entries lead to is read once, as the first of them says',
  { timeout: 20_000 },
  async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'logvine-inputs-'));
    t.after(() => rmSync(directory, { recursive: true }));
    for (const name of ['app.log', 'other.log']) writeFileSync(join(directory, name), `a line of ${name}\n`);
    const entry = { exclude: [], labels: {}, timeZone: 'UTC' };
    const config = {
      labels: { env: 'test' },
      discoverServiceName: false,
      tail: [
        {
          ...entry,
          paths: [join(directory, 'app.log')],
          labels: { app: 'checkout' },
          timeZone: 'Asia/Tokyo',
        },
        { ...entry, paths: [join(directory, '*.log')] },
      ],
    } as unknown as Config;
    const blocks: RawBlock[] = [];
    const both = Promise.withResolvers<void>();
    const inputs = startInputs({
      config,
      batcher: {
        write: async (block) => {
          blocks.push({ ...block, bytes: Buffer.from(block.bytes) });
          if (blocks.length >= 2) both.resolve();
        },
        note: () => undefined,
      },
      clock: systemClock,
      host: 'alice',
      resume: () => undefined,
      remembered: () => [],
      log: { info: () => undefined, warn: () => undefined },
    });
    await both.promise;
    await inputs.close();
    const read = blocks.map(({ bytes, labels, timeZone }) => ({
      text: bytes.toString(),
      app: labels.app,
      timeZone,
    }));
    read.sort((a, b) => (a.text < b.text ? -1 : 1));
    assert.deepEqual(read, [
      { text: 'a line of app.log\n', app: 'checkout', timeZone: 'Asia/Tokyo' },
      { text: 'a line of other.log\n', app: undefined, timeZone: 'UTC' },
    ]);
  },
);
