import type { EpochLink, SegmentId } from '../../store/index.ts';
import { countRuns, subtractRuns, unionRuns, type Run } from '../repair/index.ts';
import { HASH_BYTES, type SealedRange, type SegmentAudit } from './messages.ts';
import {
  Named,
  timeOf,
  type BrokenLink,
  type ConflictingBatch,
  type DamagedCopy,
  type MissingRun,
  type ShortRun,
} from './verdict.ts';

export interface Expectations {
  readonly range: SealedRange;
  readonly copiesWanted: number;
  /** The highest acknowledged seq of each epoch, noted before anybody was asked. */
  readonly watermarks: readonly {
    readonly origin: string;
    readonly epoch: number;
    readonly durable: number;
  }[];
  /** Whether an origin is a member that is asked: else nobody can say what it acknowledged since it was last heard. */
  isWithinReach(origin: string): boolean;
  /** Seqs that retention dropped on some disk. */
  expired(origin: string, epoch: number): readonly Run[];
  /** Seqs that a person has said are lost for good. */
  lost(origin: string, epoch: number): readonly Run[];
}

/** All copies of one segment, by the peer that has each. */
export type Copies = ReadonlyMap<string, SegmentAudit>;

interface Epoch {
  readonly origin: string;
  readonly epoch: number;
  nextSeq: number;
  /** Header hash of seq `nextSeq − 1`, as far as it is known. */
  lastHash: Buffer | undefined;
  /** Time of sealing of the last batch seen. */
  sealedMs: number;
}

interface Seen {
  readonly hash: Buffer;
  readonly sealedAtMs: number;
  readonly holders: string[];
  readonly others: { peer: string; hash: Buffer }[];
}

/**
 * Walks the hash chains over the copies of all peers, one segment after the other in the order of (origin, epoch, index),
 * and holds no more than one segment. What holds when nothing is found: each epoch's batches are there from 1 up to its
 * watermark, up to the end that the next epoch names, and up to what any peer had; each names the hash of the one before it, and
 * all copies of a batch are the same.
 */
export class ChainWalk {
  readonly missing = new Named<MissingRun>();
  readonly damaged = new Named<DamagedCopy>();
  readonly conflicts = new Named<ConflictingBatch>();
  readonly broken = new Named<BrokenLink>();
  readonly short = new Named<ShortRun>();
  readonly notices = new Named<string>();
  readonly totals = {
    origins: 0,
    epochs: 0,
    segments: 0,
    batches: 0,
    copies: 0,
    unacknowledged: 0,
    acknowledgementUnknown: 0,
    expired: 0,
    lost: 0,
  };
  readonly batchesByCopies = new Map<number, number>();
  /** Segments with batches on too few disks, worth a second look: copies move while one looks. */
  readonly shortSegments = new Map<string, SegmentId>();
  readonly #expectations: Expectations;
  /** How far each epoch goes at least, as far as it was not walked yet, and who says so. */
  readonly #ends = new Map<string, Map<number, { readonly last: number; readonly proof: string }>>();
  /** The present run of each origin, and how far it is acknowledged. */
  readonly #latest = new Map<string, { readonly epoch: number; readonly durable: number }>();
  /** Epochs of the present origin that were walked. */
  #walked = new Set<number>();
  #epoch: Epoch | undefined;

