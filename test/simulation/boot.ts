import type { PeerId } from '../../src/gossip/index.ts';
import type { Config } from '../../src/node/config/index.ts';
import { createCore, TIMING, type CoreTiming } from '../../src/node/core.ts';
import { createHandlers } from '../../src/node/handlers.ts';
import { loadIdentity } from '../../src/node/identity.ts';
import type { Tasks } from '../../src/node/tasks.ts';
import { catalogOver } from '../../src/store/catalog/index.ts';
import type { Clock, DiskReader, Random, TaskRunner } from '../../src/store/index.ts';
import type { SimNetwork } from '../helpers/sim-network.ts';
import { Chance } from './chance.ts';
import { SimCatalog, type SimHost, type SimProcess } from './host.ts';

export const DATA = '/data';
/** Room that a node leaves on its disk. */
export const RESERVE_BYTES = 32 * 1024;
const KiB = 1024;

/** Copies (k), and those that an acknowledgement needs (W). */
type Copies = readonly [replicas: number, ack: number];
const AS_DELIVERED: Copies = [3, 2];
const COPIES: readonly Copies[] = [
  [2, 2],
  [2, 1],
  [3, 3],
  [3, 1],
  [1, 1],
];

/** Sizes and times small enough that everything rolls, fills and expires within minutes. */
export interface MeshSettings {
  readonly replicas: number;
  readonly ack: number;
  readonly segmentBytesMax: number;
  readonly segmentAgeMsMax: number;
  readonly batchTargetBytes: number;
  readonly batchAgeMsMax: number;
  readonly inventoryPollMs: number;
  readonly repairDelayMs: number;
  readonly surplusDelayMs: number;
  readonly repairBytesPerSecond: number;
  readonly packMsMax: number;
  /** How long pushes are told apart; 0: not at all. */
  readonly pushDedupWindowMs: number;
  /** Retention by age, and by size for each node. */
  readonly keptMsMax: number | undefined;
  readonly keptBytesMax: number | undefined;
}

export function drawSettings(seed: number): MeshSettings {
  const chance = new Chance(seed, 2);
  const drawn = {
    segmentBytesMax: chance.pick([4, 16, 64]) * KiB,
    segmentAgeMsMax: chance.pick([30_000, 120_000]),
    batchTargetBytes: chance.pick([1, 4]) * KiB,
    batchAgeMsMax: chance.pick([1_000, 5_000, 10_000]),
    inventoryPollMs: chance.pick([500, 2_000, 4_000]),
    repairDelayMs: chance.pick([30_000, 120_000]),
    surplusDelayMs: chance.pick([10_000, 60_000]),
    repairBytesPerSecond: 32 * KiB * KiB,
    packMsMax: chance.pick([0, 20, 200]),
    pushDedupWindowMs: chance.pick([0, 600_000]),
    keptMsMax: chance.hits(0.25) ? chance.pick([45_000, 90_000]) : undefined,
    keptBytesMax: chance.hits(0.1) ? chance.pick([16, 48]) * KiB : undefined,
  };
  // Every fourth seed: those that found something once are to stay as they are.
  const [replicas, ack] = seed % 4 === 0 ? COPIES[(seed / 4) % COPIES.length]! : AS_DELIVERED;
  return { ...drawn, replicas, ack };
}

function configOf(host: SimHost, settings: MeshSettings, lostPeers: readonly PeerId[]): Config {
  return {
    dataDirectory: DATA,
    listen: { host: host.name, port: 1 },
    announce: [],
    http: { host: '127.0.0.1', port: 0 },
    httpBehindProxy: false,
    tls: undefined,
    tokenFiles: {},
    join: host.joins(),
    lostPeers,
    secretFile: undefined,
    zone: host.zone || undefined,
    weight: 1,
    labels: {},
    replicas: settings.replicas,
    ack: settings.ack,
    tail: [],
    discoverServiceName: false,
    discoverLogLevels: true,
    timeZone: 'UTC',
    batch: {
      targetBytes: settings.batchTargetBytes,
      lingerBytes: settings.batchTargetBytes / 4,
      lingerMs: 500,
      ageMaxMs: settings.batchAgeMsMax,
      pushLingerMs: 100,
    },
    segment: { bytesMax: settings.segmentBytesMax, ageMaxMs: settings.segmentAgeMsMax },
    retention: { ageMsMax: settings.keptMsMax, bytesMax: settings.keptBytesMax, streams: [] },
    diskReserveBytes: RESERVE_BYTES,
    scrubPeriodMs: 60_000,
    repairDelayMs: settings.repairDelayMs,
    repairBytesPerSecond: settings.repairBytesPerSecond,
    pushDedupWindowMs: settings.pushDedupWindowMs,
    pushTimeoutMs: 10_000,
    workers: 1,
    logLevel: 'info',
  };
}

/** The workers' work, done in the calling thread after a while. */
function inlinePool(
  reader: DiskReader,
  clock: Clock,
  random: Random,
  settings: MeshSettings,
): TaskRunner<Tasks> {
  const handlers = createHandlers(reader, clock);
  return {
    size: 2,
    async run(kind, request, { signal }) {
      if (kind === 'pack' && settings.packMsMax > 0) {
        const delayMs = random.unit() * settings.packMsMax;
        await new Promise<void>((resolve) => void clock.after(delayMs, resolve));
      } else await Promise.resolve();
      signal?.throwIfAborted();
      return handlers[kind](request).value as Tasks[typeof kind]['response'];
    },
  };
}

export interface BootOptions {
  readonly host: SimHost;
  readonly process: SimProcess;
  readonly network: SimNetwork;
  readonly random: Random;
  readonly settings: MeshSettings;
  /** What the operator knows never to come back. */
  readonly lostPeers: readonly PeerId[];
  log(level: string, message: string): void;
  onOutdated(): void;
}

/** Puts a node together as src/node/node.ts does it, on a host's disk and clocks. Rejects as a node that cannot start. */
export async function boot(options: BootOptions): Promise<void> {
  const { host, process, network, random, settings } = options;
  const { clock } = process;
  const disk = host.disk.boot();
  const isAlive = (): boolean => process.alive;
  const catalog = catalogOver(new SimCatalog(host, isAlive));
  await disk.makeDirectory(DATA);
  const modeOf = () => Promise.resolve(0o600);
  const identity = await loadIdentity({ directory: DATA, disk, random, modeOf });
  const transport = await network.start(host.name, identity.seed, 24 * KiB * KiB, clock);
  process.transport = transport;
  if (!process.alive) {
    transport.kill('process');
    return;
  }
  host.peer = transport.self;
  const timing: CoreTiming = {
    ...TIMING,
    inventoryPollMs: settings.inventoryPollMs,
    handoverEveryMs: 5_000,
    repairDelayMs: settings.repairDelayMs,
    surplusDelayMs: settings.surplusDelayMs,
    confirmTimeoutMs: 10_000,
    dropEveryMs: 1_500,
    retentionEveryMs: 5_000,
  };
  const core = await createCore({
    transport,
    clock,
    random,
    disk,
    catalog,
    pool: inlinePool(host.disk.reader(), clock, random, settings),
    config: configOf(host, settings, options.lostPeers),
    version: 'simulated',
    timing,
    sign: (bytes) => transport.sign(bytes),
    log: (level, message) => {
      if (process.alive) options.log(level, message);
    },
    onOutdated: () => options.onOutdated(),
  });
  process.core = core;
  await core.recoverOwn();
}
