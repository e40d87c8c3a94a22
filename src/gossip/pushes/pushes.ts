import { LIMITS, LogvineError, messageOf, type Clock, type Store, type Timer } from '../../store/index.ts';
import { placeOn } from '../placement/index.ts';
import { request, type Channel, type PeerId, type Transport } from '../transport/index.ts';
import type { MeshMember } from '../view.ts';
import { HeldPushes, type PushDisk } from './held.ts';
import { HomeLink, type HomeAnswer } from './home.ts';
import { isSameClaimant, PushMemory, type Claimant } from './memory.ts';
import {
  asPeer,
  encodePushMessage,
  heldToTell,
  parseAsked,
  parseFound,
  parsePushRequest,
  PUSH_PROTOCOL,
  type Asked,
  type HeldBatch,
  type Tell,
} from './messages.ts';

export interface PushMember extends MeshMember {
  readonly epoch: number;
}

export interface PushesOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly store: Store;
  readonly disk: PushDisk;
  /** Homes of a digest. */
  readonly replicas: number;
  /** How long a push is remembered. */
  readonly windowMs: number;
  /** How long a push waits for others to say what became of it. */
  readonly patienceMs: number;
  members(): readonly PushMember[];
  /** Copies that an acknowledgement needs now. */
  quorum(): number;
  log(level: 'info' | 'warn', message: string): void;
}

/** What the lines of one push are, and how they are kept. */
export interface PushToKeep {
  readonly digest: string;
  /** Digests of the batches it becomes, in order. */
  readonly parts: readonly string[];
  /**
   * Stores some of the parts. Throws, in the same turn, when nothing is kept of it; what it returns settles with the
   * acknowledgement (I2).
   */
  keep(parts: readonly number[]): Promise<void>;
}

interface UnderWay {
  /** Its lines are on their way to the disk: there is no way back. */
  isKept: boolean;
  /** Who takes it instead, since both wanted it and that one comes first. */
  yieldedTo: Claimant | undefined;
  readonly outcome: Promise<void>;
}

/** What the homes say together. */
interface Round {
  readonly isAcknowledged: boolean;
  readonly rivals: Claimant[];
  /** No home that answered remembers long enough to have been there when the push may have come first. */
  readonly isForgetful: boolean;
  /** Others than this peer have answered. */
  readonly hasHomes: boolean;
  /** There are others, and none has answered. */
  readonly isCutOff: boolean;
}

const TIMING = {
  /** A claim's round trip; a home that takes longer is done without. */
  claimMs: 3_000,
  /** How long the rest is waited for once most homes have answered. */
  stragglerMs: 300,
  /** How long a claimant keeps another waiting before it says that it does not know yet. */
  askWaitMs: 3_000,
  findMs: 2_000,
  againMs: 300,
  /** Shorter than it takes until a silent peer counts as dead. */
  leaseMs: 4_000,
  /** Claims are told anew to homes that start, so that a home this old remembers again. */
  forgetfulMs: 60_000,
  retellAttempts: 5,
  retellPauseMs: 2_000,
} as const;

/**
 * Sees to it that a push which is sent again, here or to another peer, is stored once.
 *
 * Every push has k homes, by rendezvous over its digest. Before its lines are stored, the peer that took it claims it at
 * all of them. A home grants what it does not know. Otherwise it names the claimant, and that one is asked: it waits with
 * its answer until it knows. Two who claim at the same time meet in that question, and the smaller peer id wins. A
 * claimant that is dead, or that has restarted, may have left batches behind: their headers carry the digest, so every
 * member looks for them, and only what nobody has is stored anew. docs/decisions/0008 says what remains.
 */
export class Pushes {
  readonly #options: PushesOptions;
  readonly #memory: PushMemory;
  readonly #held: HeldPushes;
  readonly #self: Claimant;
  readonly #underWay = new Map<string, UnderWay>();
  readonly #links = new Map<PeerId, HomeLink>();
  readonly #runs = new Map<PeerId, number>();
  /** Claims that were taken over here from others and then came to nothing: some of it may lie on disks. */
  readonly #unsure = new Set<string>();
  readonly #startedMs: number;
  /** Nothing was ever stored here, so no push was forgotten either. */
  readonly #isNew: boolean;
  #asking = 0;
  #closed = false;

