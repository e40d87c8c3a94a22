import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { LIMITS, type ExpiredRun, type Loss, type Store } from '../../store/index.ts';
import { doesStand, lossSchema } from '../losses/losses.ts';
import { encodeMessage, expiredRun, parseMessage, type HoldingsKnown } from '../repair/index.ts';
import { request, type Channel, type PeerId, type Transport } from '../transport/index.ts';
import type { MeshView } from '../view.ts';
import { listOf, seqRunSchema } from '../wire.ts';
import type { MissingBatches } from './receipt.ts';

export const GONE_PROTOCOL = '/logvine/gone/1';

const question = listOf(seqRunSchema, LIMITS.expiredRunsMax);
const runs = listOf(expiredRun, LIMITS.expiredRunsMax * 10);
const answer = z.object({ expired: runs, losses: listOf(lossSchema, LIMITS.lossesMax) });

/** Batches that nobody has and that are not missed: retention dropped them, or a person has accepted that they are lost. */
export interface Gone {
  readonly expired: ExpiredRun[];
  readonly losses: Loss[];
}

/** Asks peers what became of the missing batches, and of members. Asked only when something is missing, or somebody. */
export async function askWhatIsGone(
  transport: Transport,
  peers: Iterable<PeerId>,
  missing: readonly MissingBatches[],
  timeoutMs: number,
): Promise<Gone> {
  const asked = missing
    .slice(0, LIMITS.expiredRunsMax)
    .map(({ origin, epoch, fromSeq: from, toSeq: to }) => ({ origin, epoch, from, to }));
  const message = encodeMessage(asked);
  const found: Gone = { expired: [], losses: [] };
  const all = [...peers]
    .filter((peer) => peer !== transport.self)
    .map(async (peer) => {
      const bytes = await request(transport, peer, GONE_PROTOCOL, message, timeoutMs);
      const { expired, losses } = parseMessage(answer, bytes, 'gone');
      found.expired.push(...expired);
      found.losses.push(
        ...losses.filter((loss) => !found.losses.some((one) => isDeepStrictEqual(one, loss))),
      );
    });
  await Promise.allSettled(all);
  return found;
}

/** Answers from what this peer expired itself or heard of, and tells every loss that holds. */
export async function serveGone(
  channel: Channel,
  store: Store,
  known: HoldingsKnown,
  view: Pick<MeshView, 'members'>,
): Promise<void> {
  const message = await channel.receive();
  if (!message) return;
  const asked = Map.groupBy(
    parseMessage(question, message, 'gone'),
    ({ origin, epoch }) => `${origin}/${epoch}`,
  );
  const isAsked = ({ origin, epoch, from, to }: ExpiredRun): boolean =>
    asked.get(`${origin}/${epoch}`)?.some((wanted) => from <= wanted.to && to >= wanted.from) === true;
  const expired = [...store.expired.all, ...known.expired.all].filter(isAsked);
  const losses = store.losses.filter((loss) => doesStand(loss, view.members()));
  await channel.send(encodeMessage({ expired, losses }));
  await channel.close();
}
