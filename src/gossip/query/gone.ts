import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import {
  LIMITS,
  unionRuns,
  type ExpiredRun,
  type ExpiredRuns,
  type Loss,
  type Store,
} from '../../store/index.ts';
import { doesStand, lossSchema } from '../losses/losses.ts';
import { encodeMessage, expiredRun, parseMessage, type HoldingsKnown } from '../repair/index.ts';
import { requestAll, type Channel, type PeerId, type Transport } from '../transport/index.ts';
import type { MeshView } from '../view.ts';
import { listOf, seqRunSchema } from '../wire.ts';
import type { MissingBatches } from './receipt.ts';

export const GONE_PROTOCOL = '/logvine/gone/1';

const question = listOf(seqRunSchema, LIMITS.expiredRunsMax);
/** With all losses they fit a message: less than 200 bytes each. The rest is told when it is asked for again. */
const RUNS_MAX = LIMITS.expiredRunsMax * 5;
const answer = z.object({
  expired: listOf(expiredRun, RUNS_MAX),
  losses: listOf(lossSchema, LIMITS.lossesMax),
});

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
  await requestAll(transport, peers, GONE_PROTOCOL, message, timeoutMs, (bytes) => {
    const { expired, losses } = parseMessage(answer, bytes, 'gone');
    for (const run of expired) found.expired.push(run);
    found.losses.push(...losses.filter((loss) => !found.losses.some((one) => isDeepStrictEqual(one, loss))));
  });
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
  const asked = parseMessage(question, message, 'gone');
  const expired = [...overlapping(asked, [store.dropped.expired, known.expired])];
  const losses = store.dropped.losses.filter((loss) => doesStand(loss, view.members()));
  await channel.send(encodeMessage({ expired, losses }));
  await channel.close();
}

/** Each once, and no more than an answer takes. */
function overlapping(
  asked: readonly z.infer<typeof seqRunSchema>[],
  remembered: readonly ExpiredRuns[],
): Set<ExpiredRun> {
  const found = new Set<ExpiredRun>();
  for (const ofEpoch of Map.groupBy(asked, ({ origin, epoch }) => `${origin}/${epoch}`).values()) {
    const [{ origin, epoch }] = ofEpoch;
    const seqs = ofEpoch.map(({ from, to }) => [from, to] as const);
    // As a union: no run is looked at over and over, however often it is asked for.
    for (const one of unionRuns(seqs, [])) {
      for (const expired of remembered) {
        for (const run of expired.overlapping(origin, epoch, one)) {
          if (found.size >= RUNS_MAX) return found;
          found.add(run);
        }
      }
    }
  }
  return found;
}
