/**
 * `npm run bench [-- --mb N] [--part ingest|queries|three|streams]… [--write]`: from file to durable, queries beside
 * `zstdcat | rg` over the same bytes, and 100,000 streams, with real processes on loopback. Timings decide nothing, a wrong
 * answer fails the run; with --write the tables go into docs/benchmarks.md.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { generateLogs } from './generate.ts';
import { ingest, ingestTable, measureIngest } from './ingest.ts';
import { NaiveScan, zstdMegabytesPerSecond } from './naive.ts';
import { BenchMesh } from './nodes.ts';
import { QueryBench } from './queries.ts';
import { figure, Report } from './report.ts';
import { benchStreams } from './streams.ts';

const PARTS = ['ingest', 'queries', 'three', 'streams'];
const { values } = parseArgs({
  options: {
    mb: { type: 'string', default: '2000' },
    part: { type: 'string', multiple: true, default: [...PARTS] },
    write: { type: 'boolean', default: false },
  },
});
const unknown = values.part.find((part) => !PARTS.includes(part));
const megabytes = Number(values.mb);
if (unknown !== undefined || !(megabytes >= 1)) {
  console.error(`--part is one of ${PARTS.join(', ')}; --mb a number from 1 on`);
  process.exit(2);
}
for (const command of ['zstd', 'zstdcat', 'rg']) {
  if (!spawnSync(command, ['--version']).error) continue;
  console.error(`${command} is needed: it is what queries and compression are measured beside`);
  process.exit(2);
}
const wants = (part: string): boolean => values.part.includes(part);

const report = new Report();
const directory = mkdtempSync(join(tmpdir(), 'logvine-bench-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
if (wants('ingest') || wants('queries') || wants('three')) await overFiles();
if (wants('streams')) {
  report.begin('streams', 'The same lines in few streams and in many, 16 pushes at once.');
  await benchStreams(report, directory);
}
if (report.wrong.size > 0) {
  console.error(`${report.wrong.size} things are WRONG; nothing is written`);
  process.exit(1);
}
if (values.write) report.write();

async function overFiles(): Promise<void> {
  const logs = join(directory, 'logs');
  mkdirSync(logs);
  const files = await generateLogs(logs, megabytes * 1e6);
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const lines = files.reduce((sum, file) => sum + file.lines, 0);
  const what = `${figure(bytes / 1e6)} MB in ${figure(lines)} lines of ${files.length} files.`;
  const one = { files, nodes: 1, replicas: 1, directory: join(directory, 'one') };

  if (wants('ingest')) {
    const alone = await zstdMegabytesPerSecond(files);
    report.begin('ingest', `${what} \`zstd -1\` alone on one core: ${figure(alone)} MB/s.`);
    ingestTable(report);
    await measureIngest(report, 'one node, k=1', one, alone);
    const three = { files, nodes: 3, replicas: 3, directory: join(directory, 'three-copies') };
    await measureIngest(report, 'three nodes, k=3', three, alone);
    rmSync(three.directory, { recursive: true });
  }
  if (!wants('queries') && !wants('three')) return;
  const scan = await NaiveScan.of(files, directory);
  const queries = new QueryBench(report, scan, files);
  if (wants('queries')) {
    // What was taken in is there again after a restart.
    const mesh = await (wants('ingest') ? BenchMesh.start({ ...one, files: [] }) : ingest(one));
    report.begin('queries', `${what} One node.`);
    await queries.run(mesh);
    await mesh.stop();
  }
  if (wants('three')) {
    // Small segments, so that few gigabytes are spread as evenly as many would be.
    const settings = { LOGVINE_SEGMENT_BYTES_MAX: '16MiB' };
    const mesh = await ingest({
      files,
      nodes: 3,
      replicas: 1,
      directory: join(directory, 'three'),
      settings,
    });
    report.begin('three', `${what} Three nodes with one copy, all on these cores; segments of 16 MiB.`);
    await queries.run(mesh);
    await mesh.stop();
  }
}
