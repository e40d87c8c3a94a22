import { z } from 'zod';
import { LogvineError } from '../../store/index.ts';
import { formatDuration } from '../config/index.ts';
import { getJson, type Endpoint } from './http.ts';

/** What the commands show of `GET /api/v1/status`; a node may say more, and `--output json` prints all of it. */
const nodeStatus = z.object({
  peer: z.string(),
  version: z.string(),
  uptimeSeconds: z.number(),
  members: z.array(
    z.object({
      peer: z.string(),
      state: z.string(),
      zone: z.string().nullish(),
      weight: z.number(),
      epoch: z.number(),
      http: z.string().nullish(),
      mesh: z.union([z.string(), z.array(z.string())]).nullish(),
      clockSkewMs: z.number().nullish(),
    }),
  ),
  replication: z.object({
    k: z.number(),
    w: z.number(),
    batchesBelowK: z.number(),
    bytesBelowK: z.number(),
  }),
  store: z.object({
    segments: z.number(),
    batches: z.number(),
    entries: z.number(),
    rawBytes: z.number(),
    storedBytes: z.number(),
  }),
  upkeep: z
    .object({
      toFetch: z.object({ batches: z.number(), bytes: z.number(), seconds: z.number().nullable() }),
      scrub: z.object({ bytes: z.number(), rottenBatches: z.number(), rounds: z.number() }),
      disk: z.object({ freeBytes: z.number().nullable(), room: z.string() }),
    })
    .nullish(),
  origins: z.array(
    z.object({ peer: z.string(), epoch: z.number(), sealedSeq: z.number(), durableSeq: z.number() }),
  ),
  inputs: z.array(
    z.object({
      source: z.string(),
      path: z.string(),
      sizeBytes: z.number(),
      readBytes: z.number(),
      durableBytes: z.number(),
      problem: z.string().nullish(),
    }),
  ),
  problems: z.array(z.object({ code: z.string(), message: z.string() })).default([]),
});

export type NodeStatus = z.output<typeof nodeStatus>;

/** The status as it is shown, and the whole answer. Throws LogvineError. */
export async function getStatus(endpoint: Endpoint): Promise<{ status: NodeStatus; answer: unknown }> {
  const answer = await getJson(endpoint, '/api/v1/status');
  const parsed = nodeStatus.safeParse(answer);
  if (parsed.success) return { status: parsed.data, answer };
  const at = parsed.error.issues[0]?.path.join('.') ?? '';
  throw new LogvineError('LV_PROTOCOL', `the status of ${endpoint.addr} has an unexpected ${at || 'form'}`);
}

/** Those that have left or are gone come last. */
export function memberRows(status: NodeStatus): string[][] {
  const isAbsent = ({ state }: { state: string }): number => Number(state === 'left' || state === 'gone');
  const ordered = status.members.toSorted((a, b) => isAbsent(a) - isAbsent(b));
  return ordered.map(({ peer, state, zone, weight, epoch, http, mesh, clockSkewMs }) => [
    peer === status.peer ? `${peer} *` : peer,
    state,
    zone || '-',
    String(weight),
    String(epoch),
    clockText(clockSkewMs),
    http || '-',
    (Array.isArray(mesh) ? mesh[0] : mesh) || '-',
  ]);
}

export const MEMBER_HEAD = ['PEER', 'STATE', 'ZONE', 'WEIGHT', 'EPOCH', 'CLOCK', 'HTTP', 'MESH'];

/** How far its clock is ahead of that of the node that was asked. */
function clockText(skewMs: number | null | undefined): string {
  if (skewMs === null || skewMs === undefined) return '-';
  return `${skewMs < 0 ? '-' : '+'}${formatDuration(Math.abs(skewMs))}`;
}
