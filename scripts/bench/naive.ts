import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';
import type { GeneratedFile } from './generate.ts';
import { eachAtOnce, shell, timeMs } from './shell.ts';

/** The same bytes as `zstd -1` files, one for each log, scanned by as many `zstdcat | rg` at once as there are cores. */
export class NaiveScan {
  readonly #paths: readonly string[];

  private constructor(paths: readonly string[]) {
    this.#paths = paths;
  }

  static async of(files: readonly GeneratedFile[], directory: string): Promise<NaiveScan> {
    const paths = files.map(({ path }) => join(directory, `${basename(path)}.zst`));
    const pairs = files.map(({ path }, index) => [path, paths[index]] as const);
    await eachAtOnce(pairs, availableParallelism(), ([from, to]) =>
      shell('zstd -1 -q -f -o "$2" "$1"', from, to),
    );
    return new NaiveScan(paths);
  }

  /** What each file's `zstdcat | filter` printed; `$1` in the filter is a name for files of its own. */
  scan(filter: string, only?: readonly string[]): Promise<string[]> {
    return this.scanTogether([{ filter, only }]);
  }

  /** Several scans under way at once; what each file's filter printed. */
  scanTogether(scans: readonly { filter: string; only?: readonly string[] }[]): Promise<string[]> {
    const jobs = scans.flatMap(({ filter, only }, index) =>
      this.#paths
        .filter((path) => !only || only.includes(basename(path, '.zst')))
        .map((path) => ({ command: `zstdcat -q "$1" | { set -- "$1.${index}.out"; ${filter}; }`, path })),
    );
    return eachAtOnce(jobs, availableParallelism(), ({ command, path }) => shell(command, path));
  }
}

/** The sum of what `rg -c` said of each file; it says nothing where there is nothing. */
export function sumOf(outputs: readonly string[]): string {
  return String(outputs.reduce((sum, output) => sum + Number(output), 0));
}

/** `zstd -1` alone on one core, over all files: MB/s, the better of two. */
export async function zstdMegabytesPerSecond(files: readonly GeneratedFile[]): Promise<number> {
  const paths = files.map(({ path }) => path);
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const compress = (): Promise<string> =>
    shell('cat "$@" | zstd -1 --single-thread -q -c > /dev/null', ...paths);
  const ms = Math.min(await timeMs(compress), await timeMs(compress));
  return bytes / 1e3 / ms;
}
