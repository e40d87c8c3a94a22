/** What the store's tests are made of: random lines, batches, and a store on a simulated disk. */
import {
  ByteReader,
  labelsKey,
  packBatch,
  parseLabelsKey,
  sliceRows,
  type Columns,
  type Labels,
  type Metadata,
  type PackedBatch,
  type StreamContent,
  type StreamRows,
} from '../../src/store/batch/index.ts';
import { StreamTableReader } from '../../src/store/batch/stream-table.ts';
import { catalogOver, type KeyValueStore } from '../../src/store/catalog/index.ts';
import type { Clock, Disk, Random } from '../../src/store/host/index.ts';
import { lineStart, openStreams, readFrame, verifyFrame } from '../../src/store/index.ts';
import { BatchList, type BatchEntry } from '../../src/store/segment/batch-list.ts';
import { Store, type StoreOptions } from '../../src/store/store.ts';
import { seededRandom } from '../helpers/sim-clock.ts';

/** Runs `body` for several seeds; a failure names the seed, and LOGVINE_TEST_SEED runs that one alone. */
export async function forEachSeed(
  count: number,
  body: (random: Random, seed: number) => Promise<void> | void,
): Promise<void> {
  const wanted = process.env.LOGVINE_TEST_SEED;
  const seeds = wanted ? [Number(wanted)] : Array.from({ length: count }, (_, at) => at + 1);
  for (const seed of seeds) {
    try {
      await body(seededRandom(seed), seed);
    } catch (error) {
      console.error(`LOGVINE_TEST_SEED=${seed} reproduces it`);
      throw error;
    }
  }
}

/** The same runs of fast-check every time. */
export const PROPERTY = { seed: Number(process.env.LOGVINE_TEST_SEED ?? 1), numRuns: 100 };

export function below(random: Random, bound: number): number {
  return Math.floor(random.unit() * bound);
}

export function pick<T>(random: Random, items: readonly T[]): T {
  return items[below(random, items.length)];
}

export function shuffle<T>(random: Random, items: readonly T[]): T[] {
  const shuffled = items.slice();
  for (let at = shuffled.length - 1; at > 0; at--) {
    const other = below(random, at + 1);
    [shuffled[at], shuffled[other]] = [shuffled[other], shuffled[at]];
  }
  return shuffled;
}

/** Streams of a packed batch as a header has them that names each, numbered from 0. */
export function partsOf({ blocks, streams: { keys, table } }: PackedBatch) {
  const reader = new StreamTableReader(new ByteReader(table), blocks.length);
  return keys.map((key, stream) => ({ ...reader.next(), stream, labels: parseLabelsKey(key) }));
}

/** Each stream of `rows` on its own. */
export function streamsOf({ keys, rowEnds, columns }: StreamRows): StreamContent[] {
  return keys.map((key, at) => ({
    labels: parseLabelsKey(key),
    columns: sliceRows(columns, at === 0 ? 0 : rowEnds[at - 1], rowEnds[at]),
  }));
}

/** Those streams as one set of columns. */
export function rowsFrom(streams: readonly { labels: Labels; entries: readonly Entry[] }[]): StreamRows {
  let row = 0;
  return {
    keys: streams.map(({ labels }) => labelsKey(labels)),
    rowEnds: Uint32Array.from(streams, ({ entries }) => (row += entries.length)),
    columns: columnsFrom(streams.flatMap(({ entries }) => entries)),
  };
}

/** One entry in the plainest form: what the oracles work on. */
export interface Entry {
  readonly ms: number;
  readonly sub: number;
  readonly line: Buffer;
  readonly metadata: Metadata;
}

export function columnsFrom(entries: readonly Entry[]): Columns {
  const count = entries.length;
  const ends = new Uint32Array(count);
  const metadataIds = new Uint32Array(count);
  const metadata: Metadata[] = [];
  const known = new Map<string, number>();
  const parts: Buffer[] = [];
  let end = 0;
  for (const [row, { line, metadata: set }] of entries.entries()) {
    ends[row] = end + line.length;
    end = ends[row] + 1;
    parts.push(line, Buffer.of(10));
    const key = JSON.stringify(set);
    if (!known.has(key)) known.set(key, metadata.push(set) - 1);
    metadataIds[row] = known.get(key)!;
  }
  return {
    count,
    ms: Float64Array.from(entries, ({ ms }) => ms),
    sub: Uint32Array.from(entries, ({ sub }) => sub),
    ends,
    lines: Buffer.concat(parts),
    metadataIds,
    metadata,
  };
}

export function entriesOf(columns: Columns): Entry[] {
  return Array.from({ length: columns.count }, (_, row) => ({
    ms: columns.ms[row],
    sub: columns.sub[row],
    line: Buffer.from(columns.lines.subarray(lineStart(columns, row), columns.ends[row])),
    metadata: { ...columns.metadata[columns.metadataIds[row]] },
  }));
}

