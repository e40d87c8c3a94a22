import {
  Auditor,
  Coordinator,
  Coverage,
  COVERAGE_PROTOCOL,
  CONFIRM_PROTOCOL,
  createMembership,
  doesStand,
  Dropper,
  Handover,
  GONE_PROTOCOL,
  HEARD_PROTOCOL,
  LOSS_PROTOCOL,
  LossAcceptor,
  FETCH_PROTOCOL,
  FOLLOW_PROTOCOL,
  Holder,
  INVENTORY_PROTOCOL,
  peersOf,
  presentMembers,
  Pushes,
  PUSH_PROTOCOL,
  ReplicaReceiver,
  Repairer,
  REPLICATE_PROTOCOL,
  Replicator,
  SCAN_PROTOCOL,
  serveGone,
  serveHeard,
  serveFetch,
  serveInventory,
  Verifier,
  VERIFY_PROTOCOL,
  WantedOwners,
  type Membership,
  type PeerId,
  type Transport,
} from '../gossip/index.ts';
import {
  messageOf,
  batchRank,
  CatalogKeeper,
  compileQuery,
  LogvineError,
  DiskSpace,
  LIMITS,
  Pace,
  Retention,
  Scrubber,
  Store,
  type Catalog,
  type Clock,
  type Disk,
  type Random,
  type Segment,
  type TaskRunner,
} from '../store/index.ts';
import { isClockTrusted } from './alarms.ts';
import type { Config } from './config/index.ts';
import { Departure } from './departure.ts';
import { Follow } from './follow.ts';
import { LaterRun } from './later-run.ts';
import { Batcher } from './pipeline/batcher.ts';
import { remembering } from './remembering.ts';
import type { Tasks } from './tasks.ts';
import { WatermarkKeeper } from './watermark-keeper.ts';

/** Waits and rates that no user turns. */
export const TIMING = {
  openTimeoutMs: 5_000,
  ackTimeoutMs: 15_000,
  ownerCooldownMs: 10_000,
  inventoryPollMs: 500,
  peerTimeoutMs: 10_000,
  coverageTimeoutMs: 3_000,
  repairDelayMs: 600_000,
  dropEveryMs: 1_000,
  surplusDelayMs: 600_000,
  confirmTimeoutMs: 60_000,
  handoverEveryMs: 500,
  retentionEveryMs: 10_000,
  ownRecoveryFindMs: 3_000,
  ownRecoveryMs: 60_000,
} as const;

/** Two segments at once, twice as fast as it has to be. */
const CONFIRM_BYTES_PER_SECOND_MIN = (4 * LIMITS.segmentBytesMax * 1000) / TIMING.confirmTimeoutMs;

export type CoreTiming = { readonly [Name in keyof typeof TIMING]: number };

const COMPRESSION_LEVEL = 1;
/** Sorts behind every seq: lines that are in no batch yet come after those that are. */
const UNSEALED_SEQ = Number.MAX_SAFE_INTEGER;

export interface CoreOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Disk;
  readonly catalog: Catalog;
  readonly pool: TaskRunner<Tasks>;
  readonly config: Config;
  readonly version: string;
  readonly timing: CoreTiming;
  /** Ed25519 with the key that the peer id embeds. */
  sign(bytes: Uint8Array): Uint8Array;
  log(level: 'debug' | 'info' | 'warn' | 'error', message: string): void;
  /** The mesh remembers a later run of this peer than its disk did; now the disk does too. To be closed and made anew. */
  onOutdated(): void;
}

/** What a peer is, apart from this machine's inputs and its HTTP server. */
export interface Core {
  readonly store: Store;
  readonly replicator: Replicator;
  readonly membership: Membership;
  readonly repairer: Repairer;
  readonly dropper: Dropper;
  readonly departure: Departure;
  readonly retention: Retention;
  readonly scrubber: Scrubber;
  readonly space: DiskSpace;
  readonly watermarks: WatermarkKeeper;
  readonly batcher: Batcher;
  readonly holder: Holder;
  readonly follow: Follow;
  readonly coordinator: Coordinator;
  readonly losses: LossAcceptor;
  readonly verifier: Verifier;
  /** Undefined: pushes are not told apart. */
  readonly pushes: Pushes | undefined;
  /** Resolves once enough of the mesh knows this peer: nothing can be acknowledged before. */
  readonly introduced: Promise<void>;
  /** To be awaited before anything is read: one that was a member before may have lost what others hold. */
  recoverOwn(): Promise<void>;
  /** From here on the mesh knows of this peer. */
  start(): void;
  /** Seals what is open and lets go of everything; the catalog too. */
  close(): Promise<void>;
}

