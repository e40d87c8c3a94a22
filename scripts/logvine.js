#!/usr/bin/env node
// Starts the command line. The machine's Node may be any since 14: with an old one, this file runs itself again under
// the Node that is installed beside it. So: old syntax, and nothing imported that an old Node lacks.
import { spawn } from 'child_process';
import { existsSync } from 'fs';
import { dirname, join } from 'path';
import { fileURLToPath } from 'url';

const NODE_MAJOR = 26;
const self = fileURLToPath(import.meta.url);
const running = Number(process.versions.node.split('.')[0]);

if (running >= NODE_MAJOR) start();
else restart();

function start() {
  import('../src/node/cli/index.ts')
    .then((cli) => cli.main(process.argv.slice(2), cli.systemIo()))
    // Everything is written by now; what may still be open (an idle connection) must not hold the process.
    .then((code) => process.exit(code))
    .catch((error) => {
      process.stderr.write('logvine: ' + (error && error.stack ? error.stack : error) + '\n');
      process.exit(1);
    });
}

function restart() {
  const node = installedNode(dirname(self));
  if (node === undefined) {
    fail('it needs Node ' + NODE_MAJOR + ' and this is ' + process.version + '; get it with: npm ci');
    return;
  }
  const child = spawn(node, [self].concat(process.argv.slice(2)), { stdio: 'inherit' });
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  signals.forEach((signal) => {
    // A terminal sends Ctrl-C to the child as well; it takes two signals at once for one.
    process.on(signal, () => child.kill(signal));
  });
  child.on('error', (error) => fail('cannot start ' + node + ': ' + error.message));
  child.on('exit', (code, signal) => {
    if (signal === null) {
      process.exit(code === null ? 1 : code);
      return;
    }
    signals.forEach((name) => process.removeAllListeners(name));
    process.kill(process.pid, signal);
  });
}

/** Looks where npm may have put it: beside this package's own files, or above them when it is a dependency. */
function installedNode(directory) {
  const node = join(
    directory,
    'node_modules',
    'node',
    'bin',
    process.platform === 'win32' ? 'node.exe' : 'node',
  );
  if (existsSync(node)) return node;
  const parent = dirname(directory);
  return parent === directory ? undefined : installedNode(parent);
}

function fail(message) {
  process.stderr.write('logvine: ' + message + '\n');
  process.exitCode = 1;
}
