import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemDiskReader } from '../../src/store/index.ts';

/** Files below `directory` that this process has open. */
function openBelow(directory: string): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith(directory) ? [target] : [];
    } catch {
      return [];
    }
  });
}

const onLinux = { skip: process.platform === 'linux' ? false : 'needs /proc' };

test('a file that was removed keeps its room until another is read, or nothing is', onLinux, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'logvine-reader-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const paths = ['a', 'b', 'c'].map((name) => join(directory, name));
  for (const path of paths) writeFileSync(path, path);
  const reader = systemDiskReader(50);
  const read = (path: string): string => reader.readAt(path, 0, 1_000).toString();
  for (const path of paths.slice(0, 2)) assert.equal(read(path), path);
  rmSync(paths[0]);
  assert.equal(openBelow(directory).length, 2);
  assert.equal(read(paths[2]), paths[2]);
  assert.deepEqual(openBelow(directory).sort(), paths.slice(1));
  // The same name, another file.
  rmSync(paths[1]);
  writeFileSync(paths[1], 'new');
  assert.equal(read(paths[1]), 'new');
  const untilMs = Date.now() + 10_000;
  while (openBelow(directory).length > 0 && Date.now() < untilMs)
    await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual(openBelow(directory), []);
  assert.equal(read(paths[1]), 'new');
  reader.close();
  assert.deepEqual(openBelow(directory), []);
});
