import { z } from 'zod';
import { isPrintable, LIMITS, signedBy } from '../../store/index.ts';
import type { PeerId } from '../transport/index.ts';
import { listOf, peerIdSchema } from '../wire.ts';
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

const SIGNATURE_LENGTH = 88;

const counter = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
export const counterSchema = counter;

/** Others print what a member says of itself, and an address has no need of more. */
const visibleAscii = z.string().regex(/^[!-~]*$/);
export const addressSchema = visibleAscii.max(BOUNDS.addressLength);

export const recordSchema = z
  .object({
    peer: peerIdSchema,
    addresses: listOf(addressSchema, LIMITS.memberAddressesMax).readonly(),
    zone: z.string().max(BOUNDS.zoneLength).refine(isPrintable),
    weight: z.number().positive().max(1_000_000),
    epoch: counter,
    incarnation: counter,
    leaving: z.boolean(),
    left: z.boolean(),
    http: visibleAscii.max(BOUNDS.httpLength),
    version: visibleAscii.max(BOUNDS.versionLength),
    signature: z.string().regex(/^[A-Za-z0-9+/]{86}==$/),
  })
  .refine(fits);

/** Everybody passes on the records of all members in one message: one long record must not be able to fill it. */
function fits(record: MemberRecord): boolean {
  return Buffer.byteLength(JSON.stringify(record)) <= LIMITS.memberRecordBytesMax;
}

/** As many of its addresses, from the first, as leave its record within bounds, once it is signed. */
export function withinBounds(record: UnsignedRecord): UnsignedRecord {
  let addresses = record.addresses
    .filter(({ length }) => length <= BOUNDS.addressLength)
    .slice(0, LIMITS.memberAddressesMax);
  const signature = '='.repeat(SIGNATURE_LENGTH);
  while (addresses.length > 0 && !fits({ ...record, addresses, signature }))
    addresses = addresses.slice(0, -1);
  return { ...record, addresses };
}

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
