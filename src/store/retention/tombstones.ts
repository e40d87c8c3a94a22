import { dirname } from 'node:path';
import type { Disk } from '../host/index.ts';
import { LIMITS } from '../limits.ts';
import type { ExpiredRun } from './expired.ts';

type TombstoneDisk = Pick<Disk, 'list' | 'open' | 'rename' | 'remove' | 'syncDirectory'>;

const NAME = /^(\d+)-\d+\.gone((?:_\d+-\d+--?\d+--?\d+)+)$/;
const RUN = /_(\d+)-(\d+)-(-?\d+)-(-?\d+)/g;
/** File systems take 255. */
const NAME_CHARS_MAX = 200;

/**
 * What retention dropped while the disk had no room to write that down: a file can be renamed and emptied all the same, and its name
 * says what was in it until dropped.json does.
 */
export class Tombstones {
  readonly #disk: TombstoneDisk;
  readonly #paths: Set<string>;
  /** What those say that were there at the start. */
  readonly found: readonly ExpiredRun[];

  private constructor(disk: TombstoneDisk, found: ReadonlyMap<string, readonly ExpiredRun[]>) {
    this.#disk = disk;
    this.#paths = new Set(found.keys());
    this.found = [...found.values()].flat();
  }

  /** Looks through these origins' directories, in the one of all segments. */
  static async find(disk: TombstoneDisk, segments: string, origins: readonly string[]): Promise<Tombstones> {
    const found = new Map<string, readonly ExpiredRun[]>();
    for (const origin of origins) {
      for (const name of await disk.list(`${segments}/${origin}`)) {
        const runs = runsIn(name, origin);
        if (runs.length > 0) found.set(`${segments}/${origin}/${name}`, runs);
      }
    }
    const tombstones = new Tombstones(disk, found);
    // A crash may have come before that. Where it cannot be done, it goes as a whole later.
    for (const path of found.keys()) await tombstones.#empty(path).catch(() => undefined);
    return tombstones;
  }

  /** Makes one of a segment's file, or removes it where its name cannot tell all. */
  async put(path: string, runs: readonly ExpiredRun[]): Promise<void> {
    const name = path.replace(/\.seg$/, `.gone${runs.map(textOf).join('')}`);
    if (runs.length === 0 || name.length - dirname(name).length > NAME_CHARS_MAX)
      return this.#disk.remove(path);
    try {
      await this.#disk.rename(path, name);
    } catch {
      // A directory may need room as well.
      return this.#disk.remove(path);
    }
    this.#paths.add(name);
    // First, lest a power cut leaves an empty segment. Where that fails, it may: as if the file had been removed.
    await this.#disk.syncDirectory(dirname(path)).catch(() => undefined);
    await this.#empty(name);
  }

  async #empty(path: string): Promise<void> {
    const file = await this.#disk.open(path, 'write');
    try {
      await file.truncate(0);
    } finally {
      await file.close();
    }
  }

  /** All that they say is written down. What cannot be removed says it again at the next start. */
  async clear(): Promise<void> {
    for (const path of this.#paths) await this.#disk.remove(path).catch(() => undefined);
    this.#paths.clear();
  }
}

/** In whole milliseconds: what is a moment longer is no harm, since that much is not dropped alone. */
const textOf = ({ from, to, min, max }: ExpiredRun): string =>
  `_${from}-${to}-${Math.floor(min.ms)}-${Math.floor(max.ms)}`;

function runsIn(name: string, origin: string): ExpiredRun[] {
  const [, epoch, runs = ''] = NAME.exec(name) ?? [];
  const found = Array.from(runs.matchAll(RUN), ([, from, to, minMs, maxMs]) => ({
    origin,
    epoch: Number(epoch),
    from: Number(from),
    to: Number(to),
    min: { ms: Number(minMs), sub: 0 },
    max: { ms: Number(maxMs), sub: 999_999 },
  }));
  const isSound = ({ epoch: of, from, to, min, max }: ExpiredRun): boolean =>
    Math.max(of, to) <= LIMITS.counterMax &&
    from >= 1 &&
    from <= to &&
    Number.isSafeInteger(min.ms) &&
    Number.isSafeInteger(max.ms);
  return found.every(isSound) ? found : [];
}
