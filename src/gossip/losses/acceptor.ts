import { z } from 'zod';
import { LogvineError, type ExpiredRun, type Loss, type Store } from '../../store/index.ts';
import type { Coverage } from '../query/index.ts';
import type { MissingBatches } from '../query/receipt.ts';
import { compareAge } from '../membership/record.ts';
import { encodeMessage, parseMessage } from '../repair/index.ts';
import {
  request,
  requestAll,
  withDeadline,
  type Channel,
  type PeerId,
  type Transport,
} from '../transport/index.ts';
import type { MeshView } from '../view.ts';
import { listOf, TIME_MS_MAX } from '../wire.ts';
import { lossSchema, laterRecords, lostPeers, standingLosses, type LostPeer } from './losses.ts';

export const LOSS_PROTOCOL = '/logvine/loss/1';

/** Runs that are accepted at once, and told in one message. */
const RUNS_MAX = 10_000;
/** Others may know later records of the lost peers, each of them others. */
const TELL_ATTEMPTS = 3;
/** A peer that takes longer to look through its damaged files does so in vain for now. */
const LOOK_WITHIN_MS = 30_000;

const epochs = listOf(
  z.object({ origin: z.string().max(128), epoch: z.number().int().nonnegative() }),
  RUNS_MAX,
);
/** What is lost; or what is missing and to be looked for once more before that is said. */
const question = z.union([lossSchema, z.object({ lookFor: epochs })]);
/** Later: of peers that are down, records later than those in the loss. */
const answer = z.union([
  z.object({ remembered: z.literal(true) }),
  z.object({ later: lostPeers }),
  z.object({ looked: z.literal(true) }),
]);

type Epochs = z.infer<typeof epochs>;

/** What nobody has any more, and whether it was accepted. */
export interface Losses {
  readonly missing: readonly MissingBatches[];
  /** Runs of batches that are missing, and not named here. */
  readonly omitted: number;
  /** Peers whose disks may have it. */
  readonly outOfReach: readonly PeerId[];
  /** Peers that have it on disk that those batches are lost, and members that were told; 0: nothing was accepted. */
  readonly remembering: number;
  readonly told: number;
}

export interface LossAcceptorOptions {
  readonly transport: Transport;
  readonly view: MeshView;
  readonly store: Store;
  readonly coverage: Pick<Coverage, 'losses'>;
  readonly timeoutMs: number;
}

/**
 * When every disk that had a batch is gone, answers would name it as missing for ever, and its holders as silent for as long as they are
 * remembered. A person who knows that the disks do not come back may say so: from then on the batch is counted as lost, nobody
 * waits for those peers, and answers are complete again. (Ceph calls it mark_unfound_lost.) Should a copy turn up all the same, it
 * is read like any other; should a peer, see `standingLosses`.
 */
export class LossAcceptor {
  readonly #options: LossAcceptorOptions;

  constructor(options: LossAcceptorOptions) {
    this.#options = options;
  }

  /**
   * What is missing now, also after each peer has looked through what is damaged on its disk. With `accept`, members within reach
   * remember that it is lost, and that those `neverBack` are. Rejects with LV_QUERY_INVALID when one of these is not known to be
   * down, LV_PEER_UNREACHABLE while others may have what is missing, LV_DISK_FULL, LV_OVERLOADED.
   */
  async losses(accept: boolean, neverBack: readonly string[]): Promise<Losses> {
    const { store, view } = this.#options;
    const { missing: found, outOfReach: away, answered } = await this.#missing();
    for (const peer of neverBack) this.#checkDown(peer);
    const outOfReach = away.filter((peer) => !neverBack.includes(peer));
    const missing = found.slice(0, RUNS_MAX);
    const losses = { missing, omitted: found.length - missing.length, outOfReach };
    if (!accept || (missing.length === 0 && neverBack.length === 0))
      return { ...losses, remembering: 0, told: 0 };
    if (outOfReach.length > 0) {
      const problem = `out of reach, and their disks may have what is missing: ${outOfReach.slice(0, 10).join(', ')}`;
      throw new LogvineError(
        'LV_PEER_UNREACHABLE',
        `${problem}. Start them, or name those that never come back with --never-back`,
      );
    }
    // It holds as long as those are away, too, that were lost before: what is missing may be theirs.
    const before = standingLosses(store.dropped.losses, view.members()).peers;
    const peers = view
      .members()
      .filter((member) => neverBack.includes(member.peer) || before.has(member.peer))
      .map(({ peer, epoch, incarnation }) => ({ peer, epoch, incarnation }));
    let loss: Loss = { runs: missing.map(runOf), peers };
    const others = answered.filter((peer) => peer !== view.self);
    const told = 1 + others.length;
    for (let attempt = 1; ; attempt++) {
      await store.dropped.acceptLoss(loss);
      const { remembering, later } = await this.#tell(others, loss);
      if (later.length === 0 || attempt === TELL_ATTEMPTS)
        return { ...losses, remembering: 1 + remembering, told };
      // Else the loss would not stand where they are known.
      loss = { runs: loss.runs, peers: loss.peers.map((lost) => latestOf(lost, later)) };
    }
  }

