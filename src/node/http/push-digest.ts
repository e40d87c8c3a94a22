import { createHash } from 'node:crypto';
import { PUSH_DIGEST_BYTES } from '../../store/index.ts';

/** What of a request makes it the same push: its body, how to read it, and whose it is. */
interface PushIdentity {
  readonly contentType: string | undefined;
  readonly contentEncoding: string | undefined;
  /** `X-Scope-OrgID`, which Loki's clients may send. */
  readonly tenant: string | undefined;
}

/** The first 16 bytes of a SHA-256, as base64url. */
export function digestOfPush(
  body: Uint8Array,
  { contentType, contentEncoding, tenant }: PushIdentity,
): string {
  const identity = JSON.stringify([contentType ?? '', contentEncoding ?? '', tenant ?? '']);
  return short(createHash('sha256').update(identity).update(body));
}

/**
 * The digest of one of the batches that a push is divided into, always in the same way. A push that fits one batch has
 * one part: itself.
 */
export function digestOfPart(push: string, part: number, parts: number): string {
  return parts === 1 ? push : short(createHash('sha256').update(`${push} ${part}/${parts}`));
}

function short(hash: ReturnType<typeof createHash>): string {
  return hash.digest().subarray(0, PUSH_DIGEST_BYTES).toString('base64url');
}
