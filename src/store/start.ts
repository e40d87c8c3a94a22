import { dirname } from 'node:path';
import { messageOf } from './errors.ts';
import type { DiskFile } from './host/index.ts';
import { LIMITS } from './limits.ts';
import { DroppedLog } from './retention/index.ts';
import {
  holdsForeign,
  goneOf,
  joinGone,
  goneSeqs,
  withoutHeld,
  ReadableFile,
  recoverSegment,
  releaseStreams,
  segmentName,
  type SegmentId,
  type SegmentRecord,
  type StreamPool,
} from './segment/index.ts';
import type { StoreOptions } from './store.ts';

/** What a start finds on the disk, and what it makes of it. */

const COPY_BYTES = 1024 * 1024;
const EPOCHS_SKIPPED_MAX = 2 ** 20;
/** A second's worth: of two runs, the one that was started later still has the higher epoch. */
const EPOCHS_BY_CHANCE = 1_000;
/** What may be read from a disk: there is room for every run to come above it. */
const EPOCH_STATED_MAX = LIMITS.counterMax / 2;

/** False for a record that the catalog cannot take: that costs the next start a scan, and nothing else (I5). */
async function remember(options: StoreOptions, record: SegmentRecord): Promise<boolean> {
  const { catalog, log } = options;
  try {
    // The next start is to look again.
    if (record.hasUnread) await forget(options, record);
    else await catalog.put(record);
    return true;
  } catch (error) {
    log('warn', `the catalog did not take ${segmentName(record.id)}: ${messageOf(error)}`);
    return false;
  }
}

/** Of what is not as it was. What the catalog does not let go of is found out at the next start by the file's size (I5). */
async function forget({ catalog, log }: StoreOptions, record: SegmentRecord): Promise<void> {
  await catalog.doubt(record).catch((error: unknown) => {
    log('warn', `the catalog did not forget ${segmentName(record.id)}: ${messageOf(error)}`);
  });
}

/** A bad sector is damage like any other. What else keeps a file from being read says nothing of its bytes: it is thrown. */
function damageIn(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== undefined && code !== 'EIO') throw error;
  return messageOf(error);
}

/**
 * The epoch of the last run, as `epoch.json` tells it. One that cannot be read says nothing: a run that left no batch of
 * its own behind may share its epoch.
 */
export async function statedEpoch({ directory, disk, log }: StoreOptions): Promise<number> {
  const path = `${directory}/epoch.json`;
  try {
    const bytes = await disk.readFile(path);
    if (!bytes) return 0;
    const { epoch } = JSON.parse(bytes.toString()) as { epoch: unknown };
    const isPossible = Number.isSafeInteger(epoch) && (epoch as number) >= 0;
    if (isPossible && (epoch as number) <= EPOCH_STATED_MAX) return epoch as number;
    log('warn', `${path} cannot be used`);
  } catch (error) {
    log('warn', `${path} cannot be used: ${damageIn(error)}`);
  }
  return 0;
}

/**
 * Whether a run was on this disk before, whatever is left of what it sealed: each states its epoch first. To be asked before this
 * run does.
 */
export async function hadRuns({ directory, disk }: StoreOptions): Promise<boolean> {
  for (const name of ['epoch.json', 'dropped.json']) if (await disk.stat(`${directory}/${name}`)) return true;
  return false;
}

export async function stateEpoch({ directory, disk }: StoreOptions, epoch: number): Promise<void> {
  await disk.replaceFile(`${directory}/epoch.json`, Buffer.from(JSON.stringify({ epoch })));
}

/**
 * Above every epoch before it on this disk, and in part by chance: two starts from one copy of the disk must not give out
 * the same one (I1), though the clock stands still or is behind those epochs.
 */
export function nextEpoch(lastEpoch: number, { clock, random }: StoreOptions): number {
  const nowMs = Math.floor(clock.nowMs());
  const [from, skippedMax] =
    nowMs > lastEpoch ? [nowMs, EPOCHS_BY_CHANCE] : [lastEpoch + 1, EPOCHS_SKIPPED_MAX];
  return from + Math.floor(random.unit() * skippedMax);
}

/**
 * What the last run wrote; a file that cannot be used says nothing, and what it said is fetched from others again. Nor is a bad
 * sector a reason not to start: it will not be read at the next start either, and the mesh would have one peer less meanwhile.
 */
export async function readDropped({ directory, disk, log }: StoreOptions): Promise<DroppedLog> {
  const path = `${directory}/dropped.json`;
  try {
    const bytes = await disk.readFile(path);
    if (bytes) return DroppedLog.decode(bytes);
  } catch (error) {
    log('error', `${path} cannot be used: ${damageIn(error)}`);
  }
  return new DroppedLog();
}

export function segmentPath(directory: string, id: SegmentId): string {
  return `${directory}/segments/${id.origin}/${id.epoch}-${id.index}.seg`;
}

export function bySegment(a: SegmentRecord, b: SegmentRecord): number {
  return a.id.epoch - b.id.epoch || a.id.index - b.id.index;
}

/** A segment file, and whether the catalog has all of it, or need not. */
interface Recovered {
  readonly record: SegmentRecord;
  readonly isRemembered: boolean;
}

/** Those that have a directory of segments. */
export async function originsOnDisk({ directory, disk }: StoreOptions): Promise<string[]> {
  const names = await disk.list(`${directory}/segments`);
  return names.filter((name) => /^[1-9A-HJ-NP-Za-km-z]{40,64}$/.test(name));
}

