import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor, type MeshNode } from '../../../test/e2e/mesh.ts';
import type { Fault } from '../fault.ts';
import type { Scene } from '../scene.ts';

const NOTICE_MS = 20_000;
/** Long enough for each kind of file to be written at least once. */
const INJECT_MS = 6_000;

function cannot(): string | undefined {
  try {
    execFileSync('strace', ['-V'], { stdio: 'ignore' });
  } catch {
    return 'strace is not installed';
  }
  return undefined;
}

/** Lets every fsync of these paths fail in a process that runs. */
async function failSyncs(pid: number, paths: readonly string[]): Promise<ChildProcess> {
  const inject = ['-e', 'trace=fsync,fdatasync', '-e', 'inject=fsync,fdatasync:error=EIO'];
  const argv = [
    '-f',
    '-p',
    String(pid),
    ...inject,
    ...paths.flatMap((path) => ['-P', path]),
    '-o',
    '/dev/null',
  ];
  const strace = spawn('strace', argv, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  strace.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  await waitFor('strace to attach', 10_000, () => (said.includes('attached') ? true : said));
  return strace;
}

async function detach(strace: ChildProcess): Promise<void> {
  const ended = once(strace, 'exit');
  strace.kill('SIGINT');
  await ended;
}

/** Segments of which the node itself (or another) is the origin and that it has open for writing. */
function openSegments(node: MeshNode, isOwn: boolean): string[] {
  const directory = `/proc/${node.pid}/fd`;
  const paths = readdirSync(directory).map((fd) => {
    try {
      return readlinkSync(join(directory, fd));
    } catch {
      return '';
    }
  });
  return [...new Set(paths)].filter(
    (path) => path.endsWith('.seg') && path.includes(`/${node.peer}/`) === isOwn && statSync(path).size > 0,
  );
}

function directories(node: MeshNode): string[] {
  const segments = join(node.data, 'segments');
  return [node.data, segments, ...readdirSync(segments).map((name) => join(segments, name))];
}

/** `mustStop`: data was at stake, so the node has to stop storing (I7) and to say so. */
function fsyncFault(
  name: string,
  title: string,
  mustStop: boolean,
  paths: (node: MeshNode) => readonly string[],
): Fault {
  return {
    name: `fsync-${name}`,
    title: `fsync fails: ${title}`,
    rounds: 6,
    cannot,
    async run(scene) {
      await scene.startUsual(3);
      await scene.rounds(async (round) => {
        const victim = scene.nodes[round % scene.nodes.length];
        await whileFailing(scene, victim, paths(victim), mustStop);
        await victim.kill();
        await victim.start();
      });
    },
  };
}

async function whileFailing(
  scene: Scene,
  victim: MeshNode,
  paths: readonly string[],
  mustStop: boolean,
): Promise<void> {
  const strace = await failSyncs(victim.pid, paths);
  try {
    if (mustStop) {
      await waitFor(`${victim.name} to say that its disk is unsafe`, NOTICE_MS, async () => {
        const { problems } = await victim.status();
        const codes = problems.map(({ code }) => code);
        return codes.includes('LV_DATA_UNSAFE') ? true : codes.join() || 'no problem';
      });
    } else {
      await scene.last(INJECT_MS);
    }
  } finally {
    await detach(strace);
  }
}

export const fsyncFaults: readonly Fault[] = [
  fsyncFault('own', 'a segment of the node itself', true, (node) => openSegments(node, true)),
  fsyncFault('replica', 'a segment of another', true, (node) => openSegments(node, false)),
  fsyncFault('directory', 'directories', false, directories),
  fsyncFault('state', 'epoch.json, known.json, dropped.json, members.json', false, (node) =>
    ['epoch', 'known', 'dropped', 'members'].flatMap((name) => [
      join(node.data, `${name}.json`),
      join(node.data, `${name}.json.tmp`),
    ]),
  ),
];
