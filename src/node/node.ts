import { availableParallelism, hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { pino } from 'pino';
import { createLibp2pTransport, MEMBERS_TOPIC } from '../gossip/index.ts';
import { keysFromSeed } from '../gossip/transport/index.ts';
import {
  assertLimits,
  openCatalog,
  systemClock,
  systemDisk,
  systemRandom,
  WorkerPool,
} from '../store/index.ts';
import { formatHostPort, readSecrets, readTls, readTokens, type Config } from './config/index.ts';
import { createCore, TIMING, type CoreOptions } from './core.ts';
import { startServer } from './http/server.ts';
import { loadIdentity } from './identity.ts';
import { startInputs } from './inputs.ts';
import { Reporter } from './report.ts';
import type { Tasks } from './tasks.ts';
import { VERSION } from './version.ts';

export interface RunningNode {
  readonly ready: { readonly httpUrl: string; readonly meshAddress: string; readonly peer: string };
  /** Resolves when the node has to be closed and started again: the mesh remembers a later run than its disk did. */
  readonly outdated: Promise<void>;
  close(): Promise<void>;
}

const JOIN_WARNING_MS = 5_000;
const LEFT_MS = 500;

/**
 * The one place where a node meets its machine: clock, disk, network, threads, inputs, HTTP. Between them stands what
 * core.ts puts together:
 *
 *   inputs ──► core ◄── HTTP
 *               │
 *    disk, libp2p, worker threads
 */
export async function startNode(config: Config): Promise<RunningNode> {
  assertLimits();
  const [clock, random, disk] = [systemClock, systemRandom, systemDisk];
  const output = pino.destination({ dest: 2, sync: true });
  // Where the log goes to a disk that is full, what happens is not told; without a listener, telling it would throw.
  output.on('error', () => undefined);
  const logger = pino({ level: config.logLevel }, output);
  const log: CoreOptions['log'] = (level, message) => logger[level](message);
  const directory = config.dataDirectory;
  const closers: (() => Promise<void> | void)[] = [];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.splice(0).reverse()) await close();
  };

  try {
    await disk.makeDirectory(directory);
    // Its own name must be durable too, where the parent may be opened.
    await disk.syncDirectory(dirname(directory)).catch(() => undefined);
    const catalogPath = join(directory, 'catalog');
    // LevelDB would let others read it where they may read the directory.
    await disk.makeDirectory(catalogPath);
    const catalog = await openCatalog(catalogPath, () => disk.remove(catalogPath));
    let isHandedOver = false;
    closers.push(() => (isHandedOver ? undefined : catalog.close()));
    const identity = await loadIdentity({ directory, disk, random });
    const { sign } = await keysFromSeed(identity.seed);
    const secrets = config.secretFile ? await readSecrets(config.secretFile, disk) : [];
    const tokens = {
      push: config.tokenFiles.push ? await readTokens(config.tokenFiles.push, disk) : [],
      query: config.tokenFiles.query ? await readTokens(config.tokenFiles.query, disk) : [],
      admin: config.tokenFiles.admin ? await readTokens(config.tokenFiles.admin, disk) : [],
    };
    const tls = config.tls && (await readTls(config.tls, disk));
    const transport = await createLibp2pTransport({
      seed: identity.seed,
      listen: formatHostPort(config.listen),
      announce: config.announce,
      secrets,
      topics: [MEMBERS_TOPIC],
      clock,
      log: logger,
    });
    closers.push(() => transport.close());
    const pool = new WorkerPool<Tasks>({
      entry: new URL('./worker.ts', import.meta.url),
      count: config.workers ?? availableParallelism(),
      data: undefined,
      clock,
    });
    closers.push(() => pool.close());
    isHandedOver = true;
    const outdated = Promise.withResolvers<void>();
    const core = await createCore({
      transport,
      clock,
      random,
      disk,
      catalog,
      pool,
      config,
      version: VERSION,
      timing: { ...TIMING, repairDelayMs: config.repairDelayMs },
      onOutdated: outdated.resolve,
      log,
      sign,
    });
    closers.push(() => core.close());
    const { store, membership, replicator, batcher, coordinator, losses, verifier, follow } = core;

    await core.recoverOwn();
    const host = hostname();
    const inputs = startInputs({
      config,
      // A disk without room stops the reading before it stops the writing.
      batcher: {
        async write(block) {
          await core.space.untilRoom();
          await batcher.write(block);
        },
        note: (position) => batcher.note(position),
      },
      clock,
      host,
      resume: (source) => store.position(source),
      remembered: () => store.positions(),
      log: logger,
    });
    closers.push(() => inputs.close());
    replicator.onAcknowledged((batch) => {
      for (const position of batch.sources) inputs.onDurable(position);
    });

    const reporter = new Reporter({
      clock,
      core,
      replicas: config.replicas,
      directory,
      seeds: config.join,
      inputs: () => inputs.all(),
    });
    let left: Promise<void> | undefined;
    const leave = async (): Promise<void> => {
      await inputs.close();
      await core.departure.leave();
      // Whoever watches hears of it first.
      clock.after(LEFT_MS, () => process.kill(process.pid, 'SIGTERM'));
    };
    const server = await startServer({
      config,
      tokens,
      tls,
      clock,
      batcher,
      pool,
      pushes: core.pushes,
      introduced: core.introduced,
      coordinator,
      losses,
      verifier,
      follow,
      reporter,
      leave() {
        left ??= leave().catch((error: unknown) => {
          left = undefined;
          throw error;
        });
        return left;
      },
      leaveProgress: () => core.departure.progress,
      log,
    });
    closers.push(() => server.close());
    membership.update({ http: server.url });
    core.start();
    clock.after(JOIN_WARNING_MS, () => {
      const lonely = reporter.seedsUnanswered();
      if (lonely) log('warn', lonely);
    });

    return {
      ready: { httpUrl: server.url, meshAddress: transport.addresses()[0] ?? '', peer: transport.self },
      outdated: outdated.promise,
      close: closeAll,
    };
  } catch (error) {
    await closeAll().catch(() => undefined);
    throw error;
  }
}
