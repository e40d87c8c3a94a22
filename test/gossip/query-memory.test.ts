/** Questions that a holder answers again from what it remembers of its batches' index. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Holder } from '../../src/gossip/query/index.ts';
import type { RemoteStep, ScanMessage } from '../../src/gossip/query/messages.ts';
import { keysFromSeed } from '../../src/gossip/transport/index.ts';
import { createScanner } from '../../src/node/handlers.ts';
import {
  compileQuery,
  decodeParts,
  LogvineError,
  lineOf,
  PREAMBLE_BYTES,
  type BatchEntry,
  type Segment,
  type Store,
} from '../../src/store/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import { openStore, packOf } from '../store/material.ts';
import { HoldingsKnown } from '../../src/gossip/repair/index.ts';

const T = 1_700_000_000_000;
const BATCHES = 12;
const LINES = 4;

interface World {
  readonly store: Store;
  readonly disk: SimDisk;
  readonly holder: Holder;
  /** Tasks that were given to workers. */
  tasks: number;
  /** Filters that these brought. */
  told: number;
  /** Whether tasks end with an error. */
  isFailing: boolean;
}

/** Batch n has a line with `word-n`, and one error beside its other lines. */
async function newWorld(more: { unsealed?: () => Promise<undefined> } = {}): Promise<World> {
  const random = seededRandom(3);
  const clock = new SimClock();
  const disk = new SimDisk(random);
  const keys = await keysFromSeed(random.bytes(32));
  const store = await clock.run(openStore({ disk: disk.boot(), clock, keys }));
  for (let n = 1; n <= BATCHES; n++) {
    const entries = Array.from({ length: LINES }, (_, line) => ({
      ms: T + n * 1000 + line,
      sub: 0,
      line: Buffer.from(line === 0 ? `word-${n};` : `another line ${line}`),
      metadata: { detected_level: line === 0 ? 'error' : 'info' },
    }));
    await store.seal(packOf(entries), []).written;
  }
  const scanner = createScanner(disk.reader(), clock);
  const holder = new Holder({
    clock: new SimClock(),
    store,
    known: new HoldingsKnown(),
    peers: () => [],
    parallel: 2,
    compile: (query) => compileQuery(query, () => 0),
    scan: async (request) => {
      world.tasks++;
      const result = scanner.scan(request);
      world.told += result.filters.length;
      // Others begin before this one's answer is there.
      await Promise.resolve();
      if (world.isFailing) throw new LogvineError('LV_OVERLOADED', 'too many queries');
      return result;
    },
    unsealed: more.unsealed ?? (() => Promise.resolve(undefined)),
    unsealedLabels: () => [],
  });
  const world: World = { store, disk, holder, tasks: 0, told: 0, isFailing: false };
  return world;
}

type Tally = Extract<RemoteStep, { kind: 'done' }>['tally'];

interface Answered {
  readonly lines: string[];
  /** Sums by the value of the one label that series have. */
  readonly sums: Record<string, number>;
  readonly failed: number[];
  readonly tally: Tally;
  readonly tasks: number;
}

async function ask(
  world: World,
  question: ScanMessage['question'],
  fresh?: ScanMessage['fresh'],
): Promise<Answered> {
  const { store, holder } = world;
  const before = world.tasks;
  const message: ScanMessage = {
    from: { ms: 0, sub: 0 },
    to: { ms: 2 ** 50, sub: 0 },
    question,
    work: [{ origin: store.origin, epoch: store.epoch, index: 1, runs: [[1, BATCHES]] }],
    fresh,
  };
  const answered = { lines: [] as string[], sums: {} as Record<string, number>, failed: [] as number[] };
  let tally: Tally | undefined;
  for await (const step of holder.scan(message, new AbortController().signal)) {
    if (step.kind === 'run') {
      for (let row = 0; row < step.run.count; row++)
        answered.lines.push(Buffer.from(lineOf(step.run, row)).toString());
    } else if (step.kind === 'found' && question.kind === 'metric') {
      for (const { series } of decodeParts(step.bytes, 1)) {
        const name = Object.values(series.labels).join();
        answered.sums[name] = series.states.flat().reduce((a, b) => a + b, answered.sums[name] ?? 0);
      }
    } else if (step.kind === 'failed') answered.failed.push(...step.failed.seqs);
    else if (step.kind === 'done') ({ tally } = step);
  }
  return { ...answered, tally: tally!, tasks: world.tasks - before };
}

