import { dirname } from 'node:path';
import type { TailDisk, TailStat } from './files.ts';
import { decodePosition, fileOfSource, sourceName, type TailPosition } from './identity.ts';
import { pathsBeforeMoveBelow, pathsBeforeRotation, siblingsAmong, siblingsBelow } from './relatives.ts';
import { startInCopyAt, type Sibling } from './relatives.ts';
import type { Rotation, RotationHost } from './rotation.ts';
import type { FoundBy } from './tail-sources.ts';

/**
 * A file that was read to its known end, and that nothing with its name came after, is called gone only if it was read
 * within this time before the node's last reading. One that went longer ago was most likely let go in good order.
 */
const FOLLOWED_MS = 3_600_000;
const AT_ONCE = 32;

/** What looking for the files of an earlier run asks of the tail input. */
export interface WhileDownHost extends RotationHost {
  /** Sources and where they stand, of all that earlier runs read. */
  readonly remembered: () => Iterable<readonly [string, string]>;
  readonly leadingTo: (path: string) => FoundBy | undefined;
  /** Somebody may still be writing to a file that was last written to then. */
  readonly isWrittenLately: (mtimeMs: number) => boolean;
  /** Tells that a file is nowhere to be found. */
  readonly tellGone: (source: string, position: TailPosition, foundBy: FoundBy) => void;
  /** A file that is there may turn out to be another one, in its place. */
  readonly noteDown: (source: string, sinceMs: number) => void;
}

/** A path under which earlier runs read files. */
interface Trail {
  readonly path: string;
  readonly foundBy: FoundBy;
  /** The one that was read last. */
  newest: { readonly source: string; readonly position: TailPosition };
  bornMs: number;
  /** What has the name of a file rotated from here, beside it and in directories below. */
  readonly beside: Sibling[];
  readonly below: Sibling[];
  /** Directories below in which a file of this path was found. */
  readonly olddirs: Set<string>;
}

/** A file that was read and is not found by a pattern. */
interface Absent {
  readonly source: string;
  readonly position: TailPosition;
  readonly trail: Trail;
}

/**
 * At start: looks for the files that an earlier run read and that no pattern finds any more, beside where they were last
 * (behind a symbolic link: beside its target) and in the directories right below. Those that were renamed or copied are
 * read on; of the others it is told that they are gone.
 */
export class WhileDown {
  readonly #disk: TailDisk;
  readonly #host: WhileDownHost;
  readonly #rotation: Rotation;
  readonly #trails = new Map<string, Trail>();
  /** Trails by each place where their newest file was: several links may lead to it. */
  readonly #trailsAt = new Map<string, Set<Trail>>();
  readonly #absent: Absent[] = [];
  readonly #bySource = new Map<string, Sibling>();
  readonly #unreadable = new Set<string>();
  #lastReadMs = 0;

  constructor(disk: TailDisk, host: WhileDownHost, rotation: Rotation) {
    this.#disk = disk;
    this.#host = host;
    this.#rotation = rotation;
  }