  constructor(options: PushesOptions) {
    const { clock, windowMs, store, transport } = options;
    this.#options = options;
    this.#memory = new PushMemory(clock, windowMs);
    this.#held = new HeldPushes(options);
    this.#self = { peer: transport.self, epoch: store.epoch };
    this.#startedMs = clock.monotonicMs();
    this.#isNew = store.segments().next().done === true;
  }

  /** Remembers what this peer took in earlier runs. Never rejects: without it, claims are looked up on disk. */
  async start(): Promise<void> {
    try {
      for (const { digest, epoch } of await this.#held.own()) {
        if (epoch !== this.#self.epoch) this.#memory.claim(digest, { peer: this.#self.peer, epoch });
      }
      this.#runs.clear();
      this.membersChanged();
    } catch (error) {
      this.#options.log('warn', `pushes of earlier runs are not remembered: ${messageOf(error)}`);
    }
  }

  /** Homes that start have forgotten, and those that were away have missed it: they are told again what this peer took. */
  membersChanged(): void {
    for (const { peer, state, epoch } of this.#options.members()) {
      if (state !== 'alive' && state !== 'suspect') this.#runs.delete(peer);
      if (state !== 'alive' || peer === this.#self.peer || this.#runs.get(peer) === epoch) continue;
      this.#runs.set(peer, epoch);
      // What the last run of it did not answer says nothing of this one.
      this.#links.delete(peer);
      void this.#tellAgain(peer);
    }
  }

  /**
   * Stores a push, unless it is stored. Resolves once all of it is acknowledged. Rejects with what `keep` throws or
   * rejects with, LV_REPLICATION_TIMEOUT when others may have it and do not say so in time, LV_OVERLOADED, LV_CLOSED.
   */
  once(push: PushToKeep): Promise<void> {
    if (this.#memory.get(push.digest)?.acknowledged) return Promise.resolve();
    const running = this.#underWay.get(push.digest);
    if (running) return running.outcome;
    if (this.#underWay.size >= LIMITS.pushesUnderWayMax) {
      return Promise.reject(new LogvineError('LV_OVERLOADED', 'too many pushes at once: send again later'));
    }
    const over = Promise.withResolvers<void>();
    over.promise.catch(() => undefined);
    const underWay: UnderWay = { isKept: false, yieldedTo: undefined, outcome: over.promise };
    this.#underWay.set(push.digest, underWay);
    this.#carry(push, underWay)
      .finally(() => this.#underWay.delete(push.digest))
      .then(over.resolve, over.reject);
    return over.promise;
  }

  /** Takes one push to its end. */
  async #carry(push: PushToKeep, underWay: UnderWay): Promise<void> {
    const { clock, patienceMs } = this.#options;
    const { digest, parts } = push;
    const untilMs = clock.monotonicMs() + patienceMs;
    const isLate = (): boolean => clock.monotonicMs() >= untilMs;
    const over: Claimant[] = [];
    let mustLook = this.#unsure.has(digest);
    let missing = parts.map((_, part) => part);
    for (;;) {
      if (this.#closed) throw new LogvineError('LV_CLOSED', 'the node is shutting down');
      if (isLate() || over.length > 8) throw undecided();
      const claimedMs = clock.monotonicMs();
      const round = await this.#claim(digest, parts.length, over);
      if (round.isAcknowledged) {
        this.#memory.acknowledge(digest, this.#self);
        return;
      }
      const rivals = round.rivals;
      if (underWay.yieldedTo) rivals.push(underWay.yieldedTo);
      if (rivals.length > 0) {
        const [rival] = rivals;
        const verdict = await this.#settle(digest, rival);
        if (verdict === 'acknowledged') {
          this.#memory.acknowledge(digest, this.#self);
          return;
        }
        if (verdict === 'pending') continue;
        over.push(rival);
        this.#beUnsure(digest);
        if (underWay.yieldedTo && isSameClaimant(underWay.yieldedTo, rival)) underWay.yieldedTo = undefined;
        if (verdict !== 'yours') mustLook = true;
        continue;
      }
      if (mustLook || round.isForgetful) {
        missing = await this.#missingParts(parts, isLate, mustLook);
        // Somebody may have come in the meantime.
        if (underWay.yieldedTo) continue;
      }
      if (round.isCutOff && this.#options.quorum() > 1) {
        // It could not be acknowledged either: kept, it would be there twice once it is sent to others.
        if (!this.#unsure.has(digest)) this.#memory.release(digest, this.#self);
        throw cutOff();
      }
      // This process stood still, perhaps for so long that others took it for dead: what was claimed may be taken over.
      if (round.hasHomes && clock.monotonicMs() - claimedMs > TIMING.leaseMs) continue;
      break;
    }
    underWay.isKept = true;
    if (missing.length > 0) await this.#keep(push, missing);
    this.#unsure.delete(digest);
    this.#memory.acknowledge(digest, this.#self);
    this.#tellHomes({ what: 'acknowledged', digest, epoch: this.#self.epoch });
  }

  async #keep({ digest, keep }: PushToKeep, missing: readonly number[]): Promise<void> {
    let kept: Promise<void>;
    try {
      kept = keep(missing);
    } catch (error) {
      // Where others had it before, homes must go on naming somebody, so that whoever takes it next looks for it.
      if (!this.#unsure.has(digest)) {
        this.#memory.release(digest, this.#self);
        this.#tellHomes({ what: 'released', digest, epoch: this.#self.epoch });
      }
      throw error;
    }
    await kept;
  }

  #beUnsure(digest: string): void {
    if (this.#unsure.size >= LIMITS.pushesRememberedMax)
      this.#unsure.delete(this.#unsure.values().next().value!);
    this.#unsure.add(digest);
  }

  // The homes.

  #homes(digest: string): PeerId[] {
    const reachable = this.#options
      .members()
      .filter(
        ({ peer, state, leaving }) =>
          (!leaving && (state === 'alive' || state === 'suspect')) || peer === this.#self.peer,
      );
    return placeOn(digest, reachable, this.#options.replicas) as PeerId[];
  }

  async #claim(digest: string, parts: number, over: readonly Claimant[]): Promise<Round> {
    const tell: Tell = { what: 'claim', digest, epoch: this.#self.epoch, over: [...over] };
    // This peer remembers, whether it is a home or not: so a push that comes here again needs to ask nobody.
    const here = this.#memory.claim(digest, this.#self, over);
    const homes = this.#homes(digest);
    const others = homes.filter((peer) => peer !== this.#self.peer);
    const known = await this.#answers(
      others.map((peer) => this.#link(peer).tell(tell)),
      Math.floor(homes.length / 2) + 1 - (homes.length - others.length),
    );
    // What headers carry, and a peer that starts reads in its own, are the digests of parts: of a push of several, that of none.
    const neededMs = parts === 1 ? TIMING.forgetfulMs : this.#options.windowMs;
    const all = [{ ...here, remembersMs: homes.length === others.length ? 0 : this.#remembersMs }, ...known];
    return {
      isAcknowledged: all.some(({ acknowledged }) => acknowledged),
      rivals: all
        .map(({ claimant }) => claimant)
        .filter((claimant) => !isSameClaimant(claimant, this.#self))
        .filter((claimant) => !over.some((settled) => isSameClaimant(settled, claimant))),
      hasHomes: known.length > 0,
      isCutOff: others.length > 0 && known.length === 0,
      isForgetful: all.every(({ remembersMs }) => remembersMs < neededMs),
    };
  }

  /**
   * What homes say, without those that are out of reach. Two claimants' majorities share a home, so once `enough` have
   * answered the others are waited for only a little longer: one that hangs must not hold up every push.
   */
  async #answers(
    asked: readonly Promise<HomeAnswer | undefined>[],
    enough: number,
  ): Promise<readonly HomeAnswer[]> {
    const known: HomeAnswer[] = [];
    const early = Promise.withResolvers<void>();
    let timer: Timer | undefined;
    const all = asked.map(async (answering) => {
      const answer = await answering;
      if (answer) known.push(answer);
      if (known.length >= enough)
        timer ??= this.#options.clock.after(TIMING.stragglerMs, () => early.resolve());
    });
    await Promise.race([Promise.all(all), early.promise]);
    timer?.cancel();
    return known.slice();
  }

  get #remembersMs(): number {
    return this.#isNew ? Infinity : this.#options.clock.monotonicMs() - this.#startedMs;
  }

  #link(peer: PeerId): HomeLink {
    let link = this.#links.get(peer);
    if (!link) {
      link = new HomeLink(this.#options.transport, peer, TIMING.claimMs);
      if (this.#links.size >= LIMITS.membersMax) this.#links.clear();
      this.#links.set(peer, link);
    }
    return link;
  }

  #tellHomes(tell: Tell): void {
    for (const peer of this.#homes(tell.digest))
      if (peer !== this.#self.peer) void this.#link(peer).tell(tell);
  }

  /** Never rejects; gives up on a home that does not answer for a while. */
  async #tellAgain(peer: PeerId): Promise<void> {
    const epoch = this.#runs.get(peer);
    let untold = this.#memory.takenBy(this.#self.peer);
    for (let attempt = 0; attempt < TIMING.retellAttempts && untold.length > 0; attempt++) {
      if (attempt > 0) await this.#pause(TIMING.retellPauseMs);
      const again: string[] = [];
      for (let at = 0; at < untold.length; at += LIMITS.pushesPerMessageMax) {
        // A later run of that home is told by somebody else.
        if (this.#closed || this.#runs.get(peer) !== epoch) return;
        const some = untold.slice(at, at + LIMITS.pushesPerMessageMax);
        const answers = await Promise.all(some.map((digest) => this.#tellOne(peer, digest)));
        again.push(...some.filter((_, index) => !answers[index]));
      }
      untold = again;
    }
  }

  /** Whether the home knows now, if it is one. */
  async #tellOne(peer: PeerId, digest: string): Promise<boolean> {
    const known = this.#memory.get(digest);
    if (!known || !this.#homes(digest).includes(peer)) return true;
    const what = known.acknowledged ? 'acknowledged' : 'claim';
    const { epoch } = known.claimant;
    return (await this.#link(peer).tell({ what, digest, epoch })) !== undefined;
  }

  // Those who have it already.

  /** `free`: the rival does not have it and may have left batches; `yours`: it stepped back and has left none. */
  async #settle(digest: string, rival: Claimant): Promise<'acknowledged' | 'pending' | 'free' | 'yours'> {
    if (rival.peer === this.#self.peer) return 'free';
    const member = this.#options.members().find(({ peer }) => peer === rival.peer);
    const isUp = member?.state === 'alive' || member?.state === 'suspect';
    if (!isUp) return 'free';
    try {
      const message = encodePushMessage({ kind: 'ask', digest });
      const { transport } = this.#options;
      const timeoutMs = TIMING.askWaitMs + TIMING.claimMs;
      const { state } = parseAsked(await request(transport, rival.peer, PUSH_PROTOCOL, message, timeoutMs));
      return state === 'unknown' ? 'free' : state;
    } catch {
      // It may still store it: only once it is known to be dead is that settled.
      await this.#pause(TIMING.againMs);
      return 'pending';
    }
  }

  /**
   * Parts that nobody has. Waits until those that somebody has are acknowledged; rejects when that takes too long. Where
   * somebody is known to have taken the push, every live member must have said what it holds.
   */
  async #missingParts(parts: readonly string[], isLate: () => boolean, needsAll: boolean): Promise<number[]> {
    for (;;) {
      const { found, isWhole } = await this.#find(parts);
      if (isWhole || !needsAll) {
        const quorum = this.#options.quorum();
        const isWaiting = found.some((copies) => copies.size > 0 && !isEnough(copies, quorum));
        if (!isWaiting) return parts.flatMap((_, part) => (found[part].size === 0 ? [part] : []));
      }
      if (isLate() || this.#closed) throw undecided();
      await this.#pause(TIMING.againMs);
    }
  }

  /** For each part, the batches that hold it and how many copies of each count; whether every live member answered. */
  async #find(parts: readonly string[]): Promise<{ found: Map<string, number>[]; isWhole: boolean }> {
    const { transport } = this.#options;
    const members = this.#options.members().filter(({ state }) => state === 'alive' || state === 'suspect');
    const others = members.filter(({ peer }) => peer !== this.#self.peer);
    const message = encodePushMessage({ kind: 'find', digests: [...parts] });
    const found: Map<string, number>[] = parts.map(() => new Map());
    const add = (held: readonly (readonly HeldBatch[])[]): void => {
      for (const [part, batches] of held.entries()) {
        for (const { origin, epoch, seq, counts } of batches) {
          const name = `${origin}/${epoch}/${seq}`;
          found[part].set(name, (found[part].get(name) ?? 0) + (counts ? 1 : 0));
        }
      }
    };
    const answers = others.map(async ({ peer }) => {
      const answer = await request(transport, peer, PUSH_PROTOCOL, message, TIMING.findMs);
      add(parseFound(answer, parts.length).held);
    });
    const results = await Promise.allSettled([this.#held.find(parts).then(add), ...answers]);
    const failed = results.find((result) => result.status === 'rejected');
    if (failed) this.#options.log('info', `looking for a push: ${messageOf(failed.reason)}`);
    return { found, isWhole: !failed };
  }

  // What others ask.

  async serve(channel: Channel): Promise<void> {
    const message = await channel.receive();
    if (!message) return;
    const asked = parsePushRequest(message);
    if (asked.kind === 'tell') {
      const known = asked.tells.map((tell) => this.#told(channel.peer, tell));
      const remembersMs = this.#isNew ? null : this.#remembersMs;
      await channel.send(encodePushMessage({ remembersMs, known }));
    } else if (asked.kind === 'ask') {
      await channel.send(encodePushMessage({ state: await this.#answer(channel.peer, asked.digest) }));
    } else {
      const held = await this.#held.find(asked.digests);
      await channel.send(encodePushMessage({ held: held.map(heldToTell) }));
    }
    await channel.close();
  }

  #told(
    peer: PeerId,
    { what, digest, epoch, over = [] }: Tell,
  ): {
    peer: string;
    epoch: number;
    acknowledged: boolean;
  } {
    const claimant = { peer, epoch };
    if (what === 'acknowledged') this.#memory.acknowledge(digest, claimant);
    if (what === 'released') this.#memory.release(digest, claimant);
    if (what !== 'claim') return { ...claimant, acknowledged: what === 'acknowledged' };
    const settled = over.map((one) => ({ peer: asPeer(one.peer), epoch: one.epoch }));
    const known = this.#memory.claim(digest, claimant, settled);
    return { ...known.claimant, acknowledged: known.acknowledged };
  }

  async #answer(asker: PeerId, digest: string): Promise<Asked['state']> {
    if (this.#memory.get(digest)?.acknowledged) return 'acknowledged';
    const underWay = this.#underWay.get(digest);
    if (!underWay) return 'unknown';
    if (!underWay.isKept && asker < this.#self.peer) {
      const epoch = this.#options.members().find(({ peer }) => peer === asker)?.epoch ?? 0;
      underWay.yieldedTo = { peer: asker, epoch };
      // Where this peer took it over itself, some of it may lie on others' disks.
      return this.#unsure.has(digest) ? 'unknown' : 'yours';
    }
    if (this.#asking >= LIMITS.pushesUnderWayMax) return 'pending';
    this.#asking++;
    const late = Promise.withResolvers<'pending'>();
    const timer = this.#options.clock.after(TIMING.askWaitMs, () => late.resolve('pending'));
    const outcome = underWay.outcome.then(
      () => 'acknowledged' as const,
      () => 'unknown' as const,
    );
    const state = await Promise.race([outcome, late.promise]);
    timer.cancel();
    this.#asking--;
    return state;
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#options.clock.after(ms, resolve));
  }

  close(): void {
    this.#closed = true;
  }
}

function isEnough(copies: ReadonlyMap<string, number>, quorum: number): boolean {
  return [...copies.values()].some((count) => count >= quorum);
}

function cutOff(): LogvineError {
  const message =
    'no other peer answers: nothing of this push is kept. Send it again, here later or to another peer';
  return new LogvineError('LV_REPLICATION_TIMEOUT', message);
}

function undecided(): LogvineError {
  const message =
    'these lines were sent before, and whether they are stored is not known yet: send them again later';
  return new LogvineError('LV_REPLICATION_TIMEOUT', message);
}
