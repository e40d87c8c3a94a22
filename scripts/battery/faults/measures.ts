import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor, type MeshNode } from '../../../test/e2e/mesh.ts';
import type { Fault } from '../fault.ts';
import { median } from '../result.ts';
import { CONFIG, type Scene } from '../scene.ts';
import { cannotWire } from '../wire.ts';

const DETECTIONS = 5;
const IDLE_MS = 60_000;
const SETTLE_MS = 30_000;

/** How long until every other node takes a crashed one for dead. */
async function detection(scene: Scene, count: number): Promise<void> {
  await scene.startUsual(count, { linesPerTurn: 0 });
  const tookMs: number[] = [];
  await scene.rounds(async () => {
    const victim = scene.pick(scene.nodes);
    const others = scene.nodes.filter((node) => node !== victim);
    await victim.kill();
    const startedMs = performance.now();
    await waitFor('all to know', 60_000, async () => {
      const states = await Promise.all(others.map((node) => stateOf(node, victim.peer)));
      return states.every((state) => state === 'dead') ? true : states.join();
    });
    tookMs.push(performance.now() - startedMs);
    await victim.start();
  });
  const each = tookMs.map((ms) => (ms / 1000).toFixed(1)).join(', ');
  scene.result.notes.push(
    `a crash known to all of ${count} after ${(median(tookMs) / 1000).toFixed(1)} s (median of ${each})`,
  );
}

async function stateOf(node: MeshNode, peer: string): Promise<string | undefined> {
  const { members } = await node.status();
  return members.find((member) => member.peer === peer)?.state;
}

function detect(count: number): Fault {
  return {
    name: `detect-${count}`,
    title: `kill −9 at ${count} nodes, until all know it`,
    rounds: DETECTIONS,
    run: (scene) => detection(scene, count),
  };
}

/** What a node without work sends, with the headers of IP and TCP. */
function idle(count: number): Fault {
  return {
    name: `idle-${count}`,
    title: `${count} nodes at rest`,
    rounds: 1,
    cannot: cannotWire,
    async run(scene) {
      const { wire, nodes } = await scene.startWired(count, { linesPerTurn: 0 });
      await scene.rounds(async () => {
        await scene.load.pause();
        scene.stopAsking();
        await scene.last(SETTLE_MS);
        const before = await wire.sentBytes();
        const cpuBefore = nodes.map(cpuSeconds);
        await scene.last(IDLE_MS);
        const after = await wire.sentBytes();
        const rates = after.map((bytes, at) => ((bytes - before[at]) / IDLE_MS) * 1000);
        const cpu = nodes.map((node, at) => ((cpuSeconds(node) - cpuBefore[at]) / IDLE_MS) * 1e5);
        scene.result.notes.push(
          `${count} nodes at rest: ${Math.round(median(rates))} bytes sent per node and second (${Math.round(Math.min(...rates))}–` +
            `${Math.round(Math.max(...rates))}), ${median(cpu).toFixed(1)} % of a core, ${Math.round(median(nodes.map(rssBytes)) / 2 ** 20)} MiB resident`,
        );
      });
    },
  };
}

function cpuSeconds({ pid }: MeshNode): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function rssBytes({ pid }: MeshNode): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}

function diskBytes(directory: string): number {
  let sum = 0;
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    const stat = statSync(join(directory, name), { throwIfNoEntry: false });
    if (stat?.isFile()) sum += stat.size;
  }
  return sum;
}

interface Sample {
  readonly minutes: number;
  readonly rssMiB: number;
  readonly handles: number;
  readonly diskMiB: number;
  readonly lines: number;
  /** Of all nodes, since they started. */
  readonly cpuSeconds: number;
}

