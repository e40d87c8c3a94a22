import {
  keysFromSeed,
  withDeadline,
  type Channel,
  type PeerId,
  type PeerKeys,
  type Transport,
  type TransportEvents,
} from '../../src/gossip/transport/index.ts';
import { LogvineError } from '../../src/store/errors.ts';
import type { Clock, Random } from '../../src/store/host/index.ts';

/** The faults of a simulated network; they may be changed while it runs. */
export interface Faults {
  /** One-way delay of a message: uniform between the two. */
  delayMsMin: number;
  delayMsMax: number;
  /**
   * Share of packets lost. A channel is TCP: a loss there delays what follows by a retransmission. A topic message or
   * a handshake that is lost is lost.
   */
  lossShare: number;
  /** Share of topic messages that arrive a second time. */
  duplicateShare: number;
}

const RETRANSMIT_MS = 300;
/** What TCP, encryption and multiplexing put around a message. */
const FRAMING_BYTES = 100;
/** A channel whose peer has been out of reach for so long is lost, as TCP with a connection check does it. */
const UNREACHABLE_MS = 30_000;
const WINDOW_BYTES = 1024 * 1024;

/** Peers in memory, on simulated time. Deterministic for one clock, one random and one program. */
export class SimNetwork {
  readonly clock: Clock;
  readonly random: Random;
  readonly faults: Faults;
  /** By name: two hosts may run with one identity. */
  readonly transports = new Map<string, SimTransport>();
  /** Messages sent on channels and topics so far. */
  messages = 0;
  /** Bytes in them. */
  bytes = 0;
  /** Hosts that went away without a word: dialling them hangs. */
  readonly dark = new Set<string>();
  /** Whether nothing gets from one host to another at present, and how much longer so many bytes take; by name. */
  linkDown: (from: string, to: string) => boolean = () => false;
  linkDelayMs: (from: string, to: string, bytes: number) => number = () => 0;
  /** Peers in different groups do not hear each other; undefined: all do. */
  #groupOf: Map<PeerId, number> | undefined;

  constructor(clock: Clock, random: Random, faults: Partial<Faults> = {}) {
    this.clock = clock;
    this.random = random;
    this.faults = { delayMsMin: 1, delayMsMax: 5, lossShare: 0, duplicateShare: 0, ...faults };
  }

  /**
   * A peer at `name:1`. The same seed is the same identity; starting one whose name is taken replaces it. `clock` is
   * that of its host, where it is not the network's.
   */
  async start(
    name: string,
    seed: Uint8Array,
    messageBytesMax = 24 * 1024 * 1024,
    clock: Clock = this.clock,
  ): Promise<SimTransport> {
    const keys = await keysOf(seed);
    const transport = new SimTransport(this, { name, keys, messageBytesMax, clock });
    this.transports.set(name, transport);
    this.dark.delete(name);
    return transport;
  }

  /** Only peers in the same group hear each other from now on. */
  partition(...groups: PeerId[][]): void {
    this.#groupOf = new Map(groups.flatMap((group, index) => group.map((peer) => [peer, index] as const)));
  }

  heal(): void {
    this.#groupOf = undefined;
  }

  reachable(left: PeerId, right: PeerId): boolean {
    return this.#groupOf === undefined || this.#groupOf.get(left) === this.#groupOf.get(right);
  }

  /** Whether what `from` sends now gets through to `to`, and is taken there. */
  carries(from: SimTransport, to: SimTransport): boolean {
    return !to.paused && !this.linkDown(from.name, to.name) && this.reachable(from.self, to.self);
  }

  lost(): boolean {
    return this.faults.lossShare > 0 && this.random.unit() < this.faults.lossShare;
  }

  delayMs(): number {
    const { delayMsMin, delayMsMax } = this.faults;
    return delayMsMin + this.random.unit() * (delayMsMax - delayMsMin);
  }

  /** One-way delay on a connection, with retransmissions of what was lost. */
  reliableDelayMs(from: string, to: string, bytes: number): number {
    let delay = this.delayMs() + this.linkDelayMs(from, to, bytes + FRAMING_BYTES);
    let wait = RETRANSMIT_MS;
    while (this.lost() && wait < 10_000) {
      delay += wait;
      wait *= 2;
    }
    return delay;
  }