const lines = (literal: string): ScanMessage['question'] => ({
  kind: 'entries',
  query: `{app="a"} |= "${literal}"`,
  descending: false,
  limit: 1_000,
});

const metric = (query: string): ScanMessage['question'] => ({
  kind: 'metric',
  query,
  startNs: `${T + 3_600_000}000000`,
  endNs: `${T + 3_600_000}000000`,
  stepNs: '0',
});

/** When a metric query is evaluated, from the first batch's second on. */
const at = (ms: number): { startNs: string; endNs: string } => ({
  startNs: `${T + ms}000000`,
  endNs: `${T + ms}000000`,
});

const BY_LEVEL = metric('sum by (detected_level) (count_over_time({app="a"}[2h]))');

const batchOf = (world: World, seq: number): { segment: Segment; batch: BatchEntry } => {
  const [segment] = world.store.segments();
  return { segment, batch: segment.entry(seq)! };
};

function flip(world: World, seq: number, bytesIn: (batch: BatchEntry) => number): void {
  const { segment, batch } = batchOf(world, seq);
  world.disk.flipBit(segment.path, (batch.offset + bytesIn(batch)) * 8);
}

const inHeader = (): number => PREAMBLE_BYTES + 1;
const inFilter = ({ headerBytes }: BatchEntry): number => PREAMBLE_BYTES + headerBytes + 1;
const inLines = ({ frameBytes }: BatchEntry): number => frameBytes - 1;

test('a word that no batch has is ruled out without a task, once the filters are known', async () => {
  const world = await newWorld();
  const first = await ask(world, lines('word-7;'));
  assert.deepEqual(first.lines, ['word-7;']);
  assert.ok(first.tasks > 0);
  const again = await ask(world, lines('word-7;'));
  assert.deepEqual(again.lines, ['word-7;']);
  assert.deepEqual(again.tally, first.tally);
  assert.equal(again.tasks, 1, 'the one batch that has to be read');
  const nowhere = await ask(world, lines('nowhere in it'));
  assert.deepEqual(nowhere.lines, []);
  assert.equal(nowhere.tasks, 0);
  assert.equal(nowhere.tally.pruned, BATCHES);
  // What a log query found out, a metric query and one for patterns know.
  const counted = await ask(world, metric('sum(count_over_time({app="a"} |= "word-7;" [2h]))'));
  assert.deepEqual(counted.sums, { '': 1 });
  assert.equal(counted.tasks, 1);
  assert.equal(counted.tally.pruned, BATCHES - 1);
  const patterns = await ask(world, {
    kind: 'patterns',
    query: '{app="a"} |= "nowhere in it"',
    stepMs: 1000,
  });
  assert.equal(patterns.tasks, 0);
});

test('many queries at once bring each filter once, and one that fails leaves it to the next', async () => {
  const world = await newWorld();
  world.isFailing = true;
  await assert.rejects(ask(world, lines('nowhere in it')), { code: 'LV_OVERLOADED' });
  world.isFailing = false;
  world.told = 0;
  const answers = await Promise.all(Array.from({ length: 20 }, () => ask(world, lines('word-7;'))));
  for (const answer of answers) assert.deepEqual(answer.lines, ['word-7;']);
  assert.equal(world.told, BATCHES);
  assert.equal((await ask(world, lines('nowhere in it'))).tasks, 0);
});

test('of a query with several ranges, those that a remembered filter lets through are counted', async () => {
  const world = await newWorld();
  const both = metric(
    'sum(count_over_time({app="a"} |= "word-7;" [2h])) + sum(count_over_time({app="a"} |= "word-8;" [2h]))',
  );
  const sumOf = async (): Promise<[number, number, number]> => {
    const { holder, store } = world;
    const message: ScanMessage = {
      from: { ms: 0, sub: 0 },
      to: { ms: 2 ** 50, sub: 0 },
      question: both,
      work: [{ origin: store.origin, epoch: store.epoch, index: 1, runs: [[1, BATCHES]] }],
    };
    const byLeaf: [number, number, number] = [0, 0, 0];
    for await (const step of holder.scan(message, new AbortController().signal)) {
      if (step.kind === 'done') byLeaf[2] = step.tally.read;
      if (step.kind !== 'found') continue;
      for (const { leaf, series } of decodeParts(step.bytes, 2))
        byLeaf[leaf] += series.states.flat().reduce((a, b) => a + b, 0);
    }
    return byLeaf;
  };
  assert.deepEqual(await sumOf(), [1, 1, 2]);
  assert.deepEqual(await sumOf(), [1, 1, 2]);
});

