import { dirname } from 'node:path';
import type { Disk, DiskFile, DiskReader, FileStat, Random } from '../../src/store/host/index.ts';

/** What was done to a file and is not on the platter yet. */
type Change =
  | { readonly kind: 'write'; readonly at: number; readonly bytes: Buffer }
  | { readonly kind: 'truncate'; readonly size: number };

const SECTOR_BYTES = 512;

class Inode {
  readonly number: number;
  content: Buffer = Buffer.alloc(0);
  /** What a power cut leaves at the least. */
  durable: Buffer = Buffer.alloc(0);
  unsynced: Change[] = [];
  mtimeMs = 0;

  constructor(number: number) {
    this.number = number;
  }

  change(change: Change): void {
    this.content = applied(this.content, change);
    this.unsynced.push(change);
  }
}

function applied(content: Buffer, change: Change): Buffer {
  if (change.kind === 'truncate') {
    const cut = Buffer.alloc(change.size);
    content.copy(cut);
    return cut;
  }
  const end = change.at + change.bytes.length;
  const grown =
    end > content.length
      ? Buffer.concat([content, Buffer.alloc(end - content.length)])
      : Buffer.from(content);
  change.bytes.copy(grown, change.at);
  return grown;
}

/** Whether a path names something directly in a directory. */
function isInside(directory: string): (path: string) => boolean {
  const start = directory === '/' ? '/' : `${directory}/`;
  return (path) => path.length > start.length && path.startsWith(start) && !path.includes('/', start.length);
}

function systemError(code: string, message: string): Error {
  return Object.assign(new Error(`${code}: ${message}`), { code });
}

/**
 * How a power cut treats what was not synced. 'lose': all of it goes. 'prefix': changes survive up to a random byte, as
 * an appending file does on a journalling file system. 'sectors': any sectors survive, in any order; the others hold
 * what they held before, or zeros.
 */
export type Tear = 'lose' | 'prefix' | 'sectors';

/** Names and bytes of a whole disk. */
export type DiskImage = ReadonlyMap<
  string,
  { readonly content: Buffer; readonly mtimeMs: number } | 'directory'
>;

/**
 * A disk in memory, with the faults of a real one. `boot` gives a process its view of it; once the power is cut or the
 * process killed, what was asked through that view never answers again.
 */
export class SimDisk {
  /** Bytes that all files together may have; the disk is as large as `totalBytes`, whoever has the rest. */
  spaceBytes = Infinity;
  totalBytes = Infinity;
  /** The wall clock that files get their times from. */
  nowMs: () => number = () => 0;
  /** Awaited before each fsync takes effect, with the path: a slow disk. */
  beforeSync: (path: string) => Promise<void> | void = () => undefined;
  /** An fsync of a file whose path it says yes to fails, and what was to be synced will never be (as Linux does it). */
  failSync: (path: string) => boolean = () => false;
  /** Sectors that cannot be read any more. */
  failRead: (path: string, position: number, length: number) => boolean = () => false;
  /** How many more changes the running process lives to make; `onDead` is called with the last one. */
  changesLeft = Infinity;
  onDead: () => void = () => undefined;
  /** Called before the running process removes or shortens a file. */
  beforeLoss: (path: string, newSize: number) => void = () => undefined;
  /** What the disk makes of a write that it reports as done: the same, less of it, or the bytes in another place. */
  distort: (path: string, at: number, bytes: Buffer) => { at: number; bytes: Buffer } = (
    _path,
    at,
    bytes,
  ) => ({
    at,
    bytes,
  });
  /** Changes and syncs so far. */
  changes = 0;
  syncs = 0;
  readonly #random: Random;
  #names = new Map<string, Inode | 'directory'>([['/', 'directory']]);
  #durableNames = new Map<string, Inode | 'directory'>([['/', 'directory']]);
  #inodes = 0;
  #boot = 0;

  /** `directory` is there from the start, and stays. */
  constructor(random: Random, directory = '/data') {
    this.#random = random;
    this.makeDirectory(directory);
    this.#durableNames = new Map(this.#names);
  }

