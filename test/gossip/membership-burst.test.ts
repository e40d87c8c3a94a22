import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../src/store/host/index.ts';
import { seededRandom } from '../helpers/sim-clock.ts';
import { SimMesh } from './membership-mesh.ts';

/** The clock of a process whose thread is often busy: timers fire late, each by up to `lateMsMax`. */
function busyClock(base: Clock, lateMsMax: number, seed: number): Clock {
  const random = seededRandom(seed);
  return {
    nowMs: () => base.nowMs(),
    monotonicMs: () => base.monotonicMs(),
    after: (delayMs, run) => base.after(delayMs + random.unit() * lateMsMax, run),
  };
}

test('fifty that join at once are known to all, and nobody busy is taken for dead', async (context) => {
  const mesh = new SimMesh(3, { delayMsMin: 1, delayMsMax: 60, lossShare: 0.01 });
  await mesh.grow(5);
  assert.ok(await mesh.clock.until(() => mesh.allSee(5), 30_000));
  const startedMs = mesh.clock.monotonicMs();
  for (let at = 5; at < 55; at++) {
    // Every third takes so much in that its timers are late.
    const clock = at % 3 === 0 ? busyClock(mesh.clock, 350, at) : mesh.clock;
    await mesh.start(`n${at}`, { clock });
  }
  assert.ok(await mesh.clock.until(() => mesh.allSee(55), 60_000));
  context.diagnostic(`all know all after ${Math.round(mesh.clock.monotonicMs() - startedMs)} ms`);
  await mesh.clock.advance(120_000);
  assert.ok(mesh.allSee(55));
  assert.deepEqual(
    mesh.history.filter((line) => line.includes('-> 1 dead')),
    [],
  );
  assert.deepEqual(mesh.warnings, []);
});
