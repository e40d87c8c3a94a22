import { LIMITS } from '../limits.ts';

/** What holds a file open for writing. */
export interface FileHolder {
  /** Closes the file unless it is in use; false when it is. */
  letGo(): boolean;
}

/**
 * Files that segments keep open for writing, of one data directory: a peer that takes over its share writes to thousands of
 * segments, and has only so many descriptors. Beyond the bound, the ones that were used longest ago are closed.
 */
export class OpenFiles {
  readonly #holders = new Set<FileHolder>();

  used(holder: FileHolder): void {
    this.#holders.delete(holder);
    this.#holders.add(holder);
    for (const other of this.#holders) {
      if (this.#holders.size <= LIMITS.openSegmentsMax) return;
      if (other !== holder && other.letGo()) this.#holders.delete(other);
    }
  }

  closed(holder: FileHolder): void {
    this.#holders.delete(holder);
  }
}
