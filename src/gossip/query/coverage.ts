import {
  LogvineError,
  subtractRuns,
  unionRuns,
  type Clock,
  type Loss,
  type Store,
  type TimeRange,
} from '../../store/index.ts';
import { doesStand, standingLosses, type StandingLosses } from '../losses/losses.ts';
import { encodeMessage, type Holding, type HoldingsKnown, type Watermarks } from '../repair/index.ts';
import { requestPages, type PeerId, type Transport } from '../transport/index.ts';
import { EVERY_PEER, quorumOf, type MeshMember, type MeshView } from '../view.ts';
import { TIME_MS_MAX } from '../wire.ts';
import { askWhatIsGone } from './gone.ts';
import { askWhatWasHeard } from './heard.ts';
import { coverageOf } from './holder.ts';
import { COVERAGE_PROTOCOL, peersDigest, peersOf, type CoverageAnswer } from './messages.ts';
import { CoveragePages } from './pages.ts';
import {
  findGaps,
  timeText,
  type Expectation,
  type Gaps,
  type MissingBatches,
  type SilentOrigin,
} from './receipt.ts';

const EVER: TimeRange = { from: { ms: -TIME_MS_MAX, sub: 0 }, to: { ms: TIME_MS_MAX, sub: 0 } };

export interface CoverageOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly view: MeshView;
  readonly store: Store;
  readonly known: HoldingsKnown;
  readonly watermarks: Watermarks;
  readonly ackQuorum: number;
  readonly coverageTimeoutMs: number;
}

/** What is known to exist, and who was heard to have it. */
type Existing = Pick<Expectation, 'watermarks' | 'remembered'>;

/** Who holds what in a range, as those within reach say, and what nobody of them has. */
export interface Covered {
  readonly answers: ReadonlyMap<PeerId, CoverageAnswer>;
  readonly gaps: Gaps;
  readonly silent: readonly SilentOrigin[];
}

/** A peer that nobody has told yet who is in the mesh cannot know who else there is, nor what they have. */
const EVERYBODY: SilentOrigin = {
  peer: EVERY_PEER,
  epoch: null,
  durableSeq: null,
  lastHeard: null,
};

/**
 * Asks every live member what it holds, and works out what exists beside that: what a receipt says of an answer's completeness
 * (I9) is found out here.
 */
export class Coverage {
  readonly #options: CoverageOptions;

  constructor(options: CoverageOptions) {
    this.#options = options;
  }

