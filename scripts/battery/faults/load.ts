import { readFileSync } from 'node:fs';
import { Convictions } from '../convictions.ts';
import type { Fault } from '../fault.ts';
import type { Scene } from '../scene.ts';
import { attach, cannotStrace, detach } from '../strace.ts';
import type { Pusher } from '../writers.ts';
import { cannotWire } from '../wire.ts';

const LAST_MS = 20_000;
const FSYNC_MS = 500;
const LINK_BYTES_PER_SECOND = 128 * 1024;
/** More than such a link takes. */
const HEAVY = { linesPerTurn: 40, paddingBytes: 200 };
const CLIENTS = 96;
/** About 1 MB each. */
const FLOOD = { linesPerPush: 1_000, everyMs: 0 };
const BURST = 7;

/** The most memory that any of the nodes has ever used. */
function peakMib(scene: Scene): number {
  const peaks = scene.nodes.map(({ pid }) => {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024;
  });
  return Math.round(Math.max(...peaks));
}

/** More than two cores can take, from clients that send as fast as they are answered and files that grow as fast. */
export const overload: Fault = {
  name: 'overload',
  title: `three files and ${CLIENTS} clients write more than the mesh takes, for ${LAST_MS / 1000} s`,
  rounds: 3,
  async run(scene) {
    await scene.startUsual(3, HEAVY);
    const convictions = new Convictions(scene);
    const clients: Pusher[] = Array.from({ length: CLIENTS }, (_, at) => {
      const pusher = scene.load.addPusher(`flood-${at}`, FLOOD);
      pusher.source.paddingBytes = 2 * HEAVY.paddingBytes;
      return pusher;
    });
    await scene.rounds(async () => convictions.during(scene.last(LAST_MS)));
    convictions.report();
    const outcomes = new Map<string, number>();
    for (const one of clients)
      for (const [kind, count] of one.outcomes) outcomes.set(kind, (outcomes.get(kind) ?? 0) + count);
    const text = [...outcomes].map(([kind, count]) => `${kind}: ${count}`).join(', ');
    scene.result.notes.push(`pushes: ${text}; at most ${peakMib(scene)} MiB resident`);
  },
};

export const slowDisk: Fault = {
  name: 'slow-disk',
  title: `each fsync of one node takes ${FSYNC_MS} ms longer, for ${LAST_MS / 1000} s`,
  rounds: 4,
  cannot: cannotStrace,
  async run(scene) {
    await scene.startUsual(3);
    const convictions = new Convictions(scene);
    await scene.rounds(async (round) => {
      const victim = scene.nodes[round % scene.nodes.length];
      const delay = `inject=fsync,fdatasync:delay_exit=${FSYNC_MS * 1000}`;
      const log = scene.mesh.path(`strace-${round}`);
      const strace = await attach(victim.pid, ['-f', '-e', 'trace=fsync,fdatasync', '-e', delay, '-o', log]);
      await convictions.during(scene.last(LAST_MS)).finally(() => detach(strace));
    });
    convictions.report();
    scene.result.notes.push(`at most ${peakMib(scene)} MiB resident`);
  },
};

export const slowLink: Fault = {
  name: 'slow-link',
  title: `the link of one node passes ${LINK_BYTES_PER_SECOND / 1024} KiB/s, more is written, for ${LAST_MS / 1000} s`,
  rounds: 4,
  cannot: cannotWire,
  async run(scene) {
    const { wire } = await scene.startWired(3, HEAVY);
    const convictions = new Convictions(scene);
    await scene.rounds(async (round) => {
      await wire.slow((round % 3) + 1, LINK_BYTES_PER_SECOND);
      await convictions.during(scene.last(LAST_MS));
      await wire.heal();
    });
    convictions.report();
    scene.result.notes.push(`at most ${peakMib(scene)} MiB resident`);
  },
};

export const burst: Fault = {
  name: 'burst',
  title: `${BURST} nodes join 3 at the same moment`,
  rounds: 3,
  isFresh: true,
  async run(scene) {
    await scene.startUsual(3);
    const convictions = new Convictions(scene);
    await scene.rounds(async () => {
      const names = Array.from({ length: BURST }, (_, index) => `node-${index + 4}`);
      await convictions.during(
        scene.start(Object.fromEntries(names.map((name) => [name, { linesPerTurn: 5 }]))),
      );
    });
    convictions.report();
  },
};
