import { Coordinator, Coverage, Holder, peersOf, type Receipt } from '../../src/gossip/query/index.ts';
import { GONE_PROTOCOL, serveGone } from '../../src/gossip/query/gone.ts';
import { HEARD_PROTOCOL, serveHeard } from '../../src/gossip/query/heard.ts';
import { COVERAGE_PROTOCOL, SCAN_PROTOCOL } from '../../src/gossip/query/messages.ts';
import {
  CONFIRM_PROTOCOL,
  Handover,
  type HoldingsSaved,
  Dropper,
  FETCH_PROTOCOL,
  INVENTORY_PROTOCOL,
  Repairer,
  serveFetch,
  serveInventory,
  signWatermark,
  WantedOwners,
  Watermarks,
} from '../../src/gossip/repair/index.ts';
import {
  ReplicaReceiver,
  REPLICATE_PROTOCOL,
  Replicator,
  type TrackedBatch,
} from '../../src/gossip/replication/index.ts';
import { keysFromSeed, type PeerId, type PeerKeys } from '../../src/gossip/transport/index.ts';
import { createScanner } from '../../src/node/handlers.ts';
import type { MemberState, MeshMember } from '../../src/gossip/view.ts';
import type { Random } from '../../src/store/host/index.ts';
import {
  lineOf,
  Pace,
  segmentName,
  type EntryRun,
  type PackedBatch,
  type ScanRequest,
  type ScanResult,
  type SealedBatch,
  type Store,
} from '../../src/store/index.ts';
import { SimClock } from '../helpers/sim-clock.ts';
import { SimDisk, type Tear } from '../helpers/sim-disk.ts';
import { SimNetwork, type Faults, type SimTransport } from '../helpers/sim-network.ts';
import { MemoryKeyValue, openStore } from '../store/material.ts';

/** How long it takes until everybody knows who came or went. */
const NOTICE_MS = 5_000;
const GOSSIP_MS = 1_000;
const REPAIR_BYTES_PER_SECOND = 64 * 1024 * 1024;

export const TIMING = {
  openTimeoutMs: 5_000,
  ackTimeoutMs: 15_000,
  ownerCooldownMs: 10_000,
  pollMs: 500,
  timeoutMs: 10_000,
  coverageTimeoutMs: 3_000,
  repairDelayMs: 600_000,
  dropEveryMs: 1_000,
  surplusDelayMs: 600_000,
  confirmTimeoutMs: 60_000,
} as const;

export interface Sealed {
  readonly batch: SealedBatch;
  readonly name: string;
  readonly frame: Buffer;
  readonly lines: readonly string[];
  readonly tracked: TrackedBatch;
  acknowledged: boolean;
}

/** One running process of a peer. */
interface Process {
  readonly transport: SimTransport;
  readonly store: Store;
  readonly replicator: Replicator;
  readonly receiver: ReplicaReceiver;
  readonly repairer: Repairer;
  readonly dropper: Dropper;
  readonly handover: Handover;
  readonly holder: Holder;
  readonly coordinator: Coordinator;
}

export class Peer {
  readonly name: string;
  readonly keys: PeerKeys;
  readonly disk: SimDisk;
  readonly zone: string;
  readonly catalog = new MemoryKeyValue();
  /** What it remembers of the mesh, over restarts. */
  readonly watermarks = new Watermarks();
  remembered: HoldingsSaved[] = [];
  readonly said: string[] = [];
  process: Process | undefined;
  /** What it believes of the others. */
  readonly beliefs = new Map<PeerId, { state: MemberState; stateSinceMs: number }>();
  /** Members that it has not heard of. */
  readonly unheardOf = new Set<PeerId>();
  /** It has not found the mesh yet. */
  isSearching = false;
  /** Called with every scan that it does for a query; may throw, wait or take the peer down. */
  onScan: (request: ScanRequest) => Promise<void> | void = () => undefined;

