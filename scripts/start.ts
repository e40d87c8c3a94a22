/**
 * `npm start [-- FILE|GLOB…]`: a mesh of three nodes on this machine, to look at and to try. Each is the process that a
 * host of its own would run; the first one tails.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { accessSync, constants, createWriteStream, globSync, mkdirSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';

const NODES = 3;
const HTTP_PORT = 7420;
const MESH_PORT = 7421;
const DATA = resolve('logvine-data');
const MACHINE_LOGS = ['/var/log/*.log', '/var/log/syslog', '/var/log/messages', '/var/log/*/*.log'];

const launcher = new URL('./logvine.js', import.meta.url).pathname;
const children: ChildProcess[] = [];
let stopping: Promise<never> | undefined;
let areUp = false;

function readable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return statSync(path).isFile() && statSync(path).size > 0;
  } catch {
    return false;
  }
}

/** Starts one node; resolves with its ready line. Its own log goes to logvine.log beside its data. */
function start(index: number, patterns: readonly string[]): Promise<string> {
  const directory = `${DATA}/node-${index + 1}`;
  mkdirSync(directory, { recursive: true });
  const join = index === 0 ? [] : ['--join', `127.0.0.1:${MESH_PORT}`];
  const listen = [
    '--listen',
    `127.0.0.1:${MESH_PORT + 2 * index}`,
    '--http',
    `127.0.0.1:${HTTP_PORT + 2 * index}`,
  ];
  const child = spawn(
    process.execPath,
    [launcher, 'run', '--data', directory, ...listen, ...join, ...patterns],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      // Ctrl-C reaches only this script, which then stops the nodes in good order.
      detached: true,
    },
  );
  children.push(child);
  child.stderr.pipe(createWriteStream(`${directory}/logvine.log`, { flags: 'a' }));
  return new Promise((ready, failed) => {
    let complaint = '';
    child.stderr.on('data', (chunk: Buffer) => (complaint = chunk.toString()));
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith('logvine ready')) ready(line);
    });
    child.on('exit', (code) => {
      failed(new Error(`node ${index + 1} ended with ${code}: ${complaint.trim()}`));
      if (stopping) return;
      const others = children.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null);
      console.error(`node ${index + 1} has ended; its log is ${directory}/logvine.log`);
      // Once they are up, one may be killed to see what the others make of it.
      if (areUp && others.length > 0) console.error(`the other ${others.length} go on`);
      else void stop(1);
    });
  });
}

/** Ends the nodes in good order, then this process; whoever waits for it goes no further. */
function stop(code: number): Promise<never> {
  stopping ??= Promise.all(children.map(ended)).then(() => process.exit(code));
  return stopping;
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((done) => {
    if (child.exitCode !== null || child.signalCode !== null) return done();
    child.on('exit', () => done());
    child.kill('SIGTERM');
  });
}

process.on('SIGINT', () => {
  console.log('\nstopping…');
  void stop(0);
});
process.on('SIGTERM', () => void stop(0));

const given = process.argv.slice(2).map((path) => resolve(path));
const found = [...new Set(globSync([...MACHINE_LOGS, ...given]))].filter(readable).sort();
let patterns = [...MACHINE_LOGS.filter((pattern) => globSync(pattern).some(readable)), ...given];
const nothing = found.length === 0 && given.length === 0;
if (nothing) patterns = [`${DATA}/node-1/logvine.log`];

try {
  await Promise.all(Array.from({ length: NODES }, (_, index) => start(index, index === 0 ? patterns : [])));
  areUp = true;
} catch (error) {
  console.error(`logvine: ${(error as Error).message}`);
  await stop(1);
}

const shown = found.slice(0, 12).map((path) => `    ${path}`);
if (found.length > shown.length) shown.push(`    … and ${found.length - shown.length} more`);
console.log(`
  Three Logvine nodes are running on this machine.

  The mesh:    http://127.0.0.1:${HTTP_PORT}/
  Try:         npx logvine query '{job="logvine"} |= "error"' --since 30d
  Follow:      npx logvine tail '{job="logvine"}'
  Kill one:    kill -9 ${children[1].pid}     and ask again: the answer stays whole

  ${nothing ? 'No log of this machine can be read; it tails its own:\n    ' + patterns[0] : `Tailing${found.length === 0 ? ' (nothing there yet)' : ''}:`}
${nothing ? '' : shown.join('\n') || given.map((path) => `    ${path}`).join('\n')}

  Data is kept in ./logvine-data. Ctrl-C stops the mesh; started again, it goes on where it was.
`);
