import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';

/** Modules that are loaded at run time with this one: types are not. */
function loadedBy(path: string, seen = new Set<string>()): Set<string> {
  if (seen.has(path)) return seen;
  seen.add(path);
  const text = readFileSync(path, 'utf8');
  for (const [, type, name] of text.matchAll(/^(?:import|export) (type )?[^;]*?from '(\.[^']+)'/gm))
    if (type === undefined) loadedBy(normalize(join(dirname(path), name)), seen);
  return seen;
}

test('a worker thread does not load what speaks to the network: it would start late and cost memory', () => {
  const loaded = [...loadedBy('src/node/worker.ts')];
  assert.ok(loaded.includes('src/node/http/push-prepare.ts'), 'the walk finds what a worker does');
  assert.deepEqual(
    loaded.filter((path) => path.startsWith('src/gossip/') || path.endsWith('/server.ts')),
    [],
  );
});