  constructor(name: string, keys: PeerKeys, disk: SimDisk, zone: string) {
    this.name = name;
    this.keys = keys;
    this.disk = disk;
    this.zone = zone;
  }

  get id(): PeerId {
    return this.keys.peer;
  }

  get running(): Process {
    if (!this.process) throw new Error(`${this.name} is down`);
    return this.process;
  }

  get store(): Store {
    return this.running.store;
  }
}

export interface MeshOptions {
  readonly replicas?: number;
  readonly ackQuorum?: number;
  readonly segmentBytesMax?: number;
  readonly faults?: Partial<Faults>;
  readonly timing?: Partial<Record<keyof typeof TIMING, number>>;
}

/** Peers with stores on simulated disks, and membership as an oracle that is told late. */
export class StoreMesh {
  readonly clock = new SimClock();
  readonly random: Random;
  readonly network: SimNetwork;
  readonly peers = new Map<string, Peer>();
  readonly sealed: Sealed[] = [];
  readonly options: Required<Omit<MeshOptions, 'faults' | 'timing'>> & {
    timing: Record<keyof typeof TIMING, number>;
  };

  constructor(random: Random, options: MeshOptions = {}) {
    this.random = random;
    this.network = new SimNetwork(this.clock, random, options.faults);
    const { replicas = 3, ackQuorum = 2, segmentBytesMax = 1024 * 1024 } = options;
    this.options = { replicas, ackQuorum, segmentBytesMax, timing: { ...TIMING, ...options.timing } };
    this.#gossip();
  }

  static async of(names: readonly string[], random: Random, options: MeshOptions = {}): Promise<StoreMesh> {
    const mesh = new StoreMesh(random, options);
    for (const name of names) {
      const keys = await keysFromSeed(random.bytes(32));
      mesh.peers.set(name, new Peer(name, keys, new SimDisk(random), ''));
    }
    for (const name of names) await mesh.start(name);
    mesh.notice();
    return mesh;
  }

  peer(name: string): Peer {
    return this.peers.get(name)!;
  }

  get up(): Peer[] {
    return [...this.peers.values()].filter(({ process }) => process !== undefined);
  }

