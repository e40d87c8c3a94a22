import { createPrivateKey, X509Certificate } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { LogvineError, messageOf, type Disk, type ErrorCode } from '../../store/index.ts';

const SECRET_BYTES = 32;
const SECRETS_MAX = 2;
const TOKENS_MAX = 16;
const TOKEN_CHARACTERS_MIN = 16;
const TOKEN_CHARACTERS_MAX = 512;
const FILE_BYTES_MAX = 16 * 1024;

/**
 * The mesh secrets of a file: a line each, 32 random bytes as 64 hex digits or as base64, one of them or, while the
 * secret is being changed, two (peers offer the first and accept both). Blank lines and `#` comments are skipped.
 * Throws LV_SECRET_INVALID, and never quotes what is in the file.
 */
export async function readSecrets(path: string, disk: Pick<Disk, 'readFile'>): Promise<Buffer[]> {
  const lines = await readPrivateLines(path, disk, 'LV_SECRET_INVALID', 'the mesh secret');
  if (lines.length === 0) throw secretInvalid(path, 'it holds no secret');
  if (lines.length > SECRETS_MAX)
    throw secretInvalid(path, `it holds ${lines.length} secrets, at most 2 are used`);
  return lines.map(({ text, line }) => {
    const secret = parseSecret(text);
    if (!secret) {
      throw secretInvalid(
        `${path}:${line}`,
        'it is not 32 random bytes (64 hex digits, or 44 characters of base64); a passphrase is not enough, make a secret with: logvine init',
      );
    }
    return secret;
  });
}

/** 32 bytes; undefined when `text` is neither 64 hex digits nor their base64. */
export function parseSecret(text: string): Buffer | undefined {
  if (/^[0-9a-fA-F]{64}$/.test(text)) return Buffer.from(text, 'hex');
  if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(text)) return undefined;
  const bytes = Buffer.from(text, 'base64');
  // The last digit has two bits to spare, which an encoder leaves 0 and a passphrase of that length mostly doesn't.
  const isCanonical =
    bytes.toString('base64url') === text.replace('=', '').replaceAll('+', '-').replaceAll('/', '_');
  return bytes.length === SECRET_BYTES && isCanonical ? bytes : undefined;
}

/** The tokens of a file, one a line, any of which is good. Throws LV_CONFIG_INVALID. */
export async function readTokens(path: string, disk: Pick<Disk, 'readFile'>): Promise<string[]> {
  const lines = await readPrivateLines(path, disk, 'LV_CONFIG_INVALID', 'the token file');
  if (lines.length === 0 || lines.length > TOKENS_MAX) {
    throw tokensInvalid(path, `it holds ${lines.length} tokens; allowed: 1 to ${TOKENS_MAX}, one a line`);
  }
  for (const { text, line } of lines) {
    if (
      !/^[\x21-\x7e]+$/.test(text) ||
      text.length < TOKEN_CHARACTERS_MIN ||
      text.length > TOKEN_CHARACTERS_MAX
    ) {
      throw tokensInvalid(
        `${path}:${line}`,
        `a token has ${TOKEN_CHARACTERS_MIN} to ${TOKEN_CHARACTERS_MAX} visible ASCII characters and no spaces`,
      );
    }
  }
  return lines.map(({ text }) => text);
}

function tokensInvalid(where: string, problem: string): LogvineError {
  return new LogvineError('LV_CONFIG_INVALID', `the token file ${where}: ${problem}`);
}

function secretInvalid(where: string, problem: string): LogvineError {
  return new LogvineError('LV_SECRET_INVALID', `the mesh secret ${where}: ${problem}`);
}

async function readPrivateLines(
  path: string,
  disk: Pick<Disk, 'readFile'>,
  code: ErrorCode,
  what: string,
): Promise<{ text: string; line: number }[]> {
  const refuse = (problem: string, cause?: unknown) =>
    new LogvineError(code, `${what} ${path}: ${problem}`, { cause });
  let bytes: Buffer | undefined;
  let mode = 0;
  try {
    bytes = await disk.readFile(path);
    // The permission bits are the one thing Disk does not know.
    if (bytes) mode = (await stat(path)).mode;
  } catch (error) {
    throw refuse(`the file cannot be read: ${messageOf(error)}`, error);
  }
  if (!bytes) throw refuse('there is no such file');
  if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
    throw refuse(`others may read it (mode ${(mode & 0o777).toString(8)}); do: chmod 600 ${path}`);
  }
  if (bytes.length > FILE_BYTES_MAX) throw refuse('the file is too large');
  return bytes
    .toString()
    .split('\n')
    .map((text, index) => ({ text: text.trim(), line: index + 1 }))
    .filter(({ text }) => text !== '' && !text.startsWith('#'));
}

/** A certificate and its key, as PEM. */
export interface Tls {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** Rejects with LV_CONFIG_INVALID when one of the files is not there or cannot be used. */
export async function readTls(
  { certFile, keyFile }: { readonly certFile: string; readonly keyFile: string },
  disk: Pick<Disk, 'readFile'>,
): Promise<Tls> {
  const read = async (name: string, path: string): Promise<Buffer> => {
    const bytes = await disk.readFile(path).catch((cause: unknown) => {
      throw new LogvineError('LV_CONFIG_INVALID', `tls.${name}: ${messageOf(cause)}`, { cause });
    });
    if (bytes) return bytes;
    throw new LogvineError('LV_CONFIG_INVALID', `tls.${name}: there is no file ${path}`);
  };
  const tls = { cert: await read('certFile', certFile), key: await read('keyFile', keyFile) };
  const refuse = (problem: string, cause?: unknown) =>
    new LogvineError('LV_CONFIG_INVALID', `tls: ${certFile} and ${keyFile}: ${problem}`, { cause });
  let isOfCert: boolean;
  try {
    isOfCert = new X509Certificate(tls.cert).checkPrivateKey(createPrivateKey(tls.key));
  } catch (cause) {
    throw refuse(`no certificate and its key, as PEM: ${messageOf(cause)}`, cause);
  }
  if (!isOfCert) throw refuse('the key is not that of the certificate');
  return tls;
}
