import { createPrivateKey, createPublicKey, sign, type KeyObject } from 'node:crypto';
import { privateKeyFromRaw } from '@libp2p/crypto/keys';
import type { Ed25519PrivateKey } from '@libp2p/interface';
import { peerIdFromPrivateKey, peerIdFromString } from '@libp2p/peer-id';
import { LogvineError } from '../../store/errors.ts';
import { LIMITS } from '../../store/limits.ts';
import type { PeerId } from './index.ts';

const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const PUBLIC_KEY_BYTES = 32;

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
  const signingKey = createPrivateKey({
    key: Buffer.concat([PKCS8_PREFIX, seed]),
    format: 'der',
    type: 'pkcs8',
  });
  // libp2p would derive the public key in JavaScript.
  const spki = createPublicKey(signingKey).export({ format: 'der', type: 'spki' });
  const raw = Buffer.concat([seed, spki.subarray(-PUBLIC_KEY_BYTES)]);
  const libp2pKey = privateKeyFromRaw(raw) as Ed25519PrivateKey;
  return {
    peer: peerIdFromPrivateKey(libp2pKey).toString() as PeerId,
    libp2pKey,
    signingKey,
    sign: (bytes) => sign(null, bytes, signingKey),
  };
}

/** Peer ids that were found good: a member's comes with every message about it. */
const parsed = new Set<string>();

/** `text` when it is the peer id of an Ed25519 key in its one text form, else undefined. */
export function parsePeerId(text: string): PeerId | undefined {
  if (parsed.has(text)) return text as PeerId;
  if (text.length > 64) return undefined;
  try {
    const id = peerIdFromString(text);
    if (id.type !== 'Ed25519' || id.toString() !== text) return undefined;
  } catch {
    return undefined;
  }
  if (parsed.size >= LIMITS.membersMax) parsed.delete(parsed.values().next().value!);
  parsed.add(text);
  return text as PeerId;
}
