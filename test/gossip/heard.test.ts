import assert from 'node:assert/strict';
import { test } from 'node:test';
import { askWhatWasHeard, heardAnswer, HEARD_PROTOCOL, serveHeard } from '../../src/gossip/query/heard.ts';
import { HoldingsKnown, signWatermark, Watermarks, type Holding } from '../../src/gossip/repair/index.ts';
import { keysFromSeed, type PeerId } from '../../src/gossip/transport/index.ts';
import { HOLDS_NOTHING } from '../helpers/holds-nothing.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimNetwork } from '../helpers/sim-network.ts';

const keys = await keysFromSeed(Buffer.alloc(32, 3));
const origin = keys.peer;
const other = 'other' as PeerId;
const at = (ms: number) => ({ ms, sub: 0 });

interface Memory {
  readonly known: HoldingsKnown;
  readonly watermarks: Watermarks;
}

/** What somebody remembers of `origin`: segments by epoch, each run an hour, and how far it is marked. */
function memoryOf(
  held: readonly [epoch: number, from: number, to: number][],
  durable: number[] = [],
): Memory {
  const known = new HoldingsKnown();
  const holdings = held.map(([epoch, from, to], index): Holding => {
    const times = { min: at(from), max: at(to + 0.5) };
    return {
      origin,
      epoch,
      index: index + 1,
      runs: [[from, to]],
      ...times,
      owners: [],
      bytes: 1,
      open: false,
    };
  });
  const rest = { version: 1, more: false, removed: [], expired: [], expiredVersion: 0 };
  known.merge(origin, { instance: '1', holdings, ...rest }, HOLDS_NOTHING);
  const watermarks = new Watermarks();
  for (const [epoch, seq] of durable.entries())
    if (seq) {
      const progress = { origin, epoch, sealed: seq, durable: seq };
      const mark = signWatermark(progress, (bytes) => keys.sign(bytes));
      watermarks.raise(mark, 1);
    }
  return { known, watermarks };
}

/** What one who remembers `mine` hears of it from one who remembers `theirs`: epoch, seqs, times. */
async function heard(mine: Memory, theirs: Memory): Promise<number[][]> {
  const clock = new SimClock();
  const network = new SimNetwork(clock, seededRandom(5));
  const [asker, teller] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
  const transport = await network.start('asker', asker);
  const served = await network.start('teller', teller);
  const { peer } = await keysFromSeed(teller);
  transport.learn(peer, ['teller:1']);
  served.handle(HEARD_PROTOCOL, (channel) => serveHeard(channel, theirs.known, theirs.watermarks));
  const existing = { remembered: mine.known.runs(), watermarks: mine.watermarks.all() };
  const peers = [transport.self, peer];
  const runs = await clock.run(askWhatWasHeard(transport, peers, [other, origin], existing, 1_000));
  return runs.map((run) => [run.epoch, run.from, run.to, run.min.ms, run.max.ms]);
}

const EVER = [-8.64e15, 8.64e15];

test('what another has heard of an origin behind what the asker has is told with its times, the newest epoch first', async () => {
  const nothing = memoryOf([]);
  const some = memoryOf([
    [1, 1, 4],
    [1, 5, 6],
    [2, 1, 3],
  ]);
  assert.deepEqual(await heard(nothing, nothing), []);
  assert.deepEqual(await heard(some, nothing), []);
  assert.deepEqual(await heard(some, some), []);
  assert.deepEqual(await heard(nothing, some), [
    [2, 1, 3, 1, 3.5],
    [1, 1, 6, 1, 6.5],
  ]);
  const more = memoryOf([
    [1, 5, 8],
    [2, 2, 3],
    [3, 1, 1],
  ]);
  assert.deepEqual(await heard(some, more), [
    [3, 1, 1, 1, 1.5],
    [1, 7, 8, 5, 8.5],
  ]);
});

test('what a mark tells, and what lies between what is known, may be of any time', async () => {
  const some = memoryOf([[1, 1, 4]], [0, 4]);
  assert.deepEqual(await heard(some, memoryOf([], [0, 4])), []);
  assert.deepEqual(await heard(some, memoryOf([], [0, 6, 2])), [
    [2, 1, 2, ...EVER],
    [1, 5, 6, ...EVER],
  ]);
  assert.deepEqual(await heard(some, memoryOf([[1, 5, 6]], [0, 6])), [[1, 5, 6, 5, 6.5]]);
  assert.deepEqual(await heard(some, memoryOf([[1, 5, 6]], [0, 7])), [[1, 5, 7, ...EVER]]);
  assert.deepEqual(await heard(some, memoryOf([[1, 6, 6]])), [[1, 5, 6, ...EVER]]);
  assert.deepEqual(await heard(memoryOf([], [0, 5]), memoryOf([[1, 1, 6]])), [[1, 6, 6, 1, 6.5]]);
});

test('of an origin that ran often, only what is news is asked for', async () => {
  const all = Array.from({ length: 30 }, (_, epoch): [number, number, number] => [epoch + 1, 1, 2]);
  const told = await heard(memoryOf(all.slice(0, 25)), memoryOf(all));
  assert.deepEqual(
    told.map(([epoch]) => epoch),
    [30, 29, 28, 27, 26],
  );
  // Which of its oldest runs it has heard of, it does not say.
  assert.deepEqual(await heard(memoryOf(all.slice(20)), memoryOf(all)), []);
  assert.equal((await heard(memoryOf(all.slice(25)), memoryOf(all))).length, 25);
});

test('a run that ends before it begins is not believed', () => {
  const run = { origin, epoch: 1, from: 2, to: 2, min: at(1), max: at(2) };
  assert.ok(heardAnswer.safeParse([run]).success);
  assert.ok(!heardAnswer.safeParse([{ ...run, to: 1 }]).success);
});
