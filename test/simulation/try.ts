import { simulate } from './simulation.ts';
const [from, count, hours] = process.argv.slice(2).map(Number);
for (let seed = from!; seed < from! + count!; seed++) {
  const t0 = process.cpuUsage();
  const result = await simulate({ seed, nodes: 5, hours: hours! });
  const cpu = process.cpuUsage(t0);
  const { violation, ...rest } = result;
  const sec = (cpu.user + cpu.system) / 1e6;
  console.log(
    JSON.stringify(rest),
    sec.toFixed(2),
    's',
    ((rest.simulatedHours / sec) * 60).toFixed(1),
    'h/min',
  );
  if (violation) {
    console.log(violation.invariant, violation.message);
    if (process.argv[5]) console.log(violation.story);
  }
}
