import { availableParallelism, hostname } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import {
  answerInventory,
  Coordinator,
  COVERAGE_PROTOCOL,
  createLibp2pTransport,
  createMembership,
  FETCH_PROTOCOL,
  FOLLOW_PROTOCOL,
  Holder,
  INVENTORY_PROTOCOL,
  MEMBERS_TOPIC,
  receiveReplicas,
  Repairer,
  REPLICATE_PROTOCOL,
  Replicator,
  SCAN_PROTOCOL,
  SERIES_PROTOCOL,
  serveFetch,
} from '../gossip/index.ts';
import { keysFromSeed } from '../gossip/transport/index.ts';
import {
  assertLimits,
  batchRank,
  compileQuery,
  openCatalog,
  Store,
  systemClock,
  systemDisk,
  systemRandom,
  WorkerPool,
} from '../store/index.ts';
import { formatHostPort, readSecrets, readTokens, type Config } from './config/index.ts';
import { Follow } from './follow.ts';
import { startServer } from './http/server.ts';
import { loadIdentity } from './identity.ts';
import { startInputs } from './inputs.ts';
import { Batcher } from './pipeline/batcher.ts';
import { hasEarlierRuns, positionsOf } from './positions.ts';
import { Reporter, VERSION } from './report.ts';
import type { Tasks } from './tasks.ts';
import { WatermarkKeeper } from './watermark-keeper.ts';

export interface RunningNode {
  readonly ready: { readonly httpUrl: string; readonly meshAddress: string; readonly peer: string };
  close(): Promise<void>;
}

const TIMING = {
  openTimeoutMs: 5_000,
  ackTimeoutMs: 15_000,
  ownerCooldownMs: 10_000,
  inventoryPollMs: 500,
  peerTimeoutMs: 10_000,
  coverageTimeoutMs: 3_000,
  repairDelayMs: 600_000,
  ownRecoveryFindMs: 3_000,
  ownRecoveryMs: 60_000,
  joinWarningMs: 5_000,
} as const;

const COMPRESSION_LEVEL = 1;
/** Sorts behind every seq: lines that are in no batch yet come after those that are. */
const UNSEALED_SEQ = Number.MAX_SAFE_INTEGER;

/**
 * The one place where a node is put together:
 *
 *   inputs ──┐                 ┌─ workers (pack, scan)
 *   HTTP ────┼─► batcher ──────┤
 *            │                 └─► store ◄──► replicator ──► owners
 *            │                       ▲  ▲
 *            └─► coordinator ─► holder  └─── repairer ◄──► other peers' inventories
 *                                            membership, watermarks
 */