  /** Starts a peer, or starts it again on its disk. */
  async start(name: string): Promise<void> {
    const peer = this.peer(name);
    const { clock, options } = this;
    const seed = peer.keys.libp2pKey.raw.subarray(0, 32);
    const transport = await this.network.start(name, seed);
    for (const other of this.peers.values()) transport.learn(other.id, [`${other.name}:1`]);
    const view = {
      self: peer.id,
      members: () => this.#membersAs(peer),
      isSearching: () => peer.isSearching,
      isIntroduced: () => true,
    };
    const log = (level: string, message: string): void =>
      void peer.said.push(`${clock.monotonicMs()} ${level}: ${message}`);
    const shared = {
      transport,
      clock,
      view,
      log,
      replicas: options.replicas,
      ackQuorum: options.ackQuorum,
      ...options.timing,
    };
    const replicator = new Replicator({ ...shared, isFull: () => false });
    const store = await clock.run(
      openStore({
        disk: peer.disk.boot(),
        clock,
        keys: peer.keys,
        catalog: peer.catalog,
        more: {
          segmentBytesMax: options.segmentBytesMax,
          chooseOwners: (id) => replicator.chooseOwners(id),
          log,
        },
      }),
    );
    replicator.attach(store);
    const wanted = new WantedOwners(shared);
    const pace = new Pace(clock, REPAIR_BYTES_PER_SECOND);
    const dropper = new Dropper({
      ...shared,
      store,
      wanted,
      everyMs: options.timing.dropEveryMs,
      pace,
      isLeaving: () => false,
      isAcknowledged: ({ id, last }) => id.epoch < store.epoch || (last?.seq ?? 0) <= replicator.durableSeq,
    });
    const repairer = new Repairer({
      ...shared,
      store,
      wanted,
      pace,
      takesCopies: () => true,
      onHeld: (holder, index, runs) => replicator.confirm(holder, index, runs),
    });
    const handover = new Handover({
      ...shared,
      store,
      wanted,
      known: repairer.known,
      hasUnacknowledged: () => replicator.durableSeq < store.sealedSeq,
      poll: (other) => repairer.poll(other),
    });
    for (const piece of peer.remembered) repairer.known.restore(piece);
    const scanner = createScanner(peer.disk.reader(), clock);
    const holder = new Holder({
      clock: this.clock,
      store,
      known: repairer.known,
      peers: () => peersOf(view.members()),
      parallel: 2,
      compile: (query) => scanner.compile(query),
      scan: async (request): Promise<ScanResult> => {
        await peer.onScan(request);
        return scanner.scan(request);
      },
      unsealed: () => Promise.resolve(undefined),
      unsealedLabels: () => [],
    });
    const coverage = new Coverage({
      ...shared,
      store,
      known: repairer.known,
      watermarks: peer.watermarks,
    });
    const coordinator = new Coordinator({ ...shared, coverage, holder });
    const receiver = new ReplicaReceiver(store, clock, Promise.resolve());
    transport.handle(REPLICATE_PROTOCOL, (channel) => receiver.serve(channel));
    transport.handle(FETCH_PROTOCOL, (channel) => serveFetch(channel, store));
    transport.handle(COVERAGE_PROTOCOL, (channel) => holder.serveCoverage(channel));
    transport.handle(GONE_PROTOCOL, (channel) => serveGone(channel, store, repairer.known, view));
    transport.handle(HEARD_PROTOCOL, (channel) => serveHeard(channel, repairer.known, peer.watermarks));
    transport.handle(SCAN_PROTOCOL, (channel) => holder.serveScan(channel));
    transport.handle(INVENTORY_PROTOCOL, (channel) => serveInventory(channel, store));
    transport.handle(CONFIRM_PROTOCOL, (channel) => dropper.serveConfirm(channel));
    repairer.start();
    dropper.start();
    peer.process = {
      transport,
      store,
      replicator,
      receiver,
      repairer,
      dropper,
      handover,
      holder,
      coordinator,
    };
    this.clock.after(NOTICE_MS / 10, () => this.notice());
  }

  #membersAs(viewer: Peer): MeshMember[] {
    const known = [...this.peers.values()].filter(({ id }) => !viewer.unheardOf.has(id));
    return known.map((peer) => ({
      peer: peer.id,
      zone: peer.zone,
      weight: 1,
      leaving: false,
      epoch: 1,
      incarnation: 1,
      ...(peer === viewer ? { state: 'alive' as const, stateSinceMs: 0 } : this.#belief(viewer, peer)),
    }));
  }

