import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { test, type TestContext } from 'node:test';
import { WorkerPool } from '../../../src/store/workers/index.ts';
import type { TaskOptions } from '../../../src/store/workers/pool.ts';
import { SimClock } from '../../helpers/sim-clock.ts';

type Tasks = {
  count: { request: object; response: number };
  wait: { request: { flag: Int32Array }; response: void };
  hoard: { request: { items: number }; response: number };
  fail: { request: object; response: void };
  dieLater: { request: object; response: void };
  die: { request: object; response: void };
};

const LOOK_MS = 30_000;
const WITHIN_MS = 20_000;
const read = { priority: 'read' } as const;

interface Held {
  readonly done: Promise<void>;
  release(): void;
}

class Bench {
  readonly clock = new SimClock();
  readonly pool: WorkerPool<Tasks>;

  constructor(t: TestContext, count: number, data?: string) {
    const entry = new URL('./busy-worker.ts', import.meta.url);
    this.pool = new WorkerPool({ entry, count, data, clock: this.clock });
    // Its workers keep nobody alive.
    const keepAlive = setInterval(() => undefined, 1_000);
    t.after(async () => {
      clearInterval(keepAlive);
      await this.pool.close();
    });
  }

  count(): Promise<number> {
    return this.pool.run('count', {}, read);
  }

  /** Keeps one worker busy until it is let go; resolves once it is. */
  async hold(options: TaskOptions = read): Promise<Held> {
    const flag = new Int32Array(new SharedArrayBuffer(8));
    const done = this.pool.run('wait', { flag }, options);
    done.catch(() => undefined);
    await eventually(() => Atomics.load(flag, 1) === 1, 'a worker holds on');
    return {
      done,
      release: () => {
        Atomics.store(flag, 0, 1);
        Atomics.notify(flag, 0);
      },
    };
  }

  async threads(wanted: number): Promise<void> {
    await eventually(() => this.pool.threadCount === wanted, `${wanted} workers`);
  }
}

async function eventually(holds: () => boolean, what: string): Promise<void> {
  const deadlineMs = performance.now() + WITHIN_MS;
  while (!holds()) {
    assert.ok(performance.now() < deadlineMs, `still not: ${what}`);
    await nextTurn();
  }
}

test('workers start when they are needed, and all but one end when they are not', async (t) => {
  const bench = new Bench(t, 2);
  assert.equal(bench.pool.threadCount, 0);
  const first = await bench.hold();
  const second = await bench.hold();
  assert.equal(bench.pool.threadCount, 2);
  first.release();
  second.release();
  await Promise.all([first.done, second.done]);
  await bench.clock.advance(LOOK_MS);
  assert.equal(bench.pool.threadCount, 2, 'they had worked since the last look');
  await bench.clock.advance(LOOK_MS);
  assert.equal(bench.pool.threadCount, 1);
  assert.equal(await bench.count(), 1, 'the other one is warm');
  await bench.clock.advance(10 * LOOK_MS);
  assert.equal(bench.pool.threadCount, 1);
  assert.equal(await bench.count(), 2);
  await bench.clock.advance(10 * LOOK_MS);
  assert.equal(bench.clock.pending, 0, 'nobody looks on while nothing happens');
});

test('a worker that keeps much is replaced once it has little to do', async (t) => {
  const bench = new Bench(t, 1);
  await bench.pool.run('hoard', { items: 2_000_000 }, read);
  assert.equal(await bench.count(), 1);
  // In the middle of its work it is let be.
  const held = await bench.hold();
  await bench.clock.advance(3 * LOOK_MS);
  held.release();
  await held.done;
  assert.equal(await bench.count(), 3);
  const numbers: number[] = [];
  const deadlineMs = performance.now() + WITHIN_MS;
  do {
    assert.ok(performance.now() < deadlineMs, 'the same worker still answers');
    await bench.clock.advance(LOOK_MS);
    assert.equal(bench.pool.threadCount, 1, 'or one that is starting');
    numbers.push(await bench.count());
  } while (numbers.at(-1) !== 0);
  assert.equal(bench.pool.threadCount, 1);
});

