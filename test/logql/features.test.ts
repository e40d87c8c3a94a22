/** What docs/logql.md promises: each row of its tables names one of these tests; what they expect comes from Loki's documentation. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { formats, labelFilters, lineFilters, parsers, selectors } from './features/log.ts';
import { binaries, ranges, times, unwraps, vectors } from './features/metric.ts';
import { templates } from './features/templates.ts';

const features = [
  ...[...selectors, ...lineFilters, ...parsers, ...labelFilters, ...formats, ...templates],
  ...[...ranges, ...unwraps, ...vectors, ...binaries, ...times],
];

for (const { name, run } of features) test(name, run);

/** The last cell of each row of the page's tables; `\|` is a bar. */
function namedInDocs(): string[] {
  const page = readFileSync(new URL('../../docs/logql.md', import.meta.url), 'utf8');
  const rows = page.split('\n').filter((line) => line.startsWith('|') && line.endsWith('|'));
  const names = rows.map((row) => {
    const cells = row.slice(1, -1).split(/(?<!\\)\|/);
    assert.equal(cells.length, 3, row);
    return cells[2].trim().replaceAll('\\|', '|').replaceAll('\\_', '_');
  });
  return names.filter((name) => name !== 'test' && !/^-+$/.test(name));
}

test('docs/logql.md and these tests name each other', () => {
  assert.deepEqual(
    namedInDocs(),
    features.map(({ name }) => name),
    'the same names in the same order',
  );
});
