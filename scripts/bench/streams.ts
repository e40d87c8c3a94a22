import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { askLoki } from './ask.ts';
import { seeded } from './lines.ts';
import { BenchNode } from './nodes.ts';
import { figure, type Report } from './report.ts';
import { eachAtOnce, medianMs } from './shell.ts';

/** A mesh of applications: each pod has ten containers, each of them a stream. */
const PODS = 10_000;
const CONTAINERS = 10;
const STREAMS = PODS * CONTAINERS;
const FEW_STREAMS = 10;
/** Each round every stream has this many lines in one push. */
const ROUNDS = 5;
const LINES_PER_ROUND = 2;
/** Some 400 KB of lines: what an agent sends that has much to send. */
const STREAMS_PER_PUSH = 2_000;
/** Enough to keep a node busy while some wait for their batch. */
const PUSHES_AT_ONCE = 16;
const SETTLE_MS = 5_000;
const LIMIT_MS = 1_000;

interface Push {
  readonly body: string;
  /** Of the lines alone. */
  readonly bytes: number;
}

interface Pushed {
  readonly seconds: number;
  readonly bytes: number;
  readonly cpuSeconds: number;
  /** A while after the last push, and after a restart on the same data. */
  readonly rssBytes: number;
  readonly rssRestartedBytes: number;
  readonly diskBytes: number;
  readonly startMs: number;
  readonly node: BenchNode;
}

type LabelsOf = (stream: number) => Record<string, string>;

const manyLabels: LabelsOf = (stream) => ({
  app: 'bench',
  pod: `pod-${Math.floor(stream / CONTAINERS)}`,
  container: `c${stream % CONTAINERS}`,
});
const fewLabels: LabelsOf = (stream) => ({
  app: 'bench',
  pod: `pod-${stream % FEW_STREAMS}`,
  container: 'c0',
});

/** The same lines pushed into few streams and into 100,000: what that does to pushes, queries, memory and disk. */
export async function benchStreams(report: Report, directory: string): Promise<void> {
  const few = await push(join(directory, 'few'), fewLabels);
  await few.node.stop();
  const many = await push(join(directory, 'many'), manyLabels);
  const perStream = (of: (pushed: Pushed) => number): string =>
    `${figure((of(many) - of(few)) / STREAMS)} B a stream more`;
  report.table('pushed as JSON, one node', 'MB/s', 'CPU-s/GB', 'RSS MB', 'RSS MB after a restart', 'disk MB');
  for (const [name, pushed] of [
    [`${FEW_STREAMS} streams`, few],
    [`${figure(STREAMS)} streams, ${figure(PODS)} values of a label`, many],
  ] as const) {
    const { bytes, seconds, cpuSeconds, rssBytes, rssRestartedBytes, diskBytes } = pushed;
    const megabytes = [rssBytes, rssRestartedBytes, diskBytes].map((of) => figure(of / 1e6));
    report.row(name, figure(bytes / 1e6 / seconds), figure(cpuSeconds / (bytes / 1e9), 1), ...megabytes);
  }
  report.row(
    'difference',
    `÷ ${figure(many.seconds / few.seconds, 2)}`,
    `× ${figure(many.cpuSeconds / few.cpuSeconds, 2)}`,
    perStream(({ rssBytes }) => rssBytes),
    perStream(({ rssRestartedBytes }) => rssRestartedBytes),
    perStream(({ diskBytes }) => diskBytes),
  );
  await askAboutStreams(report, many);
  await many.node.stop();
}

