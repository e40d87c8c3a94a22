import type { PeerId } from '../../src/gossip/index.ts';
import type { Core } from '../../src/node/core.ts';
import type { KeyValueStore } from '../../src/store/catalog/index.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import type { SimClock } from '../helpers/sim-clock.ts';
import type { SimTransport } from '../helpers/sim-network.ts';
import type { Chance } from './chance.ts';
import { HostClock } from './host-clock.ts';

/** One run of a node on a host. */
export interface SimProcess {
  readonly run: number;
  readonly clock: ReturnType<HostClock['forProcess']>;
  readonly startedMs: number;
  /** False once it was killed, or has ended. */
  alive: boolean;
  transport: SimTransport | undefined;
  core: Core | undefined;
  /** It reads its inputs and answers. */
  ready: boolean;
  leaving: boolean;
  /** Lines of the host's file before this one were read by earlier runs. */
  resumedAt: number;
  acknowledgedTo: number;
  /** The last seq that was sealed when an fsync of a segment failed in this run; Infinity: none has. */
  sealedAtSyncError: number;
}

/** A machine: its disk, clocks and log file outlive the processes on it. */
export class SimHost {
  readonly name: string;
  readonly disk: SimDisk;
  readonly clock: HostClock;
  readonly zone: string;
  readonly joins: () => readonly string[];
  /** The catalog's contents, which LevelDB would have on this disk. */
  catalog = new Map<string, Uint8Array>();
  /** How the changes to it since the last synced one are undone, in their order. */
  readonly catalogUnsynced: (() => void)[] = [];
  peer: PeerId | undefined;
  process: SimProcess | undefined;
  runs = 0;
  /** The log file that the node tails; a wiped host begins another. */
  file: string;
  /** It has gone for good; what is on its disk no longer counts. */
  retired = false;
  /** Simulated time at which it had left the mesh in good order. */
  leftMs: number | undefined;
  /** Everybody lost power before any of them had kept that it left. */
  leftUnnoticed = false;
  /** The host whose disk this one's is a copy of, or the other way round, while both are there. */
  twin: SimHost | undefined;
  /** The operator keeps it down. */
  heldDown = false;
  /** Identities that went with a wiped disk, and those of them that others may know. */
  identitiesLost = 0;
  readonly peersLost: PeerId[] = [];
  /** How long an fsync takes. */
  syncMs: number;
  /** Something was taken from its disk, and it has not started since with all others in reach. */
  hasHole = false;
  /** How far its wall clock has been behind the true time, at most. */
  clockBehindMsMax = 0;
  /** Simulated time of the last fault that took something from its disk. */
  harmedMs = -Infinity;

  constructor(name: string, base: SimClock, chance: Chance, zone: string, joins: () => readonly string[]) {
    this.name = name;
    this.disk = new SimDisk(chance.random);
    this.clock = new HostClock(base);
    this.zone = zone;
    this.joins = joins;
    this.file = `${name}.0`;
    this.syncMs = chance.between(0.2, 4);
  }

  get core(): Core | undefined {
    return this.process?.alive && this.process.ready ? this.process.core : undefined;
  }

  get isUp(): boolean {
    return this.core !== undefined;
  }
}

/** A catalog of one process over what its host keeps. */
export class SimCatalog implements KeyValueStore {
  readonly #values: Map<string, Uint8Array>;
  readonly #unsynced: (() => void)[];
  readonly #isAlive: () => boolean;

  constructor({ catalog, catalogUnsynced }: SimHost, isAlive: () => boolean) {
    this.#values = catalog;
    this.#unsynced = catalogUnsynced;
    this.#isAlive = isAlive;
  }

  async open(): Promise<void> {}
  async close(): Promise<void> {}
  async get(key: string): Promise<Uint8Array | undefined> {
    return this.#values.get(key);
  }
  async put(key: string, value: Uint8Array, { sync } = { sync: false }): Promise<void> {
    if (!this.#isAlive()) return;
    this.#willChange(key);
    this.#values.set(key, Buffer.from(value));
    if (sync) this.#unsynced.length = 0;
  }
  async del(key: string, { sync }: { readonly sync: boolean }): Promise<void> {
    if (!this.#isAlive()) return;
    this.#willChange(key);
    this.#values.delete(key);
    if (sync) this.#unsynced.length = 0;
  }
  #willChange(key: string): void {
    const before = this.#values.get(key);
    this.#unsynced.push(() => (before ? this.#values.set(key, before) : this.#values.delete(key)));
  }
}
