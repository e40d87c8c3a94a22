import { LogvineError, messageOf } from '../../store/index.ts';
import {
  withDeadline,
  type Channel,
  type PeerId,
  type Transport,
  type TransportLog,
} from '../transport/index.ts';
import { ClockSkews } from './clocks.ts';
import { BOUNDS } from './constants.ts';
import {
  encodeMessage,
  parseRequest,
  type Answer,
  type Request,
  type StateRow,
  type Update,
  type Vouch,
} from './messages.ts';
import type { News } from './news.ts';
import { PingChannels } from './pings.ts';
import { askForState, answerWithState, type StateHost } from './sync.ts';

/** Opaque bytes of another component that travel with membership: watermarks. */
export interface Attachment {
  /** Rides on the next ping or ack; at most 2 KiB. */
  digest(): Buffer | undefined;
  onDigest(from: PeerId, bytes: Buffer): void;
  /** Goes with push-pull; at most 4 MiB. */
  fullState(): Buffer;
  onFullState(from: PeerId, bytes: Buffer): void;
}

/** What a newcomer asks of others, and others of this peer (see `Introduction`). */
export interface Introductions {
  isNewcomer(): boolean;
  vouched(by: PeerId, vouch: Vouch): void;
  /** What this peer says for `newcomer`; undefined while it could forget it. */
  vouchFor(newcomer: PeerId): Vouch | undefined;
}

interface Riders {
  updates: Update[];
  digest?: string | undefined;
  epoch?: number | undefined;
  wallMs?: number | undefined;
  twins?: { epoch: number; addresses: string[] }[] | undefined;
}

/** The conversation of two peers: pings, pings on behalf of others, and push-pull; both sides of each. */
export class Exchange implements StateHost {
  readonly transport: Transport;
  readonly clocks: ClockSkews;
  readonly #news: News;
  readonly #log: TransportLog;
  readonly #relayTimeoutMs: number;
  readonly #pings: PingChannels;
  readonly #syncing = new Set<PeerId>();
  readonly #introductions: Introductions;
  #attachment: Attachment | undefined;
  readonly #relayingFor = new Map<PeerId, number>();
  #relaying = 0;
  #answering = 0;
  #closed = false;
  #hasSynced = false;

  constructor(options: {
    transport: Transport;
    news: News;
    log: TransportLog;
    relayTimeoutMs: number;
    introductions: Introductions;
  }) {
    const { transport } = options;
    this.transport = transport;
    this.clocks = new ClockSkews(transport.clock);
    this.#news = options.news;
    this.#log = options.log;
    this.#relayTimeoutMs = options.relayTimeoutMs;
    this.#introductions = options.introductions;
    this.#pings = new PingChannels(transport);
  }

  attach(attachment: Attachment): void {
    this.#attachment = attachment;
  }

  /** No more pings to `peer`: it is no longer live. */
  hangUp(peer: PeerId): void {
    this.#pings.forget(peer);
  }

  forget(peer: PeerId): void {
    this.clocks.forget(peer);
  }

  close(): void {
    this.#closed = true;
    this.#pings.close();
  }

  // What rides on messages.

