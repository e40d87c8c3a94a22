import { messageOf } from '../errors.ts';
import type { Clock, Disk, Timer } from '../host/index.ts';

/** What a peer still takes, the fuller its disk is. */
export type Room = 'all' | 'no replicas' | 'no pushes' | 'nothing';

const EVERY_MS = 2_000;
/** Of the whole disk: a small disk's reserve is smaller. */
const RESERVE_SHARE_MAX = 0.05;
/** A disk that was too full must have so much more room before more is taken again. */
const RESUME_FACTOR = 1.1;

export interface DiskSpaceOptions {
  readonly disk: Pick<Disk, 'space'>;
  readonly clock: Clock;
  readonly directory: string;
  /** Never used by this peer. Replicas stop at three times as much, pushes at twice, reading at once. */
  readonly reserveBytes: number;
  log(level: 'info' | 'warn' | 'error', message: string): void;
}

/** Watches the disk fill up, so that it never gets full under a write. */
export class DiskSpace {
  readonly #options: DiskSpaceOptions;
  #timer: Timer | undefined;
  #room: Room = 'all';
  #freeBytes = Infinity;
  #closed = false;
  readonly #waiting: (() => void)[] = [];

  constructor(options: DiskSpaceOptions) {
    this.#options = options;
  }

  get room(): Room {
    return this.#room;
  }

  /** Bytes that are free, at the last look; Infinity when the disk cannot tell. */
  get freeBytes(): number {
    return this.#freeBytes;
  }

  /** Resolves at once unless there is room for nothing, else when there is again, or at the end. */
  async untilRoom(): Promise<void> {
    while (this.#room === 'nothing' && !this.#closed)
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  async start(): Promise<void> {
    await this.look();
    this.#timer = this.#closed ? undefined : this.#options.clock.after(EVERY_MS, () => void this.start());
  }

  async look(): Promise<void> {
    const { disk, directory, reserveBytes, log } = this.#options;
    let space: { freeBytes: number; totalBytes: number };
    try {
      space = await disk.space(directory);
    } catch (error) {
      log('warn', `the room on the disk of ${directory} cannot be told: ${messageOf(error)}`);
      return;
    }
    this.#freeBytes = space.freeBytes;
    const reserve = Math.min(reserveBytes, space.totalBytes * RESERVE_SHARE_MAX);
    const room = this.#roomAt(space.freeBytes / reserve);
    if (room === this.#room) return;
    const free = `${Math.round(space.freeBytes / 1024 / 1024)} MiB are free on the disk of ${directory}`;
    log(room === 'all' ? 'info' : 'error', `${free}: ${ROOM_TEXT[room]}`);
    this.#room = room;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #roomAt(reserves: number): Room {
    const levels: Room[] = ['nothing', 'no pushes', 'no replicas', 'all'];
    const at = (share: number): number => (share < 1 ? 0 : share < 2 ? 1 : share < 3 ? 2 : 3);
    const now = levels.indexOf(this.#room);
    // Down at once, up only with some room to spare.
    const next = at(reserves) < now ? at(reserves) : Math.max(now, at(reserves / RESUME_FACTOR));
    return levels[next];
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

export const ROOM_TEXT: Record<Room, string> = {
  all: 'everything is taken again',
  'no replicas': 'no copies of others are taken',
  'no pushes': 'no copies of others and no pushes are taken',
  nothing: 'nothing is taken, files are not read on',
};
