import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { labelsText } from '../../src/store/batch/columns.ts';
import { evaluateByStep, planMetric } from '../../src/store/logql/metric/evaluate.ts';
import { Grid } from '../../src/store/logql/metric/grid.ts';
import type { RangePartial } from '../../src/store/logql/metric/partial.ts';
import { OPERATIONS, type State } from '../../src/store/logql/metric/state.ts';
import { Windows } from '../../src/store/logql/metric/windows.ts';
import { parseMetricQuery } from '../../src/store/logql/parser.ts';

const MS = 1_000_000n;

test('windows made of the one before are, to the last bit, those made anew', () => {
  const whole = fc.integer({ min: -5, max: 5 });
  const any = fc.oneof(
    whole,
    fc.double(),
    fc.constantFrom(0, -0, NaN, Infinity, -Infinity, 0.1, 0.2, 2 ** 53, -(2 ** 53), Number.MAX_SAFE_INTEGER),
  );
  const samples = fc
    .constantFrom<fc.Arbitrary<number>>(whole, any, fc.constantFrom(0, -0, 1))
    .chain((value) => fc.array(fc.tuple(fc.nat(60), value), { maxLength: 60 }));
  fc.assert(
    fc.property(
      fc.constantFrom('count_over_time', 'rate', 'quantile_over_time'),
      samples,
      fc.record({
        steps: fc.integer({ min: 1, max: 30 }),
        stepMs: fc.nat(8),
        rangeMs: fc.integer({ min: 1, max: 40 }),
      }),
      fc.constantFrom(0, 0.3, 0.5, 1),
      (op, given, { steps, stepMs, rangeMs }, quantile) => {
        const times = { startNs: 0n, endNs: BigInt(stepMs * (steps - 1)) * MS, stepNs: BigInt(stepMs) * MS };
        const grid = new Grid(times, rangeMs, 0n);
        const { slides, ...anew } = OPERATIONS[op];
        assert.ok(slides, 'or the test shows nothing');
        const states = new Map<number, State>();
        for (const [bucket, value] of given) {
          const state = states.get(bucket);
          if (state) anew.merge(state, anew.first(value, 0));
          else states.set(bucket, anew.first(value, 0));
        }
        const of = { rangeMs, quantile };
        const [sliding, plain] = [OPERATIONS[op], anew].map((each) => new Windows(each, grid, states, of));
        for (let step = 0; step < grid.steps; step++) {
          sliding.moveTo(step);
          plain.moveTo(step);
          assert.ok(Object.is(sliding.value, plain.value), `${step}: ${sliding.value} for ${plain.value}`);
        }
      },
    ),
    { numRuns: 3000, seed: 1 },
  );
});

/** So many series with so many samples each, all times of the leaf over. */
function filled(
  query: string,
  hours: bigint,
  series: number,
  samples: number,
): () => Generator<undefined, unknown> {
  const endNs = 1_700_000_000_000n * MS;
  const times = { startNs: endNs - hours * 3_600_000n * MS, endNs, stepNs: hours === 0n ? 0n : 60_000n * MS };
  const plan = planMetric(parseMetricQuery(query), times);
  const [leaf] = plan.leaves;
  const partial: RangePartial = leaf.newPartial({ seriesMax: series, numbersMax: 1_000_000 });
  const [afterMs, lastMs] = [leaf.afterNs, leaf.lastNs].map((at) => Number(at / MS));
  for (let i = 0; i < series; i++) {
    const labels = { s: `${i}` };
    for (let at = 1; at <= samples; at++)
      partial.add(labelsText(labels), labels, afterMs + ((lastMs - afterMs) * at) / samples, 0, at / 7);
  }
  return () => evaluateByStep(plan, [partial], { seriesMax: Infinity, pointsMax: Infinity });
}

function turnsOf(work: Generator<undefined, unknown>): number {
  let turns = 1;
  while (!work.next().done) turns++;
  return turns;
}

test('an evaluation lets others go first after so many numbers, within a step, too', () => {
  // 300,000 samples in one window each, at one time.
  assert.ok(turnsOf(filled('quantile_over_time(0.5, {a="b"} | unwrap x [1h])', 0n, 300, 1_000)()) > 5);
  // 61 steps over 10 series of windows with some 1,000 averages each.
  assert.ok(turnsOf(filled('avg_over_time({a="b"} | unwrap x [1000m])', 1n, 10, 1_060)()) > 61 + 5);
  // What is additive or in order goes over what enters and leaves alone.
  const sliding = turnsOf(filled('quantile_over_time(0.5, {a="b"} | unwrap x [1h])', 24n, 1, 1_500)());
  assert.ok(sliding < 24 * 60 + 20, `${sliding} turns`);
});

test('the first turn of an evaluation computes no other step than the first', () => {
  const opened: number[] = [];
  const original = Windows.prototype.moveTo;
  Windows.prototype.moveTo = function (step) {
    opened.push(step);
    return original.call(this, step);
  };
  try {
    const work = filled('sum by (s) (count_over_time({a="b"} [24h]))', 24n, 10, 1_440)();
    work.next();
    assert.ok(opened.length > 0 && opened.every((step) => step === 0));
    work.next();
    assert.ok(opened.every((step) => step <= 1));
  } finally {
    Windows.prototype.moveTo = original;
  }
});