  #ridersFor(peer: PeerId): Riders {
    const updates = this.#news.updatesFor(peer);
    const twins = this.#news.identities
      .twinsOf(peer)
      .map((twin) => ({ ...twin, addresses: [...twin.addresses] }));
    const speaker = {
      epoch: this.#news.ownEpoch,
      wallMs: this.transport.clock.nowMs(),
      ...(twins.length > 0 ? { twins } : {}),
    };
    const digest = this.#guard('digest', () => this.#attachment?.digest());
    if (digest === undefined) return { updates, ...speaker };
    if (digest.length > BOUNDS.digestBytes) {
      this.#log.warn({ bytes: digest.length }, 'a digest exceeds its bound and is not sent');
      return { updates, ...speaker };
    }
    return { updates, ...speaker, digest: digest.toString('base64') };
  }

  #hear(from: PeerId, riders: Riders): void {
    this.#news.heardFrom(from, riders);
    for (const update of riders.updates) this.#news.apply(update);
    const { digest } = riders;
    if (digest !== undefined) {
      this.#guard('onDigest', () => this.#attachment?.onDigest(from, Buffer.from(digest, 'base64')));
    }
  }

  /** The attached component's trouble must not make this peer or another look dead. */
  #guard<Result>(what: string, run: () => Result): Result | undefined {
    try {
      return run();
    } catch (error) {
      this.#log.warn({ what, error: messageOf(error) }, 'an attached component failed');
      return undefined;
    }
  }

  // Asking.

  async ping(peer: PeerId, timeoutMs: number): Promise<void> {
    const { clock } = this.transport;
    const sentMs = clock.monotonicMs();
    const riders = this.#ridersFor(peer);
    const newcomer = this.#introductions.isNewcomer() ? { newcomer: true } : {};
    const ping = { kind: 'ping', ...riders, ...newcomer } as const;
    const answer = await this.#pings.ask(peer, (seq) => ({ ...ping, seq }), timeoutMs);
    if (answer.kind !== 'ack') return;
    if (answer.wallMs !== undefined) {
      this.clocks.note(peer, answer.wallMs, clock.monotonicMs() - sentMs);
    }
    this.#hear(peer, answer);
    if (answer.vouchedBy) this.#introductions.vouched(peer, answer.vouchedBy);
  }

  /** Somebody has told this run everything that he knows of the mesh. */
  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  async pingThrough(helper: PeerId, target: PeerId, timeoutMs: number): Promise<boolean> {
    const answer = await this.#pings.ask(helper, (seq) => ({ kind: 'ping-req', seq, target }), timeoutMs);
    return answer.kind === 'ack';
  }

  /** Push-pull with `peer`; true when there was one, false when one is under way already. */
  async sync(peer: PeerId): Promise<boolean> {
    if (this.#closed || peer === this.transport.self || this.#syncing.has(peer)) return false;
    this.#syncing.add(peer);
    try {
      await askForState(this, peer);
      this.#hasSynced = true;
      return true;
    } finally {
      this.#syncing.delete(peer);
    }
  }

  // Answering.

  async answer(channel: Channel): Promise<void> {
    for (;;) {
      const message = await channel.receive();
      if (message === undefined || this.#closed) return;
      // Only a sync is as long as that. What there is no time for costs nothing: it is not even read.
      if (message.length > BOUNDS.pingMessageBytes) this.#refuseManySyncs();
      const request = parseRequest(message);
      if (request.kind === 'sync') return this.#answerSync(channel, request.members);
      if (request.kind === 'ping') await this.#answerPing(channel, request);
      else {
        const { seq, target } = request;
        const ofPeer = this.#relayingFor.get(channel.peer) ?? 0;
        const isMany = ofPeer >= BOUNDS.relayedPingsPerPeer || this.#relaying >= BOUNDS.relayedPings;
        // Whoever does not read the answers is not read on.
        if (isMany || !this.#news.table.get(target)) await channel.send(encodeMessage({ kind: 'nack', seq }));
        else void this.#relay(channel, seq, target);
      }
    }
  }

  async #answerPing(channel: Channel, ping: Extract<Request, { kind: 'ping' }>): Promise<void> {
    const { peer } = channel;
    this.#hear(peer, ping);
    const vouchedBy = ping.newcomer === true ? this.#introductions.vouchFor(peer) : undefined;
    const vouch = vouchedBy ? { vouchedBy } : {};
    await channel.send(encodeMessage({ kind: 'ack', seq: ping.seq, ...this.#ridersFor(peer), ...vouch }));
    const known = this.#news.table.get(peer) && !this.#news.table.presumed(peer);
    if (known) return;
    // It knows this peer from before a restart.
    this.sync(peer).catch((error: unknown) =>
      this.#log.debug({ peer, error: messageOf(error) }, 'push-pull failed'),
    );
  }

  async #relay(channel: Channel, seq: number, target: PeerId): Promise<void> {
    let answered = false;
    this.#countRelay(channel.peer, 1);
    try {
      await this.ping(target, this.#relayTimeoutMs);
      answered = true;
    } catch {
      // The target is silent here too: that is what a nack says.
    }
    const answer: Answer = answered ? { kind: 'ack', seq, updates: [] } : { kind: 'nack', seq };
    await channel.send(encodeMessage(answer)).catch(() => undefined);
    // Whoever does not read the answers has no more of them.
    this.#countRelay(channel.peer, -1);
  }

  #countRelay(peer: PeerId, change: 1 | -1): void {
    this.#relaying += change;
    const ofPeer = (this.#relayingFor.get(peer) ?? 0) + change;
    if (ofPeer > 0) this.#relayingFor.set(peer, ofPeer);
    else this.#relayingFor.delete(peer);
  }

  #refuseManySyncs(): void {
    if (this.#answering >= BOUNDS.syncsAnsweredAtOnce) {
      throw new LogvineError('LV_OVERLOADED', 'Too many syncs at once');
    }
  }

  async #answerSync(channel: Channel, rows: readonly StateRow[]): Promise<void> {
    this.#refuseManySyncs();
    this.#answering++;
    try {
      const late = () => new LogvineError('LV_PEER_TIMEOUT', `${channel.peer} did not finish a sync`);
      const { clock } = this.transport;
      await withDeadline(clock, BOUNDS.syncTimeoutMs, late, () => answerWithState(this, channel, rows));
      this.#hasSynced = true;
    } finally {
      this.#answering--;
    }
  }

  // Both sides of push-pull.

  rows(): StateRow[] {
    return this.#news.table.rows();
  }

  applyRow(row: StateRow, from: PeerId): void {
    this.#news.applyRow(row, from);
  }

  fullState(): Buffer {
    return this.#guard('fullState', () => this.#attachment?.fullState()) ?? Buffer.alloc(0);
  }

  onFullState(from: PeerId, bytes: Buffer): void {
    if (bytes.length > 0) this.#guard('onFullState', () => this.#attachment?.onFullState(from, bytes));
  }
}
