import { ExpiredRuns, type Segment, type SegmentId } from '../../src/store/index.ts';

/** Stands for the store of a peer that holds nothing, and has dropped nothing: it says so to `HoldingsKnown`. */
export const HOLDS_NOTHING = {
  segment: (_id: SegmentId): Segment | undefined => undefined,
  dropped: { expired: new ExpiredRuns() },
};
