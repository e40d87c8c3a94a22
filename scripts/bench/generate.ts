import { closeSync, openSync, writeSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { LineMaker, RARE_LEVEL, type Format } from './lines.ts';
import { eachAtOnce } from './shell.ts';

/** Fixed, so that every run has the same bytes. */
const START_MS = Date.UTC(2025, 5, 1);
/** All files are about the same hours, whatever their size. */
const SPAN_MS = 6 * 3_600_000;
/** Wider than any line's time: one that has none of its own may get that of being read. */
export const RANGE = {
  startMs: START_MS - 60_000,
  endMs: Math.ceil(Date.now() / 1000) * 1000 + 3_600_000,
} as const;

/** The files of one host: the same bytes in each. */
const FILES: readonly { name: string; format: Format }[] = [
  { name: 'access-1.log', format: 'access' },
  { name: 'access-2.log', format: 'access' },
  { name: 'orders.json.log', format: 'json' },
  { name: 'payments.json.log', format: 'json' },
  { name: 'gateway.log', format: 'logfmt' },
  { name: 'auth.log', format: 'syslog' },
  { name: 'worker.log', format: 'java' },
  { name: 'app.log', format: 'plain' },
];
/** The JSON files; times within them never fall, so that the last lines are the newest. */
export const JSON_FILES: readonly string[] = FILES.filter(({ format }) => format === 'json').map(
  ({ name }) => name,
);
/** Where in a file the lines with the rare word stand. */
const RARE_AT = [0.3, 0.7];
const CHUNK_BYTES = 4 * 1024 * 1024;
/** Of a line with its newline, to spread them over the hours. */
const LINE_BYTES: Record<Format, number> = {
  access: 133,
  json: 197,
  logfmt: 120,
  syslog: 101,
  java: 153,
  plain: 106,
};

export interface GeneratedFile {
  readonly path: string;
  readonly bytes: number;
  readonly lines: number;
  readonly linesByLevel: Readonly<Record<string, number>>;
}

interface FileJob {
  readonly path: string;
  readonly format: Format;
  readonly bytes: number;
  readonly seed: number;
}

/** Writes varied lines, about `bytes` in all, into files in `directory`; one thread a core. */
export async function generateLogs(directory: string, bytes: number): Promise<GeneratedFile[]> {
  const jobs = FILES.map(({ name, format }, index) => ({
    path: join(directory, name),
    format,
    bytes: bytes / FILES.length,
    seed: index + 1,
  }));
  return eachAtOnce(jobs, availableParallelism(), (job) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: job });
    return new Promise<GeneratedFile>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  });
}

/** Writes one file: lines in time order, the rare word in two of them. */
export function generateFile({ path, format, bytes, seed }: FileJob): GeneratedFile {
  const maker = new LineMaker(format, seed);
  const meanMs = (0.98 * SPAN_MS * LINE_BYTES[format]) / bytes;
  const linesByLevel: Record<string, number> = {};
  const count = (level: string, by: number): void => {
    linesByLevel[level] = (linesByLevel[level] ?? 0) + by;
  };
  const file = openSync(path, 'w');
  let written = 0;
  let lines = 0;
  let rare = 0;
  let ms = START_MS;
  let chunk: string[] = [];
  let chunkBytes = 0;
  while (written + chunkBytes < bytes) {
    ms = Math.min(ms + maker.stepMs(meanMs), START_MS + SPAN_MS);
    const isRare = rare < RARE_AT.length && written + chunkBytes >= bytes * RARE_AT[rare];
    const rareLevel = isRare ? (rare++ === 0 ? RARE_LEVEL : 'info') : undefined;
    const { text, level } = maker.make(ms, rareLevel);
    const newlines = text.split('\n').length;
    lines += newlines;
    count(level, 1);
    if (newlines > 1) count('unknown', newlines - 1);
    chunk.push(text, '\n');
    chunkBytes += text.length + 1;
    if (chunkBytes < CHUNK_BYTES) continue;
    written += writeSync(file, chunk.join(''));
    chunk = [];
    chunkBytes = 0;
  }
  written += writeSync(file, chunk.join(''));
  closeSync(file);
  return { path, bytes: written, lines, linesByLevel };
}

if (!isMainThread && parentPort) parentPort.postMessage(generateFile(workerData as FileJob));