test('counts by level are answered without a task, once the headers are known', async () => {
  const world = await newWorld();
  const first = await ask(world, BY_LEVEL);
  assert.deepEqual(first.sums, { error: BATCHES, info: BATCHES * (LINES - 1) });
  assert.ok(first.tasks > 0);
  const again = await ask(world, BY_LEVEL);
  assert.deepEqual(again.sums, first.sums);
  assert.deepEqual(again.tally, first.tally);
  assert.equal(again.tally.fromIndex, BATCHES);
  assert.equal(again.tasks, 0);
  // Where windows cut batches, the headers tell too little, and the batches are asked.
  const cut = await ask(world, {
    ...BY_LEVEL,
    query: 'sum by (detected_level) (count_over_time({app="a"}[1s]))',
    startNs: `${T + 5_001}000000`,
    endNs: `${T + 5_001}000000`,
  } as ScanMessage['question']);
  assert.deepEqual(cut.sums, { error: 1, info: 3 });
  assert.ok(cut.tasks > 0);
});

const counting = (literal: string, range = '2h', more = ''): ScanMessage['question'] =>
  metric(`sum by (app) (count_over_time({app="a"} |= "${literal}" ${more}[${range}]))`);

test('a metric query that is asked again reads only the batches that are new', async () => {
  const world = await newWorld();
  const first = await ask(world, counting('another'));
  assert.deepEqual(first.sums, { a: BATCHES * (LINES - 1) });
  assert.ok(first.tasks > 0 && first.tally.bytesScanned > 0 && first.tally.fromIndex === 0);
  const again = await ask(world, counting('another'));
  assert.deepEqual(again.sums, first.sums);
  assert.deepEqual(again.tally, { ...first.tally, fromIndex: BATCHES, bytesScanned: 0 });
  assert.equal(again.tasks, 0);
  // A moment later, as dashboards ask.
  const later = await ask(world, { ...counting('another'), ...at(3_600_500) });
  assert.deepEqual([later.sums, later.tasks], [first.sums, 0]);
  // Windows that begin or end within batches, or leave some out.
  const cut = await ask(world, { ...counting('another'), ...at(5_001) });
  assert.deepEqual(cut.sums, { a: 4 * (LINES - 1) + 1 });
  assert.ok(cut.tasks > 0);
  const inHalf = await ask(world, { ...counting('another', '5s'), ...at(5_500) });
  assert.deepEqual(inHalf.sums, { a: 5 * (LINES - 1) });
  const other = await ask(world, counting('line 2'));
  assert.deepEqual(other.sums, { a: BATCHES });
  assert.ok(other.tasks > 0);
});

test('answers in many windows are remembered where the windows move by whole steps', async () => {
  const world = await newWorld();
  const over = (fromMs: number, toMs: number): ScanMessage['question'] => ({
    ...(counting('another', '2ms') as Extract<ScanMessage['question'], { kind: 'metric' }>),
    startNs: `${T + fromMs}000000`,
    endNs: `${T + toMs}000000`,
    stepNs: '1000000',
  });
  const first = await ask(world, over(4_000, 9_500));
  const [again, moved] = [await ask(world, over(4_000, 9_500)), await ask(world, over(3_997, 9_497))];
  assert.deepEqual([again.sums, again.tasks], [first.sums, 0]);
  assert.deepEqual([moved.sums, moved.tasks], [first.sums, 0]);
  const shifted = { ...over(4_000, 9_500), startNs: `${T + 4_000}500000`, endNs: `${T + 9_500}500000` };
  const between = await ask(world, shifted as ScanMessage['question']);
  assert.deepEqual(between.sums, first.sums);
  assert.ok(between.tasks > 0, 'buckets that begin at other times hold other lines');
});

test('what depends on the moment of asking, or is as large as the lines, is read again', async () => {
  const world = await newWorld();
  for (const query of [
    'sum(count_over_time({app="a"} | label_format t="{{ now | unixEpoch }}" [2h]))',
    'sum(count_over_time({app="a"} | label_format t=`{{ date "15:04" .none }}` [2h]))',
    'last_over_time({app="a"} | regexp "line (?P<n>[0-9]+)" | n!="" | unwrap n [2h]) by (app)',
    `sum by (x) (count_over_time({app="a"} | label_format x="${'long'.repeat(1_000)}{{ __line__ }}" [2h]))`,
  ]) {
    await ask(world, metric(query));
    assert.ok((await ask(world, metric(query))).tasks > 0, query);
  }
});

