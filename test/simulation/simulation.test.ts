import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulate } from './simulation.ts';

/**
 * Seeds that are run every time, with what each has found: the faults of the product that it broke on are mended, and
 * must stay so.
 */
const FIXED: readonly [seed: number, hours: number, why: string][] = [
  [1, 0.05, 'links that flap and are slow'],
  [2, 0.05, 'an owner was replaced while its batch waited for acknowledgement'],
  [7, 0.05, 'restarts and power cuts'],
];

/** Fresh ones, another few every day. */
const FRESH = 2;

for (const [seed, hours, why] of FIXED) {
  test(`seed ${seed}: ${why}`, async () => {
    const { violation } = await simulate({ seed, nodes: 5, hours });
    assert.equal(violation && `${violation.invariant}: ${violation.message}\n${violation.story}`, undefined);
  });
}

test('fresh seeds', async (context) => {
  const day = Math.floor(Date.now() / 86_400_000);
  for (let at = 0; at < FRESH; at++) {
    const seed = 1_000_000 + day * 10 + at;
    context.diagnostic(`seed ${seed}`);
    const { violation } = await simulate({ seed, nodes: 5, hours: 0.05 });
    const told = `npm run simulate -- --seeds 1 --from ${seed} --hours 0.05\n${violation?.message}\n${violation?.story}`;
    assert.equal(violation && told, undefined);
  }
});

test('the same seed is the same run, event for event', async () => {
  const options = { seed: 11, nodes: 4, hours: 0.03 };
  const first = await simulate(options);
  const second = await simulate(options);
  assert.deepEqual(second, first);
  const other = await simulate({ ...options, seed: 12 });
  assert.notEqual(other.fingerprint, first.fingerprint);
});
