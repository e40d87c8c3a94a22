import { basename, dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { codeOf, type TailDisk, type TailHandle, type TailStat } from './files.ts';
import {
  HEAD_BYTES_MAX,
  SEAM_BYTES_MAX,
  beginsWith,
  hashHead,
  sameFile,
  type ReadState,
} from './identity.ts';

/*
 * Rotation leaves relatives beside a file: app.log → app.log.1, app.log-20261121, app-20261121.log. They are found
 * again by identity (renamed), by name and time of birth (came and went between two looks), or by content (copies).
 */

export const SIBLINGS_MAX = 10_000;
const SUFFIXED = /^(.+?)[._-]+\d[\d._:T-]*$/;
const INFIXED = /^(.+?)[._-]+\d[\d._:T-]*(\.[A-Za-z]\w*)$/;
const COMPRESSED = /\.(?:gz|xz|zst|bz2)$/;

export function isCompressedName(name: string): boolean {
  return COMPRESSED.test(name);
}

/** The paths that a rotated file may have had before: `/x/app.log.1` → `/x/app.log`; `/x/app-7.log` → `/x/app.log`. */
export function pathsBeforeRotation(path: string): string[] {
  return namesBeforeRotation(basename(path)).map((name) => join(dirname(path), name));
}

function namesBeforeRotation(name: string): string[] {
  const bases: string[] = [];
  const suffixed = SUFFIXED.exec(name);
  if (suffixed !== null) bases.push(suffixed[1]);
  const infixed = INFIXED.exec(name);
  if (infixed !== null) bases.push(infixed[1] + infixed[2]);
  return bases;
}

/** The paths that a file may have had before it was put, rotated or as it was, into a directory below (`olddir`). */
export function pathsBeforeMoveBelow(path: string): string[] {
  const name = basename(path);
  return [name, ...namesBeforeRotation(name)].map((base) => join(dirname(dirname(path)), base));
}

export interface Sibling {
  readonly path: string;
  readonly stat: TailStat;
}

/** The plain, uncompressed files of a directory for which `isWanted(path)`; a bounded number. */
export async function siblings(
  disk: TailDisk,
  directory: string,
  isWanted: (path: string) => boolean,
): Promise<Sibling[]> {
  const paths = (await disk.list(directory))
    .filter((entry) => entry.kind === 'file' && !isCompressedName(entry.name))
    .map((entry) => join(directory, entry.name))
    .filter(isWanted)
    .slice(0, SIBLINGS_MAX);
  const found: Sibling[] = [];
  for (const path of paths) {
    const stat = await disk.stat(path).catch(() => undefined);
    if (stat?.isFile === true) found.push({ path, stat });
  }
  return found;
}

/** Where a file that was renamed within its directory is now; behind a symbolic link, that of its target. */
export async function findRenamed(
  disk: TailDisk,
  file: {
    readonly path: string;
    readonly realPath: string | undefined;
    readonly device: string;
    readonly inode: string;
  },
): Promise<string | undefined> {
  for (const directory of new Set([dirname(file.path), dirname(file.realPath ?? file.path)])) {
    const all = await siblings(disk, directory, () => true).catch(() => []);
    const found = all.find(({ stat }) => sameFile(stat, file));
    if (found !== undefined) return found.path;
  }
  return undefined;
}

/** The rotated relatives of `path` and of what it is a symbolic link to, newest first. */
export async function rotatedSiblings(disk: TailDisk, path: string): Promise<Sibling[]> {
  const found: Sibling[] = [];
  for (const name of new Set([path, (await disk.realPath(path)) ?? path])) {
    found.push(
      ...(await siblings(disk, dirname(name), (other) => pathsBeforeRotation(other).includes(name))),
    );
  }
  return found.sort((a, b) => b.stat.birthMs - a.stat.birthMs);
}

/** The state of having read the first `offset` bytes of an open file. */
export async function stateAt(handle: TailHandle, offset: number): Promise<ReadState> {
  const headBytes = Math.min(HEAD_BYTES_MAX, offset);
  const seamBytes = Math.min(SEAM_BYTES_MAX, offset);
  const head = await handle.read(0, headBytes);
  const seam = await handle.read(offset - seamBytes, seamBytes);
  return { offset, headBytes, head: headBytes === 0 ? '' : hashHead(head), seamBytes, seam: crc32(seam) };
}

/** Where to go on in an open file, if it is a copy of one that was read to `state`; undefined if it is none. */
export async function startInCopy(handle: TailHandle, state: ReadState): Promise<ReadState | undefined> {
  const { size } = await handle.stat();
  if (!(await beginsWith(handle, size, state))) return undefined;
  return size >= state.offset ? state : await stateAt(handle, size);
}

/** The same for a path; undefined when it is gone, or another file by now. Rejects when it cannot be opened. */
export async function startInCopyAt(
  disk: TailDisk,
  copy: Sibling,
  state: ReadState,
): Promise<ReadState | undefined> {
  let handle: TailHandle;
  try {
    handle = await disk.open(copy.path);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  try {
    if (!sameFile(await handle.stat(), copy.stat)) return undefined;
    return await startInCopy(handle, state);
  } finally {
    await handle.close();
  }
}

/** Whether an open file of `size` bytes is the start of another file, by its first and its last KiB. */
export async function isStartOf(
  disk: TailDisk,
  handle: TailHandle,
  size: number,
  original: { readonly path: string; readonly device: string; readonly inode: string },
): Promise<boolean> {
  const other = await disk.open(original.path).catch(() => undefined);
  if (other === undefined) return false;
  try {
    if (!sameFile(await other.stat(), original)) return false;
    for (const place of [0, Math.max(0, size - HEAD_BYTES_MAX)]) {
      const length = Math.min(HEAD_BYTES_MAX, size);
      if (!(await handle.read(place, length)).equals(await other.read(place, length))) return false;
    }
    return true;
  } finally {
    await other.close();
  }
}
