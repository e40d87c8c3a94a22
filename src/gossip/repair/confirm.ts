import { z } from 'zod';
import type { Run, Segment } from '../../store/index.ts';
import { request, type PeerId, type Transport } from '../transport/index.ts';
import { listOf, segmentRunsSchema } from '../wire.ts';
import { encodeMessage, parseMessage } from './inventory.ts';

export const CONFIRM_PROTOCOL = '/logvine/confirm/1';

const confirmRequest = z.object({
  origin: z.string().max(128),
  epoch: z.number().int().nonnegative(),
  index: z.number().int().positive(),
  /** Runs of seqs with the header hash of each run's last batch: through the chain it stands for all before it. */
  runs: listOf(
    z.tuple([z.number().int().positive(), z.number().int().positive(), z.string().length(64)]),
    100_000,
  ).refine(
    (runs) => segmentRunsSchema.safeParse(runs.map(([from, to]) => [from, to])).success,
    'not ascending runs of a segment',
  ),
});
export type ConfirmRequest = z.infer<typeof confirmRequest>;
const confirmAnswer = z.object({ held: z.boolean() });

/** Throws LV_PROTOCOL. */
export function parseConfirmRequest(message: Uint8Array): ConfirmRequest {
  return parseMessage(confirmRequest, message, 'confirm');
}

export function encodeConfirmAnswer(held: boolean): Uint8Array {
  return encodeMessage({ held });
}

/** Those of `peers` that read these runs of a segment from their disks just now, as they are here. Never rejects. */
export async function confirmations(
  transport: Transport,
  segment: Segment,
  runs: readonly Run[],
  peers: readonly PeerId[],
  timeoutMs: number,
): Promise<PeerId[]> {
  const message = encodeMessage({
    ...segment.id,
    runs: runs.map(([from, to]) => [from, to, segment.entry(to)!.headerHash.toString('hex')]),
  });
  const answers = await Promise.allSettled(
    peers.map(async (peer) => {
      const answer = await request(transport, peer, CONFIRM_PROTOCOL, message, timeoutMs);
      return parseMessage(confirmAnswer, answer, 'confirm').held;
    }),
  );
  return peers.filter((_, at) => {
    const answer = answers[at];
    return answer.status === 'fulfilled' && answer.value;
  });
}