  constructor(expectations: Expectations) {
    this.#expectations = expectations;
    for (const { origin, epoch, durable } of expectations.watermarks) {
      this.expect(origin, epoch, durable, 'it was acknowledged');
      if (epoch >= (this.#latest.get(origin)?.epoch ?? 0)) this.#latest.set(origin, { epoch, durable });
    }
  }

  /** That epoch has a batch `last`. To be called before the first segment. */
  expect(origin: string, epoch: number, last: number, proof: string): void {
    let epochs = this.#ends.get(origin);
    if (!epochs) this.#ends.set(origin, (epochs = new Map()));
    if (last > (epochs.get(epoch)?.last ?? 0)) epochs.set(epoch, { last, proof });
  }

  segment(id: SegmentId, copies: Copies): void {
    const link = [...copies.values()].find((copy) => copy.link)?.link;
    const at = this.#enter(id, copies, link);
    const runs = this.#coveredRuns(copies);
    this.#noteDamage(id, copies, runs);
    const sealedFromMs = sealedFrom(copies, at.sealedMs);
    const before = { seq: at.nextSeq - 1, hash: at.lastHash };
    for (const [from, to] of runs) {
      if (from > at.nextSeq) {
        const toMs = Math.max(at.sealedMs, sealedFromMs);
        this.#gap(at, at.nextSeq, from - 1, toMs, `batch ${from} follows it and is there`);
        at.lastHash = undefined;
      } else if (from < at.nextSeq) {
        const problem = `it stands in segment ${id.index}, and batches up to ${at.nextSeq - 1} stand before that one`;
        this.#break(id, from, copies, problem);
      }
      at.nextSeq = Math.max(at.nextSeq, to + 1);
    }
    const seen = this.#compare(id, copies);
    this.#links(id, copies, seen, before);
    this.#countCopies(id, seen);
    if (runs.length > 0) this.#leave(at, copies, seen);
    this.totals.segments++;
  }

  /** The epoch that `id` is in; what came before it is over. */
  #enter(id: SegmentId, copies: Copies, link: EpochLink | undefined): Epoch {
    const now = this.#epoch;
    if (now?.origin === id.origin && now.epoch === id.epoch) return now;
    const sealedFromMs = sealedFrom(copies, id.epoch);
    if (now && now.origin !== id.origin) this.#endOrigin();
    else if (now) this.#endEpoch(link?.epoch === now.epoch ? link : undefined, sealedFromMs);
    if (!now || now.origin !== id.origin) {
      this.totals.origins++;
      this.#walked = new Set();
    }
    if (link && link.epoch !== now?.epoch) this.#linksElsewhere(id, link, sealedFromMs);
    this.#walked.add(id.epoch);
    this.totals.epochs++;
    this.#epoch = {
      origin: id.origin,
      epoch: id.epoch,
      nextSeq: 1,
      lastHash: undefined,
      sealedMs: -Infinity,
    };
    return this.#epoch;
  }

