import { ByteReader, ByteWriter } from '../../store/index.ts';

export const REPLICATE_PROTOCOL = '/logvine/replicate/1';

/** What an owner says of the frames that it gets. */
export type FrameReceipt =
  /** So many have come since the channel was opened. */
  | { readonly kind: 'received'; readonly frames: number }
  /** All of this segment up to this one are on its disk. */
  | { readonly kind: 'durable'; readonly epoch: number; readonly index: number; readonly seq: number };

const [RECEIVED, DURABLE] = [0, 1];

export function encodeReceipt(receipt: FrameReceipt): Buffer {
  const writer = new ByteWriter(32);
  if (receipt.kind === 'received') {
    writer.varint(RECEIVED);
    writer.varint(receipt.frames);
  } else {
    writer.varint(DURABLE);
    writer.varint(receipt.epoch);
    writer.varint(receipt.index);
    writer.varint(receipt.seq);
  }
  return writer.finish();
}

/** Throws RangeError when the bytes are not `encodeReceipt`'s. */
export function parseReceipt(bytes: Uint8Array): FrameReceipt {
  const reader = new ByteReader(bytes);
  const kind = reader.varint();
  if (kind === RECEIVED) return { kind: 'received', frames: reader.varint() };
  if (kind !== DURABLE) throw new RangeError(`a receipt of kind ${kind}`);
  return { kind: 'durable', epoch: reader.varint(), index: reader.varint(), seq: reader.varint() };
}
