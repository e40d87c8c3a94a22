import crypto, { type KeyObject } from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { isDeepStrictEqual } from 'node:util';
import zlib from 'node:zlib';
import { recordSchema, type MemberRecord } from '../../src/gossip/membership/record.ts';

const SIGNATURES_REMEMBERED_MAX = 20_000;
const DECOMPRESSED_BYTES_MAX = 32 * 1024 * 1024;

let keys = new Map<string, KeyObject>();
let signed = new Map<string, Buffer>();
let decompressed = new Map<string, { stored: Buffer; raw: Buffer }>();
let decompressedBytes = 0;
let records = new Map<string, MemberRecord>();

/**
 * Many nodes in one process do the same work, each for itself. From here on, a signature that was made here, or was found good,
 * is not computed again over the same bytes, nor are the same bytes decompressed again, nor a key read from the same seed, nor
 * a member's record checked again that was found in order. What comes is compared, so that anything else is as wrong as ever.
 */
export function rememberWork(): void {
  // What another run has done is of no use to this one, and would add up over thousands of them.
  keys = new Map();
  signed = new Map();
  decompressed = new Map();
  decompressedBytes = 0;
  records = new Map();
  if (isInstalled) return;
  isInstalled = true;
  rememberKeys();
  rememberSignatures();
  rememberDecompressed();
  rememberRecords();
  syncBuiltinESMExports();
}

const viewOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);

/** A node reads its key at each start. */
function rememberKeys(): void {
  const { createPrivateKey, createPublicKey } = crypto;
  type Encoded = { key: Buffer; format: 'der'; type: 'pkcs8' };
  const readOnce = (encoded: Encoded): KeyObject => {
    const name = encoded.key.toString('latin1');
    let key = keys.get(name);
    if (!key) keys.set(name, (key = createPrivateKey(encoded)));
    return key;
  };
  const publicHalves = new WeakMap<KeyObject, KeyObject>();
  const halfOnce = (of: KeyObject | crypto.PublicKeyInput): KeyObject => {
    if (!(of instanceof crypto.KeyObject)) return createPublicKey(of);
    let half = publicHalves.get(of);
    if (!half) publicHalves.set(of, (half = createPublicKey(of)));
    return half;
  };
  crypto.createPrivateKey = readOnce as typeof crypto.createPrivateKey;
  crypto.createPublicKey = halfOnce as typeof crypto.createPublicKey;
}

/** The public half of each key, as text. */
const publicTexts = new WeakMap<KeyObject, string>();

function publicTextOf(key: KeyObject): string {
  let text = publicTexts.get(key);
  if (text === undefined) {
    const half = key.type === 'private' ? crypto.createPublicKey(key) : key;
    text = half.export({ format: 'der', type: 'spki' }).toString('latin1');
    publicTexts.set(key, text);
  }
  return text;
}

function rememberSignatures(): void {
  const { sign, verify } = crypto;
  const nameOf = (key: KeyObject, signature: Uint8Array): string =>
    publicTextOf(key) + viewOf(signature).toString('latin1');
  const remember = (name: string, bytes: Uint8Array): void => {
    if (signed.size >= SIGNATURES_REMEMBERED_MAX) signed.clear();
    signed.set(name, Buffer.from(bytes));
  };
  const signOnce = (algorithm: null, bytes: Uint8Array, key: KeyObject): Buffer => {
    const signature = sign(algorithm, bytes, key);
    remember(nameOf(key, signature), bytes);
    return signature;
  };
  const verifyOnce = (algorithm: null, bytes: Uint8Array, key: KeyObject, signature: Uint8Array): boolean => {
    const name = nameOf(key, signature);
    if (signed.get(name)?.equals(bytes)) return true;
    if (!verify(algorithm, bytes, key, signature)) return false;
    remember(name, bytes);
    return true;
  };
  crypto.sign = signOnce as typeof crypto.sign;
  crypto.verify = verifyOnce as typeof crypto.verify;
}

/** What fails is not remembered. */
function rememberDecompressed(): void {
  const { zstdDecompressSync } = zlib;
  const decompressOnce = (stored: Uint8Array, options: { maxOutputLength: number }): Buffer => {
    const name = `${zlib.crc32(stored)} ${stored.length} ${options.maxOutputLength}`;
    const known = decompressed.get(name);
    if (known?.stored.equals(stored)) return Buffer.from(known.raw);
    const raw = zstdDecompressSync(stored, options);
    if (decompressedBytes > DECOMPRESSED_BYTES_MAX) {
      decompressed.clear();
      decompressedBytes = 0;
    }
    decompressedBytes += stored.length + raw.length;
    decompressed.set(name, { stored: Buffer.from(stored), raw: Buffer.from(raw) });
    return raw;
  };
  zlib.zstdDecompressSync = decompressOnce as typeof zlib.zstdDecompressSync;
}

/** A thousand nodes that know a thousand members each keep a thousand records, not a million. */
function rememberRecords(): void {
  const parser = recordSchema._zod;
  const { run } = parser;
  parser.run = (payload, context) => {
    const { value } = payload as { value?: { signature?: string } };
    const known = records.get(value?.signature ?? '');
    if (known && isDeepStrictEqual(known, value)) return Object.assign(payload, { value: known });
    const read = run(payload, context);
    if (!(read instanceof Promise) && read.issues.length === 0) {
      if (records.size >= SIGNATURES_REMEMBERED_MAX) records.clear();
      records.set((read.value as MemberRecord).signature, read.value as MemberRecord);
    }
    return read;
  };
}

let isInstalled = false;
