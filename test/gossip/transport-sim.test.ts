import { SimClock, seededRandom } from '../helpers/sim-clock.ts';
import { SimNetwork } from '../helpers/sim-network.ts';
import { transportContract } from './transport-contract.ts';

const messageBytesMax = 8 * 1024 * 1024;

transportContract('simulated transport', () => {
  const clock = new SimClock();
  const random = seededRandom(1);
  const network = new SimNetwork(clock, random);
  clock.startAutomatic();
  let count = 0;
  return {
    deserted: 'nobody:1',
    messageBytesMax,
    start: () => network.start(`peer${++count}`, random.bytes(32), messageBytesMax),
    addressOf: (transport) => transport.addresses()[0]!,
    stop: async () => clock.stopAutomatic(),
  };
});