test('what is in flight when workers are ended is answered', async (t) => {
  const bench = new Bench(t, 2);
  const first = await bench.hold();
  const second = await bench.hold();
  first.release();
  await first.done;
  await bench.clock.advance(3 * LOOK_MS);
  await bench.threads(1);
  const third = await bench.hold();
  second.release();
  third.release();
  await Promise.all([second.done, third.done]);

  // A worker that is due to be ended gets a task in that very moment.
  const single = new Bench(t, 1);
  const items = 1_000_000;
  const answers = [single.pool.run('hoard', { items }, read)];
  for (let round = 0; round < 10; round++) {
    await Promise.all(answers);
    single.clock.after(LOOK_MS, () => answers.push(single.pool.run('hoard', { items }, read)));
    await single.clock.advance(LOOK_MS);
  }
  const all = Promise.all(answers);
  let isAnswered = false;
  all.then(
    () => (isAnswered = true),
    () => (isAnswered = true),
  );
  await eventually(() => isAnswered, 'every task has its answer');
  assert.deepEqual(await all, Array(11).fill(items));
});

test('a worker that is still starting is not taken for one without work', async (t) => {
  const bench = new Bench(t, 2);
  await bench.count();
  const held = await bench.hold();
  const counted = bench.count();
  assert.equal(bench.pool.threadCount, 2);
  await bench.clock.advance(LOOK_MS);
  assert.equal(bench.pool.threadCount, 2);
  assert.equal(await counted, 0);
  held.release();
  await held.done;
});

test('the crash of a worker that does nothing harms nobody', async (t) => {
  const bench = new Bench(t, 1);
  await bench.pool.run('dieLater', {}, read);
  await bench.threads(0);
  assert.equal(await bench.count(), 0);
  await bench.clock.advance(2 * LOOK_MS);
  assert.equal(await bench.count(), 1);
});

test('a crash costs the task it happens in, and no other', async (t) => {
  const bench = new Bench(t, 1);
  const crashed = assert.rejects(bench.pool.run('die', {}, read), /a worker ended with 3/);
  const others = [bench.count(), bench.count()];
  await crashed;
  assert.deepEqual(await Promise.all(others), [0, 1]);
  await assert.rejects(bench.pool.run('fail', {}, read), /a handler failed/);
  assert.equal(await bench.count(), 2);
});

test('workers that cannot start leave nobody waiting', async (t) => {
  const bench = new Bench(t, 2, 'cannot start');
  const all = await Promise.allSettled([bench.count(), bench.count(), bench.count()]);
  for (const each of all) {
    assert.equal(each.status, 'rejected');
    assert.match(String(each.reason), /cannot start/);
  }
});

test('a task that nobody waits for is not begun, what is written goes first, and the end is told', async (t) => {
  const bench = new Bench(t, 1);
  const held = await bench.hold();
  const order: string[] = [];
  const aborted = AbortSignal.abort(new Error('gone away'));
  const waiting = [
    assert.rejects(bench.pool.run('count', {}, { ...read, signal: aborted }), /gone away/),
    bench.count().then(() => order.push('read')),
    bench.pool.run('count', {}, { priority: 'write' }).then(() => order.push('write')),
  ];
  held.release();
  await held.done;
  await Promise.all(waiting);
  assert.deepEqual(order, ['write', 'read']);
  const last = await bench.hold();
  const told = assert.rejects(last.done, { code: 'LV_CLOSED' });
  await bench.pool.close();
  await told;
  await assert.rejects(bench.count(), { code: 'LV_CLOSED' });
});

test('a worker that goes on after nobody waits is ended, and the next task gets a new one', async (t) => {
  const bench = new Bench(t, 1);
  const gone = new AbortController();
  const held = await bench.hold({ ...read, signal: gone.signal });
  const waiting = bench.count();
  await bench.clock.advance(60_000);
  assert.equal(bench.pool.threadCount, 1, 'a task may take its time');
  gone.abort(new Error('gone away'));
  const told = assert.rejects(held.done, /gone away/);
  await bench.clock.advance(2_000);
  await told;
  assert.equal(await waiting, 0, 'by a new one');

  // One that ends in time stays, and its signal means nothing to what it does next.
  const late = new AbortController();
  const inTime = await bench.hold({ ...read, signal: late.signal });
  late.abort(new Error('gone away'));
  inTime.release();
  await inTime.done;
  const next = await bench.hold();
  await bench.clock.advance(10_000);
  next.release();
  await next.done;
  assert.equal(await bench.count(), 3);

  // What is to be made durable is not given up.
  const written = new AbortController();
  const write = await bench.hold({ priority: 'write', signal: written.signal });
  written.abort(new Error('gone away'));
  await bench.clock.advance(10_000);
  write.release();
  await write.done;
  assert.equal(await bench.count(), 5);
});
