import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { keysFromSeed, type PeerId } from '../gossip/transport/index.ts';
import { LogvineError, messageOf, type Disk, type Random } from '../store/index.ts';

const FILE_NAME = 'identity.key';
const HEADING = 'logvine identity 1';
const SEED_BYTES = 32;

/** Who this node is: an Ed25519 key that never leaves its data directory. */
export interface Identity {
  readonly peer: PeerId;
  /** 32 bytes; what signs batches and handshakes is derived from it. */
  readonly seed: Buffer;
}

export interface IdentityOptions {
  /** The data directory; it exists. */
  readonly directory: string;
  readonly disk: Pick<Disk, 'readFile' | 'replaceFile'>;
  readonly random: Random;
  /** Permission bits of a file. The system's, unless the disk is a simulated one. */
  readonly modeOf?: (path: string) => Promise<number>;
}

/**
 * Reads the identity of a data directory, and makes it at the first start.
 *
 * @throws LV_IDENTITY_INVALID when the file is malformed, unreadable, or readable by others. It is never replaced: a
 * new identity would be another peer, and this one's batches would have no origin left.
 */
export async function loadIdentity(options: IdentityOptions): Promise<Identity> {
  const { directory, disk, random, modeOf = systemModeOf } = options;
  const path = join(directory, FILE_NAME);
  const refuse = (problem: string, cause?: unknown) =>
    new LogvineError('LV_IDENTITY_INVALID', `The identity ${path}: ${problem}`, { cause });
  let content: Buffer | undefined;
  let mode = 0o600;
  try {
    content = await disk.readFile(path);
    if (content) mode = await modeOf(path);
  } catch (cause) {
    throw refuse(`it cannot be read: ${messageOf(cause)}`, cause);
  }
  if (!content) {
    const seed = random.bytes(SEED_BYTES);
    await disk.replaceFile(path, Buffer.from(`${HEADING}\n${seed.toString('base64')}\n`), 0o600);
    return identityOf(seed);
  }
  if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
    throw refuse(`others may read it (mode ${(mode & 0o777).toString(8)}); do: chmod 600 ${path}`);
  }
  const seed = parse(content.toString());
  if (!seed) {
    throw refuse(
      'it is damaged; put back a copy, or move it away to start as a new peer under a new identity',
    );
  }
  return identityOf(seed);
}

async function identityOf(seed: Buffer): Promise<Identity> {
  const { peer } = await keysFromSeed(seed);
  return { peer, seed };
}

function parse(text: string): Buffer | undefined {
  const [heading, encoded, ...rest] = text.split('\n');
  if (heading !== HEADING || encoded === undefined || rest.join('').trim() !== '') return undefined;
  const seed = Buffer.from(encoded, 'base64');
  return seed.length === SEED_BYTES && seed.toString('base64') === encoded ? seed : undefined;
}

async function systemModeOf(path: string): Promise<number> {
  return (await stat(path)).mode;
}