  /** Resolves after a message there and back; never while one cannot hear the other. */
  async roundTrip(from: SimTransport, to: SimTransport): Promise<void> {
    if (!this.carries(from, to) || !this.carries(to, from)) return hang();
    await this.wait(
      this.reliableDelayMs(from.name, to.name, 0) + this.reliableDelayMs(to.name, from.name, 0),
    );
  }

  wait(delayMs: number): Promise<void> {
    return new Promise((resolve) => void this.clock.after(delayMs, resolve));
  }

  listening(address: string): SimTransport | undefined {
    for (const transport of this.transports.values()) {
      if (transport.answersAt(address)) return transport;
    }
    return undefined;
  }
}

const keysKnown = new Map<string, PeerKeys>();

/** Deriving keys takes a millisecond, and a process that restarts has the ones it had. */
async function keysOf(seed: Uint8Array): Promise<PeerKeys> {
  const text = Buffer.from(seed).toString('hex');
  let keys = keysKnown.get(text);
  if (!keys) keysKnown.set(text, (keys = await keysFromSeed(seed)));
  return keys;
}

function answersTo(name: string, address: string): boolean {
  return address === `${name}:1` || address.startsWith(`/dns/${name}/tcp/1`);
}

function hang(): Promise<void> {
  return new Promise(() => {});
}

export class SimTransport implements Transport {
  readonly self: PeerId;
  readonly name: string;
  readonly clock: Clock;
  readonly network: SimNetwork;
  readonly messageBytesMax: number;
  readonly #keys: PeerKeys;
  readonly #handlers = new Map<string, (channel: Channel) => Promise<void>>();
  readonly #receivers = new Map<string, (from: PeerId, message: Buffer) => void>();
  readonly #events: Partial<TransportEvents>[] = [];
  readonly #learned = new Map<PeerId, readonly string[]>();
  readonly #connections = new Map<PeerId, SimTransport>();
  readonly #channels = new Set<SimChannel>();
  readonly #lastReceivedMs = new Map<PeerId, number>();
  closed = false;
  /** When the process ended, by the network's clock. */
  vanishedMs = Infinity;
  /** A stopped process: what is sent to it waits, and is given up after a while. */
  paused = false;

  constructor(
    network: SimNetwork,
    {
      name,
      keys,
      messageBytesMax,
      clock,
    }: { name: string; keys: PeerKeys; messageBytesMax: number; clock: Clock },
  ) {
    this.network = network;
    this.name = name;
    this.clock = clock;
    this.#keys = keys;
    this.self = keys.peer;
    this.messageBytesMax = messageBytesMax;
  }

  addresses(): string[] {
    return [`/dns/${this.name}/tcp/1/p2p/${this.self}`];
  }

  answersAt(address: string): boolean {
    return !this.closed && answersTo(this.name, address);
  }

  handle(protocol: string, handler: (channel: Channel) => Promise<void>): void {
    this.#handlers.set(protocol, handler);
  }

