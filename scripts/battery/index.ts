/**
 * `npm run battery [-- NAME…] [--rounds N] [--minutes M] [--write] [--keep] [--list]`
 *
 * Does to a mesh of real processes what goes wrong in real life, while files are tailed, lines pushed and questions asked, and
 * checks the promises all the time. Without names: everything that this machine can do. `--rounds` and `--minutes` are for each
 * fault; `--write` puts the figures into docs/reliability.md. Exit 1 when a promise was broken.
 */
import { parseArgs } from 'node:util';
import { FAULTS } from './faults/index.ts';
import type { Fault } from './fault.ts';
import { writeTable } from './report.ts';
import { seconds, type Result } from './result.ts';
import { runFault, stopRunning } from './run.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string' },
    minutes: { type: 'string', default: '30' },
    write: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
  },
});

function numberOf(name: 'rounds' | 'minutes'): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (value > 0 && value <= 100_000) return value;
  console.error(`--${name} ${text}: a number above 0 is wanted`);
  process.exit(2);
}

const unknown = positionals.filter((name) => !FAULTS.some((fault) => fault.name === name));
if (unknown.length > 0 || values.list) {
  if (unknown.length > 0) console.error(`there is no ${unknown.join(', ')}; there are:`);
  for (const { name, title, rounds } of FAULTS) console.log(`${name.padEnd(20)} ${title} (${rounds} rounds)`);
  process.exit(values.list ? 0 : 2);
}
const [rounds, minutes = 30] = [numberOf('rounds'), numberOf('minutes')];
const chosen = positionals.length > 0 ? FAULTS.filter(({ name }) => positionals.includes(name)) : FAULTS;

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    console.log('\nstopping…');
    void stopRunning().finally(() => process.exit(130));
  });
}

const results: { fault: Fault; result: Result }[] = [];
for (const fault of chosen) {
  const lack = fault.cannot?.();
  if (lack !== undefined) {
    console.log(`SKIPPED ${fault.name}: ${lack}`);
    continue;
  }
  const options = { rounds: rounds ?? fault.rounds, minutes, keep: values.keep };
  const result = await runFault(fault, { ...options, print: (line) => console.log(line) });
  results.push({ fault, result });
  const healed = `healed in ${seconds(result.healMedianMs)}, at most ${seconds(result.healMaxMs)}`;
  console.log(
    `${result.isGood ? 'GOOD' : 'BROKEN'} ${fault.name}: ${result.rounds} rounds, ${healed}; ${result.text}`,
  );
  for (const note of result.notes) console.log(`  ${note}`);
}
if (values.write) writeTable(results);
process.exit(results.every(({ result }) => result.isGood) ? 0 : 1);
