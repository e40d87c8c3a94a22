import { z } from 'zod';
import { signedBy } from '../../store/index.ts';
import type { PeerId } from '../transport/index.ts';
import { peerIdSchema } from '../wire.ts';
import { BOUNDS } from './constants.ts';

/** What a member says of itself. Only its signature makes it true: whoever passes it on cannot change it. */
export interface MemberRecord {
  readonly peer: PeerId;
  /** Multiaddrs that it can be dialled at. */
  readonly addresses: readonly string[];
  readonly zone: string;
  /** Its share of segments, relative to the others'. */
  readonly weight: number;
  readonly epoch: number;
  /** Counts up within an epoch, by the member alone: the higher one is newer. */
  readonly incarnation: number;
  /** It hands over what it holds, to leave: still asked, and given nothing more. */
  readonly leaving: boolean;
  /** True in the last record of an epoch: it left on purpose, and others have all that it had. */
  readonly left: boolean;
  /** URL of its HTTP interface, or empty. */
  readonly http: string;
  readonly version: string;
  /** Ed25519 by `peer`, base64. */
  readonly signature: string;
}

export type UnsignedRecord = Omit<MemberRecord, 'signature'>;

const counter = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
export const counterSchema = counter;

export const recordSchema = z.object({
  peer: peerIdSchema,
  addresses: z.array(z.string().max(BOUNDS.addressLength)).max(BOUNDS.addresses).readonly(),
  zone: z.string().max(BOUNDS.zoneLength),
  weight: z.number().positive().max(1_000_000),
  epoch: counter,
  incarnation: counter,
  leaving: z.boolean(),
  left: z.boolean(),
  http: z.string().max(BOUNDS.httpLength),
  version: z.string().max(BOUNDS.versionLength),
  signature: z.string().length(88),
});

/** The bytes that a record's signature covers: its fields in a fixed order, after a name that nothing else signs. */
function signedBytes(record: UnsignedRecord): Buffer {
  const { peer, addresses, zone, weight, epoch, incarnation, leaving, left, http, version } = record;
  const age = [epoch, incarnation, leaving, left];
  return Buffer.from(
    JSON.stringify(['logvine/member/2', peer, addresses, zone, weight, ...age, http, version]),
  );
}

export function signRecord(record: UnsignedRecord, sign: (bytes: Uint8Array) => Buffer): MemberRecord {
  return { ...record, signature: sign(signedBytes(record)).toString('base64') };
}

export function isSigned(record: MemberRecord): boolean {
  return signedBy(record.peer, signedBytes(record), Buffer.from(record.signature, 'base64'));
}

/** The order of what is known of one member: by epoch, then by incarnation. Negative when `left` is older. */
export function compareAge(
  left: { epoch: number; incarnation: number },
  right: { epoch: number; incarnation: number },
): number {
  return left.epoch - right.epoch || left.incarnation - right.incarnation;
}
