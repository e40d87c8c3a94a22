import assert from 'node:assert/strict';
import { test } from 'node:test';
import { wiped } from '../../scripts/battery/faults/disk-loss.ts';
import { killOne } from '../../scripts/battery/faults/kill.ts';
import { partitionFor } from '../../scripts/battery/faults/network.ts';
import { powerCut } from '../../scripts/battery/faults/power.ts';
import { runFault } from '../../scripts/battery/run.ts';

// A short selection; `npm run battery` has all of it.
for (const [fault, rounds] of [
  [killOne, 2],
  [powerCut, 1],
  [partitionFor(8_000), 1],
  [wiped, 1],
] as const) {
  test(`battery: ${fault.title}, ${rounds} times`, { skip: fault.cannot?.() ?? false }, async (t) => {
    const print = (line: string): void => t.diagnostic(line);
    const result = await runFault(fault, { rounds, minutes: 5, keep: false, print });
    assert.deepEqual(result.violations, []);
    assert.equal(result.rounds, rounds);
  });
}
