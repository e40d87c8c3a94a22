import { setTimeout as pause } from 'node:timers/promises';
import type { GeneratedFile } from './generate.ts';
import { BenchMesh, type MeshOptions } from './nodes.ts';
import { figure, type Report } from './report.ts';

const IDLE_MS = 5_000;

export interface IngestOptions extends Omit<MeshOptions, 'files'> {
  readonly files: readonly GeneratedFile[];
}

/** Tails the files with a fresh mesh until all is durable at every owner; the mesh is to be stopped by the caller. */
export async function ingest(options: IngestOptions): Promise<BenchMesh> {
  return (await fill(options)).mesh;
}

async function fill(options: IngestOptions): Promise<{ mesh: BenchMesh; bytes: number; seconds: number }> {
  const bytes = options.files.reduce((sum, file) => sum + file.bytes, 0);
  const mesh = await BenchMesh.start({ ...options, files: options.files.map(({ path }) => path) });
  const { seconds } = await mesh.untilDurable(bytes);
  return { mesh, bytes, seconds };
}

export function ingestTable(report: Report): void {
  report.table(
    'from file to durable',
    'MB/s',
    'CPU-s/GB',
    'MB per CPU-s ÷ `zstd -1`',
    'peak RSS MB, the tailing node first',
    'idle RSS MB',
    'stored ÷ raw',
  );
}

/** Takes the files in, stops, and adds a row; the data stays. */
export async function measureIngest(
  report: Report,
  name: string,
  options: IngestOptions,
  zstdMegabytesPerSecond: number,
): Promise<void> {
  const idle = await idleRss(options);
  const { mesh, bytes, seconds } = await fill(options);
  const usage = await mesh.usage();
  const statuses = await Promise.all(mesh.nodes.map((node) => node.status()));
  await mesh.stop();
  const cpuSeconds = usage.reduce((sum, item) => sum + item.cpuSeconds, 0);
  const storedBytes = statuses.reduce((sum, { store }) => sum + store.storedBytes, 0);
  const { replicas } = options;
  report.row(
    name,
    figure(bytes / 1e6 / seconds),
    figure(cpuSeconds / (bytes / 1e9), 1),
    figure(bytes / 1e6 / cpuSeconds / zstdMegabytesPerSecond, 2),
    usage.map(({ rssPeakBytes }) => figure(rssPeakBytes / 1e6)).join(', '),
    idle,
    `${replicas === 1 ? '' : `${replicas} × `}${figure(storedBytes / bytes / replicas, 3)}`,
  );
}

/** What each node takes a while after it started, with nothing to do. */
async function idleRss(options: IngestOptions): Promise<string> {
  const mesh = await BenchMesh.start({ ...options, directory: `${options.directory}-idle`, files: [] });
  await pause(IDLE_MS);
  const usage = await mesh.usage();
  await mesh.stop();
  return usage.map(({ rssBytes }) => figure(rssBytes / 1e6)).join(', ');
}