/** Lines of some 2 kB, half of which is noise: as much as keeps the nodes busy for about half of two cores. */
const SOAK_LINE = { linesPerTurn: 120, paddingBytes: 1_000 };
const SOAK_LINE_BYTES = 2 * SOAK_LINE.paddingBytes + 150;
/** Reached within minutes, so that the disk has to stay as it is from then on. */
const SOAK_CONFIG = `${CONFIG}retention: { bytesMax: 256MiB }\nsegment: { bytesMax: 16MiB }\n`;
/** What retention keeps is written in a minute and more. */
const SOAK_KEPT_MS = 15_000;
/** An answer of so long is some megabytes. */
const SOAK_ASKED_MS = 1_000;

/** Least squares: how much a figure grows in a minute. */
function slope(samples: readonly Sample[], of: (sample: Sample) => number): number {
  const x = samples.map(({ minutes }) => minutes);
  const y = samples.map(of);
  const mean = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  const [meanX, meanY] = [mean(x), mean(y)];
  const over = x.reduce((sum, value, at) => sum + (value - meanX) * (y[at] - meanY), 0);
  return over / x.reduce((sum, value) => sum + (value - meanX) ** 2, 0);
}

export const soak: Fault = {
  name: 'soak',
  title: 'nothing goes wrong: half of the load that the machine takes, for as long as --minutes says',
  rounds: 1,
  async run(scene) {
    scene.askedMs = SOAK_ASKED_MS;
    scene.ledger.keptMs = SOAK_KEPT_MS;
    const nodes = await scene.startUsual(3, { ...SOAK_LINE, config: SOAK_CONFIG });
    const samples: Sample[] = [];
    await scene.rounds(async () => {
      const startedMs = performance.now();
      const { minutes, print } = scene.options;
      for (let at = 0; at <= minutes; at += Math.min(1, minutes / 10)) {
        while (performance.now() - startedMs < at * 60_000) await scene.last(250);
        const all = nodes.map((node) => ({
          rss: rssBytes(node),
          handles: readdirSync(`/proc/${node.pid}/fd`).length,
          disk: diskBytes(node.data),
        }));
        const sample = {
          minutes: (performance.now() - startedMs) / 60_000,
          rssMiB: Math.max(...all.map(({ rss }) => rss)) / 2 ** 20,
          handles: Math.max(...all.map(({ handles }) => handles)),
          diskMiB: all.reduce((sum, { disk }) => sum + disk, 0) / 2 ** 20,
          lines: scene.ledger.acknowledged,
          cpuSeconds: nodes.map(cpuSeconds).reduce((sum, one) => sum + one, 0),
        };
        samples.push(sample);
        print(
          `  ${sample.minutes.toFixed(1)} min: ${sample.rssMiB.toFixed(0)} MiB resident at most, ${sample.handles} handles at most, ` +
            `${sample.diskMiB.toFixed(1)} MiB on disk in all, ${sample.lines} lines`,
        );
      }
    });
    // What a process needs to get going is no growth.
    const late = samples.slice(Math.floor(samples.length / 3));
    const [first, last] = [late[0], late.at(-1)!];
    const seconds = (last.minutes - first.minutes) * 60;
    const megabytes = ((last.lines - first.lines) * SOAK_LINE_BYTES) / 1e6;
    scene.result.notes.push(
      `from minute ${first.minutes.toFixed(0)} to ${last.minutes.toFixed(0)}: resident ${first.rssMiB.toFixed(0)} → ${last.rssMiB.toFixed(0)} MiB ` +
        `(${slope(late, ({ rssMiB }) => rssMiB).toFixed(2)} a minute), handles ${first.handles} → ${last.handles} ` +
        `(${slope(late, ({ handles }) => handles).toFixed(2)} a minute), ` +
        `disk ${first.diskMiB.toFixed(0)} → ${last.diskMiB.toFixed(0)} MiB in all (${slope(late, ({ diskMiB }) => diskMiB).toFixed(2)} a minute); ` +
        `${(megabytes / seconds).toFixed(1)} MB/s taken by all, three copies each, for ${((last.cpuSeconds - first.cpuSeconds) / seconds).toFixed(2)} cores`,
    );
  },
};

export const measures: readonly Fault[] = [3, 10, 40].flatMap((count) => [detect(count), idle(count)]);
