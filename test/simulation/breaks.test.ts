import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BreakName } from './breaks.ts';
import { simulate } from './simulation.ts';

/** Seeds within which a fault that was put in on purpose must be found. */
const SEEDS_MAX = 200;

const FAULTS: Record<BreakName, string> = {
  'ack-before-fsync': 'I2',
  'drop-early': 'I8',
  'forget-departed': 'I9',
};

for (const [fault, invariant] of Object.entries(FAULTS) as [BreakName, string][]) {
  test(`the checkers find ${fault}`, async (context) => {
    for (let seed = 1; seed <= SEEDS_MAX; seed++) {
      const { violation } = await simulate({ seed, nodes: 5, hours: 0.05, fault });
      if (!violation) continue;
      context.diagnostic(`seed ${seed}: ${violation.message}`);
      assert.equal(violation.invariant, invariant);
      assert.match(violation.story, /nemesis|acknowledged/);
      return;
    }
    assert.fail(`${fault} was not found within ${SEEDS_MAX} seeds`);
  });
}
