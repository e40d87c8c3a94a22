import { dirname, join } from 'node:path';
import { messageOf } from '../../store/index.ts';
import type { BoundedDisk } from './bounded-disk.ts';
import { codeOf, type TailStat } from './files.ts';
import {
  NOTHING_READ,
  decodePosition,
  fileOfSource,
  sourceName,
  type ReadState,
  type TailPosition,
} from './identity.ts';
import {
  isCompressedName,
  pathsBeforeMoveBelow,
  pathsBeforeRotation,
  SIBLINGS_MAX,
  startInCopyAt,
} from './relatives.ts';
import type { Sibling } from './relatives.ts';
import { Rotation, STAMP_LAG_MS, type RotationHost } from './rotation.ts';
import type { FoundBy } from './tail-sources.ts';

const LISTED_AT_ONCE = 32;
const DIRECTORIES_BELOW_MAX = 1_000;

/** What looking for the files of an earlier run asks of the tail input. */
export interface WhileDownHost extends RotationHost {
  /** Sources and where they stand, of all that earlier runs read. */
  readonly remembered: () => Iterable<readonly [string, string]>;
  readonly leadingTo: (path: string) => FoundBy | undefined;
  /** Somebody may still be writing to a file that was last written to then. */
  readonly isWrittenLately: (mtimeMs: number) => boolean;
  /** Tells that a file is nowhere to be found. */
  readonly tellGone: (source: string, position: TailPosition, foundBy: FoundBy) => void;
  readonly warn: (message: string) => void;
}

/** A path under which earlier runs read files. */
interface Trail {
  readonly path: string;
  readonly foundBy: FoundBy;
  /** The one that had it last. */
  newest: { readonly source: string; readonly position: TailPosition };
  bornMs: number;
  /** What is there now, or has the name of a file rotated from there. */
  readonly beside: Sibling[];
  /** Where the files stood that copies of them were read on from. */
  readonly continued: Set<string>;
  /** Directories below in which a file of this path was found. */
  readonly olddirs: Set<string>;
}

/** A file that was read. */
interface Remembered {
  readonly source: string;
  readonly position: TailPosition;
  readonly trail: Trail;
}

/**
 * At start, before anything is read: looks for the files that an earlier run read and that no pattern finds any more,
 * beside where they were last (behind a symbolic link: beside its target) and in the directories right below. Those that
 * were renamed or copied are read on; of others it is told that they are gone, where something is lost with them.
 * Whatever cannot be looked into, or not in whole, may hold them: then nothing is told.
 */
export class WhileDown {
  readonly #disk: BoundedDisk;
  readonly #host: WhileDownHost;
  readonly #rotation: Rotation;
  readonly #trails = new Map<string, Trail>();
  /** Trails by each place where their newest file was: several links may lead to it. */
  readonly #trailsAt = new Map<string, Set<Trail>>();
  readonly #bySource = new Map<string, Sibling>();
  /** Directories that have others below, and what was found in these, by the place it may come from. */
  readonly #parents = new Set<string>();
  readonly #below = new Map<string, Promise<Map<string, Sibling[]>>>();
  readonly #unreadable = new Set<string>();
  #lastReadMs = 0;

  constructor(disk: BoundedDisk, host: WhileDownHost) {
    this.#disk = disk;
    this.#host = host;
    this.#rotation = new Rotation(disk, host);
  }

