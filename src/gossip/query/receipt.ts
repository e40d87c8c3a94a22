import {
  compareInstants,
  countRuns,
  intersectRuns,
  goneSeqs,
  subtractRuns,
  unionRuns,
  type ExpiredRun,
  type GoneRun,
  type Instant,
  type Run,
} from '../../store/index.ts';
import { partsOf, type Holding, type RunKnown } from '../repair/index.ts';
import type { PeerId } from '../transport/index.ts';
import type { CoverageAnswer } from './messages.ts';

/** Batches that exist in the range and that nobody reachable could read. */
export interface MissingBatches {
  readonly origin: string;
  readonly epoch: number;
  readonly fromSeq: number;
  readonly toSeq: number;
  /** Times of the entries, when any peer had told them; RFC 3339. */
  readonly fromTime: string | null;
  readonly toTime: string | null;
  readonly lastOwners: readonly string[];
  readonly reason: 'unreachable' | 'corrupt';
}

/** An origin that may have acknowledged lines which nobody reachable knows of. */
export interface SilentOrigin {
  readonly peer: string;
  readonly epoch: number | null;
  /** The last seq that it was heard to have made durable. */
  readonly durableSeq: number | null;
  readonly lastHeard: string | null;
}

/** What a query says about its own coverage (I9). */
export interface Receipt {
  complete: boolean;
  /** Batches in the range: read + pruned + unneeded + missing. */
  expected: number;
  read: number;
  /** Of the batches read: those whose header, or record, told enough. */
  fromIndex: number;
  /** Ruled out by time, labels or an index. */
  pruned: number;
  /** Not looked at, since the limit was reached before. */
  unneeded: number;
  /** Dropped by retention: not missing. */
  expired: number;
  /** On no disk any more, as a person has accepted: not missing. */
  lost: number;
  missing: MissingBatches[];
  silent: SilentOrigin[];
  /** Members that were asked and those that answered. */
  members: { asked: number; answered: number };
  entries: number;
  bytesScanned: number;
  durationMs: number;
}

export interface Expectation {
  readonly answers: readonly (CoverageAnswer & { readonly peer: PeerId })[];
  readonly watermarks: readonly {
    readonly origin: string;
    readonly epoch: number;
    readonly durable: number;
  }[];
  /** What any peer was ever heard to hold. */
  readonly remembered: readonly RunKnown[];
  /** Batches of origins out of reach of which only others have heard. */
  readonly heard: readonly ExpiredRun[];
  /** What retention dropped, as far as any peer within reach knows. */
  readonly expired: Iterable<ExpiredRun>;
  /** What a person has accepted as lost, as far as any peer within reach was told. */
  readonly lost: Iterable<ExpiredRun>;
  /** Of what is remembered: what peers have that are waited for. It is not lost, whoever said so. */
  readonly awaited: Iterable<Holding>;
  readonly from: Instant;
  readonly to: Instant;
}

interface SeqSet {
  readonly origin: string;
  readonly epoch: number;
  runs: [number, number][];
  /** Not in `runs` yet: joined all at once, when they are asked for. */
  added: Run[];
}

/** Runs of seqs by (origin, epoch). */
class SeqSets {
  readonly #sets = new Map<string, SeqSet>();

  add(origin: string, epoch: number, runs: readonly Run[]): void {
    const key = `${origin}/${epoch}`;
    let set = this.#sets.get(key);
    if (!set) this.#sets.set(key, (set = { origin, epoch, runs: [], added: [] }));
    for (const run of runs) set.added.push(run);
  }

  get(origin: string, epoch: number): readonly Run[] {
    const set = this.#sets.get(`${origin}/${epoch}`);
    return set ? joined(set).runs : [];
  }