test('a batch that is quarantined is not answered for any more', async () => {
  const world = await newWorld();
  await ask(world, counting('another'));
  flip(world, 4, inLines);
  assert.deepEqual((await ask(world, lines('word-4;'))).failed, [4]);
  const without = await ask(world, counting('another'));
  assert.deepEqual([without.sums, without.failed, without.tasks], [{ a: 11 * (LINES - 1) }, [4], 0]);
});

test('a rotten filter rules nothing out, and is not remembered', async () => {
  const world = await newWorld();
  flip(world, 4, inFilter);
  const first = await ask(world, lines('nowhere in it'));
  assert.deepEqual(first.failed, [4], 'the batch was read, which shows the rot');
  const again = await ask(world, lines('nowhere in it'));
  assert.deepEqual(again.failed, [4], 'it is named again: it is not here any more');
  assert.equal(again.tasks, 0);
});

test('a batch that rots after its index was remembered is named when it is read', async () => {
  const world = await newWorld();
  await ask(world, lines('nowhere in it'));
  await ask(world, BY_LEVEL);
  flip(world, 4, inLines);
  flip(world, 5, inFilter);
  flip(world, 6, inHeader);
  const elsewhere = await ask(world, lines('word-7;'));
  assert.deepEqual([elsewhere.lines, elsewhere.failed], [['word-7;'], []]);
  const levels = await ask(world, BY_LEVEL);
  assert.deepEqual(levels.sums, { error: BATCHES, info: BATCHES * (LINES - 1) });
  assert.equal(levels.tasks, 0);
  for (const seq of [4, 5, 6]) {
    const rotten = await ask(world, lines(`word-${seq};`));
    assert.deepEqual([rotten.lines, rotten.failed.includes(seq)], [[], true]);
  }
  const without = await ask(world, BY_LEVEL);
  assert.deepEqual(without.failed, [4, 5, 6]);
  assert.deepEqual(without.sums, { error: BATCHES - 3, info: (BATCHES - 3) * (LINES - 1) });
});

test('what a stage cannot make of a line is told as its error, and takes no batch for rotten', async () => {
  for (const template of ['printf "%q" -1', 'printf "%.*f" -1 3.5', 'printf "%c" 99999999999']) {
    const world = await newWorld();
    const query = `{app="a"} | line_format "{{ ${template.replaceAll('"', '\\"')} }}"`;
    const { lines: all, failed } = await ask(world, {
      kind: 'entries',
      query,
      descending: false,
      limit: 1_000,
    });
    assert.deepEqual(failed, [], template);
    assert.equal(all.length, BATCHES * LINES, template);
    const counted = await ask(world, metric(`sum(count_over_time(${query} [2h]))`));
    assert.deepEqual(counted.failed, [], template);
  }
});

test('a scan that fails on sound bytes leaves the batch where it is', async () => {
  const world = await newWorld();
  const { segment, batch } = batchOf(world, 3);
  const sound = Buffer.from(world.disk.contentOf(segment.path));
  flip(world, 3, inLines);
  const { failed } = await ask(world, lines('another line 1'));
  assert.deepEqual(failed, [3]);
  assert.equal(segment.entry(3), undefined, 'rot is set aside');
  assert.ok(sound.length > 0 && batch.seq === 3);
});

test('a segment that is dropped while a query waits is not ruled out: it is named as failed', async () => {
  for (const question of [lines('another line 1'), BY_LEVEL]) {
    const gate = Promise.withResolvers<undefined>();
    const world = await newWorld({ unsealed: () => gate.promise });
    const [segment] = world.store.segments();
    const asking = ask(world, question, { epoch: world.store.epoch, afterSeq: BATCHES, except: [] });
    await new Promise((resolve) => setImmediate(resolve));
    world.store.rollSegment();
    await world.store.drop([segment], 'surplus');
    gate.resolve(undefined);
    const { failed, tally } = await asking;
    assert.equal(failed.length, BATCHES, question.kind);
    assert.equal(tally.pruned, 0);
  }
});
