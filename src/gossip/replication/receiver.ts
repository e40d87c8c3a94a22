import { ByteWriter, LIMITS, type Store } from '../../store/index.ts';
import type { Channel } from '../transport/index.ts';

export const REPLICATE_PROTOCOL = '/logvine/replicate/1';

/**
 * The owner's side of replication: frames come in, each is verified, written and fsynced, and its seq goes back once it
 * is on disk. Acks are cumulative for a segment, since frames of one come in order. Several frames are written at once
 * so that they share an fsync, up to a window. Any error ends the channel; the origin then opens a new segment, and
 * repair brings this peer what it missed.
 */
export async function receiveReplicas(channel: Channel, store: Store): Promise<void> {
  let inFlightBytes = 0;
  let room: (() => void) | undefined;
  let acks: Promise<void> = Promise.resolve();
  let failed: Error | undefined;
  for (;;) {
    const frame = await channel.receive();
    if (!frame) break;
    if (failed) throw failed;
    inFlightBytes += frame.length;
    const appended = store.appendReplica(frame);
    const before = acks;
    acks = (async () => {
      // Both are waited for even when one fails, so that no rejection goes unseen.
      const [result] = await Promise.allSettled([appended, before]);
      inFlightBytes -= frame.length;
      room?.();
      if (result.status === 'rejected') {
        failed ??= result.reason as Error;
        channel.abort(failed);
        return;
      }
      if (!failed) await channel.send(encodeAck(result.value.id, result.value.seq)).catch(() => undefined);
    })();
    while (inFlightBytes > LIMITS.replicationWindowBytes) {
      await new Promise<void>((resolve) => {
        room = resolve;
      });
    }
  }
  await acks;
  await channel.close();
}

function encodeAck(id: { epoch: number; index: number }, seq: number): Buffer {
  const writer = new ByteWriter(32);
  writer.varint(id.epoch);
  writer.varint(id.index);
  writer.varint(seq);
  return writer.finish();
}
