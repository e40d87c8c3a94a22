import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor, type MeshNode } from '../../../test/e2e/mesh.ts';
import type { Fault } from '../fault.ts';
import type { Scene } from '../scene.ts';
import { attach, cannotStrace, detach } from '../strace.ts';

const NOTICE_MS = 20_000;
/** Long enough for each kind of file to be written at least once. */
const INJECT_MS = 6_000;

/** Arguments of strace with which every fsync of these paths fails; what it did goes into a file. */
function failing(paths: readonly string[], logFile: string): string[] {
  const inject = ['-e', 'trace=fsync,fdatasync', '-e', 'inject=fsync,fdatasync:error=EIO'];
  return ['-f', ...inject, ...paths.flatMap((path) => ['-P', path]), '-o', logFile];
}

function injected(logFile: string): number {
  return readFileSync(logFile, 'utf8').split('(INJECTED)').length - 1;
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

/** Data is at stake, so the node has to stop storing (I7) and to say so. */
function whileRunning(name: string, title: string, isOwn: boolean): Fault {
  return fault(name, title, async (victim, logFile) => {
    const strace = await attach(victim.pid, failing(openSegments(victim, isOwn), logFile));
    try {
      await waitFor(`${victim.name} to say that its disk is unsafe`, NOTICE_MS, async () => {
        const { problems } = await victim.status();
        const codes = problems.map(({ code }) => code);
        return codes.includes('LV_DATA_UNSAFE') ? true : codes.join() || 'no problem';
      });
    } finally {
      await detach(strace);
    }
    await victim.kill();
  });
}

/** A node whose start fails says why and ends; one that starts goes on without what it could not write. */
function fromTheStart(name: string, title: string, paths: (node: MeshNode) => readonly string[]): Fault {
  return fault(name, title, async (victim, logFile, scene) => {
    const which = paths(victim);
    await victim.kill();
    // `-D`: the tracer is a child of the node, so that signals reach the node.
    victim.wrap = ['strace', '-D', '-qq', ...failing(which, logFile)];
    try {
      await victim.start();
      await scene.last(INJECT_MS);
    } catch (error) {
      if (!/LV_|EIO/.test(String(error)))
        scene.violation(`${victim.name} does not say why: ${String(error)}`);
    }
    await victim.kill();
    victim.wrap = [];
  });
}

function fault(
  name: string,
  title: string,
  body: (victim: MeshNode, logFile: string, scene: Scene) => Promise<void>,
): Fault {
  return {
    name: `fsync-${name}`,
    title: `fsync fails: ${title}`,
    rounds: 6,
    cannot: cannotStrace,
    async run(scene) {
      await scene.startUsual(3);
      let [failures, missed] = [0, 0];
      await scene.rounds(async (round) => {
        const victim = scene.nodes[round % scene.nodes.length];
        const logFile = scene.mesh.path(`strace-${round}`);
        await body(victim, logFile, scene);
        const count = injected(logFile);
        failures += count;
        if (count === 0) missed++;
        await victim.start();
      });
      scene.result.notes.push(`${failures} fsyncs failed; ${missed} rounds without any`);
    },
  };
}

const STATE = ['epoch', 'known', 'dropped', 'members']
  .flatMap((name) => [`${name}.json`, `${name}.json.tmp`])
  .concat('holdings.zst', 'holdings.zst.tmp');

export const fsyncFaults: readonly Fault[] = [
  whileRunning('own', 'a segment of the node itself', true),
  whileRunning('replica', 'a segment of another', false),
  fromTheStart('directory', 'directories', directories),
  fromTheStart('state', 'epoch.json, known.json, holdings.zst, dropped.json, members.json', (node) =>
    STATE.map((name) => join(node.data, name)),
  ),
];
