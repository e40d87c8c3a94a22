import { join } from 'node:path';
import { LIMITS, LogvineError, messageOf, type Clock, type Disk } from '../../store/index.ts';
import type { PeerId } from '../transport/index.ts';
import { BOUNDS } from './constants.ts';
import { encodeMessage, parseSaved, type SavedMembers } from './messages.ts';
import { isSigned } from './record.ts';

type Saved = Omit<SavedMembers, 'version'>;

/** The members of the last run, in `members.json`. A cache: without it, a node is found through its seeds. */
export class RememberedMembers {
  readonly #path: string;
  readonly #disk: Pick<Disk, 'readFile' | 'replaceFile'>;
  readonly #clock: Clock;
  readonly #intervalMs: number;
  readonly #current: () => Saved;
  readonly #failed: (error: unknown) => void;
  #savedMs = -Infinity;
  #timer: { readonly dueMs: number; cancel(): void } | undefined;
  #writing: Promise<void> = Promise.resolve();
  /** The write after the one under way, not begun yet. */
  #next: Promise<void> | undefined;
  #onDisk = new Set<PeerId>();

  constructor(options: {
    directory: string;
    disk: Pick<Disk, 'readFile' | 'replaceFile'>;
    clock: Clock;
    intervalMs: number;
    current: () => Saved;
    failed: (error: unknown) => void;
  }) {
    this.#path = join(options.directory, 'members.json');
    this.#disk = options.disk;
    this.#clock = options.clock;
    this.#intervalMs = options.intervalMs;
    this.#current = options.current;
    this.#failed = options.failed;
  }

  /** What was saved, as far as it is genuine; nothing when the file is missing or damaged. */
  async load(): Promise<Saved> {
    const nothing: Saved = { members: [], introduced: false };
    try {
      const bytes = await this.#disk.readFile(this.#path);
      if (bytes === undefined) return nothing;
      if (bytes.length > LIMITS.membersBytesMax)
        throw new LogvineError('LV_PROTOCOL', 'members.json is too large');
      const { members: saved, introduced } = parseSaved(bytes);
      const members = saved.filter(({ record }) => isSigned(record));
      this.#onDisk = peersIn(members);
      return { members, introduced };
    } catch (error) {
      this.#failed(`members.json is not used: ${messageOf(error)}`);
      return nothing;
    }
  }

  /** Saves soon; at most once per interval. */
  changed(): void {
    this.#saveAt(this.#savedMs + this.#intervalMs);
  }

  /** As `changed`, for what must outlive a power cut: just after another write, with all that comes until then. */
  changedMuch(): void {
    const dueMs = this.#savedMs + BOUNDS.membersGatherMs;
    if (dueMs <= this.#clock.monotonicMs()) void this.save();
    else this.#saveAt(dueMs);
  }

  #saveAt(dueMs: number): void {
    if (this.#timer && this.#timer.dueMs <= dueMs) return;
    this.#timer?.cancel();
    const waitMs = Math.max(0, dueMs - this.#clock.monotonicMs());
    const timer = this.#clock.after(waitMs, () => void this.save());
    this.#timer = { dueMs, cancel: () => timer.cancel() };
  }

  /** Whether the next run will count `peer`, whatever becomes of this one. */
  isOnDisk(peer: PeerId): boolean {
    return this.#onDisk.has(peer);
  }

  /** Saves now; one write for all who ask while another is under way, or in one turn. Never rejects. */
  save(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#savedMs = this.#clock.monotonicMs();
    this.#next ??= this.#writing.then(() => this.#write());
    this.#writing = this.#next;
    return this.#next;
  }

  async #write(): Promise<void> {
    this.#next = undefined;
    const current = this.#current();
    try {
      await this.#disk.replaceFile(this.#path, encodeMessage({ version: 1, ...current }));
      this.#onDisk = peersIn(current.members);
    } catch (error) {
      this.#failed(error);
    }
  }
}

function peersIn(members: Saved['members']): Set<PeerId> {
  // Who has left is counted nowhere.
  return new Set(members.filter(({ state }) => state !== 'left').map(({ record }) => record.peer));
}
