import { z } from 'zod';
import { LIMITS, type ExpiredRun, type Store } from '../../store/index.ts';
import { encodeMessage, expiredRun, parseMessage, type HoldingsKnown } from '../repair/index.ts';
import { request, type Channel, type PeerId, type Transport } from '../transport/index.ts';
import { listOf } from '../wire.ts';
import type { MissingBatches } from './receipt.ts';

export const EXPIRED_PROTOCOL = '/logvine/expired/1';

const question = listOf(
  z.object({
    origin: z.string().max(128),
    epoch: z.number().int().nonnegative(),
    from: z.number().int().positive(),
    to: z.number().int().positive(),
  }),
  LIMITS.expiredRunsMax,
);
const answer = listOf(expiredRun, LIMITS.expiredRunsMax * 10);

/** Asks peers which of the missing batches retention dropped. Asked only when something is missing. */
export async function askWhatExpired(
  transport: Transport,
  peers: Iterable<PeerId>,
  missing: readonly MissingBatches[],
  timeoutMs: number,
): Promise<ExpiredRun[]> {
  const asked = missing
    .slice(0, LIMITS.expiredRunsMax)
    .map(({ origin, epoch, fromSeq: from, toSeq: to }) => ({ origin, epoch, from, to }));
  const message = encodeMessage(asked);
  const found: ExpiredRun[] = [];
  const all = [...peers]
    .filter((peer) => peer !== transport.self)
    .map(async (peer) => {
      const bytes = await request(transport, peer, EXPIRED_PROTOCOL, message, timeoutMs);
      found.push(...parseMessage(answer, bytes, 'expired'));
    });
  await Promise.allSettled(all);
  return found;
}

/** Answers from what this peer expired itself or heard of. */
export async function serveExpired(channel: Channel, store: Store, known: HoldingsKnown): Promise<void> {
  const message = await channel.receive();
  if (!message) return;
  const asked = Map.groupBy(
    parseMessage(question, message, 'expired'),
    ({ origin, epoch }) => `${origin}/${epoch}`,
  );
  const runs: ExpiredRun[] = [];
  for (const run of [...store.expired.all, ...known.expired.all]) {
    const wanted = asked.get(`${run.origin}/${run.epoch}`);
    if (wanted?.some(({ from, to }) => run.from <= to && run.to >= from)) runs.push(run);
  }
  await channel.send(encodeMessage(runs));
  await channel.close();
}