  async #missing(): ReturnType<Coverage['losses']> {
    const { coverage } = this.#options;
    const found = await coverage.losses();
    if (found.missing.length === 0) return found;
    await this.#lookAgain(found.missing, found.answered);
    return coverage.losses();
  }

  /** What stands in the wrong place, or could not be read for a while, is found only by a look at each byte. */
  async #lookAgain(missing: readonly MissingBatches[], peers: readonly PeerId[]): Promise<void> {
    const { transport, store, view } = this.#options;
    const byName = new Map(missing.map(({ origin, epoch }) => [`${origin}/${epoch}`, { origin, epoch }]));
    const lookFor = [...byName.values()].slice(0, RUNS_MAX);
    const bytes = encodeMessage({ lookFor });
    const late = (): Error =>
      new LogvineError('LV_PEER_TIMEOUT', 'this disk is slow to give what is damaged');
    const looks = peers.map((peer) =>
      peer === view.self
        ? withDeadline(transport.clock, LOOK_WITHIN_MS, late, () => lookThroughDamaged(store, lookFor))
        : request(transport, peer, LOSS_PROTOCOL, bytes, LOOK_WITHIN_MS),
    );
    await Promise.allSettled(looks);
  }

  #checkDown(peer: string): void {
    const member = this.#options.view.members().find((one) => one.peer === peer);
    if (member?.state === 'dead' || member?.state === 'gone') return;
    const problem = member ? `is ${member.state}` : 'is not known here';
    throw new LogvineError('LV_QUERY_INVALID', `${peer} ${problem}: only a peer that is down can be lost`);
  }

  /** How many have taken note of it: whoever has not will ask them. And what they know better. */
  async #tell(others: readonly PeerId[], loss: Loss): Promise<{ remembering: number; later: LostPeer[] }> {
    const { transport, timeoutMs } = this.#options;
    const bytes = encodeMessage(loss);
    let remembering = 0;
    const later: LostPeer[] = [];
    await requestAll(transport, others, LOSS_PROTOCOL, bytes, timeoutMs, (reply) => {
      const said = parseMessage(answer, reply, 'loss');
      if ('later' in said) later.push(...said.later);
      else if ('remembered' in said) remembering++;
    });
    return { remembering, later };
  }

  async serve(channel: Channel): Promise<void> {
    const bytes = await channel.receive();
    if (!bytes) return;
    const asked = parseMessage(question, bytes, 'loss');
    const said = 'lookFor' in asked ? await this.#look(asked.lookFor) : await this.#remember(asked);
    await channel.send(encodeMessage(said));
    await channel.close();
  }

  async #look(lookFor: Epochs): Promise<z.infer<typeof answer>> {
    await lookThroughDamaged(this.#options.store, lookFor);
    return { looked: true };
  }

  async #remember(loss: Loss): Promise<z.infer<typeof answer>> {
    const { store, view } = this.#options;
    // This peer may know better.
    const later = laterRecords(loss, view.members());
    if (!later) throw new LogvineError('LV_PROTOCOL', 'a peer that is called lost is back');
    if (later.length > 0) return { later };
    await store.dropped.acceptLoss(loss);
    return { remembered: true };
  }
}

/** Whatever sound batches of these runs are found in damaged files are held again. */
async function lookThroughDamaged(store: Store, lookFor: Epochs): Promise<void> {
  const wanted = new Set(lookFor.map(({ origin, epoch }) => `${origin}/${epoch}`));
  for (const segment of [...store.damaged]) {
    const { origin, epoch } = segment.id;
    // What the disk does not give is not found.
    if (wanted.has(`${origin}/${epoch}`)) await store.readAgain(segment).catch(() => undefined);
  }
}

function latestOf(lost: LostPeer, others: readonly LostPeer[]): LostPeer {
  const newer = others.filter(({ peer }) => peer === lost.peer).filter((one) => compareAge(one, lost) > 0);
  return newer.reduce((latest, one) => (compareAge(one, latest) > 0 ? one : latest), lost);
}

/** Where nobody knows its times, it may have lines of any. */
function runOf({ origin, epoch, fromSeq, toSeq, fromTime, toTime }: MissingBatches): ExpiredRun {
  const at = (time: string | null, unknownMs: number, sub: number) => ({
    ms: time === null ? unknownMs : Date.parse(time),
    sub,
  });
  const [min, max] = [at(fromTime, -TIME_MS_MAX, 0), at(toTime, TIME_MS_MAX, 999_999)];
  return { origin, epoch, from: fromSeq, to: toSeq, min, max };
}
