/**
 * What a peer needs from the machine under it. Everything above takes these as arguments, so that a
 * simulation can own time, chance and the disk. Only `src/store/host` and `src/gossip/transport` may
 * touch the real ones.
 */

/** A pending timer; `cancel` is idempotent. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Wall clock, milliseconds since 1970 (may jump). */
  nowMs(): number;
  /** Milliseconds from an arbitrary start; never goes back. */
  monotonicMs(): number;
  /** Calls `run` once after `delayMs`. The timer does not keep a process alive. */
  after(delayMs: number, run: () => void): Timer;
}

export interface Random {
  bytes(count: number): Buffer;
  /** Uniform in [0, 1). */
  unit(): number;
}

export interface FileStat {
  readonly size: number;
  readonly isFile: boolean;
  readonly isDirectory: boolean;
  /** Device and inode, exact decimal strings: together they name the file while it exists. */
  readonly device: string;
  readonly inode: string;
  readonly mtimeMs: number;
}

/** An open file. Errors are Node's, with `code` (ENOSPC, EIO, …). */
export interface DiskFile {
  /** Reads up to `length` bytes at `position`; shorter only at the end of the file. */
  read(position: number, length: number): Promise<Buffer>;
  /** Writes all of `parts` at `position`; a short write is an ENOSPC error. */
  write(position: number, parts: readonly Uint8Array[]): Promise<void>;
  /** fdatasync. Never call it again after it has failed (I7). */
  sync(): Promise<void>;
  truncate(size: number): Promise<void>;
  stat(): Promise<FileStat>;
  close(): Promise<void>;
}

export interface Disk {
  /** 'read' needs the file; 'write' (read and write) makes it if it is missing. */
  open(path: string, mode: 'read' | 'write'): Promise<DiskFile>;
  /** Undefined when there is nothing at `path`. Follows symbolic links. */
  stat(path: string): Promise<FileStat | undefined>;
  /** Names in a directory, sorted; empty when the directory is missing. */
  list(path: string): Promise<string[]>;
  makeDirectory(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Makes names created, renamed or removed in a directory durable. */
  syncDirectory(path: string): Promise<void>;
  /** Room on the disk that holds `path`, for this process. */
  space(path: string): Promise<{ freeBytes: number; totalBytes: number }>;
  /** Whole small file, or undefined when missing. */
  readFile(path: string): Promise<Buffer | undefined>;
  /** Replaces a small file atomically and durably (temporary file, fsync, rename, fsync of the directory). */
  replaceFile(path: string, content: Uint8Array, mode?: number): Promise<void>;
}

/** Synchronous reads for scan workers, where blocking is the point. */
export interface DiskReader {
  /** Fewer bytes than `length` only at the end of the file. Throws Node's errors. */
  readAt(path: string, position: number, length: number): Buffer;
  close(): void;
}

export { systemClock, systemRandom } from './system.ts';
export { systemDisk, systemDiskReader } from './disk.ts';
