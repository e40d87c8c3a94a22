import { messageOf, type Labels } from '../../store/index.ts';
import type { TailDisk } from './files.ts';
import { matchesPath, parseGlob, type Glob } from './glob.ts';
import { fileLabels, type FileLabelOptions } from './labels.ts';
import { isCompressedName } from './relatives.ts';
import { scanGlob } from './scan.ts';

/** What to tail: a path or a glob, and the labels of its own that its lines get. */
export interface TailSource {
  readonly pattern: string;
  readonly labels?: Labels;
  /** Globs of files that its wildcards match and that are left out. */
  readonly exclude?: readonly string[];
  /** Of times in its lines that name none, where it is not the node's. */
  readonly timeZone?: string | undefined;
}

/** The pattern that leads to a file, and what its lines get by it. */
export interface FoundBy {
  labelsOf(filename: string): Labels;
  readonly timeZone?: string | undefined;
}

/** Where messages for the operator go. */
export interface TailLog {
  info(message: string): void;
  warn(message: string): void;
}

/** A path that one of the patterns leads to. */
export interface FoundPath {
  readonly path: string;
  /** Named as it stands, not found by a wildcard: then it is an error if it cannot be read. */
  readonly isExplicit: boolean;
  readonly foundBy: FoundBy;
}

interface Pattern extends TailSource, FoundBy {
  readonly globs: readonly Glob[];
  readonly excluded: readonly Glob[];
  problem: string | undefined;
  hasNamedCompressed: boolean;
}

/** The patterns of a tail input, and what they lead to at the moment. */
export class TailSources {
  readonly #patterns: Pattern[];
  readonly #disk: TailDisk;
  readonly #log: TailLog;
  readonly #filesMax: number;

  /** Throws LV_CONFIG_INVALID if a pattern is malformed. */
  constructor(
    sources: readonly TailSource[],
    options: FileLabelOptions & { readonly disk: TailDisk; readonly log: TailLog; readonly filesMax: number },
  ) {
    this.#disk = options.disk;
    this.#log = options.log;
    this.#filesMax = options.filesMax;
    this.#patterns = sources.map(({ pattern, labels, exclude = [], timeZone }) => ({
      pattern,
      globs: parseGlob(pattern),
      excluded: exclude.flatMap(parseGlob),
      labelsOf: (filename) => fileLabels(filename, labels, options),
      timeZone,
      problem: undefined,
      hasNamedCompressed: false,
    }));
  }

  /** Every path that fits now, once; the first pattern that fits it counts. Explicit paths also if nothing is there. */
  async find(): Promise<FoundPath[]> {
    const found = new Map<string, FoundPath>();
    for (const pattern of this.#patterns) await this.#findOf(pattern, found);
    return [...found.values()];
  }

  async #findOf(pattern: Pattern, found: Map<string, FoundPath>): Promise<void> {
    let count = 0;
    let problem: string | undefined;
    for (const glob of pattern.globs) {
      if (glob.plainPath !== undefined) {
        // A wildcard of an earlier pattern may have it already; that it is named makes it explicit all the same.
        const earlier = found.get(glob.plainPath);
        found.set(glob.plainPath, { foundBy: pattern, path: glob.plainPath, ...earlier, isExplicit: true });
        count++;
        continue;
      }
      const result = await scanGlob(glob, this.#disk, this.#filesMax).catch((error: unknown) => ({
        paths: [],
        problem: messageOf(error),
        isCut: false,
      }));
      problem ??= result.isCut ? `more than ${this.#filesMax} files; the rest is not read` : result.problem;
      for (const path of result.paths) {
        if (pattern.excluded.some((glob) => matchesPath(glob, path))) continue;
        if (isCompressedName(path)) {
          this.#nameCompressed(pattern, path);
          continue;
        }
        count++;
        if (!found.has(path)) found.set(path, { path, foundBy: pattern, isExplicit: false });
      }
    }
    if (count === 0) problem ??= 'no file fits this pattern';
    if (problem !== undefined && problem !== pattern.problem)
      this.#log.warn(`${pattern.pattern}: ${problem}`);
    pattern.problem = problem;
  }

  #nameCompressed(pattern: Pattern, path: string): void {
    if (pattern.hasNamedCompressed) return;
    pattern.hasNamedCompressed = true;
    this.#log.info(
      `${pattern.pattern}: compressed files are passed over (such as ${path}); name one to read it`,
    );
  }

  /** The first pattern that leads to a path, whether or not something is there. */
  leadingTo(path: string): FoundBy | undefined {
    return this.#patterns.find(({ globs, excluded }) =>
      globs.some((glob) => {
        if (glob.plainPath !== undefined) return glob.plainPath === path;
        const isPassedOver = isCompressedName(path) || excluded.some((other) => matchesPath(other, path));
        return !isPassedOver && matchesPath(glob, path);
      }),
    );
  }

  /** Patterns that lead to nothing, or not to all that they should. */
  problems(): Array<{ pattern: string; problem: string }> {
    return this.#patterns.flatMap(({ pattern, problem }) =>
      problem === undefined ? [] : [{ pattern, problem }],
    );
  }
}