export async function startNode(config: Config): Promise<RunningNode> {
  assertLimits();
  const [clock, random, disk] = [systemClock, systemRandom, systemDisk];
  const logger = pino({ level: config.logLevel }, pino.destination({ dest: 2, sync: true }));
  const log = (level: 'info' | 'warn' | 'error', message: string): void => logger[level](message);
  const directory = config.dataDirectory;
  const closers: (() => Promise<void> | void)[] = [];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.splice(0).reverse()) await close();
  };

  try {
    await disk.makeDirectory(directory);
    const catalogPath = join(directory, 'catalog');
    const catalog = await openCatalog(catalogPath, () => disk.remove(catalogPath));
    let storeOpened = false;
    closers.push(() => (storeOpened ? undefined : catalog.close()));
    const identity = await loadIdentity({ directory, disk, random });
    const { sign } = await keysFromSeed(identity.seed);
    const secrets = config.secretFile ? await readSecrets(config.secretFile, disk) : [];
    const tokens = {
      push: config.tokenFiles.push ? await readTokens(config.tokenFiles.push, disk) : [],
      query: config.tokenFiles.query ? await readTokens(config.tokenFiles.query, disk) : [],
      admin: config.tokenFiles.admin ? await readTokens(config.tokenFiles.admin, disk) : [],
    };

    const transport = await createLibp2pTransport({
      seed: identity.seed,
      listen: formatHostPort(config.listen),
      secrets,
      topics: [MEMBERS_TOPIC],
      clock,
      log: logger,
    });
    closers.push(() => transport.close());

    const view = { self: transport.self, members: () => membership.members() };
    const replicator = new Replicator({
      transport,
      clock,
      view,
      replicas: config.replicas,
      ackQuorum: config.ack,
      ...TIMING,
      log,
    });
    closers.push(() => replicator.close());
    const store = await Store.open({
      directory,
      disk,
      clock,
      catalog,
      origin: transport.self,
      segmentBytesMax: config.segment.bytesMax,
      segmentAgeMsMax: config.segment.ageMaxMs,
      sign,
      chooseOwners: (id) => replicator.chooseOwners(id),
      log,
    });
    storeOpened = true;
    closers.push(() => store.close());
    replicator.attach(store);

    const pool = new WorkerPool<Tasks>({
      entry: new URL('./worker.ts', import.meta.url),
      count: config.workers ?? availableParallelism(),
      data: undefined,
    });
    closers.push(() => pool.close());

    const membership = await createMembership({
      transport,
      clock,
      random,
      disk,
      directory,
      self: {
        zone: config.zone ?? '',
        weight: config.weight,
        epoch: store.epoch,
        http: '',
        version: VERSION,
      },
      seeds: config.join,
      log: logger,
    });
    closers.push(() => membership.close());
    const repairer = new Repairer({
      transport,
      clock,
      view,
      store,
      replicas: config.replicas,
      ackQuorum: config.ack,
      pollMs: TIMING.inventoryPollMs,
      timeoutMs: TIMING.peerTimeoutMs,
      repairDelayMs: TIMING.repairDelayMs,
      onHeld: (peer, index, seq) => replicator.confirm(peer, index, seq),
      log,
    });
    closers.push(() => repairer.close());
    const watermarks = new WatermarkKeeper({
      clock,
      disk,
      directory,
      store,
      replicator,
      known: repairer.known,
      log,
    });
    await watermarks.load();
    closers.push(() => watermarks.close());
    membership.attach(watermarks);
    membership.on({
      joined: () => replicator.membersChanged(),
      changed: () => replicator.membersChanged(),
      forgotten: () => replicator.membersChanged(),
    });

    const batcher = new Batcher({
      store,
      replicator,
      pool,
      clock,
      targetBytes: config.batch.targetBytes,
      lingerBytes: config.batch.lingerBytes,
      lingerMs: config.batch.lingerMs,
      ageMsMax: config.batch.ageMaxMs,
      pushLingerMs: config.batch.pushLingerMs,
      compressionLevel: COMPRESSION_LEVEL,
      discoverLevels: config.discoverLogLevels,
      timeZone: config.timeZone,
    });
    closers.push(() => batcher.close());

    const unsealedRank = batchRank(store.origin, store.epoch, UNSEALED_SEQ);
    const discoverLevels = config.discoverLogLevels;
    const holder = new Holder({
      store,
      parallel: pool.size * 2,
      compile: (query) => compileQuery(query, () => clock.nowMs()),
      scan: (request, signal) => pool.run('scan', request, { priority: 'read', signal }),
      unsealed: (query, range, descending, limit) =>
        batcher.withUnsealed(async (streams) => {
          if (streams.length === 0) return undefined;
          const request = { query, range, descending, limit, rank: unsealedRank, discoverLevels, streams };
          return pool.run('scanUnsealed', request, { priority: 'read' });
        }),
      unsealedLabels: () => batcher.unsealedLabels(),
    });
    const follow = new Follow({
      batcher,
      clock,
      transport,
      scanUnsealed: (query, range, streams) =>
        pool.run(
          'scanUnsealed',
          { query, range, descending: false, limit: Infinity, rank: unsealedRank, discoverLevels, streams },
          { priority: 'read' },
        ),
      others: () =>
        membership
          .alive()
          .map(({ peer }) => peer)
          .filter((peer) => peer !== transport.self),
    });
    const coordinator = new Coordinator({
      transport,
      clock,
      view,
      store,
      holder,
      known: repairer.known,
      watermarks: watermarks.marks,
      ackQuorum: config.ack,
      hasSeeds: config.join.length > 0,
      coverageTimeoutMs: TIMING.coverageTimeoutMs,
    });

    transport.handle(REPLICATE_PROTOCOL, (channel) => receiveReplicas(channel, store));
    transport.handle(FETCH_PROTOCOL, (channel) => serveFetch(channel, store));
    transport.handle(COVERAGE_PROTOCOL, (channel) => holder.serveCoverage(channel));
    transport.handle(SCAN_PROTOCOL, (channel) => holder.serveScan(channel));
    transport.handle(SERIES_PROTOCOL, (channel) => holder.serveSeries(channel));
    transport.handle(FOLLOW_PROTOCOL, (channel) => follow.serve(channel));
    transport.handle(INVENTORY_PROTOCOL, async (channel) => {
      const message = await channel.receive();
      if (!message) return;
      await channel.send(answerInventory(store, message));
      await channel.close();
    });

    // One that was a member before is so at once: others may hold what it lost.
    const isReturning = hasEarlierRuns(store) && (config.join.length > 0 || membership.members().length > 1);
    if (isReturning) {
      membership.start();
      await repairer.recoverOwn(TIMING.ownRecoveryFindMs, TIMING.ownRecoveryMs);
    }
    const resume = positionsOf(store);
    const host = hostname();
    const inputs = startInputs({
      config,
      batcher,
      clock,
      host,
      resume,
      log: logger,
    });
    closers.push(() => inputs.close());
    replicator.onAcknowledged((batch) => {
      for (const position of batch.sources) inputs.onDurable(position);
    });

    const reporter = new Reporter({
      clock,
      store,
      membership,
      replicator,
      repairer,
      watermarks: watermarks.marks,
      batcher,
      replicas: config.replicas,
      seeds: config.join,
      inputs: () => inputs.all(),
    });
    let leaving = false;
    const server = await startServer({
      config,
      tokens,
      clock,
      batcher,
      coordinator,
      follow,
      reporter,
      leave: async () => {
        if (!leaving) {
          leaving = true;
          await inputs.close();
          await batcher.close();
          await membership.leave();
        }
        return repairer.segmentsToHandOver();
      },
      left: () => process.kill(process.pid, 'SIGTERM'),
      log,
    });
    closers.push(() => server.close());
    membership.update({ http: server.url });
    if (!isReturning) membership.start();
    repairer.start();
    clock.after(TIMING.joinWarningMs, () => {
      const lonely = reporter.seedsUnanswered();
      if (lonely) log('warn', lonely);
    });

    return {
      ready: { httpUrl: server.url, meshAddress: transport.addresses()[0] ?? '', peer: transport.self },
      close: closeAll,
    };
  } catch (error) {
    await closeAll().catch(() => undefined);
    throw error;
  }
}
