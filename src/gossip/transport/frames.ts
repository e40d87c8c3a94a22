import type { Stream } from '@libp2p/interface';
import { LogvineError } from '../../store/errors.ts';

/**
 * Messages on a stream: u32 big-endian length, then the bytes. The length 0xffffffff says that the sender has finished:
 * an end of stream without it is a lost connection, whatever the layers below call it.
 */
export const LENGTH_BYTES = 4;
const FINISHED = 0xffff_ffff;

export function lengthPrefix(length: number): Buffer {
  const prefix = Buffer.allocUnsafe(LENGTH_BYTES);
  prefix.writeUInt32BE(length);
  return prefix;
}

export function finishedMark(): Buffer {
  return lengthPrefix(FINISHED);
}

interface Chunk {
  readonly byteLength: number;
  subarray(start?: number, end?: number): Uint8Array;
}

/**
 * The chunks of a stream, read only when they are asked for: the stream is paused in between, so that the sender's
 * window closes. (The stream's own iterator queues without bound.) `onChunk` is called as each comes in. Ends when the stream ends, throws when it fails.
 */
export async function* chunksOf(stream: Stream, onChunk: () => void): AsyncGenerator<Chunk, void, undefined> {
  const ready: Chunk[] = [];
  let failure: Error | undefined;
  let closed = stream.status !== 'open' && stream.status !== 'closing';
  let wake: (() => void) | undefined;
  const notify = () => {
    wake?.();
    wake = undefined;
  };
  const onMessage = (event: { data: Chunk }) => {
    ready.push(event.data);
    onChunk();
    if (stream.readStatus === 'readable') stream.pause();
    notify();
  };
  const onClose = (event: { error?: Error }) => {
    failure = event.error;
    closed = true;
    notify();
  };
  stream.addEventListener('close', onClose);
  stream.addEventListener('end', notify);
  stream.addEventListener('message', onMessage);
  try {
    for (;;) {
      const chunk = ready.shift();
      if (chunk) {
        yield chunk;
        continue;
      }
      if (stream.readStatus === 'paused') stream.resume();
      if (ready.length > 0) continue;
      if (closed && failure) throw failure;
      if (closed || stream.readableEnded) return;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    stream.removeEventListener('message', onMessage);
    stream.removeEventListener('end', notify);
    stream.removeEventListener('close', onClose);
  }
}

/** Where the bytes of a message that has begun and not ended are counted. */
export interface UnfinishedBytes {
  /** Throws LV_OVERLOADED when there is no room for so many more. */
  take(bytes: number): void;
  give(bytes: number): void;
}

/**
 * Cuts chunks into messages. Ends at the finished mark.
 *
 * @throws LV_PROTOCOL for a length above `messageBytesMax`, LV_PEER_UNREACHABLE when the chunks end before the mark, LV_OVERLOADED.
 */
export async function* messagesOf(
  chunks: AsyncIterable<Chunk>,
  messageBytesMax: number,
  unfinished: UnfinishedBytes,
): AsyncGenerator<Buffer, void, undefined> {
  let counted = 0;
  const count = (bytes: number): void => {
    if (bytes > counted) unfinished.take(bytes - counted);
    else unfinished.give(counted - bytes);
    counted = bytes;
  };
  try {
    yield* cut(chunks, messageBytesMax, count);
  } finally {
    count(0);
  }
}

/** The first of a message is kept in so many bytes, and in twice as many whenever they are full. */
const BUFFER_BYTES_MIN = 64 * 1024;

/**
 * Messages are put together in buffers of their own: a piece of a chunk would pin the whole of it, and a million chunks of a
 * byte each much more than a million bytes. `count` is told what a message pins whenever the rest has to be waited for.
 */
async function* cut(
  chunks: AsyncIterable<Chunk>,
  messageBytesMax: number,
  count: (bytes: number) => void,
): AsyncGenerator<Buffer, void, undefined> {
  const prefix = Buffer.alloc(LENGTH_BYTES);
  let message: Buffer = prefix;
  let have = 0;
  let wanted = LENGTH_BYTES;
  for await (const chunk of chunks) {
    let at = 0;
    while (at < chunk.byteLength || wanted === 0) {
      const end = Math.min(chunk.byteLength, at + wanted - have);
      const after = have + end - at;
      if (after > message.length)
        message = enlarged(message, have, Math.min(wanted, Math.max(after, 2 * have)));
      message.set(chunk.subarray(at, end), have);
      have = after;
      at = end;
      if (have < wanted) break;
      have = 0;
      if (message !== prefix) {
        const whole = message;
        message = prefix;
        wanted = LENGTH_BYTES;
        count(0);
        yield whole;
        continue;
      }
      wanted = prefix.readUInt32BE();
      if (wanted === FINISHED) return;
      if (wanted > messageBytesMax) {
        throw new LogvineError(
          'LV_PROTOCOL',
          `A message of ${wanted} bytes exceeds the bound of ${messageBytesMax}`,
        );
      }
      message = Buffer.allocUnsafe(Math.min(wanted, Math.max(BUFFER_BYTES_MIN, chunk.byteLength - at)));
    }
    count(message === prefix ? 0 : message.length);
  }
  throw new LogvineError('LV_PEER_UNREACHABLE', 'The connection ended before the peer had finished');
}

function enlarged(buffer: Buffer, used: number, size: number): Buffer {
  const larger = Buffer.allocUnsafe(size);
  buffer.copy(larger, 0, 0, used);
  return larger;
}
