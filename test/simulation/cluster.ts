import type { PeerId } from '../../src/gossip/index.ts';
import { seededRandom, settledSoon, SimClock } from '../helpers/sim-clock.ts';
import type { Tear } from '../helpers/sim-disk.ts';
import { SimNetwork } from '../helpers/sim-network.ts';
import { boot, drawSettings, type MeshSettings } from './boot.ts';
import { Chance } from './chance.ts';
import { Checks } from './checks.ts';
import { SimHost, type SimProcess } from './host.ts';
import { Ledger } from './ledger.ts';
import { Story } from './story.ts';
import { sourceOf, tailFile } from './tail.ts';

const RESTART_MS = 3_000;
const SEEDS = 3;
const CLOSE_MS = 20_000;
const DISK_BYTES = 1024 * 1024 * 1024;

/** Hosts, the network between them, and what the mesh on them has promised. */
export class Cluster {
  readonly seed: number;
  /** How many hosts it began with. */
  readonly size: number;
  readonly clock = new SimClock(Date.UTC(2026, 0, 1), settledSoon);
  readonly story = new Story(this.clock);
  readonly ledger = new Ledger();
  readonly settings: MeshSettings;
  readonly network: SimNetwork;
  readonly hosts: SimHost[] = [];
  readonly checks: Checks;
  /** Faults under way that last, and when the last one began or ended. */
  disturbances = 0;
  disturbedMs = -Infinity;
  /** Of these, the ones that keep nodes from hearing each other in time. */
  unheard = 0;
  unheardMs = -Infinity;
  /** When two ran with one identity, from and to: what was acknowledged then may be hidden from a query until one is gone. */
  readonly twinsMs: { readonly fromMs: number; toMs: number }[] = [];
  /** When new identities came up. */
  readonly newcomersMs: number[] = [];
  /** How often a push may be stored beyond the first time, by its source. */
  readonly repeats = new Map<string, () => number>();
  readonly #random;
  readonly #chance: Chance;

  constructor(seed: number, nodes: number, settings = drawSettings(seed)) {
    this.seed = seed;
    this.size = nodes;
    this.#chance = new Chance(seed, 1);
    this.#random = seededRandom(Math.imul(seed, 0x27d4eb2f));
    this.settings = settings;
    this.network = new SimNetwork(this.clock, new Chance(seed, 3).random);
    this.checks = new Checks(this);
    const zones = this.#chance.hits(0.3) ? 3 : 1;
    for (let at = 0; at < nodes; at++) this.addHost(zones > 1 ? `z${at % zones}` : '');
  }

  get live(): SimHost[] {
    return this.hosts.filter((host) => host.isUp);
  }

  /** Hosts whose disks count. */
  get present(): SimHost[] {
    return this.hosts.filter(({ retired }) => !retired);
  }

  /** Known by its host's name, in stories. */
  nameOf(peer: string): string {
    return this.hosts.findLast((host) => host.peer === peer)?.name ?? `…${peer.slice(-6)}`;
  }

  addHost(zone: string): SimHost {
    const name = `n${this.hosts.length}`;
    const host = new SimHost(name, this.clock, this.#chance, zone, () => this.#seedsOf(host));
    this.hosts.push(host);
    this.checks.watch(host);
    const { disk } = host;
    disk.nowMs = () => host.clock.nowMs();
    disk.totalBytes = DISK_BYTES;
    disk.beforeSync = () => this.#wait(host, host.syncMs);
    disk.onDead = () => void this.clock.after(0, () => this.kill(host, 'process', 'at a durable step'));
    return host;
  }

  /** A few of the others, as an operator would list them. */
  #seedsOf(host: SimHost): string[] {
    const others = this.present.filter((other) => other !== host);
    return others.slice(0, SEEDS).map(({ name }) => `${name}:1`);
  }