  async settle(): Promise<void> {
    for (const [source, text] of this.#host.remembered()) {
      const position = decodePosition(text);
      if (position !== undefined) this.#remember(source, position);
    }
    for (const trail of this.#trails.values()) {
      for (const place of placesOf(trail.newest.position)) {
        const trails = this.#trailsAt.get(place) ?? new Set();
        this.#trailsAt.set(place, trails.add(trail));
      }
    }
    const absentPlaces = this.#absent.flatMap(({ position }) => placesOf(position));
    const directories = new Set([...this.#trailsAt.keys(), ...absentPlaces].map((path) => dirname(path)));
    await inTurns([...directories], (directory) => this.#list(directory));
    await inTurns(this.#absent, (absent) => this.#settleAbsent(absent));
    await inTurns([...this.#trails.values()], (trail) => this.#settleTrail(trail));
  }

  #remember(source: string, position: TailPosition): void {
    const { path, readAtMs, birthMs } = position;
    let trail = this.#trails.get(path);
    if (trail === undefined) {
      const foundBy = this.#host.leadingTo(path);
      if (foundBy === undefined) return;
      const nothing = { beside: [], below: [], olddirs: new Set<string>() };
      trail = { path, foundBy, newest: { source, position }, bornMs: birthMs, ...nothing };
      this.#trails.set(path, trail);
    }
    if (readAtMs > trail.newest.position.readAtMs) trail.newest = { source, position };
    trail.bornMs = Math.max(trail.bornMs, birthMs);
    this.#lastReadMs = Math.max(this.#lastReadMs, readAtMs);
    if (!this.#host.isKnown(source)) this.#absent.push({ source, position, trail });
  }

  async #list(directory: string): Promise<void> {
    try {
      const isWanted = (path: string): boolean => this.#host.watchAt(path) === undefined;
      const entries = await this.#disk.list(directory);
      for (const sibling of await siblingsAmong(this.#disk, directory, entries, isWanted)) {
        this.#bySource.set(sourceName(sibling.stat), sibling);
        for (const trail of this.#trailsOf(pathsBeforeRotation(sibling.path))) trail.beside.push(sibling);
      }
      const isMoved = (path: string): boolean =>
        isWanted(path) && this.#trailsOf(pathsBeforeMoveBelow(path)).length > 0;
      for (const sibling of await siblingsBelow(this.#disk, directory, entries, isMoved)) {
        this.#bySource.set(sourceName(sibling.stat), sibling);
        for (const trail of this.#trailsOf(pathsBeforeMoveBelow(sibling.path))) trail.below.push(sibling);
      }
    } catch {
      this.#unreadable.add(directory);
    }
  }

  #trailsOf(paths: readonly string[]): Trail[] {
    return paths.flatMap((path) => [...(this.#trailsAt.get(path) ?? [])]);
  }

  async #settleAbsent({ source, position, trail }: Absent): Promise<void> {
    const { path, foundBy, olddirs } = trail;
    const renamed = this.#bySource.get(source);
    if (renamed !== undefined && (await this.#isSame(renamed, position))) {
      if (trail.below.includes(renamed)) olddirs.add(dirname(renamed.path));
      const isOpen = position.offset < renamed.stat.size || this.#host.isWrittenLately(renamed.stat.mtimeMs);
      if (isOpen && !this.#host.isKnown(source)) {
        this.#host.adopt(renamed.path, renamed.stat, foundBy, position);
      }
      return;
    }
    if (!this.#isLoss(source, position, trail)) return;
    for (const candidate of await this.#copiesFor(trail)) {
      const start = await startInCopyAt(this.#disk, candidate, position);
      if (start === undefined) continue;
      if (trail.below.includes(candidate)) olddirs.add(dirname(candidate.path));
      if (start.offset < candidate.stat.size) this.#rotation.adoptCopy(candidate, path, foundBy, start);
      return;
    }
    if (await this.#isLookedFor(source, position)) {
      this.#host.tellGone(source, position, foundBy);
    }
  }

  /** Whether a file with the inode of one that was read is that one: inodes are used again. */
  async #isSame(found: Sibling, position: TailPosition): Promise<boolean> {
    if (position.offset === 0) return found.stat.birthMs === position.birthMs;
    return (await startInCopyAt(this.#disk, found, position)) !== undefined;
  }

  /** What may be a copy of a file of the trail: what has its name now, and what is rotated from it. */
  async #copiesFor({ path, beside, below }: Trail): Promise<Sibling[]> {
    const stat = await this.#disk.stat(path).catch(() => undefined);
    return [...(stat?.isFile === true ? [{ path, stat }] : []), ...beside, ...below];
  }

  /** Whether something of a file is lost with it, or may well be. */
  #isLoss(source: string, position: TailPosition, trail: Trail): boolean {
    const { offset, seenBytes } = position;
    return offset < seenBytes || this.#mayHaveGrown(source, position, trail);
  }

  /** Whether a file was most likely followed when the node went down. */
  #mayHaveGrown(source: string, position: TailPosition, { newest }: Trail): boolean {
    const { path, offset, readAtMs, isGone } = position;
    const isCurrent = this.#host.watchAt(path) !== undefined || readAtMs >= this.#lastReadMs - FOLLOWED_MS;
    return isGone !== true && offset > 0 && newest.source === source && isCurrent;
  }

  /** False where a file could not be looked for: its directory can't be read, or its disk isn't there (yet). */
  async #isLookedFor(source: string, position: TailPosition): Promise<boolean> {
    try {
      if (placesOf(position).some((place) => this.#unreadable.has(dirname(place)))) return false;
      let at = position.realPath ?? position.path;
      let stat: TailStat | undefined;
      while ((stat = await this.#disk.stat(at)) === undefined && at !== '/') at = dirname(at);
      return stat?.device === fileOfSource(source).device;
    } catch {
      return false;
    }
  }

  async #settleTrail(trail: Trail): Promise<void> {
    const { path, foundBy, newest, bornMs, beside, below, olddirs } = trail;
    const { file } = this.#host.watchAt(path) ?? {};
    // In a directory below, what has a fitting name may be another program's, unless one of this path is there.
    const relatives = [...beside, ...below.filter((other) => olddirs.has(dirname(other.path)))];
    await this.#rotation.adoptBetween({ path, file, foundBy }, relatives, bornMs, newest.position.readAtMs);
    if (this.#host.isKnown(newest.source) && this.#mayHaveGrown(newest.source, newest.position, trail)) {
      this.#host.noteDown(newest.source, newest.position.readAtMs);
    }
  }
}

function placesOf({ path, realPath = path }: TailPosition): string[] {
  return realPath === path ? [path] : [path, realPath];
}

async function inTurns<T>(all: readonly T[], settle: (one: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < all.length; at += AT_ONCE) {
    await Promise.all(all.slice(at, at + AT_ONCE).map(settle));
  }
}
