import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

/*
 * The launcher is copied into a package of its own whose command line is a stand-in. Every Node that can run these
 * tests is new enough, so an old one is made by preloading a file that changes the version the launcher sees.
 */
const LAUNCHER = fileURLToPath(new URL('../../scripts/logvine.js', import.meta.url));
const STAND_IN = `
export const systemIo = () => ({});
export async function main(argv) {
  const started = JSON.stringify({ argv, isOld: process.version === 'v14.0.0' });
  if (argv[0] === 'code') {
    console.log(started);
    return Number(argv[1]);
  }
  if (argv[0] === 'die') process.kill(process.pid, 'SIGKILL');
  const alive = setInterval(() => {}, 1000);
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) {
      process.on(signal, () => { clearInterval(alive); console.log(signal); resolve(7); });
    }
    // Only now: this line makes the test send its signal.
    console.log(started);
  });
}`;

let directory = '';
let oldNode: string[] = [];
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'logvine-launcher-'));
  await mkdir(join(directory, 'scripts'));
  await mkdir(join(directory, 'src/node/cli'), { recursive: true });
  await copyFile(LAUNCHER, join(directory, 'scripts/logvine.js'));
  await writeFile(join(directory, 'package.json'), '{"type":"module"}');
  await writeFile(join(directory, 'src/node/cli/index.ts'), STAND_IN);
  const preload = join(directory, 'old.cjs');
  await writeFile(
    preload,
    `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '14.0.0' } });
     Object.defineProperty(process, 'version', { value: 'v14.0.0' });`,
  );
  oldNode = ['--require', preload];
});
after(() => rm(directory, { recursive: true }));

interface Outcome {
  code: number | null;
  signal: NodeJS.Signals | null;
  out: string;
  err: string;
}

function launch(
  nodeOptions: string[],
  argv: string[],
  onOutput?: (kill: (signal: NodeJS.Signals) => void) => void,
) {
  return new Promise<Outcome>((resolve, reject) => {
    const child = spawn(process.execPath, [...nodeOptions, join(directory, 'scripts/logvine.js'), ...argv], {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 20_000,
    });
    let [out, err] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => {
      if (out === '') onOutput?.((signal) => child.kill(signal));
      out += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk.toString();
    });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, out, err }));
  });
}

describe('the launcher', () => {
  test('runs the command line itself under a new Node', async () => {
    const { code, out } = await launch([], ['code', '3', 'a b']);
    assert.equal(code, 3);
    assert.deepEqual(JSON.parse(out).argv, ['code', '3', 'a b']);
  });

  test('says what to do when there is only an old Node', async () => {
    const { code, err } = await launch(oldNode, ['code', '0']);
    assert.equal(code, 1);
    assert.equal(err, 'logvine: it needs Node 26 and this is v14.0.0; get it with: npm ci\n');
  });

  describe('under an old Node with a new one installed', () => {
    before(async () => {
      const bin = join(directory, 'node_modules/node/bin');
      await mkdir(bin, { recursive: true });
      await symlink(process.execPath, join(bin, 'node'));
    });

    test('hands over arguments and exit code', async () => {
      const { code, out, err } = await launch(oldNode, ['code', '3', '--x', 'a b']);
      assert.equal(err, '');
      assert.equal(code, 3);
      const seen = JSON.parse(out);
      assert.deepEqual(seen.argv, ['code', '3', '--x', 'a b']);
      assert.equal(seen.isOld, false);
    });

    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      test(`passes ${signal} on and waits for the end`, async () => {
        const { code, out } = await launch(oldNode, ['wait'], (kill) => kill(signal));
        assert.equal(code, 7);
        assert.equal(out.split('\n')[1], signal);
      });
    }

    test('dies as its child died', async () => {
      const { code, signal } = await launch(oldNode, ['die']);
      assert.equal(code, null);
      assert.equal(signal, 'SIGKILL');
    });
  });
});