  *all(): IterableIterator<SeqSet> {
    for (const set of this.#sets.values()) yield joined(set);
  }
}

function joined(set: SeqSet): SeqSet {
  if (set.added.length > 0) set.runs = unionRuns(set.runs, set.added);
  set.added = [];
  return set;
}

export interface Gaps {
  readonly missing: MissingBatches[];
  /** Batches in the range that retention dropped, and those that are lost for good. */
  readonly expired: number;
  readonly lost: number;
}

/** Batches that should exist and that no reachable peer holds, less those known to lie outside of the range. */
export function findGaps(expectation: Expectation): Gaps {
  const { answers, watermarks, remembered, from, to } = expectation;
  const isOutside = ({ min, max }: { min: Instant; max: Instant }): boolean =>
    compareInstants(max, from) < 0 || compareInstants(min, to) >= 0;
  const held = new SeqSets();
  const expected = new SeqSets();
  /** What is gone, as those who answered tell, by run of an origin. */
  const told = new Map<string, Part[]>();
  const note = (origin: string, epoch: number, parts: readonly Part[]): void => {
    const key = `${origin}/${epoch}`;
    const all = told.get(key);
    if (!all) told.set(key, [...parts]);
    else for (const part of parts) all.push(part);
  };
  for (const { peer, epoch: run, overlapping, outside } of answers) {
    for (const { origin, epoch, runs } of [...overlapping, ...outside]) held.add(origin, epoch, runs);
    for (const { origin, epoch, owners, rotten = [], vanished = [] } of overlapping) {
      for (const [gone, reason] of [
        [rotten, 'corrupt'],
        [vanished, 'unreachable'],
      ] as const) {
        const parts = gone.filter((run) => !isOutside(run)).map((run) => ({ ...run, owners, reason }));
        if (parts.length === 0) continue;
        // How many of its present run are owed a peer says with its watermark: here it tells their times.
        if (origin !== peer || epoch !== run) expected.add(origin, epoch, goneSeqs(parts));
        note(origin, epoch, parts);
      }
    }
  }
  for (const run of expectation.heard) {
    const { origin, epoch, from: first, to: last } = run;
    expected.add(origin, epoch, [[first, last]]);
    note(origin, epoch, [{ ...run, owners: [], reason: 'unreachable' }]);
  }
  for (const { origin, epoch, durable } of watermarks)
    if (durable > 0) expected.add(origin, epoch, [[1, durable]]);
  const known = new Map<string, RunKnown>();
  for (const run of remembered) {
    expected.add(run.origin, run.epoch, run.runs);
    known.set(`${run.origin}/${run.epoch}`, run);
  }
  const expiredInRange = new SeqSets();
  const expiredAnywhere = new SeqSets();
  for (const run of expectation.expired) {
    const { origin, epoch } = run;
    expiredAnywhere.add(origin, epoch, [[run.from, run.to]]);
    if (isOutside(run)) continue;
    expected.add(origin, epoch, [[run.from, run.to]]);
    expiredInRange.add(origin, epoch, [[run.from, run.to]]);
  }
  const lostInRange = new SeqSets();
  const lostAnywhere = new SeqSets();
  for (const run of expectation.lost) {
    lostAnywhere.add(run.origin, run.epoch, [[run.from, run.to]]);
    if (!isOutside(run)) lostInRange.add(run.origin, run.epoch, [[run.from, run.to]]);
  }
  const awaited = new SeqSets();
  for (const { origin, epoch, runs } of expectation.awaited) awaited.add(origin, epoch, runs);
  const missing: MissingBatches[] = [];
  let expired = 0;
  let lost = 0;
  for (const { origin, epoch, runs } of expected.all()) {
    let absent = subtractRuns(runs, held.get(origin, epoch));
    expired += countRuns(intersectRuns(absent, expiredInRange.get(origin, epoch)));
    absent = subtractRuns(absent, expiredAnywhere.get(origin, epoch));
    const nowhere = subtractRuns(absent, awaited.get(origin, epoch));
    lost += countRuns(intersectRuns(nowhere, lostInRange.get(origin, epoch)));
    absent = subtractRuns(absent, intersectRuns(nowhere, lostAnywhere.get(origin, epoch)));
    if (absent.length === 0) continue;
    const key = `${origin}/${epoch}`;
    for (const parts of [told.get(key) ?? [], rememberedOf(known.get(key))]) {
      const named = nameRuns(absent, parts);
      absent = named.rest;
      for (const { from: fromSeq, to: toSeq, min, max, owners: lastOwners, reason } of named.found) {
        if (isOutside({ min, max })) continue;
        const [fromTime, toTime] = [timeText(min.ms), timeText(max.ms)];
        missing.push({ origin, epoch, fromSeq, toSeq, fromTime, toTime, lastOwners, reason });
      }
    }
    for (const [fromSeq, toSeq] of absent) {
      missing.push({
        origin,
        epoch,
        fromSeq,
        toSeq,
        fromTime: null,
        toTime: null,
        lastOwners: [],
        reason: 'unreachable',
      });
    }
  }
  return { missing, expired, lost };
}

/** What somebody told of batches that exist, or did. */
interface Part extends GoneRun {
  readonly owners: readonly string[];
  readonly reason: MissingBatches['reason'];
}

/** What is remembered of an epoch, with its times. */
export function rememberedOf(known: RunKnown | undefined): Part[] {
  const parts: Part[] = [];
  const add = (runs: readonly GoneRun[], owners: readonly string[]): void => {
    for (const run of runs) parts.push({ ...run, owners, reason: 'unreachable' });
  };
  for (const holders of known?.segments ?? [])
    for (const holding of holders.values()) add(partsOf(holding), holding.owners);
  for (const { gone, owners } of known?.vanished ?? []) add(gone, owners);
  return parts;
}

/** Which of `runs` the parts tell of, each once, and what is left. In one pass: there may be many of both. */
function nameRuns(runs: readonly Run[], parts: Part[]): { found: Part[]; rest: [number, number][] } {
  parts.sort((a, b) => a.from - b.from || Number(b.reason === 'corrupt') - Number(a.reason === 'corrupt'));
  const found: Part[] = [];
  const rest: [number, number][] = [];
  let at = 0;
  for (const [first, last] of runs) {
    for (let seq = first; seq <= last;) {
      while (at < parts.length && parts[at].to < seq) at++;
      const part = parts[at];
      if (part && part.from <= seq) {
        const to = Math.min(last, part.to);
        found.push({ ...part, from: seq, to });
        seq = to + 1;
      } else {
        const to = part ? Math.min(last, part.from - 1) : last;
        rest.push([seq, to]);
        seq = to + 1;
      }
    }
  }
  return { found, rest };
}

export function timeText(ms: number): string | null {
  return Number.isFinite(ms) && Math.abs(ms) < 8.64e15 ? new Date(ms).toISOString() : null;
}

export function countMissing(missing: readonly MissingBatches[]): number {
  return countRuns(missing.map(({ fromSeq, toSeq }) => [fromSeq, toSeq] as const));
}
