/**
 * `npm run bench [-- --megabytes N] [--nodes 1,3] [--write]`: from file to durable, and queries over it, with real
 * processes on loopback, beside `zstd -1` and `zstdcat | rg` on the same bytes. Timings decide nothing; with --write
 * they go into docs/benchmarks.md.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { COMMON_WORD, generateLogs, RARE_WORD } from './generate.ts';
import { BenchMesh } from './mesh.ts';

const { values } = parseArgs({
  options: {
    megabytes: { type: 'string', default: '500' },
    nodes: { type: 'string', default: '1,3' },
    write: { type: 'boolean', default: false },
  },
});
const bytes = Number(values.megabytes) * 1e6;
const directory = mkdtempSync(join(tmpdir(), 'logvine-bench-'));
const lines: string[] = [];
let queryTable: string[] = [];
const say = (line: string): void => {
  lines.push(line);
  console.log(line);
};

/** Best of `times`, in ms. */
function timed(times: number, run: () => void): number {
  let best = Infinity;
  for (let i = 0; i < times; i++) {
    const start = performance.now();
    run();
    best = Math.min(best, performance.now() - start);
  }
  return best;
}

async function timedAsync(times: number, run: () => Promise<unknown>): Promise<number> {
  let best = Infinity;
  for (let i = 0; i < times; i++) {
    const start = performance.now();
    await run();
    best = Math.min(best, performance.now() - start);
  }
  return best;
}

function shell(command: string): void {
  const { status, stderr } = spawnSync('sh', ['-c', command]);
  // rg says 1 when it finds nothing.
  if (status !== 0 && status !== 1) throw new Error(`${command}: ${stderr.toString()}`);
}

const figure = (value: number, digits = 1): string => value.toFixed(digits);

try {
  const log = join(directory, 'bench.log');
  const startMs = Date.now() - 3_600_000;
  const count = generateLogs(log, bytes, startMs);
  const size = statSync(log).size;
  const gigabytes = size / 1e9;
  say(
    `${figure(size / 1e6, 0)} MB of generated lines (${count}), Node ${process.version}, ${cpus().length} × ${cpus()[0].model}`,
  );

  const zstdMs = timed(3, () => shell(`zstd -1 -T1 --single-thread -q -f -o ${log}.zst ${log}`));
  const zstdMBps = size / 1e3 / zstdMs;
  say(
    `zstd -1 alone, one core: ${figure(zstdMBps, 0)} MB/s, ${figure(size / statSync(`${log}.zst`).size, 2)} : 1`,
  );
  say('');
  say(
    '| from file to durable | MB/s | CPU-s/GB | per core used, ÷ zstd -1 | peak RSS MB (origin, owners) | stored ÷ raw |',
  );
  say('| --- | --- | --- | --- | --- | --- |');

  for (const nodes of values.nodes.split(',').map(Number)) {
    const mesh = new BenchMesh(join(directory, `mesh-${nodes}`), nodes);
    await mesh.start([]);
    await pause(5000);
    const idleRss = mesh.nodes.map((node) => node.rss().now / 1e6);
    await mesh.stop();
    const ingest = new BenchMesh(join(directory, `mesh-${nodes}`), nodes);
    await ingest.start([log]);
    const done = await ingest.untilDurable(log, size);
    const cpu = done.cpuSeconds / gigabytes;
    const coresUsed = done.cpuSeconds / done.seconds;
    const mbps = size / 1e6 / done.seconds;
    const rss = ingest.nodes.map((node) => figure(node.rss().peak / 1e6, 0)).join(', ');
    say(
      `| ${nodes === 1 ? 'one node, k=1' : `${nodes} nodes, k=${nodes}`} | ${figure(mbps)} | ${figure(cpu)} | ${figure(mbps / coresUsed / zstdMBps, 2)} | ${rss} (idle ${idleRss.map((mb) => figure(mb, 0)).join(', ')}) | ${figure(done.storedBytes / size, 3)} |`,
    );
    if (nodes === 1) await queries(ingest);
    await ingest.stop();
  }

  async function queries(mesh: BenchMesh): Promise<void> {
    const rows: string[] = [];
    const plain = `zstdcat ${log}.zst | rg`;
    const cases: [string, string, number, string][] = [
      ['a rare word', `{job="logvine"} |= "${RARE_WORD}"`, 0, `${plain} -F '${RARE_WORD}' > ${log}.out`],
      [
        'a common word (all its lines)',
        `{job="logvine"} |= "${COMMON_WORD}"`,
        0,
        `${plain} -F '${COMMON_WORD}' > ${log}.out`,
      ],
      [
        'a regex (all its lines)',
        '{job="logvine"} |~ "took=8[0-9]{2}ms"',
        0,
        `${plain} 'took=8[0-9]{2}ms' > ${log}.out`,
      ],
      ['the newest 100 lines', '{job="logvine"}', 100, `zstdcat ${log}.zst | tail -n 100 > ${log}.out`],
    ];
    for (const [name, query, limit, command] of cases) {
      let entries = 0;
      const ms = await timedAsync(3, async () => {
        entries = await mesh.query(query, limit, startMs);
      });
      const rgMs = timed(3, () => shell(command));
      rows.push(`| ${name} | ${entries} | ${figure(ms)} | ${figure(rgMs)} | ${figure(rgMs / ms)} × |`);
    }
    queryTable = [
      '',
      '| query, one node | lines | ms | `zstdcat \\| rg` ms | faster |',
      '| --- | --- | --- | --- | --- |',
      ...rows,
    ];
  }
  for (const row of queryTable) say(row);
  if (values.write) {
    writeFileSync(
      'docs/benchmarks.md',
      `# Benchmarks\n\nMade by \`npm run bench -- --write\`.\n\n${lines.join('\n')}\n`,
    );
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
