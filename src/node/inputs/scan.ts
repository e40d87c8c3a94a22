import { messageOf } from '../../store/index.ts';
import type { TailDisk } from './files.ts';
import { matchesName, type Glob } from './glob.ts';

const DEPTH_MAX = 64;

export interface ScanResult {
  /** Absolute paths that fit; not directories, as far as the directory entry tells. */
  readonly paths: string[];
  /** Why a part of the tree could not be listed. */
  readonly problem?: string;
  /** There were more than the bound. */
  readonly isCut: boolean;
}

/** Lists what fits a glob now. `**` doesn't follow symbolic links, so it ends; a plain wildcard does. */
export async function scanGlob(glob: Glob, disk: TailDisk, pathsMax: number): Promise<ScanResult> {
  const found = new Set<string>();
  const seen = new Set<string>();
  const todo: Array<{ directory: string; at: number; depth: number }> = [{ directory: '', at: 0, depth: 0 }];
  let problem: string | undefined;
  while (todo.length > 0) {
    if (found.size > pathsMax) break;
    const { directory, at, depth } = todo.pop()!;
    const id = `${at}:${directory}`;
    if (seen.has(id) || depth > DEPTH_MAX) continue;
    seen.add(id);
    const segment = glob.segments[at];
    const isLast = at === glob.segments.length - 1;
    if (segment.kind === 'name') {
      const path = `${directory}/${segment.name}`;
      if (!isLast) todo.push({ directory: path, at: at + 1, depth });
      else if ((await disk.stat(path).catch(() => undefined))?.isFile === true) found.add(path);
      continue;
    }
    const isDeep = segment.kind === 'deep';
    if (isDeep && !isLast) todo.push({ directory, at: at + 1, depth });
    try {
      for (const { name, kind } of await disk.list(directory === '' ? '/' : directory)) {
        const path = `${directory}/${name}`;
        const fits = isDeep ? !name.startsWith('.') : matchesName(segment.tokens, name);
        if (!fits) continue;
        if (isDeep && kind === 'directory') todo.push({ directory: path, at, depth: depth + 1 });
        if (isLast && (kind === 'file' || kind === 'link')) found.add(path);
        if (!isLast && !isDeep && (kind === 'directory' || kind === 'link')) {
          todo.push({ directory: path, at: at + 1, depth });
        }
      }
    } catch (error) {
      problem = messageOf(error);
    }
  }
  const paths = [...found].sort();
  return { paths: paths.slice(0, pathsMax), problem, isCut: paths.length > pathsMax };
}