async function push(data: string, labelsOf: LabelsOf): Promise<Pushed> {
  const startMs = Date.now() - 60_000;
  const pushes = [...bodies(startMs, labelsOf)];
  const settings = { LOGVINE_REPLICAS: '1' };
  let node = await BenchNode.start(data, [], settings);
  const before = (await node.usage()).cpuSeconds;
  const beginMs = performance.now();
  await eachAtOnce(pushes, PUSHES_AT_ONCE, async ({ body }) => {
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`${node.url}/loki/api/v1/push`, { method: 'POST', headers, body });
    if (response.status !== 204) throw new Error(`push: ${response.status} ${await response.text()}`);
  });
  const seconds = (performance.now() - beginMs) / 1000;
  const cpuSeconds = (await node.usage()).cpuSeconds - before;
  const bytes = pushes.reduce((sum, item) => sum + item.bytes, 0);
  await pause(SETTLE_MS);
  const { rssBytes } = await node.usage();
  await node.stop();
  const diskBytes = bytesUnder(data);
  node = await BenchNode.start(data, [], settings);
  await pause(SETTLE_MS);
  const rssRestartedBytes = (await node.usage()).rssBytes;
  return { seconds, bytes, cpuSeconds, rssBytes, rssRestartedBytes, diskBytes, startMs, node };
}

/** Rounds over all streams, so that each has lines in several batches. */
function* bodies(startMs: number, labelsOf: LabelsOf): Generator<Push> {
  const random = seeded(7);
  for (let round = 0; round < ROUNDS; round++) {
    for (let first = 0; first < STREAMS; first += STREAMS_PER_PUSH) {
      const streams = new Map<string, { stream: Record<string, string>; values: [string, string][] }>();
      let bytes = 0;
      for (let stream = first; stream < first + STREAMS_PER_PUSH; stream++) {
        const labels = labelsOf(stream);
        const key = Object.values(labels).join();
        const { values } = streams.get(key) ?? { values: [] as [string, string][] };
        for (let index = 0; index < LINES_PER_ROUND; index++) {
          const text = `level=info msg="request completed" path=/api/v1/orders/${Math.floor(random() * 1e9)} stream=${stream} took=${Math.floor(random() * 900)}ms user=user${Math.floor(random() * 50_000)}`;
          values.push([`${startMs + round * 1000 + index}000000`, text]);
          bytes += text.length;
        }
        streams.set(key, { stream: labels, values });
      }
      yield { body: JSON.stringify({ streams: [...streams.values()] }), bytes };
    }
  }
}

async function askAboutStreams(report: Report, { node, startMs }: Pushed): Promise<void> {
  const range = { start: `${startMs - 1000}000000`, end: `${startMs + 60_000}000000` };
  type Streams = { readonly result: readonly { readonly values: readonly unknown[] }[] };
  const lines = ({ result }: Streams): number => result.reduce((sum, { values }) => sum + values.length, 0);
  const linesPerStream = ROUNDS * LINES_PER_ROUND;
  const ask = <Data>(path: string, parameters: Record<string, string>): Promise<Data> =>
    askLoki<Data>(node.url, path, { ...range, ...parameters });
  const questions: readonly [string, number, () => Promise<number>][] = [
    ['label names', 4, async () => (await ask<string[]>('labels', {})).length],
    ['values of `pod`', PODS, async () => (await ask<string[]>('label/pod/values', {})).length],
    [
      'series of one pod',
      CONTAINERS,
      async () => (await ask<unknown[]>('series', { 'match[]': '{pod="pod-4321"}' })).length,
    ],
    [
      'lines of one stream',
      linesPerStream,
      async () => lines(await ask<Streams>('query_range', { query: '{pod="pod-4321",container="c5"}' })),
    ],
    [
      'lines of one pod with a word',
      linesPerStream,
      async () => lines(await ask<Streams>('query_range', { query: '{pod="pod-4321"} |= "stream=43217 "' })),
    ],
  ];
  report.table(`${figure(STREAMS)} streams`, 'answered', 'ms', 'aim');
  for (const [name, expected, run] of questions) {
    let found = 0;
    const ms = await medianMs(async () => {
      found = await run();
      report.check(`${name} of ${STREAMS} streams`, String(found), String(expected));
    });
    report.row(name, figure(found), figure(ms), `≤ ${figure(LIMIT_MS)}`);
  }
}

function bytesUnder(directory: string): number {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0);
}
