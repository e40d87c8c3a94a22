import type { Labels } from '../batch/index.ts';
import { messageOf } from '../errors.ts';
import type { Clock, Disk, Timer } from '../host/index.ts';
import { isDamaged, segmentName, type Segment, type SegmentRecord } from '../segment/index.ts';
import type { Store } from '../store.ts';

/**
 * A copy is kept at least so long after it came here, or as long as it is kept at all when that is less: an origin whose
 * clock is wrong must not have its lines dropped before anybody can notice.
 */
const KEPT_HERE_MS = 86_400_000;
const DROPPED_AT_ONCE = 100;
/** Streams that rules are asked about in one sweep: 20 ms. The next one goes on with other segments. */
const STREAMS_AT_ONCE = 200_000;

export interface RetentionRule {
  /** The rule is for streams with such labels. */
  matches(labels: Labels): boolean;
  readonly ageMsMax: number;
}

export interface RetentionOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly disk: Pick<Disk, 'stat'>;
  /** Since sealing; undefined: for ever. */
  readonly ageMsMax: number | undefined;
  /** The first rule that matches a stream stands before `ageMsMax`. */
  readonly rules: readonly RetentionRule[];
  /** What all segments together may take here. */
  readonly bytesMax: number | undefined;
  readonly everyMs: number;
  /** Drops copies that others keep, until so many bytes are free or there are none; resolves with the bytes dropped. */
  dropSurplus(bytes: number): Promise<number>;
  /** Whether every batch of an own segment is acknowledged: what is not yet promised cannot expire. */
  isAcknowledged(segment: Segment): boolean;
  /** This peer hands everything over: nothing expires here any more, since nobody would remember that it did. */
  isLeaving(): boolean;
  /** False while this peer's clock is in doubt. */
  isClockTrusted(): boolean;
  log(level: 'info' | 'warn', message: string): void;
}

/**
 * Drops whole segments: those of which every stream has passed its age, and, when they take too much together, surplus
 * copies first and then those that were sealed first. Age counts from sealing, not from the time in the line.
 */
export class Retention {
  readonly #options: RetentionOptions;
  #timer: Timer | undefined;
  #round: Promise<void> = Promise.resolve();
  #closed = false;
  #expiredBytes = 0;
  /** No stream is kept for less. */
  readonly #shortestMs: number;
  /** What the rules said of a segment, and at which version of it. */
  readonly #kept = new WeakMap<Segment, { readonly version: number; readonly ms: number }>();
  #streamsLeft = 0;

  constructor(options: RetentionOptions) {
    this.#options = options;
    const { ageMsMax = Infinity, rules } = options;
    this.#shortestMs = Math.min(ageMsMax, ...rules.map((rule) => rule.ageMsMax));
  }

  /** Bytes expired since the start. */
  get expiredBytes(): number {
    return this.#expiredBytes;
  }

  start(): void {
    if (this.#closed) return;
    const { clock, everyMs, log } = this.#options;
    this.#timer = clock.after(everyMs, () => {
      this.#round = this.sweep()
        .catch((error: unknown) => log('warn', `retention: ${messageOf(error)}`))
        .finally(() => this.start());
    });
  }

  /** Drops what is due now. */
  async sweep(): Promise<void> {
    const { isLeaving, isClockTrusted, bytesMax, store } = this.#options;
    if (isLeaving()) return;
    if (isClockTrusted()) await this.#dropAged();
    if (bytesMax === undefined || store.totals.storedBytes <= bytesMax) return;
    await this.#options.dropSurplus(store.totals.storedBytes - bytesMax);
    // What others keep could not all be dropped then: nothing else is to go in its place.
    if (this.#closed) return;
    await this.#dropOldest(bytesMax);
  }

  async #dropAged(): Promise<void> {
    const { store, clock, disk } = this.#options;
    const due: Segment[] = [];
    this.#streamsLeft = STREAMS_AT_ONCE;
    for (const segment of store.segments()) {
      if (due.length >= DROPPED_AT_ONCE) break;
      const nowMs = clock.nowMs();
      if (segment.last && nowMs - segment.lastSealedAtMs <= this.#shortestMs) continue;
      if (!this.#mayGo(segment)) continue;
      const keptMs = this.#keptMs(segment);
      if (segment.last && nowMs - segment.lastSealedAtMs <= keptMs) continue;
      const stat = await disk.stat(segment.path);
      // Nothing tells how old that is which was in a lost file.
      if (!stat && isDamaged(segment.record)) continue;
      // Of what rot hides, only the file itself tells how old it is.
      const keptHereMs = isDamaged(segment.record) ? keptMs : Math.min(keptMs, KEPT_HERE_MS);
      if (stat && nowMs - stat.mtimeMs <= keptHereMs) continue;
      if (this.#mayGo(segment)) due.push(segment);
    }
    // The clock may have jumped meanwhile.
    if (this.#options.isClockTrusted()) await this.#expire(due, 'their age');
  }

  #mayGo(segment: Segment): boolean {
    const { store, isAcknowledged } = this.#options;
    const isEmpty = !segment.last && !isDamaged(segment.record);
    if (isEmpty || !store.isFinished(segment)) return false;
    return segment.id.origin !== store.origin || isAcknowledged(segment);
  }

  /**
   * The longest that any of its streams is kept, or could be where rot hides which they are; for ever when there is no time to ask the
   * rules in this sweep.
   */
  #keptMs(segment: Segment): number {
    const { record, version } = segment;
    const { ageMsMax = Infinity, rules } = this.#options;
    if (rules.length === 0) return ageMsMax;
    if (isDamaged(record)) return Math.max(ageMsMax, ...rules.map((rule) => rule.ageMsMax));
    const known = this.#kept.get(segment);
    if (known?.version === version) return known.ms;
    if (this.#streamsLeft <= 0) return Infinity;
    this.#streamsLeft -= record.streams.length;
    const ms = this.#askRules(record);
    this.#kept.set(segment, { version, ms });
    return ms;
  }

  #askRules(record: SegmentRecord): number {
    const { ageMsMax = Infinity, rules } = this.#options;
    let longest = 0;
    for (const stream of record.streams) {
      if (!stream) continue;
      const rule = rules.find((one) => one.matches(stream.labels));
      longest = Math.max(longest, rule?.ageMsMax ?? ageMsMax);
    }
    return longest;
  }

  async #dropOldest(bytesMax: number): Promise<void> {
    const { store } = this.#options;
    const oldest = [...store.segments()]
      .filter((segment) => segment.last && this.#mayGo(segment))
      .sort((a, b) => a.lastSealedAtMs - b.lastSealedAtMs);
    let over = store.totals.storedBytes - bytesMax;
    const due: Segment[] = [];
    for (const segment of oldest) {
      if (over <= 0 || due.length >= DROPPED_AT_ONCE) break;
      due.push(segment);
      over -= segment.record.fileBytes;
    }
    await this.#expire(due, 'their size');
  }

  async #expire(segments: readonly Segment[], why: string): Promise<void> {
    if (segments.length === 0) return;
    let bytes = 0;
    for (const { record } of segments) bytes += record.fileBytes;
    await this.#options.store.drop(segments, 'expired');
    this.#expiredBytes += bytes;
    const first = segmentName(segments[0].id);
    this.#options.log(
      'info',
      `retention dropped ${segments.length} segments (${bytes} bytes) for ${why}, first ${first}`,
    );
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#round;
  }
}
