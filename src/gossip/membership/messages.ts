import { z } from 'zod';
import { LogvineError } from '../../store/errors.ts';
import { LIMITS } from '../../store/limits.ts';
import type { PeerId } from '../transport/index.ts';
import { BOUNDS } from './constants.ts';
import { listOf, peerIdSchema, soundOf } from '../wire.ts';
import { addressSchema, counterSchema, recordSchema, type MemberRecord } from './record.ts';

/** `accuser` has had no answer from the subject at this incarnation (suspect), or for so long that it is over (dead). */
export interface Claim {
  readonly kind: 'suspect' | 'dead';
  readonly subject: PeerId;
  readonly epoch: number;
  readonly incarnation: number;
  readonly accuser: PeerId;
}

/** One piece of news about one member. */
export type Update = { readonly kind: 'record'; readonly record: MemberRecord } | Claim;

/** A row of the full state: a record, and how its sender sees that member. */
export interface StateRow {
  readonly record: MemberRecord;
  readonly state: 'alive' | 'suspect' | 'dead' | 'left' | 'gone';
  /** Milliseconds that it has been in this state. */
  readonly ageMs: number;
  /** The sender only remembers it, from an earlier run or from others who do: news to nobody but those who know nothing of it. */
  readonly presumed: boolean;
}

const claimFields = {
  subject: peerIdSchema,
  epoch: counterSchema,
  incarnation: counterSchema,
  accuser: peerIdSchema,
};
const updateSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('record'), record: recordSchema }),
  z.object({ kind: z.literal('suspect'), ...claimFields }),
  z.object({ kind: z.literal('dead'), ...claimFields }),
]);
const news = {
  updates: listOf(updateSchema, BOUNDS.updatesPerMessage + 1),
  /** Base64. */
  digest: z
    .string()
    .max(Math.ceil(BOUNDS.digestBytes / 3) * 4)
    .optional(),
};
/** Who speaks: which run of the sender, and what its clock shows; and what it knows to run with the receiver's identity. */
const speaker = {
  epoch: counterSchema.optional(),
  wallMs: z.number().optional(),
  twins: listOf(
    z.object({
      epoch: counterSchema,
      addresses: listOf(addressSchema, LIMITS.memberAddressesMax),
    }),
    BOUNDS.twins,
  ).optional(),
};
const seq = z.number().int().nonnegative().max(0xffff_ffff);
const rowSchema = z.object({
  record: recordSchema,
  state: z.enum(['alive', 'suspect', 'dead', 'left', 'gone']),
  ageMs: z.number().nonnegative(),
  presumed: z.boolean(),
});

/** To a newcomer that is on disk at whoever answers: what that one is itself. */
const vouchSchema = z.enum(['introduced', 'newcomer']);

/** What the opener of a channel sends. `sync` comes alone, followed by one message of opaque state; the rest repeats. */
const requestSchema = z.discriminatedUnion('kind', [
  /** `newcomer`: too few know the sender yet (see `Introduction`). */
  z.object({ kind: z.literal('ping'), seq, ...news, ...speaker, newcomer: z.boolean().optional() }),
  z.object({ kind: z.literal('ping-req'), seq, target: peerIdSchema }),
  z.object({ kind: z.literal('sync'), members: listOf(rowSchema, LIMITS.membersMax) }),
]);
const answerSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('ack'), seq, ...news, ...speaker, vouchedBy: vouchSchema.optional() }),
  z.object({ kind: z.literal('nack'), seq }),
]);
const syncAnswerSchema = z.object({
  kind: z.literal('sync'),
  members: listOf(rowSchema, LIMITS.membersMax),
});
const topicSchema = z.object({ updates: listOf(updateSchema, BOUNDS.updatesPerTopicMessage) });
const savedSchema = z.object({
  version: z.literal(1),
  /** This peer was introduced to the mesh. */
  introduced: z.boolean().default(false),
  members: soundOf(
    z.object({ record: recordSchema, state: rowSchema.shape.state, sinceMs: z.number() }),
    LIMITS.membersMax,
  ),
});

export type Vouch = z.infer<typeof vouchSchema>;
export type Request = z.infer<typeof requestSchema>;
export type Answer = z.infer<typeof answerSchema>;
export type TopicMessage = z.infer<typeof topicSchema>;
/** What members.json holds: `sinceMs` is wall-clock time. */
export type SavedMembers = z.infer<typeof savedSchema>;

function parser<Message>(what: string, schema: z.ZodType<Message>): (bytes: Uint8Array) => Message {
  return (bytes) => {
    try {
      return schema.parse(JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString()));
    } catch (cause) {
      throw new LogvineError('LV_PROTOCOL', `A malformed ${what}`, { cause });
    }
  };
}

/** Each throws LV_PROTOCOL for bytes that are not such a message. */
export const parseRequest = parser('membership request', requestSchema);
export const parseAnswer = parser('membership answer', answerSchema);
export const parseSyncAnswer = parser('membership state', syncAnswerSchema);
export const parseTopicMessage = parser('membership topic message', topicSchema);
export const parseSaved = parser('members.json', savedSchema);

export function encodeMessage(message: Request | Answer | TopicMessage | SavedMembers): Buffer {
  return Buffer.from(JSON.stringify(message));
}
