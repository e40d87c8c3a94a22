/**
 * `npm run simulate -- --report [PART]…` prints the figures of docs/reliability.md.
 *
 * `npm run simulate -- [--seeds N] [--from S] [--nodes M] [--hours H] [--break NAME] [--keep-going] [--each]`
 *
 * Runs simulated meshes under faults, one for each seed, on all cores. Says which seeds broke an invariant, with the story
 * of each; exit 1 then. The same seed on the same commit is the same run, event for event.
 */
import { parseArgs } from 'node:util';
import { BREAKS, isBreak, type BreakName } from '../test/simulation/breaks.ts';
import { simulateMany } from '../test/simulation/many.ts';
import { report } from '../test/simulation/report.ts';
import type { SimulationOptions } from '../test/simulation/simulation.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seeds: { type: 'string', default: '100' },
    from: { type: 'string', default: '1' },
    nodes: { type: 'string', default: '5' },
    hours: { type: 'string', default: '0.1' },
    break: { type: 'string' },
    'keep-going': { type: 'boolean', default: false },
    each: { type: 'boolean', default: false },
    report: { type: 'boolean', default: false },
  },
});

if (values.report) {
  await report(positionals);
  process.exit();
}

function numberOf(name: 'seeds' | 'from' | 'nodes' | 'hours', min: number, max: number): number {
  const value = Number(values[name]);
  if (value >= min && value <= max) return value;
  console.error(`--${name} ${values[name]}: a number from ${min} to ${max} is wanted`);
  process.exit(2);
}

const [seeds, from] = [numberOf('seeds', 1, 1e9), numberOf('from', 0, 2 ** 31)];
const [nodes, hours] = [numberOf('nodes', 2, 100), numberOf('hours', 0.001, 1_000)];
const fault = values.break as BreakName | undefined;
if (fault !== undefined && !isBreak(fault)) {
  console.error(`--break ${fault}: there are ${Object.keys(BREAKS).join(', ')}`);
  process.exit(2);
}

function* runs(): Generator<SimulationOptions> {
  for (let at = 0; at < seeds; at++) yield { seed: from + at, nodes, hours, fault };
}

const startedMs = performance.now();
const sums = { seeds: 0, violations: 0, hours: 0, cpuSeconds: 0, acknowledged: 0, asked: 0, excused: 0 };
await simulateMany(runs(), ({ result, cpuSeconds }) => {
  const { seed, violation, lines, queries, fingerprint, simulatedHours } = result;
  sums.seeds++;
  sums.hours += simulatedHours;
  sums.cpuSeconds += cpuSeconds;
  sums.acknowledged += lines.acknowledged;
  sums.excused += lines.excused;
  sums.asked += queries.asked;
  if (values.each) {
    const numbers = `${lines.acknowledged}/${lines.written} lines, ${queries.complete}/${queries.asked} queries complete`;
    console.log(`seed ${seed}: ${fingerprint}, ${numbers}, ${cpuSeconds.toFixed(1)} s`);
  }
  if (!violation) return true;
  sums.violations++;
  console.log(`\nseed ${seed} broke ${violation.invariant}: ${violation.message}`);
  console.log(`${violation.story}\n`);
  return values['keep-going'];
});

const perMinute = (sums.hours / sums.cpuSeconds) * 60;
console.log(
  `${sums.seeds} seeds from ${from}, ${nodes} nodes: ${sums.violations} broke an invariant; ` +
    `${sums.acknowledged} lines acknowledged, ${sums.excused} of them on disks that were destroyed, ${sums.asked} queries; ` +
    `${sums.hours.toFixed(1)} cluster-hours in ${((performance.now() - startedMs) / 1000).toFixed(0)} s, ` +
    `${perMinute.toFixed(1)} a minute of CPU`,
);
process.exitCode = sums.violations > 0 ? 1 : 0;
