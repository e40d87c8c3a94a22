import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Holder } from '../../src/gossip/query/index.ts';
import type { Question, ScanMessage } from '../../src/gossip/query/messages.ts';
import { keysFromSeed } from '../../src/gossip/transport/index.ts';
import { compileQuery, LIMITS, type ScanResult, type Store } from '../../src/store/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import { linePack, openStore } from '../store/material.ts';
import { HoldingsKnown } from '../../src/gossip/repair/index.ts';

const TASK_MS = 4_000;
const OTHERS = 10;
const QUERY = '{app="a"}';
const ENTRIES: Question = { kind: 'entries', query: QUERY, descending: false, limit: 10 };
const METRIC: Question = {
  kind: 'metric',
  query: `sum(count_over_time(${QUERY} |= "x" [1h]))`,
  startNs: '1700000001000000000',
  endNs: '1700000001000000000',
  stepNs: '0',
};

/** A holder of one batch whose scans wait for one another, `TASK_MS` each, or for ever. */
async function busyHolder(clock: SimClock, isHung: boolean): Promise<{ store: Store; holder: Holder }> {
  const random = seededRandom(9);
  const keys = await keysFromSeed(random.bytes(32));
  const store = await clock.run(openStore({ disk: new SimDisk(random).boot(), clock, keys }));
  await store.seal(linePack('x'), []).written;
  let queue: Promise<unknown> = Promise.resolve();
  const inTurn = <Result>(result: Result): Promise<Result> => {
    const turn = queue.then(
      () => new Promise<void>((resolve) => void (isHung || clock.after(TASK_MS, resolve))),
    );
    queue = turn;
    return turn.then(() => result);
  };
  const holder = new Holder({
    clock,
    store,
    known: new HoldingsKnown(),
    peers: () => [],
    parallel: 2,
    compile: (query) => compileQuery(query, () => 0),
    scan: ({ kind }) => {
      const nothing = { read: [[0, 1]], failed: [], filters: [], bytesScanned: 0 };
      const more = { parts: [], fromIndex: [], answers: [], heads: [], plain: [], patterns: [] };
      return inTurn({ kind, run: undefined, ...nothing, ...more } as unknown as ScanResult);
    },
    unsealed: () => inTurn(undefined),
    unsealedLabels: () => [],
  });
  return { store, holder };
}

/** How long the holder says nothing while others came first, at most; it ends with the clock's `runMs`. */
async function silence(question: Question, isFresh: boolean, isHung = false): Promise<number> {
  const clock = new SimClock();
  const { store, holder } = await busyHolder(clock, isHung);
  const message = (asked: Question, fresh: boolean): ScanMessage => ({
    from: { ms: 0, sub: 0 },
    to: { ms: 2 ** 50, sub: 0 },
    question: asked,
    work: [{ origin: store.origin, epoch: store.epoch, index: 1, runs: [[1, 1]] }],
    fresh: fresh ? { epoch: store.epoch, afterSeq: 1, except: [] } : undefined,
  });
  const { signal } = new AbortController();
  const drain = async (steps: ReturnType<Holder['scan']>, each: () => void): Promise<void> => {
    for await (const _ of steps) each();
  };
  for (let at = 0; at < OTHERS; at++)
    void drain(holder.scan(message(ENTRIES, false), signal), () => undefined);
  await clock.advance(0);
  let longest = 0;
  let lastMs = clock.monotonicMs();
  const heard = (): void => {
    longest = Math.max(longest, clock.monotonicMs() - lastMs);
    lastMs = clock.monotonicMs();
  };
  void drain(holder.scan(message(question, isFresh), signal), heard);
  await clock.advance((OTHERS + 3) * TASK_MS);
  heard();
  return longest;
}

test('a holder at work for others says that it is alive to those who wait behind them', async () => {
  assert.ok(OTHERS * TASK_MS > 2 * LIMITS.queryIdleMs);
  for (const question of [ENTRIES, METRIC])
    for (const isFresh of [false, true])
      assert.ok((await silence(question, isFresh)) < LIMITS.queryIdleMs, `${question.kind}, ${isFresh}`);
});

test('a holder of whom no task ends says nothing', async () => {
  assert.ok((await silence(ENTRIES, false, true)) > LIMITS.queryIdleMs);
});