export async function recoverAll(options: StoreOptions, pool: StreamPool): Promise<Recovered[]> {
  const { directory, disk } = options;
  const recovered: Recovered[] = [];
  const origins = new Set([options.origin, ...(await originsOnDisk(options))]);
  for (const origin of origins) {
    await disk.makeDirectory(`${directory}/segments/${origin}`);
    const ids: SegmentId[] = [];
    for (const name of await disk.list(`${directory}/segments/${origin}`)) {
      const match = /^(\d+)-(\d+)\.seg$/.exec(name);
      const id = { origin, epoch: Number(match?.[1]), index: Number(match?.[2]) };
      if (id.epoch <= LIMITS.counterMax && id.index <= LIMITS.counterMax) ids.push(id);
    }
    ids.sort((a, b) => a.epoch - b.epoch || a.index - b.index);
    // A run that was killed may have made a file without making its name durable.
    if (ids.length > 0) await disk.syncDirectory(`${directory}/segments/${origin}`);
    const last = origin === options.origin ? await lastWritten(options, ids) : undefined;
    for (const id of ids) {
      recovered.push(await recoverOne(options, id, pool, id === last));
    }
  }
  await disk.syncDirectory(`${directory}/segments`);
  return recovered;
}

/** The own file that was being written when this peer last stopped: of those before it, each was on disk before the next one began. */
async function lastWritten(
  { disk, directory }: StoreOptions,
  ids: readonly SegmentId[],
): Promise<SegmentId | undefined> {
  for (const id of ids.toReversed()) if ((await disk.stat(segmentPath(directory, id)))?.size) return id;
  return undefined;
}

interface TailOf {
  readonly file: DiskFile;
  readonly readable: ReadableFile;
  readonly path: string;
  readonly size: number;
}

/** What stands behind the last sound batch is cut off, as the end of a write that was torn, unless it may be more than that. */
async function settleTail(options: StoreOptions, from: TailOf, record: SegmentRecord): Promise<void> {
  const { file, readable, path, size } = from;
  const { fileBytes, id, quarantined } = record;
  const bytes = size - fileBytes;
  const isForeign = await holdsForeign(readable, fileBytes, size, id);
  if ((readable.unread.at(-1)?.[1] ?? -1) >= fileBytes) {
    // What could not be read may be sound.
    quarantined.push({ offset: fileBytes, bytes });
    record.fileBytes = size;
    return;
  }
  if (isForeign) {
    // Files may have been mixed up: that is for a person to look at.
    const aside = await copyAside(options, from, fileBytes);
    const message = `${path}: its last ${bytes} bytes seem to hold batches of another segment and are cut off, into ${aside}`;
    options.log('error', message);
  } else options.log('warn', `${path}: cut a torn tail of ${bytes} bytes`);
  await file.truncate(fileBytes);
}

/** Copies what a file holds from an offset on. Resolves with where it is when it is on disk. */
async function copyAside(
  { disk, clock }: StoreOptions,
  { file, path, size }: TailOf,
  start: number,
): Promise<string> {
  const aside = `${path}.damaged-${Math.floor(clock.nowMs())}`;
  const copy = await disk.open(aside, 'write');
  try {
    for (let at = start; at < size; at += COPY_BYTES)
      await copy.write(at - start, [await file.read(at, Math.min(COPY_BYTES, size - at))]);
    await copy.sync();
  } finally {
    await copy.close();
  }
  await disk.syncDirectory(dirname(path));
  return aside;
}

/**
 * What the catalog knows to have been in a file, and it has not any more. Not of this peer's own: what was never acknowledged is read
 * again, and how far its batches are, it says itself.
 */
function noteLost(record: SegmentRecord, remembered: SegmentRecord | undefined, origin: string): void {
  if (!remembered || record.id.origin === origin) return;
  const before = joinGone(record.rotten, remembered.rotten, goneOf(remembered.batches));
  record.rotten = withoutHeld(before, goneSeqs(goneOf(record.batches)));
}

async function syncFile(disk: StoreOptions['disk'], path: string): Promise<void> {
  const file = await disk.open(path, 'write');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** From the catalog when it is right, else from the file; a torn tail is cut off. */
async function recoverOne(
  options: StoreOptions,
  id: SegmentId,
  pool: StreamPool,
  isLastWritten: boolean,
): Promise<Recovered> {
  const { disk, catalog, log } = options;
  const path = segmentPath(options.directory, id);
  const size = (await disk.stat(path))?.size ?? 0;
  const remembered = await catalog.get(id, pool);
  if (remembered && remembered.fileBytes === size && size > 0) {
    // What a full disk had cut short was cut off unsynced: a power cut must not bring back what is read again from now on.
    if (isLastWritten) await syncFile(disk, path);
    return { record: remembered, isRemembered: true };
  }
  if (remembered) releaseStreams(remembered, pool);
  const file = await disk.open(path, 'write');
  try {
    const readable = new ReadableFile(file);
    const record = await recoverSegment(readable, id, { isLastWritten, pool });
    noteLost(record, remembered, options.origin);
    if (record.fileBytes < size) await settleTail(options, { file, readable, path, size }, record);
    for (const { offset, bytes } of record.quarantined) {
      log('error', `${path}: ${bytes} bytes at ${offset} are unreadable and quarantined`);
    }
    await readable.writeAgain(record.fileBytes);
    await file.sync();
    record.hasUnread = readable.unread.length > 0;
    if (record.fileBytes > 0) return { record, isRemembered: await remember(options, record) };
    // Or else a file that grows to that size again would be taken for the one remembered.
    await forget(options, record);
    return { record, isRemembered: true };
  } finally {
    await file.close();
  }
}
