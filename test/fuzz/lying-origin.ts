import { crc32 } from 'node:zlib';
import { frameHead } from '../../src/store/batch/index.ts';
import { keysFromSeed } from '../../src/gossip/transport/keys.ts';

/** A member of the mesh that lies: its key is genuine. */
export const origin = await keysFromSeed(Buffer.alloc(32, 7));

/** A frame that holds in every checksum, hash and signature, whatever its header and payload say. */
export function signedFrame(header: Uint8Array, payload: Uint8Array, sign = origin.sign): Buffer {
  const head = frameHead(header, payload, crc32(payload), sign(header));
  return Buffer.concat([head, payload]);
}