  /** An epoch that says it follows another one than that which was seen before it. */
  #linksElsewhere({ origin, epoch }: SegmentId, link: EpochLink, sealedFromMs: number): void {
    if (this.#walked.has(link.epoch)) {
      this.notices.add(
        `epoch ${epoch} of ${origin} follows epoch ${link.epoch} as if none were between: ` +
          `two nodes ran with this identity, or its disk was set back to an older state`,
      );
      return;
    }
    const lost: Epoch = { origin, epoch: link.epoch, nextSeq: 1, lastHash: undefined, sealedMs: link.epoch };
    this.#ends.get(origin)?.delete(link.epoch);
    this.#walked.add(link.epoch);
    this.#gap(lost, 1, link.lastSeq, sealedFromMs, `epoch ${epoch} names the last batch of this one`);
  }

  /** `link` is what the next epoch says of this one. */
  #endEpoch(link: EpochLink | undefined, untilMs: number): void {
    const at = this.#epoch;
    if (!at) return;
    const held = at.nextSeq - 1;
    const end = this.#ends.get(at.origin)?.get(at.epoch);
    this.#ends.get(at.origin)?.delete(at.epoch);
    const last = Math.max(end?.last ?? 0, link?.lastSeq ?? 0);
    if (last > held) {
      const proof = end && end.last > held ? end.proof : 'the next epoch names it';
      this.#gap(at, at.nextSeq, last, untilMs, proof);
    }
    if (link && link.lastSeq < held) {
      this.notices.add(
        `epoch ${at.epoch} of ${at.origin} goes on to batch ${held}, and its next epoch knows it up to ${link.lastSeq}: ` +
          `two nodes ran with this identity, or its disk was set back to an older state`,
      );
    } else if (link && link.lastSeq === held && at.lastHash && !at.lastHash.equals(link.headerHash)) {
      const { origin, epoch } = at;
      const problem = 'it is not the batch that the next epoch names';
      this.broken.add({ origin, epoch, seq: held, peer: '', path: '', problem });
    }
    this.#epoch = undefined;
  }

  /** Epochs that were acknowledged and of which nothing is left. */
  #endOrigin(): void {
    const { origin } = this.#epoch!;
    this.#endEpoch(undefined, Infinity);
    this.#lostEpochs(origin);
  }

  #lostEpochs(origin: string): void {
    for (const [epoch, { last, proof }] of this.#ends.get(origin) ?? []) {
      const lost: Epoch = { origin, epoch, nextSeq: 1, lastHash: undefined, sealedMs: epoch };
      this.#gap(lost, 1, last, Infinity, proof);
    }
    this.#ends.delete(origin);
  }

  /** To be called once after the last segment. */
  finish(): void {
    if (this.#epoch) this.#endOrigin();
    for (const origin of [...this.#ends.keys()]) this.#lostEpochs(origin);
  }

  #gap(at: Epoch, fromSeq: number, toSeq: number, untilMs: number, proof: string): void {
    const { origin, epoch, sealedMs } = at;
    const { range } = this.#expectations;
    if (untilMs < range.fromMs || sealedMs > range.toMs) return;
    const unexpired = subtractRuns([[fromSeq, toSeq]], this.#expectations.expired(origin, epoch));
    this.totals.expired += toSeq - fromSeq + 1 - countRuns(unexpired);
    const left = subtractRuns(unexpired, this.#expectations.lost(origin, epoch));
    this.totals.lost += countRuns(unexpired) - countRuns(left);
    for (const [from, to] of left) {
      const [fromTime, toTime] = [timeOf(sealedMs), timeOf(untilMs)];
      this.missing.add({ origin, epoch, fromSeq: from, toSeq: to, fromTime, toTime, proof });
    }
  }

  /** `held` is what anybody has a sound copy of. */
  #noteDamage({ origin, epoch }: SegmentId, copies: Copies, held: readonly Run[]): void {
    if (![...copies.values()].some(({ damage }) => damage.length > 0)) return;
    const accepted = subtractRuns(this.#expectations.lost(origin, epoch), held);
    for (const [peer, { path, damage }] of copies) {
      for (const found of damage) {
        const runs = [[found.fromSeq, found.toSeq]] as const;
        if (found.quarantined && subtractRuns(runs, accepted).length === 0) continue;
        const heldElsewhere = subtractRuns(runs, held).length === 0;
        this.damaged.add({ origin, epoch, peer, path, ...found, heldElsewhere });
      }
    }
  }

  #coveredRuns(copies: Copies): [number, number][] {
    let runs: [number, number][] = [];
    for (const copy of copies.values()) {
      runs = unionRuns(
        runs,
        copy.runs.map(({ first, last }) => [first, last] as const),
      );
    }
    return runs;
  }

  #compare(id: SegmentId, copies: Copies): Map<number, Seen> {
    const seen = new Map<number, Seen>();
    for (const [peer, { runs, isRead }] of copies) {
      if (!isRead) continue;
      for (const { first, hashes, sealedAtMs } of runs) {
        for (let at = 0; at < sealedAtMs.length; at++) {
          this.totals.copies++;
          const hash = hashes.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES);
          const known = seen.get(first + at);
          if (!known) seen.set(first + at, { hash, sealedAtMs: sealedAtMs[at], holders: [peer], others: [] });
          else if (known.hash.equals(hash)) known.holders.push(peer);
          else known.others.push({ peer, hash });
        }
      }
    }
    const { origin, epoch } = id;
    for (const [seq, { hash, holders, others }] of seen) {
      if (others.length === 0) continue;
      const all = [...holders.map((peer) => ({ peer, hash })), ...others];
      const named = all.map((copy) => ({
        peer: copy.peer,
        path: copies.get(copy.peer)!.path,
        hash: copy.hash.toString('hex'),
      }));
      this.conflicts.add({ origin, epoch, seq, copies: named });
    }
    return seen;
  }

  /** Each run's first batch must name the batch before it. Within a run its peer has seen to it. */
  #links(
    id: SegmentId,
    copies: Copies,
    seen: ReadonlyMap<number, Seen>,
    before: { seq: number; hash: Buffer | undefined },
  ): void {
    const named = new Set<number>();
    for (const [peer, { path, runs, isRead }] of copies) {
      if (!isRead) continue;
      for (const { first, previousHash } of runs) {
        const hash = seen.get(first - 1)?.hash ?? (before.seq === first - 1 ? before.hash : undefined);
        const isBroken = first === 1 ? !previousHash.equals(NO_HASH) : hash && !hash.equals(previousHash);
        if (!isBroken || named.has(first)) continue;
        named.add(first);
        const problem = `it does not name batch ${first - 1} as the one before it`;
        const { origin, epoch } = id;
        this.broken.add({ origin, epoch, seq: first, peer, path, problem });
      }
    }
  }

  #break({ origin, epoch }: SegmentId, seq: number, copies: Copies, problem: string): void {
    const [peer, { path }] = [...copies][0];
    this.broken.add({ origin, epoch, seq, peer, path, problem });
  }

  #countCopies(id: SegmentId, seen: ReadonlyMap<number, Seen>): void {
    const { range, copiesWanted } = this.#expectations;
    const { origin, epoch } = id;
    const expired = this.#expectations.expired(origin, epoch);
    let open: { fromSeq: number; toSeq: number; holders: readonly string[] } | undefined;
    const close = (): void => {
      if (open) this.short.add({ origin, epoch, ...open });
      open = undefined;
    };
    for (const seq of [...seen.keys()].sort((a, b) => a - b)) {
      const { holders, sealedAtMs } = seen.get(seq)!;
      if (sealedAtMs < range.fromMs || sealedAtMs > range.toMs) continue;
      this.totals.batches++;
      if (this.#isFresh(id, seq)) {
        if (this.#expectations.isWithinReach(origin)) {
          this.totals.unacknowledged++;
          continue;
        }
        // It may have been, and nobody will say that it was: it is judged as if it were.
        this.totals.acknowledgementUnknown++;
      }
      // Retention has begun to take it off the disks: it need not be on all of them any more.
      if (expired.some(([from, to]) => seq >= from && seq <= to)) {
        this.totals.expired++;
        continue;
      }
      this.batchesByCopies.set(holders.length, (this.batchesByCopies.get(holders.length) ?? 0) + 1);
      if (holders.length >= copiesWanted) continue;
      this.shortSegments.set(`${origin}/${epoch}-${id.index}`, id);
      if (open && open.toSeq === seq - 1 && open.holders.join() === holders.join()) open.toSeq = seq;
      else {
        close();
        open = { fromSeq: seq, toSeq: seq, holders };
      }
    }
    close();
  }

  /** Past the last acknowledgement that was heard of its origin's present run. */
  #isFresh({ origin, epoch }: SegmentId, seq: number): boolean {
    const latest = this.#latest.get(origin);
    if (!latest || epoch < latest.epoch) return false;
    return epoch > latest.epoch || seq > latest.durable;
  }

  #leave(at: Epoch, copies: Copies, seen: ReadonlyMap<number, Seen>): void {
    const last = at.nextSeq - 1;
    const unread = [...copies.values()].flatMap(({ isRead, runs }) => (isRead ? [] : runs));
    // Of a run that was not read, the index tells the last hash: what follows may name it.
    at.lastHash = seen.get(last)?.hash ?? unread.find((run) => run.last === last)?.hashes;
    for (const { sealedToMs } of copies.values()) at.sealedMs = Math.max(at.sealedMs, sealedToMs);
  }
}

const NO_HASH = Buffer.alloc(HASH_BYTES);

/** When the first batch of a segment was sealed; \`fallbackMs\` when nobody has any of it. */
function sealedFrom(copies: Copies, fallbackMs: number): number {
  const held = [...copies.values()].filter(({ runs }) => runs.length > 0);
  return held.length > 0 ? Math.min(...held.map(({ sealedFromMs }) => sealedFromMs)) : fallbackMs;
}
