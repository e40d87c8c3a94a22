import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { crc32, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { keysFromSeed } from '../../src/gossip/transport/index.ts';
import {
  batchRank,
  compileQuery,
  decodeRun,
  encodeRun,
  IndexMemory,
  LIMITS,
  lineOf,
  LogvineError,
  mergeSources,
  packBatch,
  RunBuilder,
  scanBatches,
  scanColumns,
  scanInWindows,
  workOf,
  type EntryRun,
  type EntryScan,
  type EntryScanResult,
  type Instant,
  type Labels,
  type PackedBatch,
  type RunSource,
  type ScanStep,
  type SegmentWork,
  type Store,
} from '../../src/store/index.ts';
import type { Random } from '../../src/store/host/index.ts';
import { SimClock, seededRandom } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import {
  below,
  columnsFrom,
  type Entry,
  forEachSeed,
  frameOf,
  openStore,
  partsOf,
  pick,
  quiet,
  randomEntries,
  shuffle,
} from './material.ts';

const alice = await keysFromSeed(Buffer.alloc(32, 1));
const bob = await keysFromSeed(Buffer.alloc(32, 2));

const ALIVE = { clock: new SimClock(), tasksEnded: () => 0 };

/** An entry with all that its place in an answer depends on. */
interface Row extends Entry {
  readonly labels: Labels;
  readonly rank: string;
  /** Its place within its batch. */
  readonly place: number;
}

const instantOrder = (a: Instant, b: Instant): number => a.ms - b.ms || a.sub - b.sub;

function rowOrder(a: Row, b: Row): number {
  return instantOrder(a, b) || (a.rank < b.rank ? -1 : a.rank > b.rank ? 1 : 0) || a.place - b.place;
}

interface Asked {
  readonly from: Instant;
  readonly to: Instant;
  readonly descending: boolean;
  readonly limit: number;
  matches(row: Row): boolean;
}

/** The plain answer. */
function naive(rows: readonly Row[], { from, to, descending, limit, matches }: Asked): Row[] {
  const answer = rows
    .filter((row) => instantOrder(row, from) >= 0 && instantOrder(row, to) < 0 && matches(row))
    .sort(rowOrder);
  return (descending ? answer.reverse() : answer).slice(0, limit);
}

/** What can be compared of a row, in a short text. */
const textOf = ({ ms, sub, labels, rank, line, metadata }: Omit<Row, 'place'>): string =>
  `${ms}.${sub} ${JSON.stringify({ ...labels })} ${rank} ${line.length}:${line.toString('latin1').slice(0, 60)} ${JSON.stringify(metadata)}`;

const rowsOf = (run: EntryRun): string[] =>
  Array.from({ length: run.count }, (_, row) =>
    textOf({
      ms: run.ms[row],
      sub: run.sub[row],
      labels: run.streams[run.streamIds[row]],
      rank: run.ranks[run.rankIds[row]],
      line: Buffer.from(lineOf(run, row)),
      metadata: { ...run.metadata[run.metadataIds[row]] },
    }),
  );

function runOf(rows: readonly Row[]): EntryRun {
  const builder = new RunBuilder();
  for (const { ms, sub, labels, rank, metadata, line } of rows) {
    builder.add(
      ms,
      sub,
      builder.stream(labels),
      builder.rank(rank),
      builder.metadata(metadata),
      line,
      0,
      line.length,
    );
  }
  return builder.finish();
}

const LABELS: Labels[] = [{ app: 'a', host: 'x' }, { app: 'a', host: 'y' }, { app: 'b' }];
const START_MS = 1_700_000_000_000;

interface World {
  readonly store: Store;
  readonly disk: SimDisk;
  readonly rows: Row[];
}

/** A store with batches of its own and of Bob's, whose times overlap and tie; and their rows. */
async function newWorld(random: Random, batches: number, lineBytes: number): Promise<World> {
  const disk = new SimDisk(random);
  const store = await openStore({
    disk: disk.boot(),
    clock: new SimClock(),
    keys: alice,
    more: { segmentBytesMax: 4_000 },
  });
  const bobs = await openStore({
    disk: new SimDisk(random).boot(),
    clock: new SimClock(),
    keys: bob,
    more: { segmentBytesMax: 4_000 },
  });
  const rows: Row[] = [];
  for (let at = 0; at < batches; at++) {
    const owner = random.unit() < 0.5 ? store : bobs;
    const startMs = START_MS + below(random, 400);
    const contents = shuffle(random, LABELS)
      .slice(0, 1 + below(random, 3))
      .map((labels) => {
        const entries = randomEntries(random, 1 + below(random, 20), startMs, pick(random, [1, 30, 300]));
        const long = entries.map((entry) => ({
          ...entry,
          line: Buffer.concat([entry.line, Buffer.alloc(lineBytes, 46)]),
        }));
        return { labels, entries: long };
      });
    const sealed = owner.seal(
      packBatch(
        contents.map(({ labels, entries }) => ({ labels, columns: columnsFrom(entries) })),
        1,
      ),
      [],
    );
    const rank = batchRank(owner.origin, owner.epoch, sealed.seq);
    let place = 0;
    // In the order in which the batch holds them: small streams share a block behind those with blocks of their own.
    const inOrder = [...contents].sort((a, b) => order(contents, a) - order(contents, b));
    for (const { labels, entries } of inOrder) {
      for (const entry of entries) rows.push({ ...entry, labels, rank, place: place++ });
    }
    await sealed.written;
    if (owner === bobs) await store.appendReplica(frameOf(sealed));
  }
  return { store, disk, rows };
}

const OWN_BLOCK_BYTES = 64 * 1024;

function order(contents: readonly { entries: Entry[] }[], content: { entries: Entry[] }): number {
  const bytesOf = ({ entries }: { entries: Entry[] }): number =>
    entries.reduce((sum, { line }) => sum + line.length + 1, 0);
  let shared = 0;
  let blocks = 0;
  const places = new Map<unknown, number>();
  const waiting: unknown[] = [];
  const flush = (): void => {
    for (const item of waiting.splice(0)) places.set(item, blocks++);
    shared = 0;
  };
  for (const item of contents) {
    if (bytesOf(item) >= OWN_BLOCK_BYTES) {
      places.set(item, blocks++);
      continue;
    }
    waiting.push(item);
    shared += bytesOf(item);
    if (shared >= OWN_BLOCK_BYTES * 2) flush();
  }
  flush();
  return places.get(content)!;
}

const QUERIES: { text: string; matches(row: Row): boolean }[] = [
  { text: '{app=~".+"}', matches: () => true },
  { text: '{app="a"}', matches: ({ labels }) => labels.app === 'a' },
  {
    text: '{app="b"} |= "error"',
    matches: ({ labels, line }) => labels.app === 'b' && line.includes('error'),
  },
  {
    text: '{host="x"} != "GET"',
    matches: ({ labels, line }) => labels.host === 'x' && !line.includes('GET'),
  },
  {
    text: '{app="a"} |~ "(?i)warn" ',
    matches: ({ labels, line }) => labels.app === 'a' && /warn/i.test(line.toString()),
  },
  { text: '{app="a"} |= "nowhere in it"', matches: () => false },
  { text: '{app="none"}', matches: () => false },
];

function allWork(store: Store): SegmentWork[] {
  return [...store.segments()].map((segment) => workOf(segment, segment.intervals()));
}

async function stepsOf(
  { store, disk }: Pick<World, 'store' | 'disk'>,
  text: string,
  asked: Omit<Asked, 'matches'>,
  more: {
    unsealed?: EntryRun;
    parallel?: number;
    random?: Random;
    work?: SegmentWork[];
    memory?: IndexMemory;
    scanned?(request: EntryScan, result: EntryScanResult): EntryScanResult;
  } = {},
): Promise<ScanStep[]> {
  const compiled = compileQuery(text, () => 0);
  const reader = disk.reader();
  const steps: ScanStep[] = [];
  const { from, to, descending, limit } = asked;
  for await (const step of scanInWindows({
    query: text,
    compiled,
    range: { from, to },
    descending,
    limit,
    work: more.work ?? allWork(store),
    unsealed: Promise.resolve(more.unsealed),
    signal: new AbortController().signal,
    scan: async (request) => {
      // Tasks end in any order.
      await quiet(more.random ? below(more.random, 4) : 0);
      const result = scanBatches(request, compiled, reader);
      return more.scanned?.(request, result) ?? result;
    },
    parallel: more.parallel ?? 2,
    memory: more.memory ?? new IndexMemory(),
    alive: ALIVE,
  })) {
    steps.push(step);
  }
  return steps;
}

const rowsIn = (steps: readonly ScanStep[]): string[] =>
  steps.flatMap((step) => (step.kind === 'run' ? rowsOf(step.run) : []));

function randomAsk(random: Random): Omit<Asked, 'matches'> {
  const at = (): Instant => ({
    ms: START_MS - 50 + below(random, 800),
    sub: pick(random, [0, 0, 1000, 999_999]),
  });
  const whole = random.unit() < 0.4;
  const [from, to] = whole
    ? [
        { ms: -(2 ** 52), sub: 0 },
        { ms: 2 ** 52, sub: 0 },
      ]
    : [at(), at()].sort(instantOrder);
  return { from, to, descending: random.unit() < 0.5, limit: pick(random, [1, 3, 20, 100, 1_000_000]) };
}

test('a scan in windows gives what sorting and filtering all lines gives', async () => {
  await forEachSeed(25, async (random) => {
    const world = await newWorld(random, 4 + below(random, 20), 0);
    // Room for all, for some, or for nothing of what queries find in the index.
    const bytesMax = pick(random, [LIMITS.indexMemoryBytesMax, 3_000, 0]);
    const memory = new IndexMemory(bytesMax);
    for (let round = 0; round < 12; round++) {
      const { text, matches } = pick(random, QUERIES);
      const asked = randomAsk(random);
      // A few lines that are in no batch yet.
      const fresh = randomEntries(random, below(random, 15), START_MS + below(random, 400), 100).map(
        (entry, place): Row => ({
          ...entry,
          labels: LABELS[0],
          rank: batchRank(alice.peer, world.store.epoch, Number.MAX_SAFE_INTEGER),
          place,
        }),
      );
      const matching = naive(fresh, { ...asked, limit: Infinity, matches });
      const unsealed = matching.length > 0 ? runOf(matching) : undefined;
      const parallel = 1 + below(random, 3);
      const steps = await stepsOf(world, text, asked, { unsealed, parallel, random, memory });
      assert.ok(memory.bytes <= bytesMax);
      const expected = naive([...world.rows, ...fresh], { ...asked, matches });
      assert.deepEqual(rowsIn(steps), expected.map(textOf), `${text} ${JSON.stringify(asked)}`);
      const done = steps.at(-1)!;
      assert.ok(done.kind === 'done');
      const { batches, read, pruned, unneeded } = done.tally;
      assert.equal(batches, world.store.totals.batches);
      assert.equal(read + pruned + unneeded, batches);
      if (expected.length < asked.limit) assert.equal(unneeded, 0);
    }
  });
});

test('a window that gives too much is taken in parts, and the answer is the same', async () => {
  const MiB = 1024 * 1024;
  await forEachSeed(2, async (random) => {
    const world = await newWorld(random, 24, 0);
    const windows = new Map<string, { fromMs: number; toMs: number; MiB: number }>();
    /** As if each row weighed a MiB. */
    const scanned = ({ range }: EntryScan, result: EntryScanResult): EntryScanResult => {
      if (!result.run) return result;
      const [fromMs, toMs] = [range.from.ms, range.to.ms];
      const known = windows.get(`${fromMs}-${toMs}`)?.MiB ?? 0;
      windows.set(`${fromMs}-${toMs}`, { fromMs, toMs, MiB: known + result.run.count });
      const metadata = [...result.run.metadata, { unused: 'x'.repeat(result.run.count * MiB) }];
      return { ...result, run: { ...result.run, metadata } };
    };
    for (const descending of [false, true]) {
      windows.clear();
      const [from, to] = [
        { ms: START_MS - 50, sub: 0 },
        { ms: START_MS + 1_000, sub: 0 },
      ];
      const asked = { from, to, descending, limit: 1_000_000 };
      const steps = await stepsOf(world, '{app=~".+"}', asked, { random, scanned });
      assert.deepEqual(rowsIn(steps), naive(world.rows, { ...asked, matches: () => true }).map(textOf));
      const done = steps.at(-1)!;
      assert.ok(done.kind === 'done' && done.tally.read + done.tally.pruned === world.store.totals.batches);
      const all = [...windows.values()];
      const isGivenUp = ({ fromMs, toMs }: { fromMs: number; toMs: number }): boolean =>
        all.some(
          (part) => part.fromMs >= fromMs && part.toMs <= toMs && part.toMs - part.fromMs < toMs - fromMs,
        );
      assert.ok(all.some(isGivenUp));
      for (const window of all) if (!isGivenUp(window)) assert.ok(window.MiB <= 96, `${window.MiB} MiB`);
    }
  });
});

test('a window of which a task makes too much is taken in parts, down to a millisecond', async () => {
  await forEachSeed(2, async (random) => {
    const world = await newWorld(random, 24, 0);
    const [from, to] = [
      { ms: START_MS - 50, sub: 0 },
      { ms: START_MS + 1_000, sub: 0 },
    ];
    const asked = { from, to, descending: random.unit() < 0.5, limit: 1_000_000 };
    let refused = 0;
    const refuseWiderThan =
      (widthMs: number) =>
      ({ range }: EntryScan, result: EntryScanResult): EntryScanResult => {
        if (range.to.ms - range.from.ms <= widthMs || (result.run?.count ?? 0) < 2) return result;
        refused++;
        throw new LogvineError('LV_QUERY_TOO_LARGE', 'it is too much');
      };
    const steps = await stepsOf(world, '{app=~".+"}', asked, { random, scanned: refuseWiderThan(1) });
    assert.ok(refused > 0);
    assert.deepEqual(rowsIn(steps), naive(world.rows, { ...asked, matches: () => true }).map(textOf));
    await assert.rejects(stepsOf(world, '{app=~".+"}', asked, { random, scanned: refuseWiderThan(0) }), {
      code: 'LV_QUERY_TOO_LARGE',
    });
  });
});

/** So many lines of one letter, all at different times and in no order. */
function shuffled(random: Random, count: number): Entry[] {
  return shuffle(
    random,
    Array.from({ length: count }, (_, ms) => ({
      ms,
      sub: 0,
      line: Buffer.from('x'),
      metadata: { ms: `${ms}` },
    })),
  );
}

test('what stages make of lines is bounded, whatever is beyond the limit', () => {
  const query = compileQuery('{app="a"} | line_format `{{ repeat 1000000 "x" }}`', () => 0);
  const range = { from: { ms: 0, sub: 0 }, to: { ms: 1_000, sub: 0 } };
  const random = seededRandom(1);
  const columns = columnsFrom(shuffled(random, 200));
  for (const descending of [false, true]) {
    const builder = new RunBuilder();
    const rank = builder.rank('a');
    scanColumns(columns, { app: 'a' }, rank, { range, descending, limit: 3 }, query, builder);
    assert.ok(builder.bytes <= LIMITS.queryBufferBytesMax);
    const run = builder.finish(builder.sorted(descending).subarray(0, 3));
    assert.deepEqual([...run.ms], descending ? [199, 198, 197] : [0, 1, 2]);
    const sets = [...run.metadataIds].map((id) => run.metadata[id].ms);
    assert.deepEqual(sets, [...run.ms].map(String));
    assert.ok([...run.ends].every((end, row) => end === row * 1_000_001 + 1_000_000));
  }
  for (const limit of [50, Infinity])
    assert.throws(
      () =>
        scanColumns(columns, { app: 'a' }, 0, { range, descending: false, limit }, query, new RunBuilder()),
      { code: 'LV_QUERY_TOO_LARGE' },
    );
});

test('a builder that forgets what is beyond the limit, now and then, has the same best rows', async () => {
  await forEachSeed(100, (random) => {
    const limit = 1 + below(random, 12);
    const descending = random.unit() < 0.5;
    const [whole, bounded] = [new RunBuilder(), new RunBuilder()];
    for (const origin of shuffle(random, ['a', 'b', 'c', 'd'])) {
      const ranks = [whole, bounded].map((builder) => builder.rank(origin));
      for (const { ms, sub, line, metadata } of randomEntries(random, below(random, 20), START_MS, 5)) {
        const labels = pick(random, LABELS);
        const parsed = pick(random, [[], ['app'], ['host']]);
        for (const [at, builder] of [whole, bounded].entries()) {
          const stream = builder.stream(labels, parsed);
          builder.add(ms, sub, stream, ranks[at], builder.metadata(metadata), line, 0, line.length);
        }
        if (random.unit() < 0.2) bounded.keep(bounded.sorted(descending).subarray(0, limit));
      }
    }
    const best = (builder: RunBuilder): unknown => {
      const run = builder.finish(builder.sorted(descending).subarray(0, limit));
      return [rowsOf(run), [...run.streamIds].map((id) => run.parsedNames?.[id] ?? [])];
    };
    assert.deepEqual(best(bounded), best(whole));
    bounded.keep(bounded.sorted(descending).subarray(0, limit));
    const again = new RunBuilder();
    const run = bounded.finish();
    for (const id of run.streamIds) again.stream(run.streams[id], run.parsedNames?.[id]);
    for (const id of run.metadataIds) again.metadata(run.metadata[id]);
    assert.equal(bounded.bytes, again.bytes + run.lines.length, 'only what is kept counts');
  });
});

test('over many windows no row is repeated or left out, and memory is given row by row', async () => {
  await forEachSeed(2, async (random) => {
    // Some 40 MB of lines: the first window takes 4 of them.
    const world = await newWorld(random, 45, 40_000);
    const requests: string[] = [];
    for (const descending of [false, true]) {
      for (const limit of [7, 400, 1_000_000]) {
        const asked = {
          from: { ms: START_MS + 20, sub: 0 },
          to: { ms: START_MS + 500, sub: 0 },
          descending,
          limit,
        };
        const { text, matches } = pick(random, QUERIES.slice(0, 2));
        const steps = await stepsOf(world, text, asked, { random });
        assert.deepEqual(rowsIn(steps), naive(world.rows, { ...asked, matches }).map(textOf));
        for (const step of steps) {
          if (step.kind === 'run')
            assert.ok(step.run.lines.length < 4 * 1024 * 1024, `${step.run.lines.length} bytes in a run`);
        }
        const done = steps.at(-1)!;
        assert.ok(done.kind === 'done');
        if (limit === 7) assert.ok(done.tally.unneeded > 0, 'a limit ends the reading');
        requests.push(`${descending} ${limit} ${done.tally.read}`);
      }
    }
    assert.equal(requests.length, 6);
  });
});

test('a rotten batch is named, and none of its lines is served', async () => {
  await forEachSeed(15, async (random) => {
    const world = await newWorld(random, 12, 0);
    const segment = pick(random, [...world.store.segments()]);
    const batch = pick(random, [...segment.record.batches]);
    world.disk.flipBit(segment.path, (batch.offset + below(random, batch.frameBytes)) * 8);
    const rank = batchRank(segment.id.origin, segment.id.epoch, batch.seq);
    const asked = {
      from: { ms: 0, sub: 0 },
      to: { ms: 2 ** 52, sub: 0 },
      descending: random.unit() < 0.5,
      limit: 1_000_000,
    };
    const work = allWork(world.store);
    // Another query may have found it between the asking and the scan.
    if (random.unit() < 0.5) world.store.quarantine(segment, [batch]);
    const steps = await stepsOf(world, '{app=~".+"}', asked, { work });
    assert.deepEqual(
      steps.filter(({ kind }) => kind === 'failed'),
      [{ kind: 'failed', id: segment.id, seqs: [batch.seq] }],
    );
    const sound = world.rows.filter((row) => row.rank !== rank);
    assert.deepEqual(rowsIn(steps), naive(sound, { ...asked, matches: () => true }).map(textOf));
    const done = steps.at(-1)!;
    assert.ok(done.kind === 'done');
    assert.equal(done.tally.batches, 11);
    assert.equal(done.tally.read, 11);
  });
});

/** The same batch, signed as any other, but what its last stream's columns say is nonsense. */
function withNonsense(packed: PackedBatch): PackedBatch {
  const [block] = packed.blocks;
  const from = packed.filterBytes;
  const columns = zstdDecompressSync(packed.payload.subarray(from, from + block.columnsStored));
  const last = partsOf(packed).at(-1)!;
  // Behind the number of entries, which takes one byte, stands the unit of time.
  columns[columns.length - last.columnsBytes + 1] = 7;
  const stored = zstdCompressSync(columns);
  const payload = Buffer.concat([
    packed.payload.subarray(0, from),
    stored,
    packed.payload.subarray(from + block.columnsStored),
  ]);
  return {
    ...packed,
    payload,
    payloadCrc: crc32(payload),
    payloadHash: createHash('sha256').update(payload).digest(),
    blocks: [{ ...block, columnsStored: stored.length }],
  };
}

test('of a batch whose last stream cannot be decoded, no stream is served', async () => {
  const random = seededRandom(8);
  const disk = new SimDisk(random);
  const store = await openStore({ disk: disk.boot(), clock: new SimClock(), keys: alice });
  const line = { ms: START_MS, sub: 0, line: Buffer.from('hit'), metadata: {} };
  const packed = packBatch(
    LABELS.map((labels) => ({ labels, columns: columnsFrom([line]) })),
    1,
  );
  await store.seal(packed, []).written;
  await store.seal(withNonsense(packed), []).written;
  const asked = { from: { ms: 0, sub: 0 }, to: { ms: 2 ** 52, sub: 0 }, descending: false, limit: 100 };
  const steps = await stepsOf({ store, disk }, '{app=~".+"} |= "hit"', asked);
  assert.equal(rowsIn(steps).length, LABELS.length, 'those of the sound batch');
  const failed = steps.filter((step) => step.kind === 'failed');
  assert.deepEqual(
    failed.map(({ seqs }) => seqs),
    [[2]],
  );
});

test('an aborted scan stops', async () => {
  const world = await newWorld(seededRandom(3), 10, 0);
  const compiled = compileQuery('{app="a"}', () => 0);
  const controller = new AbortController();
  const steps = scanInWindows({
    query: '{app="a"}',
    compiled,
    range: { from: { ms: 0, sub: 0 }, to: { ms: 2 ** 52, sub: 0 } },
    descending: false,
    limit: 10,
    work: allWork(world.store),
    unsealed: undefined,
    signal: controller.signal,
    scan: async (request) => scanBatches(request, compiled, world.disk.reader()),
    parallel: 1,
    memory: new IndexMemory(),
    alive: ALIVE,
  });
  controller.abort(new LogvineError('LV_QUERY_TIMEOUT', 'late'));
  await assert.rejects(
    async () => {
      for await (const step of steps) assert.notEqual(step.kind, 'done');
    },
    { code: 'LV_QUERY_TIMEOUT' },
  );
});

/** Rows of several batches, some of them at one instant. */
function randomRows(random: Random, count: number): Row[] {
  const places = new Map<string, number>();
  return randomEntries(random, count, START_MS, 20).map((entry) => {
    const rank = batchRank(pick(random, [alice.peer, bob.peer]), 5, 1 + below(random, 6));
    const place = places.get(rank) ?? 0;
    places.set(rank, place + 1);
    return { ...entry, rank, place, labels: pick(random, LABELS) };
  });
}

test('merged sources are one sorted sequence, however they are cut, and who joins late joins in order', async () => {
  await forEachSeed(150, async (random) => {
    const rows = randomRows(random, below(random, 150));
    const descending = random.unit() < 0.5;
    const limit = pick(random, [1, 10, 1_000_000]);
    const expected = naive(rows, {
      from: { ms: 0, sub: 0 },
      to: { ms: 2 ** 52, sub: 0 },
      descending,
      limit,
      matches: () => true,
    });
    // Each batch comes from one source, as from one holder.
    const ranks = [...new Set(rows.map(({ rank }) => rank))];
    const sourceCount = 1 + below(random, 5);
    const holderOf = new Map(ranks.map((rank) => [rank, below(random, sourceCount)]));
    let joining: RunSource[] = [];
    const sourceFrom = (sorted: readonly Row[], mayDie: boolean): RunSource => {
      let at = 0;
      const deadAt = mayDie && random.unit() < 0.5 ? below(random, sorted.length + 1) : undefined;
      return {
        async next() {
          await quiet(below(random, 2));
          if (deadAt !== undefined && at >= deadAt) {
            // It ends before its time, and another one goes on where it stopped.
            joining.push(sourceFrom(sorted.slice(at), false));
            return undefined;
          }
          const count = Math.min(1 + below(random, 12), (deadAt ?? sorted.length) - at);
          if (count <= 0) return undefined;
          at += count;
          return runOf(sorted.slice(at - count, at));
        },
      };
    };
    const sources = Array.from({ length: sourceCount }, (_, source) => {
      const own = rows.filter(({ rank }) => holderOf.get(rank) === source).sort(rowOrder);
      return sourceFrom(descending ? own.reverse() : own, true);
    });
    const merged: string[] = [];
    const options = { descending, limit, joining: () => joining.splice(0) };
    for await (const run of mergeSources(sources, options)) {
      assert.ok(run.count > 0);
      merged.push(...rowsOf(run));
    }
    assert.deepEqual(merged, expected.map(textOf));
    joining = [];
  });
});

test('runs: what is encoded is decoded', async () => {
  await forEachSeed(100, (random) => {
    const run = runOf(randomRows(random, below(random, 80)));
    assert.deepEqual(rowsOf(decodeRun(encodeRun(run))), rowsOf(run));
  });
});

test('runs: cut or garbled bytes are LV_PROTOCOL or another run, never anything else', async () => {
  await forEachSeed(5, (random) => {
    const encoded = encodeRun(runOf(randomRows(random, 10)));
    for (let length = 0; length < encoded.length; length++) {
      assert.throws(() => decodeRun(encoded.subarray(0, length)), { code: 'LV_PROTOCOL' });
    }
    for (let round = 0; round < 2_000; round++) {
      const garbled = Buffer.from(encoded);
      garbled[below(random, garbled.length)] = below(random, 256);
      try {
        decodeRun(garbled);
      } catch (error) {
        assert.equal((error as LogvineError).code, 'LV_PROTOCOL');
      }
    }
  });
});

test('runs: a label may have any name', () => {
  const labels = Object.assign(Object.create(null) as Record<string, string>, {
    ['__proto__']: 'x',
    app: 'a',
  });
  const run = runOf([{ ms: 1, sub: 0, line: Buffer.from('x'), metadata: {}, labels, rank: 'r', place: 0 }]);
  assert.deepEqual(Object.entries(decodeRun(encodeRun(run)).streams[0]), Object.entries(labels));
});

test('a file that cannot be opened now is no rot', async () => {
  const world = await newWorld(seededRandom(4), 3, 0);
  const steps = async (): Promise<void> => {
    for await (const step of scanInWindows({
      query: '{app="a"}',
      compiled: compileQuery('{app="a"}', () => 0),
      range: { from: { ms: 0, sub: 0 }, to: { ms: 2 ** 52, sub: 0 } },
      descending: false,
      limit: 10,
      work: allWork(world.store),
      unsealed: undefined,
      signal: new AbortController().signal,
      scan: async (request) =>
        scanBatches(
          request,
          compileQuery(request.query, () => 0),
          {
            readAt: () => {
              throw Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' });
            },
            close: () => undefined,
          },
        ),
      parallel: 1,
      memory: new IndexMemory(),
      alive: ALIVE,
    })) {
      assert.notEqual(step.kind, 'failed');
    }
  };
  await assert.rejects(steps(), { code: 'EMFILE' });
});
