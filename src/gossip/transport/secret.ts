import { hkdfSync } from 'node:crypto';
import { noise } from '@libp2p/noise';
import type { ConnectionEncrypter } from '@libp2p/interface';
import { LogvineError } from '../../store/errors.ts';

export const SECRET_BYTES = 32;
const SECRETS_AT_ONCE_MAX = 2;

type EncrypterFactory = (
  components: Parameters<ReturnType<typeof noise>>[0],
) => ConnectionEncrypter<{ webtransportCerthashes: Uint8Array[] }>;

/** What a secret becomes on the wire: a name to ask for, and the prologue that the handshake proves. */
export interface MeshKeys {
  readonly protocol: string;
  readonly prologue: Buffer;
}

/** Derives the handshake's name and prologue from a secret. The name tells nothing about the prologue. */
export function deriveMeshKeys(secret: Uint8Array): MeshKeys {
  const derive = (purpose: string, count: number) =>
    Buffer.from(hkdfSync('sha256', secret, 'logvine', purpose, count));
  return {
    protocol: `/logvine/noise/1/${derive('logvine noise name 1', 8).toString('hex')}`,
    prologue: derive('logvine noise prologue 1', 32),
  };
}

/**
 * One noise handshake per secret, in the order they are offered. The name under which a handshake is negotiated comes
 * from its secret, so peers in a rotation agree on a secret that both hold, and a stranger is turned away before this
 * peer has sent its identity; the prologue then proves that the dialler holds the secret and not only its name.
 * Without a secret (a mesh on loopback) the prologue is well known.
 *
 * @throws LV_SECRET_INVALID when a secret has the wrong length or there are more than two.
 */
export function meshEncrypters(secrets: readonly Uint8Array[]): EncrypterFactory[] {
  if (secrets.length > SECRETS_AT_ONCE_MAX) {
    throw new LogvineError('LV_SECRET_INVALID', `A mesh has one secret, or two while it is being changed`);
  }
  for (const secret of secrets) {
    if (secret.length !== SECRET_BYTES) {
      throw new LogvineError(
        'LV_SECRET_INVALID',
        `A mesh secret has ${SECRET_BYTES} bytes, not ${secret.length}`,
      );
    }
  }
  const offered = secrets.length > 0 ? secrets : [Buffer.from('logvine on loopback')];
  return offered.map((secret) => {
    const { protocol, prologue } = deriveMeshKeys(secret);
    return (components) => Object.assign(noise({ prologueBytes: prologue })(components), { protocol });
  });
}
