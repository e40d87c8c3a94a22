import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { generateFile, JSON_FILES, RANGE } from '../../scripts/bench/generate.ts';
import { COMMON_WORD, FORMATS, RARE_LEVEL, RARE_WORD, type Format } from '../../scripts/bench/lines.ts';
import { columnsOf } from '../../src/node/pipeline/lines.ts';

const BYTES = 100_000;

function generated(format: Format) {
  const directory = mkdtempSync(join(tmpdir(), 'logvine-generate-'));
  try {
    const job = { path: join(directory, 'some.log'), format, bytes: BYTES, seed: 5 };
    const file = generateFile(job);
    return { file, bytes: readFileSync(job.path) };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function linesOf(bytes: Buffer): string[] {
  return bytes.toString().split('\n').slice(0, -1);
}

for (const format of FORMATS) {
  test(`what the bench says of its ${format} lines is so`, () => {
    const { file, bytes } = generated(format);
    const lines = linesOf(bytes);
    assert.equal(file.bytes, bytes.length);
    assert.ok(file.bytes >= BYTES && file.bytes < BYTES + 1_000);
    assert.equal(file.lines, lines.length);
    assert.equal(lines.filter((line) => line.includes(RARE_WORD)).length, 2);
    const common = lines.filter((line) => line.includes(COMMON_WORD)).length;
    assert.ok(common > lines.length / 10 && common < lines.length / 2, `${common} of ${lines.length}`);
  });

  test(`a node reads the time and the level of each of the bench's ${format} lines`, () => {
    const { file, bytes } = generated(format);
    const readAtMs = RANGE.endMs + 1;
    const columns = columnsOf([{ bytes, readAtMs }], { timeZone: 'UTC', discoverLevels: true, time: 'line' });
    assert.equal(columns.count, file.lines);
    const levels: Record<string, number> = {};
    let lastMs = RANGE.startMs;
    for (let row = 0; row < columns.count; row++) {
      const level = columns.metadata[columns.metadataIds[row]].detected_level;
      levels[level] = (levels[level] ?? 0) + 1;
      assert.ok(columns.ms[row] >= lastMs && columns.ms[row] < RANGE.endMs, `line ${row}`);
      lastMs = columns.ms[row];
    }
    assert.deepEqual(levels, { ...file.linesByLevel });
  });
}

test('the same seed makes the same bytes', () => {
  assert.deepEqual(generated('json').bytes, generated('json').bytes);
});

test('one of two rare JSON lines has the level that is asked for', () => {
  const rare = linesOf(generated('json').bytes).filter((line) => line.includes(RARE_WORD));
  const levels = rare.map((line) => (JSON.parse(line) as { level: string }).level);
  assert.equal(levels.filter((level) => level === RARE_LEVEL).length, 1);
  assert.equal(JSON_FILES.length, 2);
});
