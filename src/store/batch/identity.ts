import { createPublicKey, verify, type KeyObject } from 'node:crypto';
import { base58btc } from 'multiformats/bases/base58';

/**
 * A libp2p peer id of an Ed25519 key is base58 of an identity multihash around the protobuf-encoded public key, so the
 * key can be read out of the id: 00 24 08 01 12 20 <32 bytes>.
 */
const PEER_ID_PREFIX = Buffer.from('002408011220', 'hex');
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
const KEYS_REMEMBERED_MAX = 4096;

const keys = new Map<string, KeyObject>();

function publicKeyOf(peer: string): KeyObject | undefined {
  const known = keys.get(peer);
  if (known) return known;
  let bytes: Buffer;
  try {
    bytes = Buffer.from(base58btc.baseDecode(peer));
  } catch {
    return undefined;
  }
  if (bytes.length !== 38 || bytes.compare(PEER_ID_PREFIX, 0, 6, 0, 6) !== 0) return undefined;
  const key = createPublicKey({
    key: Buffer.concat([SPKI_PREFIX, bytes.subarray(6)]),
    format: 'der',
    type: 'spki',
  });
  if (keys.size >= KEYS_REMEMBERED_MAX) keys.delete(keys.keys().next().value!);
  keys.set(peer, key);
  return key;
}

/** True when `signature` over `bytes` is that peer's. False for a malformed peer id too. */
export function signedBy(peer: string, bytes: Uint8Array, signature: Uint8Array): boolean {
  const key = publicKeyOf(peer);
  return key !== undefined && verify(null, bytes, key, signature);
}
