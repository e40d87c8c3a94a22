/** What is named of one kind; the rest is counted in `omitted`. */
const NAMED_MAX = 1_000;

/** Batches that existed and that nobody has who was asked. */
export interface MissingRun {
  readonly origin: string;
  readonly epoch: number;
  readonly fromSeq: number;
  readonly toSeq: number;
  /** When they must have been sealed, in their origin's clock, as far as the batches around them tell; RFC 3339. */
  readonly fromTime: string | null;
  readonly toTime: string | null;
  /** How it is known that they existed. */
  readonly proof: string;
}

/** A place on one peer's disk that is not as it was written. */
export interface DamagedCopy {
  readonly origin: string;
  readonly epoch: number;
  readonly fromSeq: number;
  readonly toSeq: number;
  readonly peer: string;
  /** The file on that peer's disk, and where in it. */
  readonly path: string;
  readonly offset: number;
  readonly bytes: number;
  readonly problem: string;
  /** It was set aside: it is not served, and repair fetches a sound copy. */
  readonly quarantined: boolean;
  /** Whether anybody who was asked has a sound copy of all of it. */
  readonly heldElsewhere: boolean;
}

/** One batch id with two contents (I1), both signed. */
export interface ConflictingBatch {
  readonly origin: string;
  readonly epoch: number;
  readonly seq: number;
  readonly copies: readonly { readonly peer: string; readonly path: string; readonly hash: string }[];
}

/** A batch that does not name the one before it. */
export interface BrokenLink {
  readonly origin: string;
  readonly epoch: number;
  readonly seq: number;
  readonly peer: string;
  readonly path: string;
  readonly problem: string;
}

/** Acknowledged batches on fewer disks than wanted. */
export interface ShortRun {
  readonly origin: string;
  readonly epoch: number;
  readonly fromSeq: number;
  readonly toSeq: number;
  readonly holders: readonly string[];
}

export interface UnreachablePeer {
  readonly peer: string;
  readonly problem: string;
}

/** What `logvine verify` says; names are stable, there may be more of them. */
export interface Verdict {
  /** Gapless, unaltered, enough copies, and everybody answered. */
  readonly proven: boolean;
  readonly gapless: boolean;
  readonly unaltered: boolean;
  readonly enoughCopies: boolean;
  /** Sealing times that were asked for, RFC 3339; null is all. */
  readonly from: string | null;
  readonly to: string | null;
  readonly origins: number;
  readonly epochs: number;
  readonly segments: number;
  /** Batches whose every byte was read in some copy, and all copies of them. */
  readonly batches: number;
  readonly copies: number;
  readonly bytesRead: number;
  /** Disks that each acknowledged batch should be on, and how many batches are on how many. */
  readonly copiesWanted: number;
  readonly batchesByCopies: Readonly<Record<string, number>>;
  /** Batches that were being acknowledged meanwhile: their copies are not judged. */
  readonly unacknowledged: number;
  /**
   * Batches past the last acknowledgement that was heard of an origin that is out of reach, or no member any more: they may
   * have been acknowledged. Their copies are counted and judged.
   */
  readonly acknowledgementUnknown: number;
  /** Batches that retention dropped, on one disk or on all: no gap, and their copies are not judged. */
  readonly expired: number;
  /** Batches that nobody has, as a person has accepted: no gap. */
  readonly lost: number;
  readonly missing: readonly MissingRun[];
  readonly damaged: readonly DamagedCopy[];
  readonly conflicts: readonly ConflictingBatch[];
  readonly broken: readonly BrokenLink[];
  readonly tooFewCopies: readonly ShortRun[];
  readonly unreachable: readonly UnreachablePeer[];
  /** Worth knowing, and no fault. */
  readonly notices: readonly string[];
  /** Findings beyond what is named above. */
  readonly omitted: number;
  readonly peers: { readonly asked: number; readonly answered: number };
  readonly durationMs: number;
}

/** A list that names so many and counts all. */
export class Named<Item> {
  readonly items: Item[] = [];
  omitted = 0;

  add(item: Item): void {
    if (this.items.length < NAMED_MAX) this.items.push(item);
    else this.omitted++;
  }

  get any(): boolean {
    return this.items.length > 0;
  }
}

export function timeOf(ms: number): string | null {
  return Number.isFinite(ms) && Math.abs(ms) < 8.64e15 ? new Date(ms).toISOString() : null;
}