  /** Rejects with what the signal was aborted for. */
  async ask(range: TimeRange, signal: AbortSignal): Promise<Covered> {
    // Noted before anybody is asked: what comes into being while they answer is not missing from their answers.
    const existing = this.#existing();
    const members = this.members();
    const isSearching = this.#options.view.isSearching();
    const answers = await this.#answers(range);
    signal.throwIfAborted();
    const toldLosses: Loss[] = [];
    const lost = this.#lost(toldLosses).peers;
    const away = this.#outOfReach(members, answers).filter((peer) => !lost.has(peer));
    // From W on the answer is incomplete anyway.
    const isDecided = away.length >= quorumOf(members, this.#options.ackQuorum);
    const gaps = await this.#gaps(existing, range, answers, isDecided ? [] : away, toldLosses);
    const silent = isSearching ? [EVERYBODY] : await this.#silent(members, answers, toldLosses);
    return { answers, gaps, silent };
  }

  /** Batches of any time that nobody within reach has; who is out of reach, and who answered. Rejects with LV_CLOSED while the mesh is searched for. */
  async losses(): Promise<{
    missing: readonly MissingBatches[];
    outOfReach: readonly PeerId[];
    answered: readonly PeerId[];
  }> {
    if (this.#options.view.isSearching())
      throw new LogvineError('LV_CLOSED', 'this peer has not found its mesh yet: ask again when it has');
    const existing = this.#existing();
    const members = this.members();
    const answers = await this.#answers(EVER);
    const toldLosses: Loss[] = [];
    const away = this.#outOfReach(members, answers);
    const { missing } = await this.#gaps(existing, EVER, answers, away, toldLosses);
    const lost = this.#lost(toldLosses).peers;
    const outOfReach = this.#outOfReach(members, answers).filter((peer) => !lost.has(peer));
    return { missing, outOfReach, answered: [...answers.keys()] };
  }

  /** What could not be read may have been dropped by retention while the query ran. */
  async withoutExpired(corrupt: readonly MissingBatches[]): Promise<readonly MissingBatches[]> {
    if (corrupt.length === 0) return corrupt;
    const { transport, store, known, coverageTimeoutMs } = this.#options;
    const told = await askWhatIsGone(transport, this.#reachable(), corrupt, coverageTimeoutMs);
    known.expired.add(told.expired);
    return corrupt.flatMap((run) => {
      const { origin, epoch, fromSeq, toSeq } = run;
      const expired = unionRuns(store.dropped.expired.runs(origin, epoch), known.expired.runs(origin, epoch));
      return subtractRuns([[fromSeq, toSeq]], expired).map(([from, to]) => ({
        ...run,
        fromSeq: from,
        toSeq: to,
      }));
    });
  }

  /** All but those that have left. */
  members(): MeshMember[] {
    return this.#options.view.members().filter(({ state }) => state !== 'left');
  }

  #reachable(): PeerId[] {
    const { view } = this.#options;
    return view
      .members()
      .filter(({ peer, state }) => peer !== view.self && (state === 'alive' || state === 'suspect'))
      .map(({ peer }) => peer);
  }

  async #answers(range: TimeRange): Promise<Map<PeerId, CoverageAnswer>> {
    const { transport, store, known, view, coverageTimeoutMs } = this.#options;
    const answers = new Map<PeerId, CoverageAnswer>();
    const message = encodeMessage({ ...range, peersDigest: peersDigest(peersOf(view.members())) });
    const asked = this.#reachable().map(async (peer) => {
      const pages = new CoveragePages();
      const take = (page: Buffer): CoverageAnswer | undefined => pages.add(page);
      const answer = await requestPages(transport, peer, COVERAGE_PROTOCOL, message, coverageTimeoutMs, take);
      answers.set(peer, answer);
    });
    answers.set(transport.self, coverageOf(store, known, range.from, range.to));
    await Promise.allSettled(asked);
    return answers;
  }

  /** What this peer knows to exist anywhere. */
  #existing(): Existing {
    const { known, watermarks } = this.#options;
    return {
      watermarks: watermarks.all().map((mark) => ({ ...mark })),
      remembered: known.runs(),
    };
  }

  /**
   * What is not within reach, also of what others have heard of those `away`; and whether that is so on purpose: peers are asked only
   * when something is missing. Adds the losses to `toldLosses` that they were told of.
   */
  async #gaps(
    existing: Existing,
    range: TimeRange,
    answers: ReadonlyMap<PeerId, CoverageAnswer>,
    away: readonly PeerId[],
    toldLosses: Loss[],
  ): Promise<Gaps> {
    const { transport, store, known, coverageTimeoutMs } = this.#options;
    const heard = await askWhatWasHeard(transport, answers.keys(), away, existing, coverageTimeoutMs);
    const find = (): Gaps => {
      const lost = this.#lost(toldLosses);
      const expired = [...store.dropped.expired.all, ...known.expired.all];
      const awaited = lost.runs.length > 0 ? this.#awaited(existing.remembered, answers, lost) : [];
      const told = Array.from(answers, ([peer, answer]) => ({ ...answer, peer }));
      const all = { ...existing, ...range, answers: told, heard };
      return findGaps({ ...all, expired, lost: lost.runs, awaited });
    };
    const gaps = find();
    if (gaps.missing.length === 0) return gaps;
    const told = await askWhatIsGone(transport, answers.keys(), gaps.missing, coverageTimeoutMs);
    this.#hear(told.losses, toldLosses);
    known.expired.add(told.expired);
    // It may have been heard of in another way meanwhile.
    return find();
  }

  /** What others were told is remembered here, too. */
  #hear(told: readonly Loss[], toldLosses: Loss[]): void {
    const { store, view } = this.#options;
    for (const loss of told) {
      if (!doesStand(loss, view.members())) continue;
      toldLosses.push(loss);
      // Where that fails, they are asked again.
      store.dropped.acceptLoss(loss).catch(() => undefined);
    }
  }

  #lost(toldLosses: readonly Loss[]): StandingLosses {
    const { store, view } = this.#options;
    return standingLosses([...store.dropped.losses, ...toldLosses], view.members());
  }

  /** Of runs with losses, what members out of reach have, those included that were given up and may come back. Who answered has said itself what it has. */
  #awaited(
    remembered: Existing['remembered'],
    answers: ReadonlyMap<PeerId, unknown>,
    lost: StandingLosses,
  ): Holding[] {
    const members = new Set(this.members().map(({ peer }) => peer));
    const isAwaited = (peer: PeerId): boolean =>
      members.has(peer) && !answers.has(peer) && !lost.peers.has(peer);
    const ofLost = new Set(lost.runs.map(({ origin, epoch }) => `${origin}/${epoch}`));
    return remembered
      .filter(({ origin, epoch }) => ofLost.has(`${origin}/${epoch}`))
      .flatMap(({ segments }) => segments)
      .flatMap((holders) => [...holders].flatMap(([peer, holding]) => (isAwaited(peer) ? [holding] : [])));
  }

  /**
   * While fewer than W members are out of reach, an acknowledged batch has a copy within reach. From W on, a silent origin
   * may have acknowledged lines that only silent peers hold: those that it sealed after it was last heard. Of whatever
   * range: a line may be older than the moment at which it was read.
   */
  async #silent(
    before: readonly MeshMember[],
    answers: ReadonlyMap<PeerId, CoverageAnswer>,
    toldLosses: Loss[],
  ): Promise<SilentOrigin[]> {
    const { watermarks, ackQuorum, transport, coverageTimeoutMs } = this.#options;
    const quorum = quorumOf(before, ackQuorum);
    let away = this.#outOfReach(before, answers);
    if (away.length < quorum) return [];
    this.#hear((await askWhatIsGone(transport, answers.keys(), [], coverageTimeoutMs)).losses, toldLosses);
    away = this.#outOfReach(before, answers);
    const lost = this.#lost(toldLosses).peers;
    const unreachable = away.filter((peer) => !lost.has(peer));
    // A batch may be on those that are lost, and on one of these.
    if (away.length < quorum || unreachable.length === 0) return [];
    const latest = new Map(watermarks.latest().map((mark) => [mark.origin, mark]));
    return unreachable
      .map((peer) => ({ peer, mark: latest.get(peer) }))
      .map(({ peer, mark }) => ({
        peer,
        epoch: mark?.epoch ?? null,
        durableSeq: mark?.durable ?? null,
        lastHeard: mark && mark.heardMs > 0 ? timeText(mark.heardMs) : null,
      }));
  }

  /** A peer that this one has not heard of yet, and one that answers has, is out of reach as well: see docs/decisions/0012. */
  #outOfReach(before: readonly MeshMember[], answers: ReadonlyMap<PeerId, CoverageAnswer>): PeerId[] {
    // Who left meanwhile may have handed over to others that had answered already; who was not heard of before counts, too.
    const peers = new Set([...before, ...this.members()].map(({ peer }) => peer));
    for (const { peers: heardOf = [] } of answers.values()) for (const peer of heardOf) peers.add(peer);
    return [...peers].filter((peer) => !answers.has(peer));
  }
}
