import type { Fault } from '../fault.ts';
import { catalog } from './catalog.ts';
import { clock } from './clock.ts';
import { cloned, ownerLost, restored, wiped } from './disk-loss.ts';
import { fsyncFaults } from './fsync.ts';
import { diskFull, noSpace } from './full-disk.ts';
import { killAll, killOne } from './kill.ts';
import { burst, overload, slowDisk, slowLink } from './load.ts';
import { measures, soak } from './measures.ts';
import { grow, rolling } from './membership.ts';
import { flapping, longPartition, lossy, oneWay, partition } from './network.ts';
import { pauseOne } from './pause.ts';
import { powerCut, powerCutAll } from './power.ts';
import { retention } from './retention.ts';
import { flips, truncated } from './rot.ts';

export const FAULTS: readonly Fault[] = [
  killOne,
  killAll,
  pauseOne,
  powerCut,
  powerCutAll,
  diskFull,
  noSpace,
  ...fsyncFaults,
  flips,
  truncated,
  catalog,
  partition,
  longPartition,
  oneWay,
  flapping,
  lossy,
  overload,
  slowDisk,
  slowLink,
  burst,
  clock,
  wiped,
  ownerLost,
  restored,
  cloned,
  retention,
  rolling,
  grow,
  ...measures,
  soak,
];
