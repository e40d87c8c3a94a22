import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { waitFor } from '../../test/e2e/mesh.ts';

export function cannotStrace(): string | undefined {
  try {
    execFileSync('strace', ['-V'], { stdio: 'ignore' });
  } catch {
    return 'strace is not installed';
  }
  return undefined;
}

/** From now on in a process that runs. */
export async function attach(pid: number, argv: readonly string[]): Promise<ChildProcess> {
  const strace = spawn('strace', ['-p', String(pid), ...argv], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  strace.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  await waitFor('strace to attach', 10_000, () => (said.includes('attached') ? true : said));
  return strace;
}

export async function detach(strace: ChildProcess): Promise<void> {
  const ended = once(strace, 'exit');
  strace.kill('SIGINT');
  await ended;
}