  async settle(): Promise<void> {
    const present: Remembered[] = [];
    const absent: Remembered[] = [];
    for (const [source, text] of this.#host.remembered()) {
      const position = decodePosition(text);
      const trail = position && this.#remember(source, position);
      if (position === undefined || trail === undefined) continue;
      const isPresent = this.#host.fileOf(source) !== undefined;
      (isPresent ? present : absent).push({ source, position, trail });
    }
    for (const trail of this.#trails.values()) {
      for (const place of placesOf(trail.newest.position)) {
        const trails = this.#trailsAt.get(place) ?? new Set();
        this.#trailsAt.set(place, trails.add(trail));
      }
    }
    await this.#listAll(absent);
    for (const one of present) {
      if (await this.#isReplaced(one)) absent.push(one);
    }
    // What begins like two of them is a copy of the one of which more was read.
    absent.sort((a, b) => b.position.offset - a.position.offset);
    const notBeside: Remembered[] = [];
    for (const one of absent) {
      if (!(await this.#isFound(one, one.trail.beside))) notBeside.push(one);
    }
    const gone: Remembered[] = [];
    for (const one of notBeside) {
      if (mayHaveRest(one) && !(await this.#isFound(one, await this.#belowAll(one.position)))) gone.push(one);
    }
    for (const trail of this.#trails.values()) await this.#settleTrail(trail);
    for (const one of gone) {
      if (this.#isToTell(one) && (await this.#isLookedFor(one))) {
        this.#host.tellGone(one.source, one.position, one.trail.foundBy);
      }
    }
  }

  #remember(source: string, position: TailPosition): Trail | undefined {
    const { path, readAtMs, birthMs } = position;
    let trail = this.#trails.get(path);
    if (trail === undefined) {
      const foundBy = this.#host.leadingTo(path);
      if (foundBy === undefined) return undefined;
      const nothing = { beside: [], continued: new Set<string>(), olddirs: new Set<string>() };
      trail = { path, foundBy, newest: { source, position }, bornMs: birthMs, ...nothing };
      this.#trails.set(path, trail);
    }
    if (hadNameLater(position, trail.newest.position)) trail.newest = { source, position };
    for (const state of position.previous) trail.continued.add(keyOf(state));
    trail.bornMs = Math.max(trail.bornMs, birthMs);
    this.#lastReadMs = Math.max(this.#lastReadMs, readAtMs);
    return trail;
  }

  async #listAll(absent: readonly Remembered[]): Promise<void> {
    const absentFrom = new Set(absent.flatMap(({ position }) => placesOf(position).map(dirname)));
    const directories = [...new Set([...absentFrom, ...[...this.#trailsAt.keys()].map(dirname)])];
    for (let at = 0; at < directories.length; at += LISTED_AT_ONCE) {
      const some = directories.slice(at, at + LISTED_AT_ONCE);
      await Promise.all(some.map((directory) => this.#list(directory, absentFrom.has(directory))));
    }
  }

  /** What fits a trail; and, to find what was renamed, all else. */
  async #list(directory: string, withOthers: boolean): Promise<void> {
    const trailsOf = (path: string): Trail[] =>
      [path, ...pathsBeforeRotation(path)].flatMap((place) => [...(this.#trailsAt.get(place) ?? [])]);
    try {
      const entries = await this.#disk.list(directory);
      if (entries.some(({ kind }) => kind === 'directory')) this.#parents.add(directory);
      const paths = entries
        .filter(({ kind, name }) => kind === 'file' && !isCompressedName(name))
        .map(({ name }) => join(directory, name));
      const fitting = paths.filter((path) => trailsOf(path).length > 0);
      const others = withOthers ? paths.filter((path) => trailsOf(path).length === 0) : [];
      for (const sibling of await this.#statAll(directory, [...fitting, ...others])) {
        this.#bySource.set(sourceName(sibling.stat), sibling);
        for (const trail of trailsOf(sibling.path)) trail.beside.push(sibling);
      }
    } catch (error) {
      this.#cannotLookInto(directory, error);
    }
  }

  async #statAll(directory: string, paths: readonly string[]): Promise<Sibling[]> {
    if (paths.length > SIBLINGS_MAX) this.#cannotLookInto(directory, 'too many files');
    const found: Sibling[] = [];
    for (const path of paths.slice(0, SIBLINGS_MAX)) {
      try {
        const stat = await this.#disk.stat(path);
        if (stat?.isFile === true) found.push({ path, stat });
      } catch (error) {
        this.#cannotLookInto(directory, error);
      }
    }
    return found;
  }

  #cannotLookInto(directory: string, error: unknown): void {
    if (this.#unreadable.has(directory)) return;
    this.#unreadable.add(directory);
    const why = typeof error === 'string' ? error : messageOf(error);
    this.#host.warn(`${directory}: files that were renamed while the node was down may be missed: ${why}`);
  }

  async #belowAll(position: TailPosition): Promise<Sibling[]> {
    const found: Sibling[] = [];
    for (const place of placesOf(position)) found.push(...(await this.below(place)));
    return found;
  }

  /**
   * What stands, by its name, in a directory right below for a file that was at `place`, as `olddir` of logrotate puts it.
   * One directory after the other, and not on other disks: it is anybody's that is mounted there, and may never answer.
   */
  async below(place: string): Promise<readonly Sibling[]> {
    const directory = dirname(place);
    if (!this.#parents.has(directory)) return [];
    const listing = this.#below.get(directory) ?? this.#listBelow(directory);
    this.#below.set(directory, listing);
    return (await listing).get(place) ?? [];
  }

  async #listBelow(directory: string): Promise<Map<string, Sibling[]>> {
    const found = new Map<string, Sibling[]>();
    const placesAbove = (path: string): string[] =>
      pathsBeforeMoveBelow(path).filter((place) => this.#trailsAt.has(place));
    try {
      const names = (await this.#disk.list(directory)).filter(({ kind }) => kind === 'directory');
      if (names.length > DIRECTORIES_BELOW_MAX) this.#cannotLookInto(directory, 'too many directories');
      const device = (await this.#disk.stat(directory))?.device;
      for (const { name } of names.slice(0, DIRECTORIES_BELOW_MAX)) {
        // Others on the same server would hang, too.
        if (this.#disk.hasHung) this.#cannotLookInto(directory, 'another one gives no answer');
        if (this.#disk.hasHung) break;
        for (const sibling of await this.#listOneBelow(join(directory, name), device, placesAbove)) {
          for (const place of placesAbove(sibling.path)) {
            found.set(place, [...(found.get(place) ?? []), sibling]);
          }
        }
      }
    } catch (error) {
      this.#cannotLookInto(directory, error);
    }
    return found;
  }

  async #listOneBelow(
    directory: string,
    device: string | undefined,
    placesAbove: (path: string) => string[],
  ): Promise<Sibling[]> {
    try {
      if ((await this.#disk.stat(directory))?.device !== device) return [];
      const paths = (await this.#disk.list(directory))
        .filter(({ kind, name }) => kind === 'file' && !isCompressedName(name))
        .map(({ name }) => join(directory, name))
        .filter((path) => placesAbove(path).length > 0);
      return await this.#statAll(dirname(directory), paths);
    } catch (error) {
      // What others keep to themselves is out of reach, and called so.
      if (codeOf(error) !== 'EACCES') this.#cannotLookInto(dirname(directory), error);
      return [];
    }
  }

  /** Whether a file is among the candidates, renamed or as a copy; then it is read on there. */
  async #isFound(absent: Remembered, candidates: readonly Sibling[]): Promise<boolean> {
    const { source, position, trail } = absent;
    const foundIn = (directory: string): true => {
      if (candidates !== trail.beside) trail.olddirs.add(directory);
      return true;
    };
    const renamed = this.#bySource.get(source) ?? candidates.find(({ stat }) => sourceName(stat) === source);
    if (renamed !== undefined && (await this.#isSame(renamed, position))) {
      this.#goOnInRenamed(renamed, absent);
      return foundIn(dirname(renamed.path));
    }
    // One that is read already counts only if there is no other.
    const isRead = ({ stat }: Sibling): number =>
      this.#host.fileOf(sourceName(stat))?.isFresh === false ? 1 : 0;
    const mayBeCopies = candidates.filter(({ stat }) => mayBeCopy(stat, absent));
    for (const copy of mayBeCopies.sort((a, b) => isRead(a) - isRead(b))) {
      const start = await this.#startIn(copy, position);
      if (start === undefined) continue;
      this.#goOnInCopy(copy, absent, start);
      return foundIn(dirname(copy.path));
    }
    return false;
  }

  /** Whether a file with the inode of one that was read is that one: inodes are used again. */
  async #isSame(found: Sibling, position: TailPosition): Promise<boolean> {
    if (position.offset === 0) return found.stat.birthMs === position.birthMs;
    return (await this.#startIn(found, position)) !== undefined;
  }

  /** Whether it is another file that has the inode now; that one is read from its beginning. */
  async #isReplaced({ source, position }: Remembered): Promise<boolean> {
    const file = this.#host.fileOf(source);
    const found = this.#bySource.get(source);
    if (file === undefined || found === undefined || found.stat.birthMs === position.birthMs) return false;
    if ((await this.#isSame(found, position)) || this.#isUnreadable(position)) return false;
    const generation = position.generation + 1;
    file.startAgain({ state: NOTHING_READ, piece: 0, generation, previous: [] }, found.stat);
    file.becomeOther(found.stat.birthMs);
    file.isFresh = true;
    return true;
  }

  #isUnreadable(position: TailPosition): boolean {
    return placesOf(position).some((place) => this.#unreadable.has(dirname(place)));
  }

  async #startIn(found: Sibling, position: TailPosition): Promise<ReadState | undefined> {
    const { offset, headBytes, head, seamBytes, seam } = position;
    try {
      return await startInCopyAt(this.#disk, found, { offset, headBytes, head, seamBytes, seam });
    } catch (error) {
      for (const place of placesOf(position)) this.#cannotLookInto(dirname(place), error);
      return undefined;
    }
  }

  #goOnInRenamed({ path, stat }: Sibling, { source, position, trail }: Remembered): void {
    const isOpen = position.offset < stat.size || this.#host.isWrittenLately(stat.mtimeMs);
    if (isOpen && !this.#host.fileOf(source)) this.#host.adopt(path, stat, trail.foundBy, position);
  }

  #goOnInCopy(copy: Sibling, { source, trail }: Remembered, start: ReadState): void {
    const file = this.#host.fileOf(sourceName(copy.stat));
    if (file === undefined) this.#rotation.adoptCopy(copy, trail.path, trail.foundBy, start);
    // What was made anew under the same name may begin like the last one, and have it all to tell.
    else if (file.isFresh && (copy.path !== trail.path || !isOnSameDisk(copy.stat, source))) {
      file.beginAt(start, trail.path);
      this.#host.remember(file);
    }
    // The position of what was copied goes with its inode; the copy is known again by this one.
    const successor = this.#host.fileOf(source);
    if (successor !== undefined) successor.progress = { ...successor.progress, previous: [start] };
  }

  async #settleTrail(trail: Trail): Promise<void> {
    const { path, foundBy, newest, bornMs, beside, olddirs } = trail;
    const watch = this.#host.watchAt(path);
    // In a directory below, what has a fitting name may be another program's, unless one of this path is there.
    const below = olddirs.size === 0 ? [] : await this.#belowAll(newest.position);
    const relatives = [...beside, ...below.filter((other) => olddirs.has(dirname(other.path)))];
    const name = { path, file: watch?.file, foundBy };
    try {
      await this.#rotation.adoptBetween(name, relatives, bornMs, newest.position.readAtMs);
    } catch (error) {
      this.#cannotLookInto(dirname(path), error);
    }
    const file = this.#host.fileOf(newest.source);
    // One that is there may turn out to be truncated, or another one, in its place.
    const { isGone, offset, generation, readAtMs } = newest.position;
    const isKept = file?.progress.generation === generation && isGone !== true && offset > 0;
    if (isKept && watch !== undefined) file.downSinceMs = readAtMs;
  }

  /**
   * Whether something is known to be lost with a file. Of one that was read to its known end, that is not known: it is
   * said only of the last one under a path that is named as it stands, if that one can't have been replaced before.
   */
  #isToTell({ source, position, trail }: Remembered): boolean {
    // Those of older versions don't say whether it was told.
    if (position.isGone !== false || trail.continued.has(keyOf(position))) return false;
    if (position.offset < position.seenBytes) return true;
    const { found, file } = this.#host.watchAt(trail.path) ?? {};
    const isNamed = found?.isExplicit === true && trail.newest.source === source;
    const isNew =
      file === undefined || (file.offset === 0 && file.birthMs >= this.#lastReadMs - STAMP_LAG_MS);
    return isNamed && isNew && position.offset > 0;
  }

  /** False where a file could not be looked for: its directory can't be read, or its disk isn't there (yet). */
  async #isLookedFor({ source, position }: Remembered): Promise<boolean> {
    if (this.#isUnreadable(position)) return false;
    try {
      let at = position.realPath ?? position.path;
      let stat: TailStat | undefined;
      while ((stat = await this.#disk.stat(at)) === undefined && at !== '/') at = dirname(at);
      return stat !== undefined && isOnSameDisk(stat, source);
    } catch {
      return false;
    }
  }
}

/**
 * Of two that had a name, the one that had it last: what was renamed may be read on for long beside its successor. In the same
 * millisecond: the one that still had it, then the one that is named as it stands, else the one made later.
 */
function hadNameLater(a: TailPosition, b: TailPosition): boolean {
  const [namedMs, otherNamedMs] = [a, b].map(({ namedAtMs, readAtMs }) => namedAtMs ?? readAtMs);
  if (namedMs !== otherNamedMs) return namedMs > otherNamedMs;
  const [hasLost, otherHasLost] = [a, b].map(({ namedAtMs }) => namedAtMs !== undefined);
  if (hasLost !== otherHasLost) return otherHasLost;
  const [isNamed, isOtherNamed] = [a, b].map((position) => placesOf(position).length === 1);
  return isNamed === isOtherNamed ? a.birthMs > b.birthMs : isNamed;
}

/** Whether there may be more of a file than was read. */
function mayHaveRest({ position, trail }: Remembered): boolean {
  const { isGone, offset, seenBytes } = position;
  // In one millisecond a file and its successor may have been read.
  const isReadLast = position.readAtMs === trail.newest.position.readAtMs;
  return isGone !== true && (offset < seenBytes || isReadLast);
}

/**
 * A copy is made after the original was last read, and has all of it: what is shorter and begins alike is another file. Of an
 * original that was read to its end and has a successor, only another disk makes the search worth its reads: there may be
 * thousands. The birth of a file on another disk tells nothing of that time.
 */
function mayBeCopy(stat: TailStat, original: Remembered): boolean {
  const { source, position } = original;
  if (sourceName(stat) === source || stat.size < position.offset) return false;
  if (!isOnSameDisk(stat, source)) return true;
  const isLater = stat.birthMs === 0 || stat.birthMs >= position.readAtMs - STAMP_LAG_MS;
  return isLater && mayHaveRest(original);
}

function isOnSameDisk(stat: TailStat, source: string): boolean {
  return stat.device === fileOfSource(source).device;
}

function keyOf({ offset, head, seam }: ReadState): string {
  return `${offset}:${head}:${seam}`;
}

function placesOf({ path, realPath = path }: TailPosition): string[] {
  return realPath === path ? [path] : [path, realPath];
}
