import {
  createMembership,
  type Membership,
  type MembershipTiming,
} from '../../src/gossip/membership/index.ts';
import type { PeerId } from '../../src/gossip/transport/index.ts';
import type { Clock, Random } from '../../src/store/host/index.ts';
import { SimClock, seededRandom } from '../helpers/sim-clock.ts';
import { SimNetwork, type Faults, type SimTransport } from '../helpers/sim-network.ts';

/** The two calls of Disk that membership needs, in memory. */
export class MemoryFiles {
  readonly files = new Map<string, Buffer>();
  writes = 0;
  async readFile(path: string): Promise<Buffer | undefined> {
    return this.files.get(path);
  }
  /** How long a write takes: what is to be written meanwhile goes into one. */
  written: () => Promise<void> = () => Promise.resolve();
  async replaceFile(path: string, content: Uint8Array): Promise<void> {
    this.writes++;
    await this.written();
    this.files.set(path, Buffer.from(content));
  }
}

export interface SimNode {
  readonly name: string;
  readonly transport: SimTransport;
  readonly membership: Membership;
}

interface NodePlan {
  readonly seed: Buffer;
  readonly seeds: readonly string[];
  readonly files: MemoryFiles;
  epoch: number;
}

/** A mesh of simulated nodes named n0, n1, …; n0 is the seed of all. */
export class SimMesh {
  readonly clock = new SimClock();
  readonly random: Random;
  readonly network: SimNetwork;
  readonly nodes = new Map<string, SimNode>();
  /** Every change that any node saw, in order: the fingerprint of a run. */
  readonly history: string[] = [];
  readonly warnings: string[] = [];
  readonly timing: Partial<MembershipTiming>;
  /** What a write of members.json takes. */
  writeMs = 0;
  /** W: by how many introduced members a newcomer has to be known. */
  introductions = 2;
  readonly #plans = new Map<string, NodePlan>();
  readonly #names = new Map<PeerId, string>();

  constructor(seed: number, faults: Partial<Faults> = {}, timing: Partial<MembershipTiming> = {}) {
    this.random = seededRandom(seed);
    this.network = new SimNetwork(this.clock, this.random, faults);
    this.timing = timing;
  }

  async grow(count: number): Promise<void> {
    const first = this.#plans.size;
    for (let index = first; index < first + count; index++) await this.start(`n${index}`);
  }

  /** Starts a node, or starts it again: the same identity and files, a new epoch. */
  async start(
    name: string,
    options: { seeds?: readonly string[]; clock?: Clock; lostPeers?: readonly PeerId[] } = {},
  ): Promise<SimNode> {
    let plan = this.#plans.get(name);
    if (!plan) {
      const seeds = options.seeds ?? (name === 'n0' ? [] : ['n0:1']);
      plan = { seed: this.random.bytes(32), seeds, files: new MemoryFiles(), epoch: 0 };
      if (this.writeMs > 0)
        plan.files.written = () => new Promise((resolve) => void this.clock.after(this.writeMs, resolve));
      this.#plans.set(name, plan);
    }
    plan.epoch++;
    const transport = await this.network.start(name, plan.seed);
    const membership = await createMembership({
      transport,
      clock: options.clock ?? this.clock,
      random: seededRandom(Math.floor(this.random.unit() * 2 ** 32)),
      disk: plan.files,
      directory: '/data',
      self: { zone: 'z', weight: 1, epoch: plan.epoch, http: '', version: '0' },
      seeds: options.seeds ?? plan.seeds,
      introductions: this.introductions,
      lostPeers: options.lostPeers ?? [],
      timing: this.timing,
      log: {
        debug: () => {},
        warn: (fields, message) => this.warnings.push(`${name}: ${message} ${JSON.stringify(fields)}`),
      },
    });
    membership.on({
      joined: (member) => this.#note(name, member.peer, `joined ${member.state}`),
      changed: (member, previous) =>
        this.#note(
          name,
          member.peer,
          `${previous.epoch} ${previous.state} -> ${member.epoch} ${member.state}`,
        ),
    });
    membership.start();
    const node = { name, transport, membership };
    this.nodes.set(name, node);
    this.#names.set(transport.self, name);
    return node;
  }

  #note(name: string, peer: PeerId, what: string): void {
    this.history.push(`${Math.round(this.clock.monotonicMs())} ${name}: ${this.nameOf(peer)} ${what}`);
  }

  nameOf(peer: PeerId): string {
    return this.#names.get(peer) ?? '?';
  }

  node(name: string): SimNode {
    return this.nodes.get(name)!;
  }

  id(name: string): PeerId {
    return this.node(name).transport.self;
  }

  filesOf(name: string): MemoryFiles {
    return this.#plans.get(name)!.files;
  }

  /** `kill -9`: the host resets its connections, nothing is saved. */
  kill(name: string): void {
    const { transport, membership } = this.node(name);
    transport.crash();
    void membership.close();
  }

  running(): SimNode[] {
    return [...this.nodes.values()].filter(({ transport }) => !transport.closed);
  }

  /** The state that every running node sees `name` in; undefined while they differ. */
  agreedState(name: string): string | undefined {
    const peer = this.id(name);
    const states = new Set(
      this.running()
        .filter((node) => node.name !== name)
        .map(({ membership }) => membership.member(peer)?.state ?? 'unknown'),
    );
    return states.size === 1 ? [...states][0] : undefined;
  }

  /** Every running node sees exactly `count` members alive. */
  allSee(count: number): boolean {
    return this.running().every(({ membership }) => membership.alive().length === count);
  }
}
