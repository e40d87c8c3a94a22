import { z } from 'zod';
import { LIMITS } from '../../store/index.ts';
import { encodeMessage, parseMessage } from '../repair/index.ts';
import type { PeerId } from '../transport/index.ts';
import { listOf } from '../wire.ts';

/** One request and one answer a channel, as JSON. A digest is 16 bytes as base64url. */
export const PUSH_PROTOCOL = '/logvine/push/1';

const digest = z.string().regex(/^[A-Za-z0-9_-]{22}$/);
const epoch = z.number().int().nonnegative();
const claimant = z.object({ peer: z.string().max(128), epoch });
const digests = listOf(digest, LIMITS.pushesPerMessageMax);

const tell = z.object({
  /** `claim`: the sender wants to take it; the others say what became of it. */
  what: z.enum(['claim', 'acknowledged', 'released']),
  digest,
  /** The run of the sender that took it. */
  epoch,
  /** Claimants that the sender knows not to have it. */
  over: listOf(claimant, 16).optional(),
});

export type Tell = z.infer<typeof tell>;

const request = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('tell'), tells: listOf(tell, LIMITS.pushesPerMessageMax) }),
  /** What became of a push that the asked peer took? It answers when it knows, or after a while. */
  z.object({ kind: z.literal('ask'), digest }),
  /** Which batches with these pushes are held? */
  z.object({ kind: z.literal('find'), digests }),
]);

export type PushRequest = z.infer<typeof request>;

const told = z.object({
  /** For how long the answering home has remembered; null: it never forgot any. */
  remembersMs: z.number().nonnegative().nullable(),
  /** Who has each of the pushes, in the order of the tells. */
  known: listOf(
    z.object({ peer: z.string().max(128), epoch, acknowledged: z.boolean() }),
    LIMITS.pushesPerMessageMax,
  ),
});

export type Told = z.infer<typeof told>;

const asked = z.object({
  /** `yours`: the asked peer steps back. `unknown`: it does not have it. */
  state: z.enum(['acknowledged', 'pending', 'yours', 'unknown']),
});

export type Asked = z.infer<typeof asked>;

const held = z.object({
  origin: z.string().max(128),
  epoch,
  index: z.number().int().positive(),
  seq: z.number().int().positive(),
  /** The copy counts for an acknowledgement: that of an origin counts only where it is an owner. */
  counts: z.boolean(),
});

/** A batch that a peer holds. */
export type HeldBatch = z.infer<typeof held>;

const HELD_MAX = 16;
const found = z.object({ held: listOf(listOf(held, HELD_MAX), LIMITS.pushesPerMessageMax) });

export type Found = z.infer<typeof found>;

export const encodePushMessage = (message: PushRequest | Told | Asked | Found): Buffer =>
  encodeMessage(message);
export const parsePushRequest = (bytes: Uint8Array): PushRequest => parseMessage(request, bytes, 'push');
export const parseTold = (bytes: Uint8Array): Told => parseMessage(told, bytes, 'push answer');
export const parseAsked = (bytes: Uint8Array): Asked => parseMessage(asked, bytes, 'push answer');

export function parseFound(bytes: Uint8Array, count: number): Found {
  return parseMessage(
    found.refine(({ held: all }) => all.length === count),
    bytes,
    'push answer',
  );
}

/** As many as a message takes of one push. */
export function heldToTell(batches: readonly HeldBatch[]): HeldBatch[] {
  return batches.slice(-HELD_MAX);
}

export function asPeer(text: string): PeerId {
  return text as PeerId;
}