const NOTHING: Metadata = {};
const WORDS = [
  'error',
  'Warn',
  'GET /index',
  'user=17',
  'Größe',
  '日本',
  'a',
  ' ',
  'timeout',
  'ERROR',
  '0x7f',
];

export function randomLine(random: Random): Buffer {
  const kind = random.unit();
  if (kind < 0.08) return Buffer.alloc(0);
  if (kind < 0.2) return random.bytes(below(random, 40));
  const words = Array.from({ length: 1 + below(random, 8) }, () => pick(random, WORDS));
  return Buffer.from(words.join(kind < 0.25 ? '\n' : ' '));
}

/** Entries around `ms`, many of them at one instant. */
export function randomEntries(random: Random, count: number, ms = 1_700_000_000_000, spreadMs = 50): Entry[] {
  return Array.from({ length: count }, () => ({
    ms: ms + below(random, spreadMs),
    sub: random.unit() < 0.5 ? 0 : below(random, 3) * 1000,
    line: randomLine(random),
    metadata: random.unit() < 0.7 ? { detected_level: pick(random, ['info', 'error', 'odd']) } : NOTHING,
  }));
}

export function packOf(entries: readonly Entry[], labels: Labels = { app: 'a' }): PackedBatch {
  return packBatch([{ labels, columns: columnsFrom(entries) }], 1);
}

export const linePack = (text: string, ms = 1_700_000_000_000, labels?: Labels): PackedBatch =>
  packOf([{ ms, sub: 0, line: Buffer.from(text), metadata: {} }], labels);

/** All streams of a whole frame; `labels` of streams that it names itself. */
export function contentsOf(frame: Buffer): { labels: Labels | undefined; entries: Entry[] }[] {
  const { header } = verifyFrame(frame);
  const opened = openStreams(
    header,
    readFrame(frame)!.payload,
    header.streams.map((_, part) => part),
  );
  return opened
    .sort((a, b) => a.part - b.part)
    .map(({ part, columns }) => ({ labels: header.streams[part].labels, entries: entriesOf(columns) }));
}

export function frameOf(sealed: { frame: readonly Uint8Array[] }): Buffer {
  return Buffer.concat(sealed.frame);
}

/** What the catalog needs of LevelDB, in a Map that outlives the store. */
export class MemoryKeyValue implements KeyValueStore {
  readonly values: Map<string, Uint8Array>;
  constructor(values = new Map<string, Uint8Array>()) {
    this.values = values;
  }
  async open(): Promise<void> {}
  async close(): Promise<void> {}
  async get(key: string): Promise<Uint8Array | undefined> {
    return this.values.get(key);
  }
  async put(...[key, value]: Parameters<KeyValueStore['put']>): Promise<void> {
    this.values.set(key, Buffer.from(value));
  }
  async del(...[key]: Parameters<KeyValueStore['del']>): Promise<void> {
    this.values.delete(key);
  }
}

export interface Opening {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly keys: { peer: string; sign(bytes: Uint8Array): Uint8Array };
  readonly catalog?: MemoryKeyValue;
  readonly more?: Partial<StoreOptions>;
  /** What the store says goes here. */
  readonly said?: string[];
}

export const DATA = '/data';

export async function openStore({ disk, clock, keys, catalog, more, said }: Opening): Promise<Store> {
  return Store.open({
    directory: DATA,
    disk,
    clock,
    random: seededRandom(1),
    catalog: catalogOver(catalog ?? new MemoryKeyValue()),
    origin: keys.peer,
    segmentBytesMax: 1024 * 1024,
    segmentAgeMsMax: 3_600_000,
    sign: (bytes) => keys.sign(bytes),
    chooseOwners: () => [keys.peer],
    whyNoReplicas: () => undefined,
    onLaterRun: () => undefined,
    log: (level, message) => said?.push(`${level}: ${message}`),
    ...more,
  });
}

/** Every batch that a store holds, as bytes, by its id. Rot found on the way is not held. */
export async function framesOf(store: Store): Promise<Map<string, Buffer>> {
  const frames = new Map<string, Buffer>();
  for (const segment of [...store.segments()]) {
    for (const { seq } of segment.record.batches) {
      const frame = await store.readFrame(segment.id, seq);
      if (frame) frames.set(`${segment.id.origin}/${segment.id.epoch}/${seq}`, frame);
    }
  }
  return frames;
}

/** Lets everything happen that needs no time to pass. */
export async function quiet(turns = 20): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** So many batches of one segment, with seqs from 0. */
export function batchesOfOneList(count: number): BatchEntry[] {
  const list = new BatchList();
  const nothing = { frameBytes: 0, headerBytes: 0, filterBytes: 0, entries: 0, rawBytes: 0, sealedAtMs: 0 };
  const at = { min: { ms: 0, sub: 0 }, max: { ms: 0, sub: 0 }, headerHash: new Uint8Array(32), streams: [0] };
  for (let seq = 0; seq < count; seq++) list.add({ seq, offset: 0, ...nothing, ...at });
  return [...list];
}
