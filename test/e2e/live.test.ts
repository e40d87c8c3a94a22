import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { Writer } from './lines.ts';
import { assertSameBytes, FULL, Mesh, waitFor } from './mesh.ts';

const EVERYTHING = '{job="logvine"}';
const QUERIES = FULL ? 200 : 6;

test('answers during ingest are the lines up to some moment: none twice, none left out', async (t) => {
  const mesh = new Mesh(t);
  const path = mesh.path('app.log');
  writeFileSync(path, '');
  const writer = new Writer(path, 60);
  t.after(() => writer.stop());
  // Small batches: many are on their way at any moment.
  const config = 'batch: { targetBytes: 64KiB, linger: 50ms, ageMax: 100ms }\n';
  const nodes = await mesh.startAll({
    alice: { files: [path], config },
    bob: { config },
    charlie: { config },
  });
  writer.start(10);
  let newest = 0;
  for (let n = 0; n < QUERIES; n++) {
    const asked = nodes[n % 3];
    const answers = await Promise.all([
      asked.query(EVERYTHING),
      nodes[(n + 1) % 3].query(`${EVERYTHING} |= "line"`),
    ]);
    const written = readFileSync(path);
    const [{ code, stdout, stderr }, filtered] = answers;
    assert.equal(code, 0, stderr);
    assertSameBytes(stdout, written.subarray(0, stdout.length));
    assert.ok(stdout.length >= newest, 'an answer is shorter than one before it');
    newest = stdout.length;
    assert.equal(filtered.code, 0, filtered.stderr);
    const numbers = filtered.stdout.toString('latin1').match(/^line \d+/gm) ?? [];
    assert.deepEqual(numbers.filter((text, index) => text !== `line ${index}`).slice(0, 5), []);
  }
  writer.stop();
  const whole = readFileSync(path);
  await waitFor('the last line to be found', 10_000, async () => {
    const { stdout } = await nodes[1].query(EVERYTHING);
    return stdout.length === whole.length;
  });
});