  #belief(viewer: Peer, peer: Peer): { state: MemberState; stateSinceMs: number } {
    return viewer.beliefs.get(peer.id) ?? { state: 'dead', stateSinceMs: 0 };
  }

  /** Everybody learns who is within reach. */
  notice(): void {
    for (const viewer of this.up) {
      let changed = false;
      for (const peer of this.peers.values()) {
        if (peer === viewer) continue;
        const state = peer.process && this.network.reachable(viewer.id, peer.id) ? 'alive' : 'dead';
        if (viewer.beliefs.get(peer.id)?.state === state) continue;
        viewer.beliefs.set(peer.id, { state, stateSinceMs: this.clock.monotonicMs() });
        changed = true;
      }
      if (changed) viewer.running.replicator.membersChanged();
    }
  }

  /** Watermarks travel, and what is known is saved. */
  #gossip(): void {
    this.clock.after(GOSSIP_MS, () => {
      for (const peer of this.up) {
        const { store, replicator, repairer } = peer.running;
        const progress = {
          origin: peer.id,
          epoch: store.epoch,
          sealed: store.sealedSeq,
          durable: replicator.durableSeq,
        };
        const mark = signWatermark(progress, (bytes) => peer.keys.sign(bytes));
        peer.watermarks.raise(mark, this.clock.nowMs());
        peer.remembered = structuredClone([...repairer.known.pieces()]);
      }
      for (const from of this.up) {
        for (const to of this.up) {
          if (from === to || !this.network.reachable(from.id, to.id)) continue;
          to.watermarks.merge(from.id, from.watermarks.toPassOn(), this.clock.nowMs());
        }
      }
      this.#gossip();
    });
  }

  /** A peer's process ends; with `tear`, its host loses power too. */
  kill(name: string, tear?: Tear): void {
    const peer = this.peer(name);
    const { transport, replicator, repairer, dropper } = peer.running;
    peer.process = undefined;
    if (tear) peer.disk.crash(tear);
    else peer.disk.kill();
    transport.crash();
    replicator.close();
    void repairer.close();
    void dropper.close();
    this.clock.after(NOTICE_MS, () => this.notice());
  }

  partition(...groups: string[][]): void {
    this.network.partition(...groups.map((group) => group.map((name) => this.peer(name).id)));
    this.clock.after(NOTICE_MS, () => this.notice());
  }

  heal(): void {
    this.network.heal();
    this.clock.after(NOTICE_MS / 10, () => this.notice());
  }

  seal(name: string, packed: PackedBatch, lines: readonly string[] = []): Sealed {
    const { store, replicator } = this.peer(name).running;
    const batch = store.seal(packed, []);
    const tracked = replicator.track(batch);
    const sealed: Sealed = {
      batch,
      name: `${store.origin}/${store.epoch}/${batch.seq}`,
      frame: Buffer.concat(batch.frame),
      lines,
      tracked,
      acknowledged: false,
    };
    tracked.acknowledged.then(
      () => (sealed.acknowledged = true),
      () => undefined,
    );
    this.sealed.push(sealed);
    return sealed;
  }

  /** Whether a batch is in a peer's segment file, up or down. With `durable`: on the platter. */
  holds(peer: Peer, { batch, frame }: Sealed, durable = false): boolean {
    const path = `/data/segments/${segmentName(batch.segment.id)}.seg`;
    const node = peer.disk.node(path);
    if (node === undefined || node === 'directory') return false;
    return (durable ? node.durable : node.content).includes(frame);
  }

  /** As the clock's `until`, for what is dear to ask: looks only now and then. */
  async eventually(done: () => boolean, withinMs: number): Promise<boolean> {
    for (let leftMs = withinMs; leftMs > 0 && !done(); leftMs -= 500) await this.clock.advance(500);
    return done();
  }

  debts(): number[] {
    return this.up.map(({ running }) => running.repairer.debt().batchesBelowK);
  }

  /** Runs a query at a peer to its end. */
  ask(
    name: string,
    query: string,
    asked: { from?: number; to?: number; descending?: boolean; limit?: number } = {},
  ): Promise<{ rows: string[]; runs: EntryRun[]; receipt: Receipt }> {
    const { coordinator } = this.peer(name).running;
    const { from = -(2 ** 50), to = 2 ** 50, descending = false, limit = 1_000_000_000 } = asked;
    const answer = async () => {
      const entries = coordinator.entries({
        query,
        range: { from: { ms: from, sub: 0 }, to: { ms: to, sub: 0 } },
        descending,
        limit,
        signal: new AbortController().signal,
      });
      const runs: EntryRun[] = [];
      for (;;) {
        const step = await entries.next();
        if (step.done) return { rows: runs.flatMap(linesOf), runs, receipt: step.value };
        runs.push(step.value);
      }
    };
    return this.clock.run(answer());
  }
}

export function linesOf(run: EntryRun): string[] {
  return Array.from({ length: run.count }, (_, row) => Buffer.from(lineOf(run, row)).toString());
}
