import type { Clock, Labels } from '../../store/index.ts';
import type { RawBlock } from '../inputs/index.ts';
import { TimeReader } from './time.ts';

/** A time that lines without one take from a line before them. */
export interface TimeBefore {
  /** Milliseconds since 1970, UTC. */
  readonly ms: number;
  /** Nanoseconds within the millisecond. */
  readonly sub: number;
}

interface Last extends TimeBefore {
  /** Lines without a time since then. */
  readonly lines: number;
  /** When the source was last heard of in one go with that line. */
  readonly heardMs: number;
  /** More of the source could be read at once. */
  readonly hasMore: boolean;
}

const NEWLINE = 10;
/** How far behind its first line a stack trace goes on, and how far back from a block's end its beginning is looked for. */
const LINES_MAX = 512;
/** What is written later than this is no stack trace any more: it has the time it was read. */
const PAUSE_MS_MAX = 10_000;

/**
 * Remembers the time of the last line of each source, so that a stack trace that is cut where a block ends keeps its
 * time. Looks at the end of a block only: at a few lines mostly, at LINES_MAX if none of them has a time.
 */
export class Continuation {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  /** By the labels of the source, which are one object for as long as it is one text. */
  readonly #lasts = new WeakMap<Labels, Last>();

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
  }

  /**
   * The time that the block's first lines take if they have none; undefined for that of reading. Call it once for each
   * block, in the order in which they are read. Throws LV_CONFIG_INVALID for an unknown time zone.
   */
  next(block: RawBlock, timeZone: string): TimeBefore | undefined {
    const { labels, bytes, readAtMs, hasMore = false } = block;
    const nowMs = this.#clock.monotonicMs();
    const last = this.#lasts.get(labels);
    this.#lasts.delete(labels);
    if (block.isNote) return undefined;
    const before = last && (last.hasMore || nowMs - last.heardMs <= PAUSE_MS_MAX) ? last : undefined;

    const time = new TimeReader(timeZone, readAtMs);
    let end = bytes.length - 1;
    for (let lines = 0; lines < LINES_MAX; lines++) {
      if (end < 0) {
        if (before && before.lines + lines < LINES_MAX) {
          const heardMs = before.hasMore ? nowMs : before.heardMs;
          this.#lasts.set(labels, { ...before, lines: before.lines + lines, heardMs, hasMore });
        }
        break;
      }
      const start = end === 0 ? 0 : bytes.lastIndexOf(NEWLINE, end - 1) + 1;
      const found = time.read(bytes, start, end);
      if (found === 'own') {
        this.#lasts.set(labels, { ms: time.ms, sub: time.sub, lines, heardMs: nowMs, hasMore });
      }
      if (found !== 'none') break;
      end = start - 1;
    }
    return before && { ms: before.ms, sub: before.sub };
  }
}
