import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  countRuns,
  ExpiredRuns,
  LIMITS,
  subtractRuns,
  unionRuns,
  type ExpiredRun,
} from '../../src/store/index.ts';
import { below, forEachSeed } from './material.ts';

const MAX = LIMITS.expiredRunsMax;
const at = (ms: number) => ({ ms, sub: 0 });

function run(from: number, to = from, origin = 'a', epoch = 1): ExpiredRun {
  return { origin, epoch, from, to, min: at(from), max: at(to + 1) };
}

const seqsOf = (runs: Iterable<ExpiredRun>): [number, number][] =>
  unionRuns(
    [...runs].map(({ from, to }) => [from, to]),
    [],
  );

test('what was dropped is remembered, in whatever order and pieces it is told, and whoever asks again is told the rest', async () => {
  await forEachSeed(200, (random) => {
    const expired = new ExpiredRuns();
    const told: ExpiredRun[] = [];
    let known = 0;
    let seqs: [number, number][] = [];
    for (let step = 0; step < 40; step++) {
      const runs = Array.from({ length: below(random, 4) }, () => {
        const from = 1 + below(random, 100);
        return run(from, from + below(random, 8) - 1);
      });
      const before = seqs;
      seqs = unionRuns(seqs, seqsOf(runs.filter(({ from, to }) => from <= to)));
      const isNews = expired.add(runs);
      if (countRuns(subtractRuns(seqs, before)) > 0) assert.equal(isNews, true);
      assert.equal(expired.add(runs), false, 'what is known is no news');
      assert.deepEqual(expired.runs('a', 1), seqs);
      const all = [...expired.all];
      assert.equal(all.length, expired.size);
      for (const [index, { from }] of all.entries()) if (index > 0) assert.ok(all[index - 1].to < from);
      const [from, to] = [below(random, 110), below(random, 110)].sort((a, b) => a - b);
      const asked = all.filter((one) => one.from <= to && one.to >= from);
      assert.deepEqual([...expired.overlapping('a', 1, [from, to])], asked);
      if (random.unit() < 0.5) continue;
      for (let more = true; more;) {
        const news = expired.since(known, 3);
        assert.ok(news.runs.length <= 3);
        told.push(...news.runs);
        known = news.version;
        more = news.more;
      }
      assert.deepEqual(seqsOf(told), seqs);
      assert.deepEqual(expired.since(known, 3).runs, []);
    }
  });
});

test('runs of a peer that owned every tenth segment become few, over what is gone elsewhere and nothing else', () => {
  const expired = new ExpiredRuns();
  const last = MAX * 100 + 10;
  const elsewhere = subtractRuns([[1, last]], [[520, 530]]);
  expired.between = () => (origin, epoch) => (origin === 'a' && epoch === 1 ? elsewhere : []);
  for (let segment = 0; segment <= MAX; segment++) {
    assert.equal(expired.size, segment, 'as long as there is room, each is remembered as it is');
    expired.add([run(segment * 100 + 1, segment * 100 + 10)]);
  }
  assert.deepEqual(expired.runs('a', 1), [
    [1, 510],
    [601, last],
  ]);
  assert.equal(expired.size, 2);
  const { runs } = expired.since(MAX, 10);
  assert.deepEqual(
    runs.map(({ from, to, min, max }) => [from, to, min.ms, max.ms]),
    [[601, last, 601, last + 1]],
  );
  assert.deepEqual(expired.since(expired.version, 10).runs, [], 'joining is no news');
});

test('where nobody says what became of what lies between, runs stay apart', () => {
  const expired = new ExpiredRuns();
  for (let seq = 1; seq <= MAX * 2; seq++) expired.add([run(seq * 2)]);
  assert.equal(expired.size, MAX * 2);
  assert.equal(countRuns(expired.runs('a', 1)), MAX * 2);
});

test('of more than can be remembered the oldest are forgotten, and each that is added costs little', () => {
  const expired = new ExpiredRuns();
  const startedMs = performance.now();
  let adds = 0;
  for (const epoch of [1, 2]) {
    for (let seq = 1; seq <= MAX * 8; seq++, adds++) expired.add([run(seq * 2, seq * 2, 'a', epoch)]);
  }
  // 160,000 adds took minutes when each sorted all of them.
  assert.ok(performance.now() - startedMs < 10_000, `${performance.now() - startedMs} ms for ${adds}`);
  assert.ok(expired.size <= MAX * 10, `${expired.size} are remembered`);
  assert.equal(countRuns(expired.runs('a', 2)), MAX * 8, 'of the newest epoch nothing is forgotten');
  assert.ok(expired.runs('a', 1)[0][0] > 2, 'but of the oldest');
  const many = Array.from({ length: MAX * 15 }, (_, seq) => run(1 + seq * 2, 1 + seq * 2, 'b', 3));
  expired.add(many.toReversed());
  assert.ok(expired.size <= MAX * 10, `${expired.size} are remembered`);
  assert.equal(expired.runs('b', 3).at(-1)?.[0], MAX * 30 - 1);
});