/**
 * Puts the parts of a peer together, on whatever clock, network and disk it is given: a real node (node.ts) and a simulated
 * one are wired alike.
 *
 *                 ┌─ pool (pack, scan)
 *   batcher ──────┤
 *      │          └─► store ◄──► replicator ──► owners
 *      │                ▲  ▲
 *      └─► coordinator ─► holder  └─── repairer ◄──► other peers' inventories
 *                       membership, watermarks
 */
export async function createCore(options: CoreOptions): Promise<Core> {
  const { transport, clock, random, disk, catalog, pool, config, timing } = options;
  const directory = config.dataDirectory;
  const log: CoreOptions['log'] = (level, message) => options.log(level, message);
  const closers: (() => Promise<void> | void)[] = [];
  const close = async (): Promise<void> => {
    for (const closeOne of closers.splice(0).reverse()) await closeOne();
  };
  let opened: Store | undefined;
  closers.push(() => (opened ? undefined : catalog.close()));

  try {
    const view = {
      self: transport.self,
      members: () => membership.members(),
      isSearching: () => membership.isSearching(),
      isIntroduced: () => membership.isIntroduced(),
    };
    const shared = { transport, clock, view, log, replicas: config.replicas, ackQuorum: config.ack };
    const space = new DiskSpace({ disk, clock, directory, reserveBytes: config.diskReserveBytes, log });
    await space.look();
    closers.push(() => space.close());
    const isFull = (): boolean => space.room !== 'all';
    const isLeaving = (): boolean => membership.member(transport.self)?.leaving === true;
    const replicator = new Replicator({
      ...shared,
      ...timing,
      isFull: (peer) => watermarks.isFull(peer),
    });
    closers.push(() => replicator.close());
    const store = await Store.open({
      directory,
      disk,
      clock,
      random,
      catalog,
      origin: transport.self,
      segmentBytesMax: config.segment.bytesMax,
      segmentAgeMsMax: config.segment.ageMaxMs,
      sign: (bytes) => options.sign(bytes),
      chooseOwners: (id) => replicator.chooseOwners(id),
      whyNoReplicas: () => {
        if (isLeaving()) return new LogvineError('LV_CLOSED', 'this peer leaves the mesh');
        return isFull()
          ? new LogvineError('LV_DISK_FULL', 'the disk is too full for copies of others')
          : undefined;
      },
      onLaterRun: (epoch) => laterRun.startAbove(epoch, "others have this peer's batches of"),
      log,
    });
    opened = store;
    closers.push(() => store.close());
    const laterRun = new LaterRun({
      store,
      clock,
      directory,
      addresses: () => transport.addresses(),
      onOutdated: () => options.onOutdated(),
      log,
    });
    closers.push(() => laterRun.close());
    replicator.attach(store);

    const { weight, zone = '' } = config;
    const membership = await createMembership({
      transport,
      clock,
      random,
      disk,
      directory,
      self: { zone, weight, epoch: store.epoch, http: '', version: options.version },
      seeds: config.join,
      introductions: config.ack,
      lostPeers: config.lostPeers,
      // Who is given up is repaired around.
      timing: { goneAfterMs: Math.max(TIMING.repairDelayMs, config.repairDelayMs) },
      log: {
        debug: (fields, message) => log('debug', `${message} ${JSON.stringify(fields)}`),
        warn: (fields, message) => log('warn', `${message} ${JSON.stringify(fields)}`),
      },
    });
    closers.push(() => membership.close());
    const wanted = new WantedOwners({ ...shared, repairDelayMs: timing.repairDelayMs });
    const paced = (): Pace => new Pace(clock, config.repairBytesPerSecond);
    const repairer = new Repairer({
      ...shared,
      store,
      wanted,
      pollMs: timing.inventoryPollMs,
      timeoutMs: timing.peerTimeoutMs,
      pace: paced(),
      takesCopies: () => !isFull() && membership.isIntroduced(),
      onHeld: (peer, index, runs) => replicator.confirm(peer, index, runs),
    });
    closers.push(() => repairer.close());
    const isAcknowledged = ({ id, last }: Segment): boolean =>
      id.epoch < store.epoch || (last?.seq ?? 0) <= replicator.durableSeq;
    const dropper = new Dropper({
      ...shared,
      store,
      wanted,
      everyMs: timing.dropEveryMs,
      surplusDelayMs: timing.surplusDelayMs,
      confirmTimeoutMs: timing.confirmTimeoutMs,
      // A whole segment has to be read in time, at whatever rate others are sent what they lack.
      pace: new Pace(clock, Math.max(config.repairBytesPerSecond, CONFIRM_BYTES_PER_SECOND_MIN)),
      isLeaving,
      isAcknowledged,
    });
    const handover = new Handover({
      ...shared,
      store,
      wanted,
      known: repairer.known,
      confirmTimeoutMs: timing.confirmTimeoutMs,
      hasUnacknowledged: () => replicator.durableSeq < store.sealedSeq,
      poll: (peer) => repairer.poll(peer),
    });
    const { ageMsMax, bytesMax, streams } = config.retention;
    const retention = new Retention({
      store,
      clock,
      disk,
      ageMsMax,
      bytesMax,
      rules: streams.map(({ selector, ...rule }) => {
        const { matchesStream } = compileQuery(selector, () => 0);
        return { ...rule, matches: matchesStream };
      }),
      everyMs: timing.retentionEveryMs,
      dropSurplus: (bytes) => dropper.dropSurplus(bytes),
      isAcknowledged,
      isLeaving,
      isClockTrusted: () => isClockTrusted(membership),
      log,
    });
    closers.push(async () => {
      const ended = retention.close();
      // Or else retention waits for as long as others take to confirm what is one too many here.
      await dropper.close();
      await ended;
    });
    const scrubber = new Scrubber({ store, clock, periodMs: config.scrubPeriodMs, log });
    closers.push(() => scrubber.close());
    const catalogKeeper = new CatalogKeeper(store, clock, log);
    closers.push(() => catalogKeeper.close());
    const watermarks = new WatermarkKeeper({
      clock,
      disk,
      directory,
      store,
      replicator,
      repairer,
      isFull,
      isMember: (peer) => membership.member(peer as PeerId) !== undefined,
      isAlive: (peer) => membership.member(peer as PeerId)?.state === 'alive',
      sign: (bytes) => options.sign(bytes),
      log,
    });
    await watermarks.load();
    closers.push(() => watermarks.close());
    membership.attach(watermarks);
    const changed = (): void => {
      replicator.membersChanged();
      pushes?.membersChanged();
    };
    const introduced = Promise.withResolvers<void>();
    if (membership.isIntroduced()) introduced.resolve();
    const endLosses = (): void => {
      if (store.dropped.losses.length === 0) return;
      store.dropped
        .endLosses((loss) => !doesStand(loss, membership.members()))
        .catch((error: unknown) => log('warn', `a peer that was lost is back: ${messageOf(error)}`));
    };
    endLosses();
    const changedMember = (): void => {
      changed();
      endLosses();
    };
    membership.on({
      joined: changedMember,
      changed: changedMember,
      introduced: () => {
        introduced.resolve();
        changed();
      },
      forgotten: (peer) => {
        changed();
        watermarks.forgotten(peer);
        repairer.forget(peer);
      },
      superseded: (by) => laterRun.superseded(by),
    });

    const { discoverLogLevels: discoverLevels } = config;
    const batcher = new Batcher({
      store,
      replicator,
      pool,
      clock,
      space,
      targetBytes: config.batch.targetBytes,
      lingerBytes: config.batch.lingerBytes,
      lingerMs: config.batch.lingerMs,
      ageMsMax: config.batch.ageMaxMs,
      pushLingerMs: config.batch.pushLingerMs,
      compressionLevel: COMPRESSION_LEVEL,
      discoverLevels,
      timeZone: config.timeZone,
    });
    closers.push(() => batcher.close());
    const departure = new Departure({
      batcher,
      membership,
      handover,
      clock,
      everyMs: timing.handoverEveryMs,
      log,
    });
    closers.push(() => departure.close());
    const windowMs = config.pushDedupWindowMs;
    const pushes =
      windowMs > 0
        ? new Pushes({
            ...shared,
            store,
            disk,
            windowMs,
            patienceMs: config.pushTimeoutMs,
            members: () => membership.members(),
            quorum: () => replicator.quorum,
          })
        : undefined;
    closers.push(() => pushes?.close());

    const rank = batchRank(store.origin, store.epoch, UNSEALED_SEQ);
    const read = { priority: 'read' } as const;
    const holder = new Holder({
      clock,
      store,
      known: repairer.known,
      peers: () => peersOf(membership.members()),
      parallel: pool.size * 2,
      compile: remembering(LIMITS.queriesCompiledMax, (query) => compileQuery(query, () => clock.nowMs())),
      scan: (request, signal) => pool.run('scan', request, { ...read, signal }),
      unsealed: (query, range, descending, limit, signal) =>
        batcher.withUnsealed(async (streams) => {
          if (streams.length === 0) return undefined;
          const request = { query, range, descending, limit, rank, discoverLevels, streams };
          return pool.run('scanUnsealed', request, { ...read, signal });
        }),
      unsealedLabels: () => batcher.unsealedLabels(),
    });
    const follow = new Follow({
      batcher,
      clock,
      transport,
      scanUnsealed: (query, range, streams) => {
        const request = { query, range, descending: false, limit: Infinity, rank, discoverLevels, streams };
        return pool.run('scanUnsealed', request, read);
      },
      others: () =>
        membership
          .alive()
          .map(({ peer }) => peer)
          .filter((peer) => peer !== transport.self),
    });
    const { coverageTimeoutMs } = timing;
    const coverage = new Coverage({
      transport,
      clock,
      view,
      store,
      known: repairer.known,
      watermarks: watermarks.marks,
      ackQuorum: config.ack,
      coverageTimeoutMs,
    });
    const coordinator = new Coordinator({ transport, clock, coverage, holder, coverageTimeoutMs });

    const losses = new LossAcceptor({
      transport,
      view,
      store,
      coverage,
      timeoutMs: coverageTimeoutMs,
    });

    const auditor = new Auditor({
      store,
      known: repairer.known,
      disk,
      clock,
      peers: () => presentMembers(membership.members()).map(({ peer }) => peer),
    });
    const verifier = new Verifier({
      transport,
      clock,
      auditor,
      view,
      watermarks: watermarks.marks,
      replicas: config.replicas,
    });

    const small = { requestBytesMax: LIMITS.smallRequestBytesMax };
    const ofRuns = { requestBytesMax: LIMITS.runsRequestBytesMax };
    const receiver = new ReplicaReceiver(store, clock, introduced.promise);
    transport.handle(REPLICATE_PROTOCOL, (channel) => receiver.serve(channel));
    if (pushes) transport.handle(PUSH_PROTOCOL, (channel) => pushes.serve(channel));
    transport.handle(FETCH_PROTOCOL, (channel) => serveFetch(channel, store), ofRuns);
    transport.handle(COVERAGE_PROTOCOL, (channel) => holder.serveCoverage(channel), small);
    transport.handle(SCAN_PROTOCOL, (channel) => holder.serveScan(channel));
    transport.handle(FOLLOW_PROTOCOL, (channel) => follow.serve(channel), small);
    transport.handle(GONE_PROTOCOL, (channel) => serveGone(channel, store, repairer.known, view), ofRuns);
    transport.handle(
      HEARD_PROTOCOL,
      (channel) => serveHeard(channel, repairer.known, watermarks.marks),
      ofRuns,
    );
    transport.handle(LOSS_PROTOCOL, (channel) => losses.serve(channel), ofRuns);
    transport.handle(CONFIRM_PROTOCOL, (channel) => dropper.serveConfirm(channel), ofRuns);
    transport.handle(VERIFY_PROTOCOL, (channel) => auditor.serve(channel), small);
    transport.handle(INVENTORY_PROTOCOL, (channel) => serveInventory(channel, store), small);

    let isMember = false;
    const join = (): void => {
      if (!isMember) membership.start();
      isMember = true;
    };
    return {
      store,
      replicator,
      membership,
      repairer,
      dropper,
      departure,
      retention,
      scrubber,
      space,
      watermarks,
      batcher,
      holder,
      follow,
      coordinator,
      losses,
      verifier,
      pushes,
      introduced: introduced.promise,
      async recoverOwn() {
        const knowsOthers = config.join.length > 0 || membership.members().length > 1;
        if (!store.hasEarlierRuns || !knowsOthers) return;
        join();
        await repairer.recoverOwn(timing.ownRecoveryFindMs, timing.ownRecoveryMs);
      },
      start() {
        join();
        repairer.start();
        void pushes?.start();
        dropper.start();
        retention.start();
        scrubber.start();
        catalogKeeper.start();
        void space.start();
      },
      close,
    };
  } catch (error) {
    await close().catch(() => undefined);
    throw error;
  }
}
