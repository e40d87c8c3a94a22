import { z } from 'zod';
import { LIMITS, LogvineError, messageOf, type ExpiredRun, type Store } from '../../store/index.ts';
import { encodeMessage, expiredRun, parseMessage, type HoldingsKnown } from '../repair/index.ts';
import { request, type Channel, type PeerId, type Transport } from '../transport/index.ts';
import type { MeshView } from '../view.ts';
import { listOf, peerIdSchema, TIME_MS_MAX } from '../wire.ts';
import type { Coordinator } from './coordinator.ts';
import type { MissingBatches } from './receipt.ts';

export const LOSS_PROTOCOL = '/logvine/loss/1';

const message = z.object({
  runs: listOf(expiredRun, LIMITS.expiredRunsMax),
  peers: listOf(peerIdSchema, LIMITS.membersMax),
});
type Loss = z.infer<typeof message>;
const answer = z.object({ remembered: z.literal(true) });

/** What nobody has any more, and whether it was accepted. */
export interface Losses {
  readonly missing: readonly MissingBatches[];
  /** Peers whose disks may have it. */
  readonly outOfReach: readonly PeerId[];
  /** Peers that have it on disk that those batches are lost for good; 0: it was only asked. */
  readonly told: number;
}

export interface LossesOptions {
  readonly transport: Transport;
  readonly view: MeshView;
  readonly store: Store;
  readonly known: Pick<HoldingsKnown, 'lostPeers'>;
  readonly coordinator: Pick<Coordinator, 'losses'>;
  readonly timeoutMs: number;
  log(level: 'warn', message: string): void;
}

/**
 * When every disk that had a batch is gone, answers would name it as missing for ever, and its holders as silent for as long as they are
 * remembered. A person who knows that the disks do not come back may say so: from then on the batch is counted as lost, nobody
 * waits for those peers, and answers are complete again. (Ceph calls it mark_unfound_lost.) Should a copy turn up all the same, it
 * is read like any other.
 */
export class LossAcceptor {
  readonly #options: LossesOptions;

  constructor(options: LossesOptions) {
    this.#options = options;
  }

  /**
   * What is missing now. With `accept`, every member within reach remembers that it is lost, and that those `neverBack` are. Rejects
   * with LV_QUERY_INVALID when one of these is not out of reach, LV_PEER_UNREACHABLE while others may have what is missing,
   * LV_DISK_FULL.
   */
  async losses(accept: boolean, neverBack: readonly string[]): Promise<Losses> {
    const { store, coordinator } = this.#options;
    const { missing, outOfReach: away } = await coordinator.losses();
    const peers = away.filter((peer) => neverBack.includes(peer));
    const outOfReach = away.filter((peer) => !neverBack.includes(peer));
    const wrong = neverBack.find((peer) => !away.some((one) => one === peer) && !store.lostPeers.has(peer));
    if (wrong !== undefined) {
      throw new LogvineError(
        'LV_QUERY_INVALID',
        `${wrong} is no member that is out of reach: see logvine members`,
      );
    }
    if (!accept || (missing.length === 0 && peers.length === 0)) return { missing, outOfReach, told: 0 };
    if (outOfReach.length > 0) {
      const names = outOfReach.slice(0, 10).join(', ');
      const problem = `out of reach, and their disks may have what is missing: ${names}`;
      throw new LogvineError(
        'LV_PEER_UNREACHABLE',
        `${problem}. Start them, or name those that never come back with --never-back`,
      );
    }
    const runs = missing.slice(0, LIMITS.expiredRunsMax).map(runOf);
    await store.acceptLoss(runs, peers);
    return { missing, outOfReach, told: 1 + (await this.#tell({ runs, peers })) };
  }

  /** How many others have taken note of it. Whoever has not will ask them. */
  async #tell(loss: Loss): Promise<number> {
    const { transport, view, timeoutMs } = this.#options;
    const others = view.members().filter(({ peer, state }) => peer !== view.self && state === 'alive');
    const bytes = encodeMessage(loss);
    const told = others.map(async ({ peer }) =>
      parseMessage(answer, await request(transport, peer, LOSS_PROTOCOL, bytes, timeoutMs), 'loss'),
    );
    return (await Promise.allSettled(told)).filter(({ status }) => status === 'fulfilled').length;
  }

  /** `peer` is alive all the same: it is counted again when it is away. */
  isBack(peer: PeerId): void {
    const { store, known, log } = this.#options;
    known.lostPeers.delete(peer);
    store
      .foundAgain(peer)
      .catch((error: unknown) => log('warn', `${peer} was lost, and is back: ${messageOf(error)}`));
  }

  async serve(channel: Channel): Promise<void> {
    const bytes = await channel.receive();
    if (!bytes) return;
    const { runs, peers } = parseMessage(message, bytes, 'loss');
    await this.#options.store.acceptLoss(runs, peers);
    await channel.send(encodeMessage({ remembered: true } satisfies z.infer<typeof answer>));
    await channel.close();
  }
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
