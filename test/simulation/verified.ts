import crypto, { type KeyObject } from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';

const REMEMBERED_MAX = 20_000;

let known = new WeakMap<KeyObject, Map<string, Buffer>>();

/**
 * Many nodes in one process verify the same signature, each for itself. From here on, one over the same bytes by the same
 * key is verified once. The bytes are compared, so that a signature of other bytes is as wrong as ever.
 */
export function rememberVerified(): void {
  // What another run has verified is of no use to this one, and would add up over thousands of them.
  known = new WeakMap();
  if (isInstalled) return;
  isInstalled = true;
  const { verify } = crypto;
  const once = (algorithm: null, bytes: Uint8Array, key: KeyObject, signature: Uint8Array): boolean => {
    let ofKey = known.get(key);
    if (!ofKey) known.set(key, (ofKey = new Map<string, Buffer>()));
    const name = Buffer.from(signature.buffer, signature.byteOffset, signature.length).toString('latin1');
    if (ofKey.get(name)?.equals(bytes)) return true;
    if (!verify(algorithm, bytes, key, signature)) return false;
    if (ofKey.size >= REMEMBERED_MAX) ofKey.clear();
    ofKey.set(name, Buffer.from(bytes));
    return true;
  };
  crypto.verify = once as typeof crypto.verify;
  syncBuiltinESMExports();
}

let isInstalled = false;
