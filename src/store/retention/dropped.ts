import { crc32 } from 'node:zlib';
import { z } from 'zod';
import type { EpochLink } from '../batch/index.ts';
import { LIMITS } from '../limits.ts';
import { unionRuns } from '../runs.ts';
import type { SegmentId, SegmentRecord } from '../segment/index.ts';
import { ExpiredRuns, type ExpiredRun } from './expired.ts';

/** Where a source of this peer stands, and the own batch that says so. */
export interface OwnPosition {
  readonly epoch: number;
  readonly seq: number;
  readonly position: string;
}

/**
 * What a person has accepted as lost: batches that no disk has any more, and peers that never come back, nor their disks, as they
 * were then.
 */
export interface Loss {
  readonly runs: readonly ExpiredRun[];
  readonly peers: readonly { readonly peer: string; readonly epoch: number; readonly incarnation: number }[];
}

/** What is about to go. */
export interface Going {
  readonly own: readonly SegmentRecord[];
  readonly expired: readonly ExpiredRun[];
}

const count = z.number().int().nonnegative();
const instant = z.object({ ms: z.number(), sub: count });
const gone = z.array(
  z.object({ origin: z.string(), epoch: count, from: count, to: count, min: instant, max: instant }),
);
const content = z.object({
  last: z.object({ epoch: count, lastSeq: count, headerHash: z.string().regex(/^[0-9a-f]{64}$/) }).optional(),
  positions: z.array(z.tuple([z.string(), count, count, z.string()])),
  released: z.array(z.tuple([count, z.array(z.tuple([count, count]))])),
  expired: gone,
  losses: z
    .array(
      z.object({
        runs: gone,
        peers: z.array(z.object({ peer: z.string(), epoch: count, incarnation: count })),
      }),
    )
    .default([]),
});

/**
 * What must outlive the segments that this peer drops: where its sources stand and where its chain ends (I3), which of its
 * own segments it let go of on purpose, and what retention expired. Written before a segment is removed. And what is lost for
 * good, by a person's word.
 */
export class DroppedLog {
  /** The last batch of this peer's chain in a dropped segment. */
  last: EpochLink | undefined;
  readonly positions = new Map<string, OwnPosition>();
  readonly #released = new Map<number, [number, number][]>();
  readonly expired = new ExpiredRuns();
  losses: readonly Loss[] = [];

  /** Own segment, dropped because others keep it. */
  isReleased(id: SegmentId): boolean {
    return (this.#released.get(id.epoch) ?? []).some(([from, to]) => id.index >= from && id.index <= to);
  }

  /** These go: own segments, whatever for, and what expired with any. */
  add({ own, expired }: Going): void {
    for (const record of own) this.#releaseOwn(record);
    this.expired.add(expired);
  }

  #releaseOwn({ id, batches, positions }: SegmentRecord): void {
    const last = batches.at(-1);
    if (last && (!this.last || isLater({ epoch: id.epoch, seq: last.seq }, this.last))) {
      this.last = { epoch: id.epoch, lastSeq: last.seq, headerHash: Buffer.from(last.headerHash) };
    }
    for (const [source, { seq, position }] of positions) {
      notePosition(this.positions, source, { epoch: id.epoch, seq, position });
    }
    while (this.positions.size > LIMITS.sourcesMax) {
      // The one that has been silent for longest; Map keeps the order of the last change.
      this.positions.delete(this.positions.keys().next().value!);
    }
    this.#released.set(id.epoch, unionRuns(this.#released.get(id.epoch) ?? [], [[id.index, id.index]]));
  }

  /** As it is to be written before more goes: nothing of that counts until it is on disk. */
  encode({ own, expired }: Going = { own: [], expired: [] }): Buffer {
    const after = own.length === 0 ? this : this.#after(own);
    const { last, positions } = after;
    const value: z.infer<typeof content> = {
      last: last && { ...last, headerHash: last.headerHash.toString('hex') },
      positions: [...positions].map(([source, { epoch, seq, position }]) => [source, epoch, seq, position]),
      released: [...after.#released],
      expired: [...this.expired.all, ...expired],
      losses: this.losses.map(({ runs, peers }) => ({ runs: [...runs], peers: [...peers] })),
    };
    const bytes = Buffer.from(JSON.stringify(value));
    return Buffer.concat([Buffer.from(`${crc32(bytes)}\n`), bytes]);
  }

  /** All but what expired and is lost, once these are gone. */
  #after(own: Going['own']): DroppedLog {
    const after = new DroppedLog();
    after.last = this.last;
    for (const [source, at] of this.positions) after.positions.set(source, at);
    for (const [epoch, runs] of this.#released) after.#released.set(epoch, runs);
    for (const record of own) after.#releaseOwn(record);
    return after;
  }

  /** Throws when the bytes are not `encode`'s. */
  static decode(bytes: Buffer): DroppedLog {
    const end = bytes.indexOf(10);
    const body = bytes.subarray(end + 1);
    if (bytes.toString('latin1', 0, end) !== String(crc32(body))) throw new Error('its checksum is wrong');
    const { last, positions, released, expired, losses } = content.parse(JSON.parse(body.toString()));
    const log = new DroppedLog();
    log.last = last && { ...last, headerHash: Buffer.from(last.headerHash, 'hex') };
    for (const [source, epoch, seq, position] of positions)
      log.positions.set(source, { epoch, seq, position });
    for (const [epoch, runs] of released) log.#released.set(epoch, runs);
    log.expired.add(expired);
    log.losses = losses;
    return log;
  }
}

function isLater(a: { epoch: number; seq: number }, b: { epoch: number; lastSeq: number }): boolean {
  return a.epoch > b.epoch || (a.epoch === b.epoch && a.seq > b.lastSeq);
}

/** The latest batch of the chain says where a source stands. */
export function notePosition(positions: Map<string, OwnPosition>, source: string, at: OwnPosition): void {
  const known = positions.get(source);
  if (known && (known.epoch > at.epoch || (known.epoch === at.epoch && known.seq >= at.seq))) return;
  positions.delete(source);
  positions.set(source, at);
}
