/**
 * `npm test [-- NAME…]`: everything that must hold before a change lands. With names, only test files whose path contains
 * one of them.
 */
import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const names = process.argv.slice(2);
const bin = new URL('../node_modules/.bin/', import.meta.url).pathname;
// Hundreds of processes load the same code: compiled once, a start costs half.
const compiled = mkdtempSync(join(tmpdir(), 'logvine-compiled-'));
process.on('exit', () => rmSync(compiled, { recursive: true, force: true }));
const env = { ...process.env, PATH: `${bin}:${process.env.PATH}`, NODE_COMPILE_CACHE: compiled };
/** Two cores at least; the default leaves one of them idle. */
const AT_ONCE = '--test-concurrency=2';

function run(title: string, command: string, args: readonly string[]): void {
  const start = performance.now();
  const { status } = spawnSync(command, args, { stdio: 'inherit', env });
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  if (status !== 0) {
    console.error(`\n${title}: failed (${seconds} s)`);
    process.exit(status ?? 1);
  }
  console.log(`${title}: ok (${seconds} s)`);
}

const wanted = (path: string): boolean => names.length === 0 || names.some((name) => path.includes(name));
const all = globSync('test/**/*.test.ts').filter(wanted).sort();
// Tests with real processes measure patience, not speed, but they still should not starve each other of two cores.
const processes = all.filter((path) => path.startsWith('test/e2e/'));
const others = all.filter((path) => !path.startsWith('test/e2e/'));

if (names.length === 0) {
  run('types', 'tsc', ['--noEmit']);
  run('lint', 'oxlint', ['--type-aware', '--deny-warnings']);
  run('format', 'oxfmt', ['--check']);
  run('dead code', 'knip', []);
}
if (others.length > 0) run('tests', process.execPath, ['--test', AT_ONCE, '--test-reporter=dot', ...others]);
if (processes.length > 0) {
  run('tests with real processes', process.execPath, ['--test', AT_ONCE, ...processes]);
}
