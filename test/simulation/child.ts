/** A process that simulates what it is told to, one run after the other, and ends with the one that tells it. */
import { simulate, type SimulationOptions } from './simulation.ts';

process.on('disconnect', () => process.exit());

process.on('message', (options: SimulationOptions) => {
  const before = process.cpuUsage();
  void simulate(options).then((result) => {
    const { user, system } = process.cpuUsage(before);
    process.send!({ result, cpuSeconds: (user + system) / 1e6 });
  });
});