  #wait(host: SimHost, ms: number): Promise<void> {
    return new Promise((resolve) => void host.process!.clock.after(ms, resolve));
  }

  /** Starts a node; one that cannot start is tried again, as by a supervisor. */
  start(host: SimHost): void {
    if (host.process?.alive || host.retired) return;
    host.heldDown = false;
    if (host.peer === undefined && !host.twin) this.newcomersMs.push(this.clock.monotonicMs());
    const process: SimProcess = {
      run: ++host.runs,
      clock: host.clock.forProcess(),
      alive: true,
      startedMs: this.clock.monotonicMs(),
      transport: undefined,
      core: undefined,
      ready: false,
      leaving: false,
      resumedAt: 0,
      acknowledgedTo: 0,
      sealedAtSyncError: Infinity,
    };
    host.process = process;
    this.story.headline(host.name, `starts, run ${process.run}`);
    void this.#run(host, process);
  }

  async #run(host: SimHost, process: SimProcess): Promise<void> {
    const { network, settings, story } = this;
    const log = (level: string, message: string): void => {
      if (level !== 'debug') story.tell(host.name, `${level}: ${this.#readable(message)}`);
    };
    try {
      const onOutdated = (): void => {
        if (process.alive) void this.stop(host);
      };
      const lostPeers = this.hosts.flatMap((one) => one.peersLost);
      await boot({ host, process, network, random: this.#random, settings, lostPeers, log, onOutdated });
    } catch (error) {
      if (!process.alive) return;
      story.headline(host.name, `cannot start: ${this.#readable((error as Error).message)}`);
      this.kill(host, 'process', 'could not start');
      return;
    }
    const core = process.core!;
    if (!process.alive) return;
    process.ready = true;
    story.tell(host.name, `ready: epoch ${core.store.epoch}, ${core.store.totals.batches} batches`);
    core.replicator.onAcknowledged((batch) => {
      if (process.alive) this.checks.acknowledged(host, process, batch);
    });
    core.membership.on({
      joined: ({ peer, state }) => log('info', `sees ${peer} ${state}`),
      changed: ({ peer, state, epoch }, before) => {
        if (state !== before.state || epoch !== before.epoch) log('info', `sees ${peer} ${state}`);
      },
    });
    this.#allowRepeats(host, process);
    tailFile(this, host, process);
    core.start();
  }

  /**
   * A node that lost what it had sealed fetches that back before it reads on. If those who have it could not be reached,
   * it reads the lines again, and they are there twice.
   */
  #allowRepeats(host: SimHost, process: SimProcess): void {
    if (!host.hasHole) return;
    const quietSinceMs = process.startedMs - 10_000;
    const isQuiet =
      this.disturbances === 0 &&
      this.disturbedMs < quietSinceMs &&
      this.present.every(
        (other) => other === host || (other.isUp && other.process!.startedMs < quietSinceMs),
      );
    if (isQuiet) {
      host.hasHole = false;
      return;
    }
    const from = Number(process.core!.store.position(sourceOf(host.file)) ?? 0);
    const again = this.ledger.linesOf(host.file).slice(from);
    for (const line of again) line.timesMax++;
    this.story.tell(host.name, `may read ${again.length} lines again: not all others were in reach`);
  }

  /** Peer ids as host names. */
  #readable(message: string): string {
    return message.replaceAll(/12D3Koo\w{45}/g, (peer) => this.nameOf(peer));
  }

  /** The process ends where it stands; with `power`, so does its host, and what was not synced is as `tear` says. */
  kill(host: SimHost, how: 'process' | 'power', why: string, tear: Tear = 'prefix'): void {
    const { process } = host;
    if (!process?.alive) return;
    this.story.headline(host.name, `${how === 'power' ? 'loses power' : 'is killed'}: ${why}`);
    this.#end(host, process);
    process.transport?.kill(how);
    if (how === 'power') {
      host.disk.crash(tear);
      this.#catalogAfterPowerCut(host);
    } else host.disk.kill();
    this.#restartLater(host);
  }

  #end(host: SimHost, process: SimProcess): void {
    process.alive = false;
    process.ready = false;
    process.clock.end();
    host.disk.failSync = () => false;
    if (host.clock.paused) host.clock.resume();
  }

  /** LevelDB loses what was not synced, the latest first, or all of it; nothing may depend on it (I5). */
  #catalogAfterPowerCut(host: SimHost): void {
    if (this.#chance.hits(0.3)) host.catalog = new Map();
    else if (this.#chance.hits(0.5)) {
      const kept = this.#chance.below(host.catalogUnsynced.length + 1);
      for (const undo of host.catalogUnsynced.splice(kept).reverse()) undo();
    }
    host.catalogUnsynced.length = 0;
  }

  #restartLater(host: SimHost): void {
    this.clock.after(RESTART_MS * this.#chance.between(0.3, 3), () => {
      if (!host.heldDown && !host.retired) this.start(host);
    });
  }

  /** Ends a node in good order; one that cannot end is killed. */
  async stop(host: SimHost): Promise<void> {
    const { process } = host;
    if (!process?.alive) return;
    if (!process.core || !process.ready) return this.kill(host, 'process', 'stopped while it started');
    this.story.headline(host.name, 'is stopped');
    process.ready = false;
    let closed = false;
    this.clock.after(CLOSE_MS, () => {
      if (!closed && process.alive) this.kill(host, 'process', 'did not end in time');
    });
    await process.core.close().catch((error: Error) => this.story.tell(host.name, `close: ${error.message}`));
    closed = true;
    if (!process.alive) return;
    await process.transport!.close();
    this.story.tell(host.name, 'has ended');
    this.#end(host, process);
    host.disk.kill();
    this.#restartLater(host);
  }

  /** `logvine leave`: hands everything over, then goes, and its disk with it. */
  async leave(host: SimHost): Promise<void> {
    const { process } = host;
    const core = host.core;
    if (!process || !core || process.leaving) return;
    process.leaving = true;
    this.story.headline(host.name, 'leaves');
    const leaves = this.checks.leaving(host);
    await core.departure.leave();
    if (!process.alive) return;
    this.checks.handedOver(host, leaves);
    host.retired = true;
    host.leftMs = this.clock.monotonicMs();
    await this.stop(host);
  }

  /** Lets time pass; false once an invariant did not hold. */
  async advance(ms: number): Promise<boolean> {
    const untilMs = this.clock.monotonicMs() + ms;
    while (this.story.violations.length === 0 && this.clock.monotonicMs() < untilMs) {
      await this.clock.advance(Math.min(1_000, untilMs - this.clock.monotonicMs()));
    }
    return this.story.violations.length === 0;
  }

  /** Hosts that are alone with their identity: neither a copy nor copied. */
  get single(): SimHost[] {
    return this.present.filter((host) => !host.twin);
  }

  peersOf(hosts: readonly SimHost[]): PeerId[] {
    return hosts.flatMap(({ peer }) => (peer ? [peer] : []));
  }
}