  /** A starting process's view. */
  boot(): Disk {
    this.changesLeft = Infinity;
    return new SimDiskView(this, ++this.#boot);
  }

  reader(): DiskReader {
    return {
      readAt: (path, position, length) =>
        Buffer.from(this.file(path).content.subarray(position, position + length)),
      close: () => undefined,
    };
  }

  get dead(): boolean {
    return this.changesLeft <= 0;
  }

  isLive(boot: number): boolean {
    return boot === this.#boot && !this.dead;
  }

  /** `kill -9`: the process ends where it stands; what it wrote is in the page cache. */
  kill(): void {
    this.#boot++;
  }

  /** A power cut. */
  crash(tear: Tear = 'prefix'): void {
    this.#boot++;
    const names = new Map<string, Inode | 'directory'>();
    for (const [path, node] of this.#durableNames) {
      if (this.#durableAncestors(path)) names.set(path, node);
    }
    for (const node of new Set(names.values())) {
      if (node === 'directory') continue;
      node.content = this.#torn(node, tear);
      node.durable = node.content;
      node.unsynced = [];
    }
    this.#names = names;
    this.#durableNames = new Map(names);
  }

  #durableAncestors(path: string): boolean {
    for (let at = dirname(path); at !== '/'; at = dirname(at)) if (!this.#durableNames.has(at)) return false;
    return true;
  }

  #torn({ durable, unsynced }: Inode, tear: Tear): Buffer {
    if (tear === 'lose') return durable;
    let content = durable;
    if (tear === 'prefix') {
      const whole = Math.floor(this.#random.unit() * (unsynced.length + 1));
      for (const change of unsynced.slice(0, whole)) content = applied(content, change);
      const next = unsynced[whole];
      if (next?.kind !== 'write') return content;
      const survive = Math.floor(this.#random.unit() * next.bytes.length);
      return applied(content, { ...next, bytes: next.bytes.subarray(0, survive) });
    }
    for (const change of unsynced) {
      if (change.kind === 'truncate') {
        if (this.#random.unit() < 0.5) content = applied(content, change);
        continue;
      }
      for (let from = 0; from < change.bytes.length;) {
        const sectorEnd = (Math.floor((change.at + from) / SECTOR_BYTES) + 1) * SECTOR_BYTES - change.at;
        const bytes = change.bytes.subarray(from, sectorEnd);
        if (this.#random.unit() < 0.6)
          content = applied(content, { kind: 'write', at: change.at + from, bytes });
        from += bytes.length;
      }
    }
    return content;
  }

  /** Rot: one bit of a file at rest changes. */
  flipBit(path: string, bit: number): void {
    const node = this.file(path);
    for (const bytes of new Set([node.content, node.durable])) bytes[bit >>> 3] ^= 1 << (bit & 7);
  }

  /** Replaces a file's bytes, durably: for a test that plays the disk's part. */
  overwrite(path: string, content: Buffer): void {
    const node = this.file(path);
    node.content = Buffer.from(content);
    node.durable = node.content;
    node.unsynced = [];
  }

  contentOf(path: string): Buffer {
    return Buffer.from(this.file(path).content);
  }

  /** Paths of all files, sorted. */
  files(): string[] {
    return [...this.#names]
      .filter(([, node]) => node !== 'directory')
      .map(([path]) => path)
      .sort();
  }

  file(path: string): Inode {
    const node = this.#names.get(path);
    if (node === undefined || node === 'directory') throw systemError('ENOENT', path);
    return node;
  }

  node(path: string): Inode | 'directory' | undefined {
    return this.#names.get(path);
  }

  list(path: string): string[] {
    if (this.node(path) instanceof Inode) throw systemError('ENOTDIR', path);
    const isIn = isInside(path);
    const start = path === '/' ? 1 : path.length + 1;
    const names: string[] = [];
    for (const name of this.#names.keys()) if (isIn(name)) names.push(name.slice(start));
    return names.sort();
  }

  create(path: string): Inode {
    if (this.#names.get(dirname(path)) !== 'directory') throw systemError('ENOENT', path);
    const inode = new Inode(++this.#inodes);
    inode.mtimeMs = this.nowMs();
    this.#names.set(path, inode);
    return inode;
  }

  makeDirectory(path: string): void {
    if (path !== '/') this.makeDirectory(dirname(path));
    if (!this.#names.has(path)) this.#names.set(path, 'directory');
  }

  rename(from: string, to: string): void {
    this.#names.set(to, this.file(from));
    this.#names.delete(from);
  }

  /** What a power cut would leave: names and bytes. */
  image(): DiskImage {
    const image = new Map<string, { content: Buffer; mtimeMs: number } | 'directory'>();
    for (const [path, node] of this.#durableNames) {
      if (!this.#durableAncestors(path)) continue;
      if (node === 'directory') image.set(path, node);
      else image.set(path, { content: Buffer.from(node.durable), mtimeMs: node.mtimeMs });
    }
    return image;
  }

  /** Puts back what an image holds, durably, and nothing else. Only while no process runs on it. */
  restore(image: DiskImage): void {
    this.#boot++;
    this.#names = new Map();
    for (const [path, file] of image) {
      if (file === 'directory') this.#names.set(path, file);
      else {
        const inode = new Inode(++this.#inodes);
        inode.content = Buffer.from(file.content);
        inode.durable = inode.content;
        inode.mtimeMs = file.mtimeMs;
        this.#names.set(path, inode);
      }
    }
    this.#durableNames = new Map(this.#names);
  }

  /** What is there now and would be after a power cut too: what was removed just now may come back, but is not kept. */
  #kept(path: string): Inode | undefined {
    const node = this.#durableNames.get(path);
    if (node === undefined || node === 'directory' || this.#names.get(path) !== node) return undefined;
    return this.#durableAncestors(path) ? node : undefined;
  }

  /** A file's bytes as they are on the platter; undefined where a power cut could leave no file. */
  durableOf(path: string): Buffer | undefined {
    return this.#kept(path)?.durable;
  }

  /** Paths of the files that are on the platter. */
  durableFiles(): string[] {
    return [...this.#durableNames.keys()].filter((path) => this.#kept(path) !== undefined);
  }

  get usedBytes(): number {
    let used = 0;
    for (const node of new Set(this.#names.values())) if (node !== 'directory') used += node.content.length;
    return used;
  }

  remove(path: string): void {
    this.beforeLoss(path, 0);
    for (const name of this.#names.keys())
      if (name === path || name.startsWith(`${path}/`)) this.#names.delete(name);
  }

  syncDirectory(path: string): void {
    const isIn = isInside(path);
    for (const name of this.#durableNames.keys()) {
      if (isIn(name) && !this.#names.has(name)) this.#durableNames.delete(name);
    }
    const fresh: string[] = [];
    for (const [name, node] of this.#names)
      if (isIn(name) && this.#durableNames.get(name) !== node) fresh.push(name);
    for (const name of fresh.sort()) this.#durableNames.set(name, this.#names.get(name)!);
  }

  /** Writes what fits; a full disk shortens the write before it says so. */
  write(path: string, inode: Inode, position: number, given: Buffer): void {
    const { at, bytes } = this.distort(path, position, given);
    inode.mtimeMs = this.nowMs();
    const growth = Math.max(0, at + bytes.length - inode.content.length);
    const short = this.spaceBytes === Infinity ? 0 : Math.max(0, this.usedBytes + growth - this.spaceBytes);
    if (short === 0) {
      inode.change({ kind: 'write', at, bytes });
      return;
    }
    if (short < bytes.length) {
      inode.change({ kind: 'write', at, bytes: bytes.subarray(0, bytes.length - short) });
    }
    throw systemError('ENOSPC', 'no space left on device');
  }

  sync(path: string, inode: Inode): void {
    this.syncs++;
    if (this.failSync(path)) {
      inode.unsynced = [];
      throw systemError('EIO', `fsync of ${path}`);
    }
    inode.durable = inode.content;
    inode.unsynced = [];
  }
}

/** The disk as one run of a process sees it. */
class SimDiskView implements Disk {
  readonly #disk: SimDisk;
  readonly #boot: number;

  constructor(disk: SimDisk, boot: number) {
    this.#disk = disk;
    this.#boot = boot;
  }

  /** Runs `work` in a later turn; never answers a process that is no more. */
  async act<Result>(changes: boolean, work: () => Result): Promise<Result> {
    const disk = this.#disk;
    await Promise.resolve();
    if (!disk.isLive(this.#boot)) return new Promise(() => undefined);
    if (changes) {
      disk.changes++;
      disk.changesLeft--;
    }
    let outcome: () => Result;
    try {
      const result = work();
      outcome = () => result;
    } catch (error) {
      outcome = () => {
        throw error;
      };
    }
    if (changes && disk.changesLeft === 0) disk.onDead();
    // It dies of its last change: made, or failed, and not told.
    return disk.isLive(this.#boot) ? outcome() : new Promise(() => undefined);
  }

  async open(path: string, mode: 'read' | 'write'): Promise<DiskFile> {
    const inode = await this.act(mode === 'write' && this.#disk.node(path) === undefined, () =>
      mode === 'write' && this.#disk.node(path) === undefined
        ? this.#disk.create(path)
        : this.#disk.file(path),
    );
    return this.#fileOf(path, inode);
  }

  #fileOf(path: string, inode: Inode): DiskFile {
    const disk = this.#disk;
    return {
      read: (position, length) =>
        this.act(false, () => {
          if (disk.failRead(path, position, length)) throw systemError('EIO', `read of ${path}`);
          return Buffer.from(inode.content.subarray(position, position + length));
        }),
      write: (position, parts) => {
        const bytes = Buffer.concat(parts);
        return this.act(true, () => disk.write(path, inode, position, bytes));
      },
      sync: async () => {
        await disk.beforeSync(path);
        await this.act(true, () => disk.sync(path, inode));
      },
      truncate: (size) =>
        this.act(true, () => {
          if (size < inode.content.length) disk.beforeLoss(path, size);
          inode.change({ kind: 'truncate', size });
        }),
      stat: () => this.act(false, () => statOf(inode)),
      close: () => this.act(false, () => undefined),
    };
  }

  stat(path: string): Promise<FileStat | undefined> {
    return this.act(false, () => {
      const node = this.#disk.node(path);
      return node && statOf(node);
    });
  }

  list(path: string): Promise<string[]> {
    return this.act(false, () => this.#disk.list(path));
  }

  makeDirectory(path: string): Promise<void> {
    return this.act(true, () => this.#disk.makeDirectory(path));
  }

  rename(from: string, to: string): Promise<void> {
    return this.act(true, () => this.#disk.rename(from, to));
  }

  remove(path: string): Promise<void> {
    return this.act(true, () => this.#disk.remove(path));
  }

  async syncDirectory(path: string): Promise<void> {
    await this.#disk.beforeSync(path);
    await this.act(true, () => {
      this.#disk.syncs++;
      if (this.#disk.failSync(path)) throw systemError('EIO', `fsync of ${path}`);
      this.#disk.syncDirectory(path);
    });
  }

  space(): Promise<{ freeBytes: number; totalBytes: number }> {
    const { spaceBytes, totalBytes } = this.#disk;
    if (spaceBytes === Infinity) return Promise.resolve({ freeBytes: Infinity, totalBytes });
    const { usedBytes } = this.#disk;
    const freeBytes = Math.max(0, spaceBytes - usedBytes);
    return Promise.resolve({ freeBytes, totalBytes: Math.min(totalBytes, Math.max(spaceBytes, usedBytes)) });
  }

  readFile(path: string): Promise<Buffer | undefined> {
    return this.act(false, () => {
      const node = this.#disk.node(path);
      if (!(node instanceof Inode)) return undefined;
      if (this.#disk.failRead(path, 0, node.content.length)) throw systemError('EIO', `read of ${path}`);
      return Buffer.from(node.content);
    });
  }

  async replaceFile(path: string, content: Uint8Array): Promise<void> {
    const temporary = `${path}.tmp`;
    const file = await this.open(temporary, 'write');
    await file.truncate(0);
    await file.write(0, [content]);
    await file.sync();
    await this.rename(temporary, path);
    await this.syncDirectory(dirname(path));
  }
}

function statOf(node: Inode | 'directory'): FileStat {
  const isFile = node !== 'directory';
  return {
    size: isFile ? node.content.length : 0,
    isFile,
    isDirectory: !isFile,
    device: '1',
    inode: String(isFile ? node.number : 0),
    mtimeMs: isFile ? node.mtimeMs : 0,
  };
}
