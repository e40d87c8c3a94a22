import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ERROR_CODES } from '../../src/store/index.ts';

test('docs/errors.md has a section with advice for every code, and none for others', () => {
  const text = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8');
  const sections = text.split(/^## /m).slice(1);
  const titles = sections.map((section) => section.split('\n', 1)[0]);
  assert.deepEqual([...titles].sort(), Object.keys(ERROR_CODES).sort());
  for (const section of sections) assert.ok(section.length > 120, `too short: ${section}`);
});