  async open(peer: PeerId, protocol: string, options: { timeoutMs: number }): Promise<Channel> {
    return this.#within(peer, options.timeoutMs, async (isLate) => {
      const connected = this.#connections.get(peer);
      if (connected && this.network.dark.has(connected.name)) {
        // One that it does not know of cannot be told by the host that went dark: its own checks find out.
        const isFoundOut = this.network.clock.monotonicMs() - connected.vanishedMs >= UNREACHABLE_MS;
        if (!isFoundOut) await hang();
        this.disconnect(connected, new LogvineError('LV_PEER_UNREACHABLE', `${connected.name} is silent`));
      }
      if (!this.#connections.has(peer) || connected!.closed)
        await this.#dial(this.#learned.get(peer) ?? [], peer);
      const remote = this.#connections.get(peer);
      if (!remote) throw new LogvineError('LV_PEER_UNREACHABLE', `the connection to ${peer} is lost`);
      await this.network.roundTrip(this, remote);
      const handler = remote.#handlers.get(protocol);
      if (!handler || remote.closed) {
        throw new LogvineError('LV_PEER_UNREACHABLE', `${peer} does not answer ${protocol}`);
      }
      // Nobody waits for it any more.
      if (isLate()) throw new LogvineError('LV_PEER_TIMEOUT', `${peer} answered too late`);
      const here = new SimChannel(this, remote);
      const there = new SimChannel(remote, this);
      here.join(there);
      there.join(here);
      this.#channels.add(here);
      remote.#channels.add(there);
      void remote.#answer(handler, there);
      return here;
    });
  }

  async #answer(handler: (channel: Channel) => Promise<void>, channel: SimChannel): Promise<void> {
    try {
      await handler(channel);
      await channel.close();
    } catch (error) {
      channel.abort(error as Error);
    }
  }

  async connect(address: string, options: { timeoutMs: number }): Promise<PeerId> {
    return this.#within(address, options.timeoutMs, async () => this.#dial([address]));
  }

  async #within<Result>(
    whom: string,
    timeoutMs: number,
    work: (isLate: () => boolean) => Promise<Result>,
  ): Promise<Result> {
    if (this.closed) throw new LogvineError('LV_CLOSED', 'This node is closing');
    let isLate = false;
    const late = () => {
      isLate = true;
      return new LogvineError('LV_PEER_TIMEOUT', `${whom} did not answer within ${timeoutMs} ms`);
    };
    return withDeadline(this.clock, timeoutMs, late, () => work(() => isLate));
  }

  async #dial(addresses: readonly string[], wanted?: PeerId): Promise<PeerId> {
    for (const address of addresses) {
      if ([...this.network.dark].some((name) => answersTo(name, address))) await hang();
      const remote = this.network.listening(address);
      if (remote === this) return this.self;
      if (!remote) continue;
      await this.network.roundTrip(this, remote);
      if (remote.closed || (wanted !== undefined && remote.self !== wanted)) continue;
      this.#connected(remote);
      remote.#connected(this);
      return remote.self;
    }
    throw new LogvineError('LV_PEER_UNREACHABLE', `${addresses.join(', ')}: nobody answers`);
  }

  #connected(remote: SimTransport): void {
    const known = this.#connections.get(remote.self);
    this.#connections.set(remote.self, remote);
    if (!known) for (const { connected } of this.#events) connected?.(remote.self);
  }

  /** Channels that are open; a leak shows here. */
  get openChannels(): number {
    return this.#channels.size;
  }

  /** The connection to that process is gone: its channels fail. */
  disconnect(remote: SimTransport, reason: Error): void {
    for (const channel of this.#channels) if (channel.remote === remote) channel.fail(reason);
    // Another process may have taken the place of this one in the meantime.
    if (this.#connections.get(remote.self) !== remote) return;
    this.#connections.delete(remote.self);
    for (const { disconnected } of this.#events) disconnected?.(remote.self);
  }

  forget(channel: SimChannel): void {
    this.#channels.delete(channel);
  }

  learn(peer: PeerId, addresses: readonly string[]): void {
    this.#learned.set(peer, addresses);
  }

  publish(topic: string, message: Uint8Array): void {
    if (message.length > 64 * 1024) throw new LogvineError('LV_PROTOCOL', 'A topic message is too long');
    const copy = Buffer.from(message);
    // Gossip reaches everyone who is connected, over however many hops.
    const seen = new Set<SimTransport>([this]);
    const edge: SimTransport[] = [this];
    for (let at = 0; at < edge.length; at++) {
      for (const next of edge[at]!.#connections.values()) {
        if (seen.has(next) || next.closed || !this.network.carries(edge[at]!, next)) continue;
        seen.add(next);
        edge.push(next);
        this.network.messages++;
        this.network.bytes += copy.length;
        if (this.network.lost()) continue;
        const deliver = (): void => {
          if (!next.closed && !next.paused) next.#receivers.get(topic)?.(this.self, copy);
        };
        const { clock, random, faults } = this.network;
        clock.after(this.network.delayMs(), deliver);
        if (faults.duplicateShare > 0 && random.unit() < faults.duplicateShare)
          clock.after(this.network.delayMs() * 3, deliver);
      }
    }
  }

  subscribe(topic: string, receive: (from: PeerId, message: Buffer) => void): void {
    this.#receivers.set(topic, receive);
  }

  on(events: Partial<TransportEvents>): void {
    this.#events.push(events);
  }

  isConnected(peer: PeerId): boolean {
    return this.#connections.has(peer);
  }

  lastReceivedMs(peer: PeerId): number | undefined {
    return this.#lastReceivedMs.get(peer);
  }

  received(peer: PeerId): void {
    this.#lastReceivedMs.set(peer, this.clock.monotonicMs());
  }

  sign(bytes: Uint8Array): Buffer {
    return this.#keys.sign(bytes);
  }

  async close(): Promise<void> {
    this.crash();
  }

  /** The process is gone; its host resets its connections. */
  crash(): void {
    if (this.closed) return;
    const channels = this.#vanish();
    this.#resetOthers();
    const closing = new LogvineError('LV_CLOSED', 'This node is closing');
    for (const channel of channels) channel.fail(closing);
  }

  /** The host is gone: nobody resets anything, the others wait. */
  powerOff(): void {
    if (this.closed) return;
    const channels = this.#vanish();
    this.#goDark();
    const closing = new LogvineError('LV_CLOSED', 'This node is closing');
    for (const channel of channels) channel.fail(closing);
  }

  /** As `crash` or `powerOff`, but the dead process is told nothing: what waits in it waits for ever. */
  kill(how: 'process' | 'power'): void {
    if (this.closed) return;
    for (const channel of this.#vanish()) channel.abandon();
    if (how === 'process') this.#resetOthers();
    else this.#goDark();
  }

  #resetOthers(): void {
    const { clock } = this.network;
    const lost = new LogvineError('LV_PEER_UNREACHABLE', `${this.name} is gone`);
    for (const remote of this.#connections.values()) {
      clock.after(this.network.delayMs(), () => remote.disconnect(this, lost));
    }
  }

  #goDark(): void {
    const { clock, dark } = this.network;
    dark.add(this.name);
    const lost = new LogvineError('LV_PEER_UNREACHABLE', `${this.name} no longer answers`);
    for (const remote of this.#connections.values()) {
      clock.after(UNREACHABLE_MS, () => remote.disconnect(this, lost));
    }
  }

  #vanish(): SimChannel[] {
    this.closed = true;
    this.vanishedMs = this.network.clock.monotonicMs();
    if (this.network.transports.get(this.name) === this) this.network.transports.delete(this.name);
    const channels = [...this.#channels];
    this.#channels.clear();
    return channels;
  }
}

/** One end of a channel. */
class SimChannel implements Channel {
  readonly peer: PeerId;
  readonly remote: SimTransport;
  readonly #home: SimTransport;
  #other: SimChannel | undefined;
  /** What arrived and was not received yet; undefined marks the end. */
  readonly #inbox: (Buffer | undefined)[] = [];
  #waiting: { resolve(message: Buffer | undefined): void; reject(error: Error): void } | undefined;
  /** Bytes sent from here that the other side has not received. */
  #unreadBytes = 0;
  readonly #room: { resolve(): void; reject(error: Error): void }[] = [];
  #lastArrivalMs = 0;
  /** Sent and not arrived; undefined marks the end. The first `#due` of them would have arrived by now. */
  readonly #flight: (Buffer | undefined)[] = [];
  #due = 0;
  #retrying = false;
  /** The other side's end has arrived; it has been received. */
  #remoteClosed = false;
  #ended = false;
  #closed = false;
  #failure: Error | undefined;

  constructor(home: SimTransport, remote: SimTransport) {
    this.#home = home;
    this.remote = remote;
    this.peer = remote.self;
  }

  join(other: SimChannel): void {
    this.#other = other;
  }

  async send(message: Uint8Array): Promise<void> {
    if (this.#failure) throw this.#failure;
    if (this.#closed) throw new LogvineError('LV_CLOSED', `The channel to ${this.peer} is closed`);
    if (message.length > this.#home.messageBytesMax) {
      const reason = new LogvineError(
        'LV_PROTOCOL',
        `A message of ${message.length} bytes exceeds the bound`,
      );
      this.abort(reason);
      throw reason;
    }
    this.#unreadBytes += message.length;
    this.#transmit(Buffer.from(message));
    if (this.#unreadBytes <= WINDOW_BYTES) return;
    await new Promise<void>((resolve, reject) => this.#room.push({ resolve, reject }));
  }

  #transmit(message: Buffer | undefined): void {
    const { network, name } = this.#home;
    const { clock } = network;
    network.messages++;
    network.bytes += message?.length ?? 0;
    const delayMs = network.reliableDelayMs(name, this.remote.name, message?.length ?? 0);
    this.#lastArrivalMs = Math.max(this.#lastArrivalMs, clock.monotonicMs() + delayMs);
    this.#flight.push(message);
    clock.after(this.#lastArrivalMs - clock.monotonicMs(), () => {
      this.#due++;
      if (!this.#retrying) this.#deliver(clock.monotonicMs() + UNREACHABLE_MS);
    });
  }

  /** Delivers what is due, in order; while the peer is out of reach it is tried again, as TCP does, until it gives up. */
  #deliver(untilMs: number): void {
    const { network } = this.#home;
    const { clock } = network;
    this.#retrying = false;
    while (this.#due > 0 && !this.#failure && network.carries(this.#home, this.remote)) {
      this.#due--;
      this.#other!.#arrive(this.#flight.shift());
    }
    if (this.#due === 0 || this.#failure) return;
    if (clock.monotonicMs() >= untilMs) {
      // Both sides' keep-alives go unanswered, whichever direction is cut.
      const gone = (name: string) => new LogvineError('LV_PEER_UNREACHABLE', `${name} no longer answers`);
      this.#home.disconnect(this.remote, gone(this.remote.name));
      this.remote.disconnect(this.#home, gone(this.#home.name));
      return;
    }
    this.#retrying = true;
    clock.after(RETRANSMIT_MS, () => this.#deliver(untilMs));
  }

  #arrive(message: Buffer | undefined): void {
    if (this.#failure || this.#home.closed) return;
    if (message) this.#home.received(this.peer);
    if (message && message.length > this.#home.messageBytesMax) {
      this.abort(new LogvineError('LV_PROTOCOL', `A message of ${message.length} bytes exceeds the bound`));
      return;
    }
    this.#inbox.push(message);
    if (message === undefined) {
      this.#remoteClosed = true;
      this.#settle();
    }
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting) waiting.resolve(this.#next());
  }

  #next(): Buffer | undefined {
    const message = this.#inbox.shift();
    if (message === undefined) {
      this.#ended = true;
      return undefined;
    }
    // Only a window that was full has somebody waiting for room.
    const { network } = this.#home;
    const other = this.#other!;
    if (other.#unreadBytes <= WINDOW_BYTES) other.#unreadBytes -= message.length;
    else network.clock.after(network.delayMs(), () => other.#consumed(message.length));
    return message;
  }

  #consumed(bytes: number): void {
    this.#unreadBytes -= bytes;
    if (this.#unreadBytes > WINDOW_BYTES) return;
    for (const waiter of this.#room.splice(0)) waiter.resolve();
  }

  async receive(): Promise<Buffer | undefined> {
    if (this.#inbox.length > 0 && !this.#failure) return this.#next();
    if (this.#failure) throw this.#failure;
    if (this.#ended) return undefined;
    return new Promise((resolve, reject) => (this.#waiting = { resolve, reject }));
  }

  async close(): Promise<void> {
    if (this.#closed || this.#failure) return;
    this.#closed = true;
    this.#transmit(undefined);
    this.#settle();
  }

  /** A channel that both sides have closed needs no bookkeeping. */
  #settle(): void {
    if (this.#closed && this.#remoteClosed) this.#home.forget(this);
  }

  abort(reason: Error): void {
    if (this.#failure) return;
    this.fail(reason);
    const { network } = this.#home;
    const other = this.#other!;
    network.clock.after(network.delayMs(), () =>
      other.fail(new LogvineError('LV_PEER_UNREACHABLE', `${other.peer} dropped the channel`)),
    );
  }

  fail(reason: Error): void {
    if (this.#failure) return;
    this.#failure = reason;
    this.#home.forget(this);
    this.#waiting?.reject(reason);
    this.#waiting = undefined;
    for (const waiter of this.#room.splice(0)) waiter.reject(reason);
  }
  /** The process of this end is no more. */
  abandon(): void {
    this.#failure ??= new LogvineError('LV_CLOSED', 'This process is gone');
    this.#waiting = undefined;
    this.#room.length = 0;
  }
}
