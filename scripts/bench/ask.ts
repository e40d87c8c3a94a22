import { spawn } from 'node:child_process';
import type { Receipt } from '../../src/gossip/index.ts';
import { FRAME_ERROR, FRAME_RECEIPT, FRAME_RUN } from '../../src/node/http/native.ts';
import { decodeRun } from '../../src/store/index.ts';
import { RANGE } from './generate.ts';

const launcher = new URL('../logvine.js', import.meta.url).pathname;

/** An answer of a node: how many lines or samples, their sum or text to be compared, and what the receipt says. */
export interface Answer {
  readonly items: number;
  /** Compared with what the naive scan finds. */
  readonly value: string;
  readonly receipt: Pick<Receipt, 'complete' | 'expected' | 'read' | 'fromIndex' | 'pruned'> | undefined;
}

/** Selects everything that was tailed. */
export const EVERYTHING = '{job="logvine"}';
/** As a LogQL range and time: everything. */
export const WHOLE_RANGE = `[${(RANGE.endMs - RANGE.startMs) / 1000}s]`;

async function get(url: string, path: string, parameters: Record<string, string>): Promise<Response> {
  const response = await fetch(`${url}${path}?${new URLSearchParams(parameters)}`);
  if (!response.ok)
    throw new Error(`${path} ${parameters.query}: ${response.status} ${await response.text()}`);
  return response;
}

async function getJson<Body>(url: string, path: string, parameters: Record<string, string>): Promise<Body> {
  return (await (await get(url, path, parameters)).json()) as Body;
}

const nanoseconds = (ms: number): string => `${ms}000000`;
const WHOLE = { start: nanoseconds(RANGE.startMs), end: nanoseconds(RANGE.endMs) };

/** All lines of a log query, by `GET /api/v1/query`, read and counted. */
export async function askAllLines(url: string, query: string): Promise<Answer> {
  const { body } = await get(url, '/api/v1/query', { query, ...WHOLE, limit: '0', direction: 'forward' });
  let items = 0;
  let receipt: Receipt | undefined;
  let chunks: Uint8Array[] = [];
  let bufferedBytes = 0;
  let wantedBytes = 5;
  for await (const chunk of body ?? []) {
    chunks.push(chunk);
    bufferedBytes += chunk.length;
    if (bufferedBytes < wantedBytes) continue;
    let bytes = Buffer.concat(chunks);
    while (bytes.length >= 5) {
      wantedBytes = 4 + bytes.readUInt32LE(0);
      if (bytes.length < wantedBytes) break;
      const frame = bytes.subarray(5, wantedBytes);
      if (bytes[4] === FRAME_RUN) items += decodeRun(frame).count;
      else if (bytes[4] === FRAME_RECEIPT) receipt = JSON.parse(frame.toString()) as Receipt;
      else if (bytes[4] === FRAME_ERROR) throw new Error(`${query}: ${frame.toString()}`);
      bytes = bytes.subarray(wantedBytes);
      wantedBytes = 5;
    }
    chunks = [bytes];
    bufferedBytes = bytes.length;
  }
  if (!receipt) throw new Error(`${query}: the answer broke off`);
  return { items, value: String(items), receipt };
}

/** All lines of a log query as `logvine query --output raw` prints them, counted; the process's start is part of it. */
export async function printAllLines(url: string, query: string): Promise<Answer> {
  const range = [
    '--from',
    new Date(RANGE.startMs).toISOString(),
    '--to',
    new Date(RANGE.endMs).toISOString(),
  ];
  const argv = [launcher, 'query', '--addr', url, ...range, '--limit', '0', '--output', 'raw', query];
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'ignore'] });
  let items = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) items++;
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  if (code !== 0) throw new Error(`logvine query ${query}: ended with ${code}`);
  return { items, value: String(items), receipt: undefined };
}

interface LokiAnswer<Result> {
  readonly data: { readonly result: Result; readonly stats: { readonly logvine: Receipt } };
}

/** The newest lines, by Loki's `query_range`; the value is the lines, sorted. */
export async function askNewest(url: string, query: string, limit: number): Promise<Answer> {
  const parameters = { query, ...WHOLE, limit: String(limit), direction: 'backward' };
  type Streams = readonly { readonly values: readonly (readonly [string, string])[] }[];
  const { data } = await getJson<LokiAnswer<Streams>>(url, '/loki/api/v1/query_range', parameters);
  const lines = data.result.flatMap(({ values }) => values.map(([, line]) => line));
  return { items: lines.length, value: lines.sort().join('\n'), receipt: data.stats.logvine };
}

export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: number;
}

/** A metric query at the end of the range, by Loki's `query`; `valueOf` says what of the samples is compared. */
export async function askMetric(
  url: string,
  query: string,
  valueOf: (samples: readonly Sample[]) => string,
): Promise<Answer> {
  type Vector = readonly {
    readonly metric: Record<string, string>;
    readonly value: readonly [number, string];
  }[];
  const parameters = { query, time: nanoseconds(RANGE.endMs) };
  const { data } = await getJson<LokiAnswer<Vector>>(url, '/loki/api/v1/query', parameters);
  const samples = data.result.map(({ metric, value }) => ({ metric, value: Number(value[1]) }));
  return { items: samples.length, value: valueOf(samples), receipt: data.stats.logvine };
}

/** Any of Loki's answers that has `data`. */
export async function askLoki<Data>(
  url: string,
  path: string,
  parameters: Record<string, string>,
): Promise<Data> {
  return (await getJson<{ data: Data }>(url, `/loki/api/v1/${path}`, parameters)).data;
}
