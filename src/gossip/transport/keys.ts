import { createPrivateKey, sign, type KeyObject } from 'node:crypto';
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys';
import type { Ed25519PrivateKey } from '@libp2p/interface';
import { peerIdFromPrivateKey, peerIdFromString } from '@libp2p/peer-id';
import { LogvineError } from '../../store/errors.ts';
import type { PeerId } from './index.ts';

const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');

/** A peer's Ed25519 key in the forms that its users need. */
export interface PeerKeys {
  readonly peer: PeerId;
  readonly libp2pKey: Ed25519PrivateKey;
  readonly signingKey: KeyObject;
  sign(bytes: Uint8Array): Buffer;
}

/** The keys that belong to a 32-byte seed. */
export async function keysFromSeed(seed: Uint8Array): Promise<PeerKeys> {
  if (seed.length !== 32) throw new LogvineError('LV_IDENTITY_INVALID', 'An identity seed has 32 bytes');
  const libp2pKey = await generateKeyPairFromSeed('Ed25519', seed);
  const signingKey = createPrivateKey({
    key: Buffer.concat([PKCS8_PREFIX, seed]),
    format: 'der',
    type: 'pkcs8',
  });
  return {
    peer: peerIdFromPrivateKey(libp2pKey).toString() as PeerId,
    libp2pKey,
    signingKey,
    sign: (bytes) => sign(null, bytes, signingKey),
  };
}

/** `text` when it is the peer id of an Ed25519 key in its one text form, else undefined. */
export function parsePeerId(text: string): PeerId | undefined {
  if (text.length > 64) return undefined;
  try {
    const id = peerIdFromString(text);
    return id.type === 'Ed25519' && id.toString() === text ? (text as PeerId) : undefined;
  } catch {
    return undefined;
  }
}
